"""Signs that a training goes wrong, and what to do about each."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["Finding", "Health", "check_findings", "step_findings"]

Action = Literal["stop", "warn", "off"]

_FIRST_LOSS_TOLERANCE = 0.01  # bf16 reaches 0.005, a wrong mask or template 0.05 and more
_EARLY_SHARE = 0.05  # of the steps


class Health(BaseModel):
    """What to do about each sign: stop at the last good checkpoint, warn, or not look."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    first_loss: Action = Field(default="stop", description="it is not that of the reference: ln 2")
    not_finite: Action = Field(default="stop", description="loss or gradient is infinite or NaN")
    chosen_reward: Action = Field(
        default="stop", description="teacher answers become less likely on validation"
    )
    chosen_reward_floor: float = Field(
        default=-0.05, le=0, description="mean validation chosen reward below which it has fallen"
    )
    chosen_logp: Action = Field(default="warn", description="the same in nats an answer")
    chosen_logp_fall: float = Field(default=10.0, gt=0, description="nats it may fall")
    accuracy: Action = Field(
        default="warn", description="all pairs are told apart within the first 5 % of the steps"
    )
    repetitive: Action = Field(default="warn", description="sampled answers begin to repeat")
    repetitive_rise: float = Field(default=0.25, gt=0, description="in the share of answers")
    length: Action = Field(default="warn", description="sampled answers grow without bound")
    length_growth: float = Field(default=2.0, gt=1, description="times the length at the start")
    answers: int = Field(default=8, ge=0, description="validation answers sampled at each check")
    answer_tokens: int = Field(default=128, ge=1, description="where a sampled answer is cut")


@dataclass(frozen=True, slots=True)
class Finding:
    """One sign that was seen."""

    stop: bool
    text: str


def _finding(action: Action, seen: bool, text: str) -> list[Finding]:
    return [Finding(action == "stop", text)] if seen and action != "off" else []


def step_findings(
    health: Health, figures: Mapping[str, float], step: int, steps: int
) -> list[Finding]:
    """Look at one step's figures: its gradients are known, no weight has changed by them.

    Args:
        step: counted from 0.
    """
    loss, norm = figures["loss"], figures["gradient_norm"]
    bad = not (math.isfinite(loss) and math.isfinite(norm))
    found = _finding(
        health.not_finite, bad, f"expected finite numbers, found loss {loss}, gradient norm {norm}"
    )
    expected = figures.get("loss_of_reference", loss)
    off = step == 0 and not bad and abs(loss - expected) > _FIRST_LOSS_TOLERANCE
    found += _finding(
        health.first_loss, off, f"expected a first loss of {expected:.4f}, found {loss:.4f}"
    )
    saturated = figures.get("accuracy") == 1.0 and 0 < step < _EARLY_SHARE * steps
    return found + _finding(
        health.accuracy,
        saturated,
        f"every pair of step {step + 1} of {steps} is told apart already: the answers may differ "
        "in something trivial, such as their form",
    )


def check_findings(
    health: Health, figures: Mapping[str, float], at_start: Mapping[str, float]
) -> list[Finding]:
    """Look at the figures of the validation pairs, beside those from before the phase."""
    reward = figures["chosen_reward"]
    found = _finding(
        health.chosen_reward,
        not reward >= health.chosen_reward_floor,  # also where it is no number
        f"the validation chosen reward fell to {reward:.3f}, below {health.chosen_reward_floor}",
    )
    fall = figures["chosen_fall"]
    found += _finding(
        health.chosen_logp,
        fall > health.chosen_logp_fall,
        f"the validation log-probability of a chosen answer fell by {fall:.1f} nats",
    )
    if "repetitive" not in figures or "repetitive" not in at_start:
        return found
    rise = figures["repetitive"] - at_start["repetitive"]
    found += _finding(
        health.repetitive,
        rise > health.repetitive_rise,
        f"{figures['repetitive']:.0%} of sampled answers repeat, {at_start['repetitive']:.0%} "
        "did at the start",
    )
    length, before = figures["answer_tokens"], at_start["answer_tokens"]
    return found + _finding(
        health.length,
        length > health.length_growth * before,
        f"sampled answers grew from {before:.0f} to {length:.0f} tokens",
    )
