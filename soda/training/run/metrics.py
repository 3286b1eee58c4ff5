"""The figures of every step and of every check: one line of JSON each."""

import dataclasses
import json
import resource
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from soda.training.run.position import Position

__all__ = ["CheckFigures", "Metrics", "Row", "StepFigures", "peak_memory_gib", "read_rows"]


@dataclass(frozen=True, slots=True)
class StepFigures:
    """What came of one step. The weights are as they were until it is taken."""

    loss: float  # the mean over the step's examples
    gradient_norm: float  # before clipping
    learning_rate: float
    means: Mapping[str, float] = field(default_factory=dict)  # what else the objective watches
    seconds: float = 0.0
    tokens_per_second: float = 0.0
    peak_memory_gib: float = 0.0


@dataclass(frozen=True, slots=True)
class CheckFigures:
    """Means over the validation examples, in nats.

    None where there is nothing to tell: nothing is compared, or no answers are sampled.
    """

    chosen_logp: float  # log-probability of a token of the teacher's answers
    chosen_answer_logp: float  # of a whole answer
    rejected_logp: float | None = None  # of a token
    chosen_reward: float | None = None
    rejected_reward: float | None = None
    margin: float | None = None  # of the rewards
    accuracy: float | None = None  # the share of pairs whose chosen reward is the greater
    repetitive: float | None = None  # the share of sampled answers that repeat
    answer_tokens: float | None = None  # of a sampled answer


@dataclass(frozen=True, slots=True)
class Row:
    """The figures of one step, or of one check after it. `name` is the phase's."""

    position: Position
    name: str
    figures: StepFigures | CheckFigures

    def to_json(self) -> dict[str, Any]:
        """Return it as a flat JSON object."""
        kind = "step" if isinstance(self.figures, StepFigures) else "check"
        values = {
            each.name: value
            for each in dataclasses.fields(self.figures)
            if (value := getattr(self.figures, each.name)) is not None
        }
        return {
            "phase": self.position.phase,
            "step": self.position.step,
            "name": self.name,
            "kind": kind,
            **values.pop("means", {}),
            **values,
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """Read it back."""
        values = dict(value)
        position = Position(values.pop("phase"), values.pop("step"))
        name, kind = values.pop("name"), values.pop("kind")
        if kind == "check":
            return cls(position, name, CheckFigures(**values))
        known = {each.name for each in dataclasses.fields(StepFigures)} - {"means"}
        means = {key: number for key, number in values.items() if key not in known}
        others = {key: number for key, number in values.items() if key in known}
        return cls(position, name, StepFigures(means=means, **others))


def read_rows(data: bytes) -> Iterator[Row]:
    """Read the rows of a file of figures."""
    return (Row.from_json(json.loads(line)) for line in data.splitlines())


class Metrics:
    """A file of figures that grows; a resumed run begins with what its checkpoint had."""

    def __init__(self, path: Path, before: bytes = b""):
        self._path = path
        self._checks: dict[Position, CheckFigures] = {}
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(before)
        for row in read_rows(before):
            self._note(row)

    def write(self, row: Row) -> None:
        """Append a row."""
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row.to_json()) + "\n")
        self._note(row)

    def _note(self, row: Row) -> None:
        if isinstance(row.figures, CheckFigures):
            self._checks[row.position] = row.figures

    def read(self) -> bytes:
        """Return all lines."""
        return self._path.read_bytes()

    def checks(self, phase: int) -> dict[Position, CheckFigures]:
        """Return the checks of a phase, in the order in which they were made."""
        return {at: figures for at, figures in self._checks.items() if at.phase == phase}


def peak_memory_gib() -> float:
    """Return the most memory held so far: the GPU's, or this process's where there is none."""
    import torch

    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 2**30
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 2**30
