"""Batched sampling from a local student."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from soda.chat import ChatFormat
from soda.weights import load_causal_lm

__all__ = ["Answer", "Sampling", "load_model", "sample"]


@dataclass(frozen=True, slots=True)
class Answer:
    """One sampled answer."""

    text: str
    stopped: bool  # False: cut at the limit
    tokens: int  # end of turn included


@dataclass(frozen=True, slots=True)
class Sampling:
    """How answers are drawn. Temperature 0 is greedy."""

    temperature: float
    top_p: float
    max_new_tokens: int
    seed: int
    batch_size: int


def load_model(folder: Path) -> Any:
    """Load a model for inference: bf16 on a GPU, float32 on a CPU, where bf16 is slower."""
    import torch

    if torch.cuda.is_available():
        return load_causal_lm(folder, torch.bfloat16).to("cuda")
    return load_causal_lm(folder, torch.float32)


def sample(
    model: Any,
    chat: ChatFormat,
    prompts: Sequence[list[int]],
    sampling: Sampling,
    done: Callable[[int], bool] = lambda batch: False,
) -> Iterator[tuple[int, list[int], list[Answer]]]:
    """Yield batches of answers: the batch's number, the prompts' places, their answers.

    Prompts are sorted by length, so that a batch pads little. A batch is seeded by its number: the
    ones that `done` tells to pass over can be missing without changing any other.
    """
    order = sorted(range(len(prompts)), key=lambda place: (len(prompts[place]), place))
    size = sampling.batch_size
    for number, start in enumerate(range(0, len(order), size)):
        if not done(number):
            places = order[start : start + size]
            ids = [prompts[place] for place in places]
            yield number, places, _sample_batch(model, chat, ids, sampling, number)


def _sample_batch(
    model: Any, chat: ChatFormat, prompts: list[list[int]], sampling: Sampling, number: int
) -> list[Answer]:
    import torch
    from transformers import GenerationConfig

    width = max(map(len, prompts))
    ids = torch.tensor([[chat.pad] * (width - len(row)) + row for row in prompts])
    mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in prompts])
    stops = _stops(model, chat)
    drawn = {"temperature": sampling.temperature, "top_p": sampling.top_p, "top_k": 0}
    greedy = sampling.temperature == 0
    config = GenerationConfig(
        do_sample=not greedy,
        **({} if greedy else drawn),
        max_new_tokens=sampling.max_new_tokens,
        eos_token_id=stops,
        pad_token_id=chat.pad,
    )
    torch.manual_seed(sampling.seed * 1_000_003 + number)
    with torch.inference_mode():
        out = model.generate(
            input_ids=ids.to(model.device),
            attention_mask=mask.to(model.device),
            generation_config=config,
        )
    return [_cut(row[width:].tolist(), chat, stops) for row in out]


def _stops(model: Any, chat: ChatFormat) -> list[int]:
    named = model.generation_config.eos_token_id
    named = named if isinstance(named, list) else [named]
    return sorted({chat.end_of_turn, *(stop for stop in named if stop is not None)})


def _cut(ids: list[int], chat: ChatFormat, stops: list[int]) -> Answer:
    """End an answer at its first stop token; what follows is padding, which may be the same id."""
    end = next((place for place, token in enumerate(ids) if token in stops), None)
    if end is None:
        return Answer(chat.decode(ids), stopped=False, tokens=len(ids))
    return Answer(chat.decode(ids[:end]), stopped=True, tokens=end + 1)
