"""Pairs and answers as token ids, and how examples are put together into batches."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from soda.rows import Pair, Response
from soda.student.chat import ChatFormat

__all__ = ["Example", "Ids", "answered", "plan_micro_batches", "tokenize"]

Ids = NDArray[np.int32]  # a fifth of the memory of a list of ints


@dataclass(frozen=True, slots=True)
class Example:
    """A prompt and the answers that follow it, as ids. A pair's answers: chosen, rejected."""

    id: str
    prompt: Ids
    answers: tuple[Ids, ...]

    @classmethod
    def of(cls, key: str, prompt: Iterable[int], *answers: Iterable[int]) -> "Example":
        """Make one from any ids."""
        return cls(key, _ids(prompt), tuple(map(_ids, answers)))

    def __len__(self) -> int:
        return len(self.prompt) + self.answer_tokens

    @property
    def answer_tokens(self) -> int:
        """The length of all answers together."""
        return sum(map(len, self.answers))

    def first(self) -> "Example":
        """Return it with its first answer only: of a pair, the chosen one."""
        return Example(self.id, self.prompt, self.answers[:1])


def _ids(ids: Iterable[int]) -> Ids:
    return np.fromiter(ids, np.int32)


def tokenize(pair: Pair, chat: ChatFormat) -> Example:
    """Return a pair's ids; the teacher's answers all stopped, the student's may have been cut."""
    answers = [
        (pair.chosen[0]["content"], True),
        (pair.rejected[0]["content"], pair.rejected_stopped),
    ]
    prompt, both = chat.pair_ids(pair.prompt, answers)
    return Example.of(pair.id, prompt, *both)


def answered(row: Response, chat: ChatFormat) -> Example:
    """Return the ids of a prompt and the whole answer to it.

    Raises:
        ChatError: the template refuses it, or prompt and answer share a token.
    """
    return Example.of(
        row.prompt.id,
        chat.prompt_ids(row.prompt.messages),
        chat.answer_ids(row.prompt.messages, row.text.strip(), stopped=True),
    )


def plan_micro_batches(
    examples: Sequence[Example], most_tokens: int, multiple_of: int = 1
) -> list[list[Example]]:
    """Cut examples into batches of at most so many tokens, as few and as even as can be.

    An example longer than that has a batch of its own. The batches' number is a multiple of the
    processes' number, which all take the same number of turns; then some may be empty.
    """
    alone = [[example] for example in examples if len(example) > most_tokens]
    longest_first = sorted(
        (one for one in examples if len(one) <= most_tokens), key=len, reverse=True
    )
    count = max(1, len(alone) - (-sum(map(len, longest_first)) // most_tokens))
    while True:
        count = -(-count // multiple_of) * multiple_of
        batches: list[list[Example]] = [[] for _ in range(count - len(alone))]
        load = [0] * len(batches)
        for example in longest_first:
            least = load.index(min(load))
            batches[least].append(example)
            load[least] += len(example)
        if max(load, default=0) <= most_tokens:
            batches = alone + batches
            return batches if multiple_of > 1 else [batch for batch in batches if batch]
        count += 1
