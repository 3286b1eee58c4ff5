"""Free-form prompts with a teacher's recorded answers, from a JSONL file."""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import soda
from soda.artifacts.kinds import Responses
from soda.errors import DataError
from soda.expected import is_right
from soda.rows import Expected, Message, Response, digest

__all__ = ["QUICKSTART", "FreeForm", "FreeItem", "read_free_form"]

QUICKSTART = Path(__file__).parents[2] / "pipelines/distill/quickstart/teacher.jsonl"
_HELD_OUT = 0.3  # of the prompts


@dataclass(frozen=True, slots=True)
class FreeItem:
    """A prompt, the teacher's answer, and what a right answer holds, where that is known."""

    messages: list[Message]
    answer: str
    expected: Expected | None = None
    task: str = ""
    poor: str | None = None

    def holds(self, answer: str) -> bool | None:
        """Whether an answer is right, as the product checks it."""
        return None if self.expected is None else is_right(self.expected, answer)


@dataclass(frozen=True, slots=True)
class FreeForm:
    """The answered prompts of an artifact; which are held out follows from their text alone."""

    name: str  # of the file, in messages
    answers: Path
    digest: str  # of the artifact

    def held_out(self, count: int) -> list[FreeItem]:
        """Return at most so many held-out prompts, in the order of their digests."""
        return _items(self.answers)["test"][:count]

    def training(self, count: int, seed: int) -> list[FreeItem]:
        """Return so many of the others, drawn by a seed.

        Raises:
            DataError: there are not so many.
        """
        items = list(_items(self.answers)["train"])
        if count > len(items):
            raise DataError(
                f"{self.name}: expected {count} prompts to train on, found {len(items)}"
            )
        random.Random(seed).shuffle(items)
        return items[:count]

    def __len__(self) -> int:
        """How many there are to train on."""
        return len(_items(self.answers)["train"])


def read_free_form(file: Path, work: Path) -> FreeForm:
    """Read a file of prompts and answers, as `teacher-gen` takes `answers`; split its prompts.

    Raises:
        SodaError: it cannot be read.
    """
    config = {"dataset": str(file), "validation_share": 0.0, "test_share": _HELD_OUT}
    prompts = soda.run("prepare-prompts", inputs={}, config=config, out=work / "prompts")
    made = soda.run(
        "teacher-gen",
        inputs={"prompts": prompts.path},
        config={"answers": str(file), "probe": False},
        out=work / "answers",
    )
    return FreeForm(str(file), Path(made.path), made.digest)


@cache
def _items(folder: Path) -> dict[str, list[FreeItem]]:
    found: dict[str, list[FreeItem]] = {"train": [], "test": []}
    for row in sorted(_answered(folder), key=lambda row: digest(row.prompt.messages)):
        item = FreeItem(row.prompt.messages, row.text, row.prompt.expected)
        found[row.prompt.split].append(item)
    return found


def _answered(folder: Path) -> Iterator[Response]:
    return (row for row in Responses.open(folder).rows() if row.outcome == "answered")
