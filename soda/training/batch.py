"""Pairs -> token ids and answer masks.

Rows are padded on the left, so that every answer ends at the last place, and `answer_width` places
at the end hold all of every answer.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from soda.chat import ChatFormat
from soda.rows import Pair

__all__ = ["Batch", "Sequences", "TokenPair", "collate", "micro_batches", "tokenize"]


@dataclass(frozen=True, slots=True)
class Sequences:
    """A prompt and one answer, as ids."""

    prompt: list[int]
    answer: list[int]

    def __len__(self) -> int:
        return len(self.prompt) + len(self.answer)


@dataclass(frozen=True, slots=True)
class TokenPair:
    """One pair as ids."""

    id: str
    chosen: Sequences
    rejected: Sequences

    def __len__(self) -> int:
        return len(self.chosen) + len(self.rejected)


@dataclass(frozen=True, slots=True)
class Batch:
    """Padded rows. R rows, T places, A = answer_width places at the end."""

    ids_RT: Tensor
    mask_RT: Tensor  # 1 where there is a token, 0 where there is padding
    answer_RA: Tensor  # True where the last A places hold an answer token

    @property
    def answer_width(self) -> int:
        """A: the length of the longest answer."""
        return int(self.answer_RA.shape[1])


def tokenize(pair: Pair, chat: ChatFormat) -> TokenPair:
    """Return a pair's ids; the teacher's answers all stopped, the student's may have been cut."""
    prompt = chat.prompt_ids(pair.prompt)
    chosen = chat.answer_ids(pair.chosen[0]["content"], stopped=True)
    rejected = chat.answer_ids(pair.rejected[0]["content"], stopped=pair.rejected_stopped)
    return TokenPair(pair.id, Sequences(prompt, chosen), Sequences(prompt, rejected))


def collate(rows: Sequence[Sequences], pad: int, device: torch.device | str) -> Batch:
    """Pad rows on the left. The mask follows from lengths, never from ids: pad may equal EOS."""
    width = max(map(len, rows))
    answers = max(len(row.answer) for row in rows)
    ids = [[pad] * (width - len(row)) + row.prompt + row.answer for row in rows]
    mask = [[0] * (width - len(row)) + [1] * len(row) for row in rows]
    answer = [[False] * (answers - len(row.answer)) + [True] * len(row.answer) for row in rows]
    return Batch(
        torch.tensor(ids, device=device),
        torch.tensor(mask, device=device),
        torch.tensor(answer, device=device),
    )


def micro_batches(pairs: Sequence[TokenPair], size: int) -> Iterator[list[TokenPair]]:
    """Cut one step's pairs into micro-batches of like lengths: little padding, the same sum."""
    ordered = sorted(pairs, key=len)
    for start in range(0, len(ordered), size):
        yield ordered[start : start + size]
