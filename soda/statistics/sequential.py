"""Deciding early whether a rate lies above or below a threshold, with the error that is claimed.

The evidence against a rate m is a mixture of likelihood ratios over all other rates. Under m it is
a supermartingale that begins at 1, so by Ville's inequality it ever reaches 1/a with probability at
most a, however often one looks (Robbins 1970; Howard et al. 2021, section 3, for scores between
0 and 1). No look costs anything, and none has to be planned.
"""

import math
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from soda.statistics.intervals import Estimate, wilson

__all__ = ["SequentialTest", "confidence_sequence", "log_evidence"]

Scores = float | NDArray[Any]
_EARLY = 0.2  # of the error goes to the early looks, the rest to the planned end
_log_gamma = np.vectorize(math.lgamma, otypes=[float])


def log_evidence(score: Scores, count: Scores, rate: Scores) -> NDArray[Any]:
    """Return the log of the evidence against a rate: 0 for none, log(20) for an error of 5 %.

    It is B(1 + s, 1 + n - s) / (m^s (1 - m)^(n - s)), the Beta mixture with a uniform prior.

    Args:
        score: s, wins plus half of the ties.
        count: n, of comparisons.
        rate: m, strictly between 0 and 1.
    """
    score, count = np.asarray(score, float), np.asarray(count, float)
    mixture = _log_gamma(1 + score) + _log_gamma(1 + count - score) - _log_gamma(2 + count)
    found: NDArray[Any] = mixture - score * np.log(rate) - (count - score) * np.log1p(-rate)
    return found


def confidence_sequence(score: float, count: int, confidence: float = 0.95) -> Estimate:
    """Return a rate and its interval, which holds at all counts at once with this confidence."""
    if not count:
        return Estimate(math.nan, 0.0, 1.0)
    bound, rate = -math.log(1 - confidence), score / count

    def edge(inside: float, outside: float) -> float:
        for _ in range(50):
            middle = (inside + outside) / 2
            if log_evidence(score, count, min(max(middle, 1e-15), 1 - 1e-15)) < bound:
                inside = middle
            else:
                outside = middle
        return inside

    return Estimate(rate, edge(rate, 0.0), edge(rate, 1.0))


class SequentialTest:
    """Is a rate at least a threshold? Looked at after any comparison; ends at a planned count.

    With confidence 0.95 it passes a rate at or below the threshold with probability at most 0.025,
    and fails one above it with at most as much: a fifth of the error goes to the evidence at early
    looks, four fifths to Wilson's interval at the planned count, and the two add up.
    """

    def __init__(self, threshold: float, planned: int, confidence: float = 0.95):
        error = 1 - confidence
        self.threshold = threshold
        self.planned = planned
        self._early = 1 - _EARLY * error
        self._last = 1 - (1 - _EARLY) * error

    def look(
        self, score: float, count: int, *, last: bool = False
    ) -> Literal["pass", "fail", "open"]:
        """Say what is decided: the threshold is passed, missed, or within the interval.

        Args:
            last: there will be no more, for a reason that has nothing to do with the scores; this
                is then the planned end.
        """
        if not last and count < self.planned:
            if log_evidence(score, count, self.threshold) < -math.log(1 - self._early):
                return "open"
            return "pass" if score > self.threshold * count else "fail"
        found = wilson(score, count, self._last)
        if found.low >= self.threshold:
            return "pass"
        return "fail" if found.high < self.threshold else "open"

    def interval(self, score: float, count: int, *, last: bool = False) -> Estimate:
        """Return the rate and the interval that holds at this look."""
        if last or count >= self.planned:
            return wilson(score, count, self._last)
        return confidence_sequence(score, count, self._early)
