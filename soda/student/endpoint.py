"""An OpenAI-compatible server that has the student: completions of token ids."""

import asyncio
import json
import os
from collections.abc import Callable
from typing import Any

import aiohttp

from soda.errors import ModelError
from soda.storage.store import one_line
from soda.student.chat import ChatFormat
from soda.student.generate import Answer, Sampling, Seeds, seed_of

__all__ = ["ask_endpoint"]

_TRIES = 6
_FIRST_WAIT_SECONDS = 0.5
_ANSWER_SECONDS = 1800.0
_PASSING = {408, 409, 429, 500, 502, 503, 504}


async def ask_endpoint(
    url: str,
    model: str,
    prompts: list[list[int]],
    seeds: Seeds,
    chat: ChatFormat,
    sampling: Sampling,
    done: Callable[[int], object],
) -> list[Answer]:
    """Return an answer a prompt, some under way at once.

    The prompt goes as ids (vLLM, SGLang and llama.cpp take them), so that the template is ours. A
    key, if the server wants one, is in SODA_STUDENT_API_KEY.

    Raises:
        ModelError: the server refuses, or does not answer after six tries.
    """
    url = url.rstrip("/")
    key = _key()
    gate = asyncio.Semaphore(sampling.batch_size)
    async with aiohttp.ClientSession(
        headers={"Authorization": f"Bearer {key}"} if key else {},
        connector=aiohttp.TCPConnector(limit=0),
        timeout=aiohttp.ClientTimeout(total=_ANSWER_SECONDS, sock_connect=30),
    ) as session:

        async def ask(ids: list[int], seed: int) -> Answer:
            body = {
                "model": model,
                "prompt": ids,
                "max_tokens": sampling.max_new_tokens,
                "temperature": sampling.temperature,
                "top_p": sampling.top_p,
                "seed": seed,
                "stop_token_ids": [chat.end_of_turn],
            }
            async with gate:
                found = await _post(session, f"{url}/completions", body)
            done(1)
            return _read(found, url, chat)

        tasks = [
            asyncio.ensure_future(ask(ids, seed_of([seed])))
            for ids, seed in zip(prompts, seeds, strict=True)
        ]
        try:
            return list(await asyncio.gather(*tasks))
        finally:
            for task in tasks:
                task.cancel()


def _key() -> str:
    key = os.environ.get("SODA_STUDENT_API_KEY", "").strip()  # a mounted secret ends with a newline
    if not (key.isascii() and key.isprintable()):
        raise ModelError("SODA_STUDENT_API_KEY: expected printable ASCII, found another character")
    return key


async def _post(session: aiohttp.ClientSession, url: str, body: dict[str, Any]) -> Any:
    wait = _FIRST_WAIT_SECONDS
    problem = ""
    for attempt in range(_TRIES):
        if attempt:
            await asyncio.sleep(wait)
            wait *= 2
        try:
            async with session.post(url, json=body) as answer:
                if answer.status == 200:
                    return json.loads(await answer.read())
                problem = f"status {answer.status}: {await answer.text(errors='replace')}"
                if answer.status not in _PASSING:
                    break
        except (aiohttp.ClientError, TimeoutError) as error:
            problem = str(error) or type(error).__name__
        except ValueError as error:
            problem = f"no JSON: {error}"
            break
    raise _refusal(url, f"expected an answer of the student, found {problem}")


def _refusal(url: str, problem: str) -> ModelError:
    """Return an error of one line, without the key: some servers repeat it."""
    key = _key()
    masked = problem.replace(key, "***") if key else problem
    return ModelError(f"{url}: {one_line(ModelError(masked))}")


def _read(found: Any, url: str, chat: ChatFormat) -> Answer:
    try:
        choice = found["choices"][0]
        text, reason = choice["text"].strip(), choice["finish_reason"]
        tokens = (found.get("usage") or {}).get("completion_tokens")
    except (LookupError, TypeError, AttributeError) as error:
        raise _refusal(url, f"expected a completion, found {found}") from error
    if reason not in ("stop", "length"):
        raise _refusal(url, f"expected finish_reason 'stop' or 'length', found {reason!r}")
    stopped = reason == "stop"
    counted = chat.count(text) + stopped if tokens is None else int(tokens)
    return Answer(text, stopped, counted)
