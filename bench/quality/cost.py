"""How long a table takes, from the tokens in its cells, and from what cells took so far."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from bench.quality.cells import Cell, Job, Preset, jobs_of
from bench.quality.items import Item, Source
from bench.quality.students import WEAK
from soda.student.chat import ChatFormat

__all__ = ["Cost", "Lengths", "estimate", "minutes_left"]

_LOOKED_AT = 200  # items whose tokens are counted
_OWN = 0.7  # of the longest answer allowed: what the base student's answers come to


@dataclass(frozen=True, slots=True)
class Cost:
    """Tokens trained on, sampled and scored, and how often a model is loaded or saved."""

    trained: float = 0.0
    sampled: float = 0.0
    scored: float = 0.0
    loads: int = 0

    def __add__(self, other: "Cost") -> "Cost":
        return Cost(
            self.trained + other.trained,
            self.sampled + other.sampled,
            self.scored + other.scored,
            self.loads + other.loads,
        )

    @property
    def seconds(self) -> float:
        """With SmolLM2-135M in float32 on two cores, as measured in November 2026."""
        return self.trained / 190 + self.sampled / 100 + self.scored / 550 + 8 * self.loads


class Lengths(NamedTuple):
    """Mean tokens: of a prompt, the teacher's answer, and the base student's."""

    prompt: float
    answer: float
    own: float

    @classmethod
    def of(cls, items: Sequence[Item], chat: ChatFormat, most: int) -> "Lengths":
        """Count them in a student's tokens; its answers are guessed from the longest allowed."""
        few = items[:_LOOKED_AT]
        prompts = [len(chat.prompt_ids(item.messages)) for item in few]
        answers = [chat.count(item.answer) + 1 for item in few]  # and the end of turn
        return cls(sum(prompts) / len(few), sum(answers) / len(few), _OWN * most)


@dataclass(slots=True)
class _Job:
    """One job's cells, in turn: what they share costs the first that needs it."""

    job: Job
    lengths: Lengths
    made: set[str]

    def cell(self, cell: Cell, source: Source) -> Cost:
        """Return what training a cell's student takes."""
        if cell.method == "base":
            return Cost()
        if cell.method == "sft":
            return self._sft(cell.epochs, source)
        n, size = self.job.pairs, self.lengths
        found = self._sft(self.job.warm_epochs, source) + self._rejects(cell.rejects)
        rejected = size.own if cell.rejects == "student" else size.answer
        tokens = n * (size.prompt + size.answer + rejected)
        return found + Cost(trained=tokens, scored=tokens, loads=2)

    def _sft(self, epochs: int, source: Source) -> Cost:
        n, size = self.job.pairs, self.lengths
        found = Cost()
        if self._first("teacher") and source.training(1, self.job.seed)[0].poor is None:
            found += self._sampled((1 - self.job.good_share) * n, size.own)
        if self._first(f"sft-{epochs}"):
            found += Cost(trained=epochs * n * (size.prompt + size.answer), loads=2)
        return found

    def _rejects(self, rejects: str) -> Cost:
        n, size = self.job.pairs, self.lengths
        if rejects == "moved" or not self._first(f"rejects-{rejects}"):
            return Cost()
        found = Cost()
        if rejects == "weak":
            found = Cost(trained=WEAK[1] * (size.prompt + size.answer), loads=2)
        return found + self._sampled(n, size.own if rejects == "student" else size.answer)

    def _sampled(self, count: float, tokens: float) -> Cost:
        if not count:
            return Cost()
        return Cost(sampled=count * tokens, scored=count * self.lengths.prompt, loads=1)

    def _first(self, name: str) -> bool:
        new = name not in self.made
        self.made.add(name)
        return new


def estimate(
    preset: Preset, cells: Iterable[Cell], source: Source, chat: ChatFormat
) -> dict[Cell, float]:
    """Return the seconds that each cell takes on two cores, the cells of a job in turn."""
    held_out = source.held_out(preset.held_out)
    asked = Lengths.of(held_out, chat, preset.answer_tokens)
    lengths = Lengths.of(
        source.training(min(preset.centre.pairs, _LOOKED_AT), 0), chat, preset.answer_tokens
    )
    found = {}
    for job, own in jobs_of(cells).items():
        walk = _Job(job, lengths, set())
        for cell in own:
            said = asked.own if cell.method == "base" else asked.answer
            measured = Cost(
                sampled=len(held_out) * said,
                scored=len(held_out) * (2 * asked.prompt + asked.answer),
                loads=1,
            )
            found[cell] = (walk.cell(cell, source) + measured).seconds
    return found


def minutes_left(
    estimates: Mapping[Cell, float], taken: Mapping[Cell, float], at_once: int
) -> float:
    """Return how long the other cells take, corrected by what some have taken."""
    expected = sum(estimates[cell] for cell in taken)
    factor = sum(taken.values()) / expected if taken else 1.0
    return factor * sum(estimates[cell] for cell in estimates.keys() - taken.keys()) / at_once / 60
