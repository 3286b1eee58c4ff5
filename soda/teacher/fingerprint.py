"""Who the teacher is, by what it says to fixed probe prompts.

A vendor may put another model behind the same name. Greedy answers to the same short prompts are
mostly the same words from the same model, and mostly others from another; the served name and
`system_fingerprint` are taken down with them.
"""

import asyncio
import uuid
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from soda.endpoint.asking import Request
from soda.endpoint.client import Busy, Unanswered
from soda.errors import TeacherError
from soda.rows import normalized

__all__ = ["PROBES", "compare", "take_fingerprint"]

PROBES = (
    "Write the first eight prime numbers.",
    "Complete the sentence in five words: The old lighthouse keeper",
    "Translate into French: The teacher asks and the student answers.",
    "Name three rivers of Asia, longest first.",
    "What is 17 * 23 + 9? Answer with the number.",
    "Which model are you, and who made you?",
)
_ANSWER_TOKENS = 32
_SAME = 0.5  # of the probes; a served model answers a few of them in other words now and then


async def take_fingerprint(
    ask: Callable[[Request], Awaitable[dict[str, Any]]], endpoint: str, body: Mapping[str, Any]
) -> dict[str, Any]:
    """Ask the probe prompts.

    Args:
        ask: sends one request.
        endpoint: the teacher's base URL.
        body: a request's other fields: the model, and the name of its token limit.

    Returns: `model` and `fingerprint` as served, `created` (seconds since 1970), and `answers`, in
        the order of `PROBES`; a probe that the teacher would not take has None; `tokens` used.
    """
    limit = "max_completion_tokens" if "max_completion_tokens" in body else "max_tokens"
    fixed = {"model": body["model"], limit: _ANSWER_TOKENS}
    if limit == "max_tokens":  # a model that insists on the new name often takes no temperature
        fixed["temperature"] = 0
    run = uuid.uuid4().hex  # asked anew by every run that asks anything

    async def answer_to(text: str) -> dict[str, Any] | None:
        body = {**fixed, "messages": [{"role": "user", "content": text}]}
        request = Request.of(endpoint, body, run=run)
        try:
            return await ask(request)
        except (TeacherError, Unanswered, Busy):
            return None  # if the teacher is out of reach, the first prompt will say so

    answers = await asyncio.gather(*map(answer_to, PROBES))
    known = [answer for answer in answers if answer is not None]
    return {
        "model": known[0]["model"] if known else None,
        "fingerprint": known[0]["fingerprint"] if known else None,
        "created": known[0]["created"] if known else None,
        "answers": [answer and answer["text"] for answer in answers],
        "tokens": [
            sum(answer[kind] or 0 for answer in known) for kind in ("prompt_tokens", "tokens")
        ],
    }


def compare(before: Mapping[str, Any], now: Mapping[str, Any]) -> str | None:
    """Say in what the teacher differs from an earlier fingerprint of it; None if in nothing."""
    if before["model"] != now["model"]:
        return f"it is served as '{now['model']}', before as '{before['model']}'"
    both = [
        (one, other)
        for one, other in zip(before["answers"], now["answers"], strict=False)
        if one is not None and other is not None
    ]
    same = sum(normalized(one) == normalized(other) for one, other in both)
    if both and same < _SAME * len(both):
        return f"it gives the same answer to {same} of {len(both)} probe prompts only"
    return None
