"""Whether a model may be the champion: better than the one before, and worse at nothing guarded."""

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import NormalDist
from typing import Literal

from soda.statistics.intervals import Estimate, two_sided

__all__ = ["Change", "Promotion", "chance_of_passing", "decide_promotion"]

_PARITY = 0.5


@dataclass(frozen=True, slots=True)
class Change:
    """How a guarded metric changed, beside the model it is compared with."""

    mean: float
    better: Literal["higher", "lower"]

    @property
    def fall(self) -> float:
        """How much worse it got, in the metric's unit; negative where it got better."""
        return -self.mean if self.better == "higher" else self.mean


@dataclass(frozen=True, slots=True)
class Promotion:
    """Each reason against a promotion, none where it passed, and how sharp the gate was."""

    reasons: list[str]
    power: float  # how often a model better by 5 points would have passed this measurement


def decide_promotion(
    win_rate: Estimate,
    changes: Mapping[str, Change],
    *,
    margin: float = 0.0,
    allowances: Mapping[str, float],
    confidence: float = 0.95,
) -> Promotion:
    """Decide whether a model becomes the champion.

    It does if the lower end of its win rate over the champion is above parity by the margin, and
    no guarded metric fell by more than its allowance. A model no better than the margin passes with
    probability (1 - confidence) / 2 at most; the guards only make that less.

    Args:
        win_rate: over prompts, and over seeds where there are several; ties half.
        changes: what was measured of guarded metrics.
        margin: over parity: 0.02 asks for a lower end of 0.52.
        allowances: guarded metric -> how much it may fall, in its unit. One that was not measured
            is a reason against.
        confidence: of the win rate's interval.
    """
    reasons = []
    if not win_rate.low > _PARITY + margin:
        reasons.append(
            f"win rate: expected a lower end above {_PARITY + margin:.3f}, found {win_rate.low:.3f}"
        )
    for name, allowance in allowances.items():
        change = changes.get(name)
        if change is None:
            reasons.append(f"{name}: expected a measurement, found none")
        elif change.fall > allowance:
            reasons.append(
                f"{name}: expected a fall of at most {allowance}, found {change.fall:.4g}"
            )
    power = chance_of_passing(0.05, win_rate, margin=margin, confidence=confidence)
    return Promotion(reasons, power)


def chance_of_passing(
    gain: float, measured: Estimate, *, margin: float = 0.0, confidence: float = 0.95
) -> float:
    """Return how often a model better by so much would pass a measurement as sharp as this one.

    Normal approximation, with the standard error that the interval's width gives.

    Args:
        gain: of the win rate over parity: 0.05 is 5 points.
    """
    z = two_sided(confidence)
    error = (measured.high - measured.low) / (2 * z)
    if not error:
        return float(gain > margin)
    return NormalDist().cdf((gain - margin) / error - z)
