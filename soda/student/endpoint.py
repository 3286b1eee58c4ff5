"""An OpenAI-compatible server that has the student: completions of token ids."""

import asyncio
import os
from collections.abc import Callable
from typing import Any

import aiohttp

from soda.chat import ChatFormat
from soda.errors import ModelError
from soda.student.generate import Answer, Sampling, Seeds, seed_of

__all__ = ["ask_endpoint"]

_TRIES = 6
_FIRST_WAIT_SECONDS = 0.5
_ANSWER_SECONDS = 1800.0
_PASSING = {408, 409, 429, 500, 502, 503, 504}


def ask_endpoint(
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
    return asyncio.run(_ask_all(url.rstrip("/"), model, prompts, seeds, chat, sampling, done))


async def _ask_all(
    url: str,
    model: str,
    prompts: list[list[int]],
    seeds: Seeds,
    chat: ChatFormat,
    sampling: Sampling,
    done: Callable[[int], object],
) -> list[Answer]:
    key = os.environ.get("SODA_STUDENT_API_KEY")
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
                    return await answer.json()
                problem = f"status {answer.status}: {(await answer.text())[:200]}"
                if answer.status not in _PASSING:
                    break
        except (aiohttp.ClientError, TimeoutError) as error:
            problem = str(error) or type(error).__name__
    raise ModelError(f"{url}: expected an answer of the student, found {problem}")


def _read(found: Any, url: str, chat: ChatFormat) -> Answer:
    try:
        choice = found["choices"][0]
        text, reason = choice["text"], choice["finish_reason"]
        tokens = found.get("usage", {}).get("completion_tokens")
    except (LookupError, TypeError) as error:
        raise ModelError(f"{url}: expected a completion, found {str(found)[:200]}") from error
    stopped = reason == "stop"
    counted = len(chat.answer_ids(text, stopped=stopped)) if tokens is None else int(tokens)
    return Answer(text.strip(), stopped, counted)
