"""The cells of the table: which trainings are run, and which of them share a warm-up."""

import dataclasses
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import product
from typing import Any, Literal, NamedTuple

__all__ = ["PRESETS", "REJECTS", "Cell", "Job", "Preset", "jobs_of"]

# Whose answers are rejected: the base student's, the warmed-up student's, those of a student that a
# poor teacher taught a little, and the teacher's own answers to other prompts of the same task.
REJECTS = ("student", "warmed", "weak", "moved")


class Job(NamedTuple):
    """What a warm-up depends on. Its cells are run together, and share it and their pairs."""

    seed: int
    right_share: float
    pairs: int
    warm_rate: float


@dataclass(frozen=True, slots=True)
class Cell:
    """One student: the base one, one trained on teacher answers (sft), or by DPO after it."""

    job: Job
    method: Literal["base", "sft", "dpo"]
    epochs: int = 0  # of sft; before DPO always the warm-up's
    rejects: str = ""
    rate: float = 0.0
    beta: float = 0.0

    def to_json(self) -> dict[str, Any]:
        """Return it as a JSON object, the job's values among its own."""
        values = dataclasses.asdict(self)
        del values["job"]
        return {**self.job._asdict(), **values}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "Cell":
        """Read it back."""
        job = Job(**{key: values[key] for key in Job._fields})
        return cls(job, **{key: value for key, value in values.items() if key not in Job._fields})


@dataclass(frozen=True, slots=True)
class Preset:
    """A table: the axes, and what all of its cells have in common.

    Args:
        centre: right share of the teacher, pairs and warm-up rate, which each axis leaves from.
        rates, betas: of DPO where another axis is walked, and `grid_rates` on their own axis.
    """

    centre: tuple[float, int, float]
    seeds: int
    right_shares: tuple[float, ...]
    pairs: tuple[int, ...]
    warm_rates: tuple[float, ...] = ()
    rates: tuple[float, ...] = (3e-6, 1e-5)
    beta: float = 0.1
    grid_rates: tuple[float, ...] = ()
    grid_betas: tuple[float, ...] = ()
    rejects: tuple[str, ...] = ()
    rejects_rate: float = 1e-5
    batch: int = 16
    held_out: int = 300
    warm_epochs: int = 3
    answer_tokens: int = 48

    def cells(self) -> list[Cell]:
        """Return all cells, seed after seed."""
        found = dict.fromkeys(cell for seed in range(self.seeds) for cell in self._cells_of(seed))
        return list(found)

    def _cells_of(self, seed: int) -> Iterator[Cell]:
        share, pairs, warm_rate = self.centre
        middle = Job(seed, share, pairs, warm_rate)
        yield Cell(Job(seed, 0.0, 0, 0.0), "base")
        yield from self._plain(middle)
        for rate, beta in product(self.grid_rates, self.grid_betas):
            yield Cell(middle, "dpo", rejects="student", rate=rate, beta=beta)
        for rejects in self.rejects:
            yield Cell(middle, "dpo", rejects=rejects, rate=self.rejects_rate, beta=self.beta)
        for other in self.right_shares:
            yield from self._plain(middle._replace(right_share=other))
        for count in self.pairs:
            yield from self._plain(middle._replace(pairs=count))
        for rate in self.warm_rates:
            yield from self._plain(middle._replace(warm_rate=rate))

    def _plain(self, job: Job) -> Iterator[Cell]:
        """Yield SeqKD, SeqKD with as many passes as SODA, and SODA."""
        yield Cell(job, "sft", epochs=self.warm_epochs)
        yield Cell(job, "sft", epochs=self.warm_epochs + 1)
        for rate in self.rates:
            yield Cell(job, "dpo", rejects="student", rate=rate, beta=self.beta)


PRESETS = {
    "cpu": Preset(
        centre=(1.0, 128, 5e-5),
        seeds=2,
        right_shares=(0.7,),
        pairs=(256,),
        rates=(1e-5,),
        held_out=120,
    ),
    "gpu": Preset(
        centre=(1.0, 512, 5e-5),
        seeds=5,
        right_shares=(0.4, 0.6, 0.8, 0.9),
        pairs=(128, 256, 1024, 2048),
        warm_rates=(2e-5, 1e-4),
        grid_rates=(1e-6, 3e-6, 1e-5, 3e-5),
        grid_betas=(0.03, 0.1, 0.3),
        rejects=REJECTS,
    ),
    "tiny": Preset(  # to see that it runs: a few minutes on two cores with SmolLM2-135M
        centre=(1.0, 16, 5e-5),
        seeds=1,
        right_shares=(),
        pairs=(),
        rates=(1e-5,),
        rejects=REJECTS,
        held_out=12,
        warm_epochs=1,
        answer_tokens=16,
    ),
}


def jobs_of(cells: Iterable[Cell]) -> dict[Job, list[Cell]]:
    """Return the cells by their job: seed after seed, of a seed the longest job first."""
    found: dict[Job, list[Cell]] = {}
    for cell in cells:
        found.setdefault(cell.job, []).append(cell)

    def order(item: tuple[Job, list[Cell]]) -> tuple[int, int]:
        job, own = item
        return job.seed, -(job.pairs + 200) * sum(max(1, cell.epochs) for cell in own)

    return dict(sorted(found.items(), key=order))
