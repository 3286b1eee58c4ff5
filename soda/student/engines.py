"""What answers as the student: this process, vLLM, or a server that has it."""

import asyncio
import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from soda.errors import ModelError
from soda.student.chat import ChatFormat
from soda.student.endpoint import ask_endpoint
from soda.student.generate import Answer, Sampling, Seeds, load_model, sample_ids, seed_of, stop_ids
from soda.student.weights import check_weights

__all__ = ["Engine", "endpoint_engine", "transformers_engine", "vllm_engine"]

Done = Callable[[int], object]


class Engine(Protocol):
    """Answers prompts, each with a seed of its own; the answers are in the prompts' order."""

    def __call__(self, prompts: list[list[int]], seeds: Seeds, done: Done) -> list[Answer]:
        """Return an answer a prompt.

        Args:
            prompts: ids, as the chat template gives them.
            seeds: a few numbers for each.
            done: told how many answers have ended since the last time.
        """


def transformers_engine(folder: Path, chat: ChatFormat, sampling: Sampling) -> Engine:
    """Return an engine that runs in this process, on a GPU if there is one."""
    model = load_model(folder)
    stops = stop_ids(model, chat)

    def answer(prompts: list[list[int]], seeds: Seeds, done: Done) -> list[Answer]:
        found = {}
        for place, ids in sample_ids(model, chat, prompts, sampling, seeds):
            found[place] = ids
            done(1)
        return [Answer.of(found[place], chat, stops) for place in range(len(prompts))]

    return answer


def vllm_engine(folder: Path, chat: ChatFormat, sampling: Sampling) -> Engine:
    """Return an engine that runs vLLM in this process, on one GPU; more GPUs take a shard each.

    Raises:
        ModelError: vLLM is not installed.
    """
    try:
        from vllm import LLM, SamplingParams
    except ModuleNotFoundError as error:
        raise ModelError(
            "snapshot.engine: expected the package vllm; install soda-distill[vllm]"
        ) from error
    check_weights(folder)
    cut = {"stop": list(chat.headings)} if chat.headings else {}
    model = LLM(model=str(folder), enable_prefix_caching=True, seed=sampling.seed)

    def answer(prompts: list[list[int]], seeds: Seeds, done: Done) -> list[Answer]:
        drawn = [
            SamplingParams(
                temperature=sampling.temperature,
                top_p=sampling.top_p,
                max_tokens=sampling.max_new_tokens,
                seed=seed_of([seed]),
                stop_token_ids=[chat.end_of_turn],
                **cut,
            )
            for seed in seeds
        ]
        outputs = model.generate([{"prompt_token_ids": ids} for ids in prompts], drawn)
        found = []
        for output in outputs:
            [one] = output.outputs
            ids = list(one.token_ids)  # with the stop that ended it
            answer = Answer.of(ids, chat, [chat.end_of_turn])
            stopped = answer.stopped or one.finish_reason == "stop"
            found.append(dataclasses.replace(answer, stopped=stopped))
        done(len(found))
        return found

    return answer


def endpoint_engine(url: str, model: str, chat: ChatFormat, sampling: Sampling) -> Engine:
    """Return an engine that asks an OpenAI-compatible server, which has the student's weights."""

    def answer(prompts: list[list[int]], seeds: Seeds, done: Done) -> list[Answer]:
        return asyncio.run(ask_endpoint(url, model, prompts, seeds, chat, sampling, done))

    return answer
