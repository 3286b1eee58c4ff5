"""Answers of a local student: to many prompts at once, greedy or sampled."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from soda.errors import ModelError
from soda.student.chat import ChatFormat
from soda.student.continuous import Draws, continuous, left_padded
from soda.student.weights import load_causal_lm
from soda.words import repeats

__all__ = [
    "Answer",
    "Sampling",
    "Seeds",
    "load_model",
    "paged",
    "sample",
    "sample_ids",
    "seed_of",
    "stop_ids",
]

_HEADING_TOKENS = 24  # a heading has at most as many bytes, and a token at least one
Seeds = Sequence[Sequence[int]]


@dataclass(frozen=True, slots=True)
class Answer:
    """One sampled answer."""

    text: str
    stopped: bool  # False: cut at the limit
    tokens: int  # end of turn included
    problem: str = ""  # why there is no answer

    @classmethod
    def of(cls, ids: Sequence[int], chat: ChatFormat, stops: Sequence[int]) -> "Answer":
        """Read an answer's ids; the last is the stop that ended it, if one did."""
        stopped = bool(ids) and ids[-1] in stops
        text, cut = chat.before_heading(chat.decode(ids[:-1] if stopped else ids))
        tokens = chat.count(text) + 1 if cut else len(ids)
        return cls(text, stopped or cut, tokens)

    @property
    def repeats(self) -> bool:
        """Whether it goes in circles."""
        return repeats(self.text)


@dataclass(frozen=True, slots=True)
class Sampling:
    """How answers are drawn. Temperature 0 is greedy."""

    temperature: float
    top_p: float
    max_new_tokens: int
    seed: int
    batch_size: int  # answers under way at once


def load_model(folder: Path) -> Any:
    """Load a model for inference: bf16 on a GPU, float32 on a CPU, where bf16 is slower."""
    import torch

    if torch.cuda.is_available():
        return load_causal_lm(folder, torch.bfloat16).to("cuda")
    return load_causal_lm(folder, torch.float32)


def seed_of(seeds: Seeds) -> int:
    """Return one seed of 31 bits made of many."""
    import numpy as np

    words = [word for seed in seeds for word in seed]
    return int(np.random.SeedSequence(words).generate_state(1)[0]) >> 1


def stop_ids(model: Any, chat: ChatFormat) -> list[int]:
    """Return the ids that end an answer: the template's end of turn, and the model's own."""
    named = model.generation_config.eos_token_id
    named = named if isinstance(named, list) else [named]
    return sorted({chat.end_of_turn, *(stop for stop in named if stop is not None)})


def sample(
    model: Any,
    chat: ChatFormat,
    prompts: Sequence[list[int]],
    sampling: Sampling,
    *,
    may_page: bool = True,
) -> Iterator[tuple[int, Answer]]:
    """Yield each prompt's place and its answer, in the order in which answers end."""
    stops = stop_ids(model, chat)
    for place, ids in sample_ids(model, chat, prompts, sampling, may_page=may_page):
        yield place, Answer.of(ids, chat, stops)


def sample_ids(
    model: Any,
    chat: ChatFormat,
    prompts: Sequence[list[int]],
    sampling: Sampling,
    seeds: Seeds | None = None,
    interrupted: Callable[[], bool] = lambda: False,
    *,
    may_page: bool = True,
) -> Iterator[tuple[int, list[int]]]:
    """Yield each prompt's place and its answer's ids, the stop that ended it included.

    Args:
        seeds: of each answer; otherwise they follow from the sampling's seed and the places.
        interrupted: asked now and then; True ends it.
        may_page: whether the model's attention takes the paged keys and values of `paged`.
    """
    stops = stop_ids(model, chat)
    if seeds is None:
        seeds = [[sampling.seed, place] for place in range(len(prompts))]
    if not _keeps_keys_and_values(model):
        yield from _in_batches(model, chat, prompts, sampling, seeds, stops)
    elif model.device.type == "cuda" and may_page:
        yield from paged(model, chat, prompts, sampling, seeds, stops)
    else:
        draws = Draws(sampling.temperature, sampling.top_p, sampling.max_new_tokens)
        rows, over = sampling.batch_size, _over(chat)
        yield from continuous(model, prompts, draws, seeds, stops, rows, interrupted, over)


def _over(chat: ChatFormat) -> Callable[[list[int]], bool]:
    """Return what tells that a heading has ended an answer; the last tokens are enough for it."""
    if not chat.headings:
        return lambda ids: False
    return lambda ids: chat.before_heading(chat.decode(ids[-_HEADING_TOKENS:]))[1]


def _keeps_keys_and_values(model: Any) -> bool:
    """Tell whether all that a model remembers are keys and values, a row's own."""
    kinds = set(getattr(model.config, "layer_types", None) or ["full_attention"])
    plain = kinds <= {"full_attention", "sliding_attention"}
    return plain and bool(model._supports_default_dynamic_cache())


def paged(
    model: Any,
    chat: ChatFormat,
    prompts: Sequence[list[int]],
    sampling: Sampling,
    seeds: Seeds,
    stops: Sequence[int],
    **settings: Any,
) -> Iterator[tuple[int, list[int]]]:
    """Yield what transformers' own continuous batching gives; it is made for GPUs.

    Args:
        settings: of its ContinuousBatchingConfig; sizes follow from the GPU's free memory.

    Raises:
        ModelError: it could not answer every prompt.
    """
    from transformers import ContinuousBatchingConfig
    from transformers.generation.continuous_batching.utils import WorkloadHints

    manager = model.init_continuous_batching(
        _generation_config(chat, sampling, stops),
        ContinuousBatchingConfig(seed=seed_of(seeds), **settings),
        WorkloadHints(max(map(len, prompts)), sampling.max_new_tokens, len(prompts)),
    )
    manager.warmup()
    # `generate_batch` starts its thread first: then timing decides what is drawn with what.
    names = manager.add_requests(list(prompts))
    places = {name: place for place, name in enumerate(names)}
    manager.start()
    try:
        while places:
            output = manager.get_result(timeout=1)
            if output is None and manager.is_running():
                continue
            if output is None or output.error is not None:
                found = len(prompts) - len(places)
                why = "it ended early" if output is None else output.error
                raise ModelError(f"expected {len(prompts)} answers, found {found}: {why}")
            if output.is_finished():
                yield places.pop(output.request_id), list(output.generated_tokens)
    finally:
        manager.stop(hard_stop=True)
        manager.destroy()


def _in_batches(
    model: Any,
    chat: ChatFormat,
    prompts: Sequence[list[int]],
    sampling: Sampling,
    seeds: Seeds,
    stops: Sequence[int],
) -> Iterator[tuple[int, list[int]]]:
    """Yield what `generate` gives, batch by batch: every model can do that."""
    import torch

    order = sorted(range(len(prompts)), key=lambda place: (len(prompts[place]), place))
    for start in range(0, len(order), sampling.batch_size):
        places = order[start : start + sampling.batch_size]
        rows = [prompts[place] for place in places]
        ids, mask = left_padded(rows, chat.pad, model.device)
        torch.manual_seed(seed_of([seeds[place] for place in places]))
        with torch.inference_mode():
            out = model.generate(
                input_ids=ids,
                attention_mask=mask,
                generation_config=_generation_config(chat, sampling, stops),
            )
        for place, row in zip(places, out[:, ids.shape[1] :].tolist(), strict=True):
            ends = (n + 1 for n, token in enumerate(row) if token in stops)
            yield place, row[: next(ends, len(row))]  # what follows is padding


def _generation_config(chat: ChatFormat, sampling: Sampling, stops: Sequence[int]) -> Any:
    from transformers import GenerationConfig

    drawn = {"temperature": sampling.temperature, "top_p": sampling.top_p, "top_k": 0}
    greedy = sampling.temperature == 0
    return GenerationConfig(
        do_sample=not greedy,
        **({} if greedy else drawn),
        max_new_tokens=sampling.max_new_tokens,
        eos_token_id=list(stops),
        pad_token_id=chat.pad,
    )
