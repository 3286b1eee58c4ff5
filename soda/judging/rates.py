"""What verdicts come to: win rates and the paper's score, over prompts and training seeds."""

import dataclasses
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from soda.judging.verdicts import Verdict
from soda.statistics.bootstrap import resample
from soda.statistics.intervals import Estimate
from soda.statistics.length_control import length_controlled

__all__ = ["by_set", "relative_scores", "win_rates"]

Seeds = Sequence[Sequence[Verdict]]  # of each training's student, on the same prompts
_LEAST = 10  # prompts, for an interval
_UNKNOWN = Estimate(math.nan, 0.0, 1.0)


def win_rates(seeds: Seeds, *, samples: int, seed: int) -> dict[str, Any]:
    """Return the win rate, ties half, and that at equal length, as a JSON object.

    Of several seeds, prompts count whose verdicts are clear in all, and the intervals are over
    prompts and seeds at once; of one they say nothing of what another training would give.
    """
    clear = _shared(seeds, lambda one: one.score)
    win = equal = _UNKNOWN
    if len(clear) >= _LEAST:
        scores = _grid(clear, lambda one: one.score)
        lengths = _grid(clear, lambda one: one.lengths[0] - one.lengths[1])
        win = resample(scores, samples=samples, seed=seed, within=(0, 1))
        equal = length_controlled(scores, lengths, samples=samples, seed=seed)
    return {
        "prompts": len(clear),
        "seeds": len(seeds),
        "win_rate": _plain(win),
        "length_controlled": _plain(equal),
    }


def relative_scores(
    seeds: Seeds, beside: Seeds | None = None, *, samples: int, seed: int
) -> dict[str, Any]:
    """Return the mean of S / (S + R) x 100 with its interval, as in SODA's Table 1; 50 is parity.

    S is the candidate's score and R the reference's (arXiv 2604.03873, appendix B). Prompts without
    scores in every order are left out.

    Args:
        beside: as many seeds of another model: the mean is of the difference to it, by prompt.
    """
    both = [*seeds, *(beside or [])]
    scored = _shared(both, lambda one: one.relative_score)
    found = Estimate(math.nan, 0.0, 100.0)
    within = (0.0, 100.0)
    if len(scored) >= _LEAST:
        grid = _grid(scored, lambda one: one.relative_score)
        if beside is not None:
            grid = grid[: len(seeds)] - grid[len(seeds) :]
            within = (-100.0, 100.0)
        found = resample(grid, samples=samples, seed=seed, within=within)
    return {"prompts": len(scored), "seeds": len(seeds), **_plain(found)}


def by_set(verdicts: Iterable[Verdict], sets: Mapping[str, str]) -> dict[str, list[Verdict]]:
    """Return verdicts by the set that their prompts belong to, in the order of the sets.

    Args:
        sets: prompt -> the name of its set.
    """
    found: dict[str, list[Verdict]] = {name: [] for name in sets.values()}
    for verdict in verdicts:
        found[sets[verdict.id]].append(verdict)
    return found


def _shared(seeds: Seeds, value: Callable[[Verdict], float | None]) -> list[list[Verdict]]:
    """Return the verdicts on each prompt that has a value in every seed."""
    known = [{one.id: one for one in each if value(one) is not None} for each in seeds]
    first, *rest = known
    return [[each[key] for each in known] for key in first if all(key in each for each in rest)]


def _grid(prompts: list[list[Verdict]], value: Callable[[Verdict], float | None]) -> Any:
    """Return values as an array, seeds x prompts."""
    return np.array([[value(one) for one in each] for each in prompts], dtype=float).T


def _plain(found: Estimate) -> dict[str, float | None]:
    """Return an estimate as JSON, which has no NaN."""
    plain: dict[str, float | None] = dataclasses.asdict(found)
    return plain | ({"mean": None} if math.isnan(found.mean) else {})
