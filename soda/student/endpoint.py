"""An OpenAI-compatible server that has the student: completions of token ids."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from soda.endpoint.address import Address
from soda.endpoint.answer import Answer as Completion
from soda.endpoint.asker import Asker
from soda.endpoint.budget import Budget, Price
from soda.endpoint.caller import Caller
from soda.endpoint.client import Client, Endpoint, open_session
from soda.endpoint.failures import Refused, Unanswered, Unusable
from soda.endpoint.limits import Limits
from soda.endpoint.notes import Nothing
from soda.endpoint.request import Request
from soda.endpoint.standing import Standing
from soda.endpoint.waits import Waits
from soda.errors import EndpointError
from soda.rows import digest
from soda.student.chat import ChatFormat
from soda.student.generate import Answer, Sampling, Seeds, seed_of

__all__ = ["STUDENT", "ask_endpoint"]

STUDENT = Caller("snapshot", "student", "SODA_STUDENT_API_KEY")
_ANSWER_SECONDS = 1800.0


@dataclass(frozen=True, slots=True)
class _Server:
    """Where the student is, and how it is asked."""

    endpoint: Endpoint
    model: str
    chat: ChatFormat
    sampling: Sampling

    def request(self, ids: list[int], seed: int) -> Request:
        """Return the request for one answer."""
        sampling = self.sampling
        body: dict[str, Any] = {
            "model": self.model,
            "prompt": ids,
            "max_tokens": sampling.max_new_tokens,
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "seed": seed,
            "stop_token_ids": [self.chat.end_of_turn],
        }
        if self.chat.headings:
            body["stop"] = list(self.chat.headings)
        return Request(digest([seed, ids]), body, len(ids))

    def answer(self, found: Completion) -> Answer:
        """Return an answer as the snapshot takes it."""
        if found.outcome not in ("answered", "truncated", "empty"):
            return Answer("", False, 0, found.detail or found.outcome)
        text, cut = self.chat.before_heading(found.text.strip())
        stopped = cut or found.outcome != "truncated"
        counted = self.chat.count(text) + stopped
        return Answer(text, stopped, counted if cut or found.tokens is None else found.tokens)


async def ask_endpoint(
    url: str,
    model: str,
    prompts: list[list[int]],
    seeds: Seeds,
    chat: ChatFormat,
    sampling: Sampling,
    done: Callable[[int], object],
    waits: Waits | None = None,
) -> list[Answer]:
    """Return an answer a prompt, some under way at once.

    The prompt goes as ids (vLLM, SGLang and llama.cpp take them), so that the template is ours. A
    key, if the server wants one, is in SODA_STUDENT_API_KEY. A prompt that the server does not
    take, and an answer that it breaks off, is an answer with a problem.

    Raises:
        EndpointError: the server refuses everything, or does not answer.
    """
    waits = waits or Waits()
    server = _Server(Endpoint(STUDENT, Address.parse(url)), model, chat, sampling)
    async with open_session(_ANSWER_SECONDS) as session:
        standing = Standing(STUDENT, url, waits, wants_text=False)
        asker = Asker(
            Client(session, server.endpoint, "/completions"),
            Nothing(),
            Limits(concurrency=sampling.batch_size).pace(STUDENT, waits),
            Budget(Price(), {}, None, STUDENT.name),
            standing,
            waits,
        )

        async def ask(ids: list[int], seed: int) -> Answer:
            try:
                answer = server.answer(await asker.ask(server.request(ids, seed)))
            except (Refused, Unusable) as error:
                answer = Answer("", False, 0, str(error))
            except Unanswered as error:
                if not (error.billed and standing.answers):  # it is the server, not this answer
                    raise EndpointError(
                        f"{url}: expected an answer of the student, found {error}"
                    ) from error
                answer = Answer("", False, 0, str(error))
            done(1)
            return answer

        tasks = [
            asyncio.ensure_future(ask(ids, seed_of([seed])))
            for ids, seed in zip(prompts, seeds, strict=True)
        ]
        try:
            answers = list(await asyncio.gather(*tasks))
        finally:
            for task in tasks:
                task.cancel()
    if answers and all(answer.problem for answer in answers):
        raise EndpointError(
            f"{url}: expected answers of the student, found none: {answers[-1].problem}"
        )
    return answers
