"""An estimate with its interval: Wilson's for a rate, and how many prompts a width takes."""

import math
from dataclasses import dataclass
from statistics import NormalDist

__all__ = ["Estimate", "sample_size", "two_sided", "wilson"]


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure and the two ends of its interval, all in the figure's own unit."""

    mean: float
    low: float
    high: float


def two_sided(confidence: float) -> float:
    """Return the normal quantile of a two-sided interval: 1.96 for 0.95."""
    return NormalDist().inv_cdf(0.5 + confidence / 2)


def wilson(score: float, count: int, confidence: float = 0.95) -> Estimate:
    """Return a rate with its score interval (Wilson 1927).

    Args:
        score: wins, plus half a win for each tie. What is scored between 0 and 1 varies less than
            wins and losses of the same mean, so ties make the interval too wide, never too narrow.
        count: of comparisons; without any, the interval is 0 to 1.
    """
    if not count:
        return Estimate(math.nan, 0.0, 1.0)
    rate, z = score / count, two_sided(confidence)
    centre = rate + z * z / (2 * count)
    reach = z * math.sqrt(rate * (1 - rate) / count + (z / (2 * count)) ** 2)
    scale = 1 + z * z / count
    low, high = max(0.0, (centre - reach) / scale), min(1.0, (centre + reach) / scale)
    return Estimate(rate, low if score else 0.0, high if score < count else 1.0)


def sample_size(width: float, confidence: float = 0.95) -> int:
    """Return how many comparisons make Wilson's interval at most so wide, whatever the rate.

    At a rate of 0.5, where it is widest, the width is z / sqrt(n + z^2); solved for n.

    Args:
        width: from the lower end to the upper, between 0 and 1.
    """
    return math.ceil(two_sided(confidence) ** 2 * (1 / width**2 - 1))
