"""What is trained on: pairs, or the teacher's answers alone; and what is left out of it."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from soda.artifacts.kinds import Pairs, Responses
from soda.errors import ArtifactError, DataError
from soda.rows import Split
from soda.student.chat import ChatError, ChatFormat
from soda.training.config import TrainConfig
from soda.training.methods import METHODS
from soda.training.model.examples import Example, answered, tokenize

__all__ = ["Data", "read_data", "refuse_answers"]


@dataclass(frozen=True, slots=True)
class Data:
    """The examples of a training.

    Args:
        examples: what is trained on; of pairs two answers each, of responses the teacher's alone.
        validation: what is only looked at.
        dropped: the ids of rows that could have been among them, and why they are not.
    """

    examples: list[Example] = field(default_factory=list)
    validation: list[Example] = field(default_factory=list)
    dropped: list[tuple[str, str]] = field(default_factory=list)

    def longest(self, *, rollout: int = 0) -> int:
        """Return the most tokens that a prompt with one answer has, also one of `rollout`."""
        rows = self.examples + self.validation
        return max(len(one.prompt) + max(rollout, *map(len, one.answers)) for one in rows)


def refuse_answers(data: Pairs | Responses, config: TrainConfig) -> None:
    """Refuse answers alone where the method compares two.

    Raises:
        ArtifactError: the method needs pairs.
    """
    if METHODS[config.method].trains_on == "pairs" and not isinstance(data, Pairs):
        raise ArtifactError(
            f"{data.path}: expected 'pairs' for train.method {config.method}, "
            f"found '{data.kind}'; the method sft trains on them"
        )


def read_data(data: Pairs | Responses, chat: ChatFormat, config: TrainConfig) -> Data:
    """Read and tokenise the rows of training and validation.

    Of responses only those are used that the teacher finished and the template takes. A row whose
    prompt and answer have more than `max_tokens` is dropped, never cut.

    Raises:
        DataError: nothing is left to train on.
    """
    found = Data()
    alone = METHODS[config.method].trains_on == "answers"
    rows = _pairs(data, chat) if isinstance(data, Pairs) else _answers(data, chat)
    for key, split, example in rows:
        if isinstance(example, str):
            found.dropped.append((key, example))
            continue
        example = example.first() if alone else example
        if len(example.prompt) + max(map(len, example.answers)) > config.max_tokens:
            found.dropped.append((key, "too_long"))
        else:
            (found.examples if split == "train" else found.validation).append(example)
    if not found.examples:
        raise DataError(
            f"{data.path}: expected {data.kind} to train on, found none"
            + (f"; dropped: {_counted(found)}" if found.dropped else "")
        )
    return found


def _pairs(pairs: Pairs, chat: ChatFormat) -> Iterator[tuple[str, Split, Example | str]]:
    splits: tuple[Split, ...] = ("train", "validation")
    for split in splits:
        for row in pairs.rows(split):
            yield row.id, split, tokenize(row, chat)


def _answers(responses: Responses, chat: ChatFormat) -> Iterator[tuple[str, Split, Example | str]]:
    """Yield a row's id, its split, and its example or why there is none."""
    for row in responses.rows():
        if row.prompt.split == "test":
            continue
        example: Example | str = f"teacher_{row.outcome}"
        if row.outcome == "answered":
            try:
                example = answered(row, chat)
            except ChatError as error:
                example = error.reason
        yield row.prompt.id, row.prompt.split, example


def _counted(data: Data) -> str:
    reasons = [reason for _, reason in data.dropped]
    return ", ".join(f"{reasons.count(reason)} {reason}" for reason in dict.fromkeys(reasons))
