"""The cells of the table: which trainings are run, and which of them share a warm-up."""

import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import product
from typing import Any, Literal, NamedTuple

__all__ = ["PRESETS", "REJECTS", "Cell", "Job", "Preset", "jobs_of"]

# Whose answers are rejected: the base student's, the warmed-up student's, those of a student that a
# poor teacher taught a little, and the teacher's own answers to other prompts (of the same task).
REJECTS = ("student", "warmed", "weak", "moved")


class Job(NamedTuple):
    """What a warm-up depends on. Its cells are run together, and share it and their pairs."""

    seed: int
    good_share: float  # of the teacher's answers: see bench.quality.items
    pairs: int
    warm_rate: float
    warm_epochs: int


@dataclass(frozen=True, slots=True)
class Cell:
    """One student: the base one, one trained on teacher answers (sft), or by DPO after it."""

    job: Job
    method: Literal["base", "sft", "dpo"]
    epochs: int = 0  # of sft; before DPO always the job's warm-up
    rejects: str = ""
    rate: float = 0.0
    beta: float = 0.0

    def __str__(self) -> str:
        """Name it as a table does."""
        if self.method == "base":
            return "base"
        if self.method == "sft":
            return f"SeqKD x{self.epochs}"
        own = "" if self.rejects == "student" else f", rejects: {self.rejects}"
        return f"SODA {self.rate:.0e}, beta {self.beta:g}{own}".replace("e-0", "e-")

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
        centre: the job that every axis leaves from; its seed is the first of `seeds`.
        axes: by a field of the job, its other values.
        rates, beta: of DPO in every job.
        grid_rates, grid_betas: of DPO at the centre alone, every rate with every beta.
        rejects: further sources of rejected answers, at the centre with `rejects_rate`.
        held_out: prompts, or as many as there are.
        answer_tokens: the longest answer that is sampled.
    """

    prompts: Literal["tasks", "free-form"]
    centre: Job
    seeds: int
    rates: tuple[float, ...]
    axes: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    beta: float = 0.1
    grid_rates: tuple[float, ...] = ()
    grid_betas: tuple[float, ...] = ()
    rejects: tuple[str, ...] = ()
    rejects_rate: float = 1e-5
    batch: int = 16
    held_out: int = 300
    answer_tokens: int = 48

    def cells(self) -> list[Cell]:
        """Return all cells, seed after seed; of the base student one, as it depends on none."""
        base = Cell(Job(self.centre.seed, 0.0, 0, 0.0, 0), "base")
        seeds = range(self.centre.seed, self.centre.seed + self.seeds)
        return list(dict.fromkeys([base, *(cell for seed in seeds for cell in self._of(seed))]))

    def _of(self, seed: int) -> Iterator[Cell]:
        centre = self.centre._replace(seed=seed)
        yield from self._plain(centre)
        for rate, beta in product(self.grid_rates, self.grid_betas):
            yield Cell(centre, "dpo", rejects="student", rate=rate, beta=beta)
        for rejects in self.rejects:
            yield Cell(centre, "dpo", rejects=rejects, rate=self.rejects_rate, beta=self.beta)
        for axis, values in self.axes.items():
            for value in values:
                yield from self._plain(centre._replace(**{axis: value}))

    def _plain(self, job: Job) -> Iterator[Cell]:
        """Yield SeqKD, SeqKD with as many passes as SODA, and SODA."""
        yield Cell(job, "sft", epochs=job.warm_epochs)
        yield Cell(job, "sft", epochs=job.warm_epochs + 1)
        for rate in self.rates:
            yield Cell(job, "dpo", rejects="student", rate=rate, beta=self.beta)


PRESETS = {
    # The main question alone: is SODA better than SeqKD of as many passes?
    "cpu": Preset("tasks", Job(0, 1.0, 128, 5e-5, 3), seeds=3, rates=(3e-6, 1e-5), held_out=120),
    "free-cpu": Preset(
        "free-form", Job(0, 1.0, 128, 5e-5, 3), seeds=3, rates=(3e-6, 1e-5), answer_tokens=64
    ),
    "gpu": Preset(
        "tasks",
        Job(0, 1.0, 512, 5e-5, 3),
        seeds=5,
        rates=(3e-6, 1e-5),
        axes={
            "good_share": (0.4, 0.6, 0.8, 0.9),
            "pairs": (128, 256, 1024, 2048),
            "warm_rate": (2e-5, 1e-4),
        },
        grid_rates=(1e-6, 3e-6, 1e-5, 3e-5),
        grid_betas=(0.03, 0.1, 0.3),
        rejects=REJECTS,
    ),
    "free-gpu": Preset(  # the quickstart's prompts end at 160 pairs; a larger file goes on
        "free-form",
        Job(0, 1.0, 160, 5e-5, 3),
        seeds=5,
        rates=(3e-6, 1e-5),
        axes={
            "good_share": (0.5, 0.75),
            "pairs": (40, 80, 640, 2560),
            "warm_epochs": (1, 6),
        },
        grid_rates=(1e-6, 3e-6, 1e-5, 3e-5),
        grid_betas=(0.1,),
        rejects=("student", "warmed", "moved"),
        answer_tokens=256,
    ),
    "early": Preset(  # a warm-up that is far from done: is there more for DPO to add?
        "tasks",
        Job(0, 1.0, 512, 2e-5, 1),
        seeds=3,
        rates=(1e-6, 3e-6, 1e-5),
        axes={"pairs": (2048,), "warm_rate": (5e-6,)},
    ),
    # To see that all of it runs, with a student of any size.
    "tiny": Preset(
        "tasks",
        Job(0, 1.0, 16, 5e-5, 1),
        seeds=1,
        rates=(1e-5,),
        rejects=REJECTS,
        held_out=12,
        answer_tokens=16,
    ),
    "free-tiny": Preset(
        "free-form",
        Job(0, 1.0, 16, 5e-5, 1),
        seeds=1,
        rates=(1e-5,),
        axes={"good_share": (0.5,)},
        rejects=("student", "warmed", "moved"),
        held_out=12,
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
