"""Examples -> tensors for one forward, and the places that predict each answer token.

Packed: one row without padding. The answers of an example share one copy of their prompt: each
sees the prompt and itself, never another, at the positions that it would have alone.
Padded: a row for each answer, padded on the right, where no token before can see it. Any causal
model takes that.

Dimensions: R rows, T places, N answer tokens, A answers.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from soda.training.model.attention import Packing
from soda.training.model.examples import Example

__all__ = ["MicroBatch", "pack", "pad"]


@dataclass(frozen=True, slots=True)
class MicroBatch:
    """One forward's input; answers stand in the order of the examples."""

    examples: list[Example]
    ids_RT: Tensor
    inputs: dict[str, Any]  # what else the model is given
    predictor_N: Tensor  # the place, in the flattened rows, that predicts each answer token
    target_N: Tensor
    last_A: Tensor  # the place of each answer's last token; the prompt's, of an empty one
    lengths_A: Tensor  # tokens of each answer
    temperature: float = 1.0  # that logits are divided by, where answers were sampled so

    def to(self, device: Any) -> "MicroBatch":
        """Return it on another device."""

        def move(value: Any) -> Any:
            if isinstance(value, Tensor):
                value = value.pin_memory() if str(device).startswith("cuda") else value
                return value.to(device, non_blocking=True)
            return value.to(device) if isinstance(value, Packing) else value

        return MicroBatch(
            self.examples,
            move(self.ids_RT),
            {key: move(value) for key, value in self.inputs.items()},
            move(self.predictor_N),
            move(self.target_N),
            move(self.last_A),
            self.lengths_A,
            self.temperature,
        )


def pack(examples: Sequence[Example], longest: int, multiple_of: int = 1) -> MicroBatch:
    """Put examples one behind the other, each prompt once.

    Args:
        longest: no prompt with one answer is longer than so many tokens.
        multiple_of: fill the row up to a multiple of so many places, for kernels that like that.
    """
    ids, position, predictor, target, last = [], [], [], [], []
    start = 0
    for example in examples:
        prompt = len(example.prompt)
        ids += [example.prompt, *example.answers]
        position.append(np.arange(prompt))
        place = start + prompt
        for answer in example.answers:
            position.append(np.arange(prompt, prompt + len(answer)))
            before = np.arange(place - 1, place - 1 + len(answer))
            before[:1] = start + prompt - 1  # an answer's first token follows the prompt's last
            predictor.append(before)
            target.append(answer)
            place += len(answer)
            last.append(place - 1 if len(answer) else start + prompt - 1)
        start = place
    filling = -start % multiple_of
    ids.append(np.zeros(filling, np.int32))
    position.append(np.arange(filling))
    layout = [(len(one.prompt), [len(answer) for answer in one.answers]) for one in examples]
    packing = Packing([*layout, (filling, [])] if filling else layout, max(longest, multiple_of))
    return MicroBatch(
        list(examples),
        _tensor(ids)[None],
        {"position_ids": _tensor(position)[None], "packing": packing},
        _tensor(predictor),
        _tensor(target),
        torch.tensor(last),
        _lengths(examples),
    )


def pad(examples: Sequence[Example], padding: int) -> MicroBatch:
    """Give every answer a row of its own, with its prompt."""
    rows = [(example.prompt, answer) for example in examples for answer in example.answers]
    width = max(len(prompt) + len(answer) for prompt, answer in rows)
    ids = np.full((len(rows), width), padding)
    mask = np.zeros((len(rows), width), np.int64)
    predictor, last = [], []
    for r, (prompt, answer) in enumerate(rows):
        end = len(prompt) + len(answer)
        ids[r, :end] = np.concatenate([prompt, answer])
        mask[r, :end] = 1  # from lengths, never from ids: the padding may equal the end of turn
        predictor.append(np.arange(len(answer)) + r * width + len(prompt) - 1)
        last.append(r * width + end - 1)
    return MicroBatch(
        list(examples),
        torch.from_numpy(ids),
        {"attention_mask": torch.from_numpy(mask)},
        _tensor(predictor),
        _tensor([answer for _, answer in rows]),
        torch.tensor(last),
        _lengths(examples),
    )


def _tensor(parts: list[Any]) -> Tensor:
    return torch.from_numpy(np.concatenate(parts).astype(np.int64))


def _lengths(examples: Sequence[Example]) -> Tensor:
    return torch.tensor([len(answer) for one in examples for answer in one.answers])
