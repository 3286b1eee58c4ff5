"""Pairs -> token ids, attention masks and the places that predict each answer token.

A row is a prompt and the answers that follow it. Two answers share one copy of their prompt where
the model allows it: each sees the prompt and itself, never the other, at the positions it would
have alone. Rows are padded on the left, so all answers lie in the last `keep` places.

Dimensions: R rows, T places, A answer tokens.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from soda.chat import ChatFormat
from soda.rows import Pair

__all__ = ["Batch", "Layout", "Row", "TokenPair", "collate", "micro_batches", "tokenize"]

# Architectures whose every layer attends through the mask it is given. Others (sliding windows,
# recurrent layers) get a row for each answer.
_SHARING_TYPES = frozenset({"llama", "mistral", "qwen2", "qwen3", "smollm3"})


@dataclass(frozen=True, slots=True)
class Row:
    """A prompt and the answers that follow it, as ids."""

    prompt: list[int]
    answers: tuple[list[int], ...]

    def __len__(self) -> int:
        return len(self.prompt) + self.answer_tokens

    @property
    def answer_tokens(self) -> int:
        """The length of all answers together."""
        return sum(map(len, self.answers))


@dataclass(frozen=True, slots=True)
class TokenPair:
    """One pair as ids."""

    id: str
    prompt: list[int]
    chosen: list[int]
    rejected: list[int]

    def __len__(self) -> int:
        return len(self.prompt) + len(self.chosen) + len(self.rejected)


@dataclass(frozen=True, slots=True)
class Batch:
    """Padded rows, and where each answer token is predicted."""

    ids_RT: Tensor
    mask: Tensor  # (R, T) where a row has one answer; (R, 1, T, T), added, where it has more
    position_RT: Tensor
    keep: int  # the places at the end that predict answer tokens
    predictor_RA: Tensor  # the place, among the last `keep`, that predicts the token
    target_RA: Tensor
    answer_RA: Tensor  # which of the row's answers the token belongs to; -1 is padding
    answers: int  # the most answers of any row


def tokenize(pair: Pair, chat: ChatFormat) -> TokenPair:
    """Return a pair's ids; the teacher's answers all stopped, the student's may have been cut."""
    return TokenPair(
        pair.id,
        chat.prompt_ids(pair.prompt),
        chat.answer_ids(pair.chosen[0]["content"], stopped=True),
        chat.answer_ids(pair.rejected[0]["content"], stopped=pair.rejected_stopped),
    )


@dataclass(frozen=True, slots=True)
class Layout:
    """How rows become tensors for one model: its padding, its device, and whether answers share."""

    pad: int
    device: Any
    share: bool

    @classmethod
    def of(cls, model: Any, pad: int, device: Any) -> "Layout":
        """Choose the layout of a model; answers share prompts wherever its architecture allows."""
        return cls(pad, device, _can_share(model.config))


def _can_share(model_config: Any) -> bool:
    windowed = "sliding_attention" in (getattr(model_config, "layer_types", None) or [])
    if model_config.model_type == "mistral":
        windowed = model_config.sliding_window is not None
    return model_config.model_type in _SHARING_TYPES and not windowed


def collate(rows: Sequence[Row], layout: Layout) -> Batch:
    """Pad rows on the left. Masks follow from lengths, never from ids: pad may equal EOS."""
    width = max(map(len, rows))
    keep = max(row.answer_tokens for row in rows) + 1
    count = max(row.answer_tokens for row in rows)
    ids = torch.full((len(rows), width), layout.pad)
    segment = torch.full((len(rows), width), -2)  # -2 padding, -1 prompt, else the answer's number
    position = torch.zeros((len(rows), width), dtype=torch.long)
    predictor = torch.zeros((len(rows), count), dtype=torch.long)
    answer = torch.full((len(rows), count), -1)
    for r, row in enumerate(rows):
        start, end = width - len(row), len(row.prompt)
        ids[r, start:] = torch.tensor(row.prompt + [token for one in row.answers for token in one])
        segment[r, start : start + end] = -1
        position[r, start : start + end] = torch.arange(end)
        last_of_prompt = keep - 1 - row.answer_tokens
        a = count - row.answer_tokens
        place = start + end
        for number, one in enumerate(row.answers):
            segment[r, place : place + len(one)] = number
            position[r, place : place + len(one)] = torch.arange(end, end + len(one))
            # a token is predicted by the one before it; an answer's first, by the prompt's last
            predictor[r, a : a + len(one)] = torch.arange(len(one)) + place - (width - keep) - 1
            predictor[r, a : a + min(1, len(one))] = last_of_prompt
            answer[r, a : a + len(one)] = number
            place, a = place + len(one), a + len(one)
    most = max(len(row.answers) for row in rows)
    return Batch(
        ids.to(layout.device),
        (_shared_mask(segment) if most > 1 else (segment > -2).long()).to(layout.device),
        position.to(layout.device),
        keep,
        predictor.to(layout.device),
        ids[:, width - count :].to(layout.device),
        answer.to(layout.device),
        most,
    )


def _shared_mask(segment_RT: Tensor) -> Tensor:
    """Return what is added to the scores, (R, 1, T, T): an answer sees the prompt and itself."""
    query, key = segment_RT[:, :, None], segment_RT[:, None, :]
    causal = torch.ones(segment_RT.shape[1], segment_RT.shape[1], dtype=torch.bool).tril()
    seen = causal & ((key == -1) | (key == query))
    return torch.where(seen, 0.0, torch.finfo(torch.float32).min)[:, None]


def micro_batches(pairs: Sequence[TokenPair], size: int) -> Iterator[list[TokenPair]]:
    """Cut one step's pairs into micro-batches of like lengths: little padding, the same sum."""
    ordered = sorted(pairs, key=len)
    for start in range(0, len(ordered), size):
        yield ordered[start : start + size]
