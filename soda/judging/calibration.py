"""How far a judge can be trusted: its biases, measured on planted pairs where the truth is known.

| planted | candidate | baseline | a fair judge |
| --- | --- | --- | --- |
| identical | an answer | the same answer | prefers neither, wherever it stands |
| longer | an answer, said twice | the answer | does not prefer the longer one |
| swapped | an answer | the answer to another prompt | prefers the one that belongs here |
| own family | right, by the judge's own family | right, by another | prefers neither |
"""

import math
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from soda.judging.judges import Judge
from soda.judging.verdicts import Matchup, Verdict, tally
from soda.statistics.intervals import Estimate, wilson

__all__ = ["Bias", "Planted", "calibrate", "measure_bias", "plant"]

Planted = Literal["identical", "longer", "swapped", "own family"]
# What is printed beside a judge's verdicts, and from where on it is a warning: what a fair judge
# has, and how far the whole interval may lie from it.
_LABELS: dict[Planted, str] = {
    "identical": "prefers the answer shown first",
    "longer": "prefers an answer said twice",
    "swapped": "prefers the answer that belongs to the prompt",
    "own family": "prefers its own family's of two right answers",
}
_FAIR = 0.5
_TOLERATED = 0.05
_ATTENTIVE = 0.9


@dataclass(frozen=True, slots=True)
class Bias:
    """One bias: how often the judge preferred what it should not, ties half, and how sure we are.

    `swapped` is the other way round: there the judge should nearly always prefer the candidate.
    """

    planted: Planted
    rate: Estimate
    pairs: int
    unclear: int

    @property
    def label(self) -> str:
        """What the rate is of."""
        return _LABELS[self.planted]

    @property
    def fair(self) -> bool:
        """Whether the interval leaves room for a fair judge; a longer answer may well lose."""
        low, high = _FAIR - _TOLERATED, _FAIR + _TOLERATED
        match self.planted:
            case "swapped":
                return self.rate.high >= _ATTENTIVE
            case "longer":
                return self.rate.low <= high
        return self.rate.low <= high and self.rate.high >= low

    def to_json(self) -> dict[str, Any]:
        """Return the bias as a JSON object."""
        mean = None if math.isnan(self.rate.mean) else self.rate.mean  # JSON has no NaN
        rate = {"mean": mean, "low": self.rate.low, "high": self.rate.high}
        counts = {"pairs": self.pairs, "unclear": self.unclear, "fair": self.fair}
        return {"label": self.label, "rate": rate, **counts}


def plant(matchups: Sequence[Matchup], count: int, seed: int) -> dict[Planted, list[Matchup]]:
    """Return planted pairs, at most so many of each kind, made of the candidates' answers.

    Pairs of the judge's own family cannot be made; they are found (see `calibrate`).
    """
    draw = random.Random(seed)
    usable = [one for one in matchups if one.candidate.strip()]
    chosen = draw.sample(usable, min(count, len(usable)))
    others = {one.id: other.candidate for one, other in _neighbours(chosen)}
    made: dict[Planted, list[Matchup]] = {"identical": [], "longer": [], "swapped": []}
    for one in chosen:
        text = one.candidate
        made["identical"].append(replace(one, id=f"identical:{one.id}", baseline=text))
        longer = f"{text.rstrip()}\n\nIn other words: {text.strip()}"
        made["longer"].append(replace(one, id=f"longer:{one.id}", candidate=longer, baseline=text))
        if others.get(one.id, text) != text:
            swapped = replace(one, id=f"swapped:{one.id}", baseline=others[one.id])
            made["swapped"].append(swapped)
    return made


def _neighbours(chosen: list[Matchup]) -> Iterable[tuple[Matchup, Matchup]]:
    """Pair each with the next, the last with the first."""
    return zip(chosen, chosen[1:] + chosen[:1], strict=True)


def calibrate(
    judge: Judge,
    matchups: Sequence[Matchup],
    *,
    count: int,
    seed: int = 0,
    own_family: Sequence[Matchup] = (),
) -> list[Bias]:
    """Let a judge judge planted pairs, and return its biases; what was not planted is left out.

    Args:
        matchups: where answers are taken from; the candidate's.
        count: planted pairs of each kind; 385 know a rate within 5 points.
        own_family: matchups whose answers a verifier found both right, the candidate of them from
            the judge's own family: only of such equals can be told that it favours its own.
    """
    planted = plant(matchups, count, seed)
    if own_family:
        planted["own family"] = list(own_family)
    return [measure_bias(kind, list(judge.judge(made))) for kind, made in planted.items() if made]


def measure_bias(planted: Planted, verdicts: Sequence[Verdict]) -> Bias:
    """Return how often the judge preferred the candidate of planted pairs.

    Identical answers make one request in both orders, so the first reading is taken alone, and the
    candidate in it is the answer shown first. In the other kinds both orders cancel the bias for
    the first. Each pair counts once: the interval is Wilson's over pairs.
    """
    if planted == "identical":
        verdicts = [replace(one, readings=one.readings[:1]) for one in verdicts]
    counts = tally(verdicts)
    return Bias(planted, wilson(counts.score, counts.clear), counts.clear, counts.unclear)
