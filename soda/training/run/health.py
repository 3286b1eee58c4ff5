"""Signs that a training goes wrong, and what to do about each."""

import math
from dataclasses import dataclass
from typing import Literal

from pydantic import Field

from soda.config import Group
from soda.training.run.metrics import CheckFigures, StepFigures

__all__ = ["Health", "Sign", "signs_in_check", "signs_in_step"]

Reaction = Literal["stop", "warn", "off"]

_FIRST_LOSS_TOLERANCE = 0.01  # bf16 reaches 0.005, a wrong mask or template 0.05 and more
_EARLY_SHARE = 0.05  # of the steps


class Health(Group):
    """What to do about each sign: stop at the last good checkpoint, warn, or not look."""

    first_loss: Reaction = Field(
        default="stop", description="it is not that of the reference: ln 2"
    )
    not_finite: Reaction = Field(default="stop", description="loss or gradient is infinite or NaN")
    chosen_reward: Reaction = Field(
        default="stop",
        description="with pairs: the teacher's validation answers become less likely",
    )
    chosen_reward_floor: float = Field(
        default=-0.05, le=0, description="mean validation chosen reward below which it has fallen"
    )
    chosen_logp: Reaction = Field(default="warn", description="the same of any method, in nats")
    chosen_logp_fall: float = Field(default=10.0, gt=0, description="nats it may fall")
    accuracy: Reaction = Field(
        default="warn", description="all pairs are told apart within the first 5 % of the steps"
    )
    repetitive: Reaction = Field(default="warn", description="sampled answers begin to repeat")
    repetitive_rise: float = Field(default=0.25, gt=0, description="in the share of answers")
    length: Reaction = Field(default="warn", description="sampled answers grow without bound")
    length_growth: float = Field(default=2.0, gt=1, description="times the length at the start")
    answers: int = Field(default=8, ge=0, description="validation answers sampled at each check")
    answer_tokens: int = Field(default=128, ge=1, description="where a sampled answer is cut")


@dataclass(frozen=True, slots=True)
class Sign:
    """One sign that was seen."""

    stop: bool
    text: str


def _sign(reaction: Reaction, seen: bool, text: str) -> list[Sign]:
    return [Sign(reaction == "stop", text)] if seen and reaction != "off" else []


def signs_in_step(health: Health, figures: StepFigures, step: int, steps: int) -> list[Sign]:
    """Look at one step's figures: its gradients are known, no weight has changed by them.

    Args:
        step: counted from 0.
    """
    loss, norm = figures.loss, figures.gradient_norm
    bad = not (math.isfinite(loss) and math.isfinite(norm))
    found = _sign(
        health.not_finite, bad, f"expected finite numbers, found loss {loss}, gradient norm {norm}"
    )
    expected = figures.means.get("loss_of_reference", loss)
    off = step == 0 and not bad and abs(loss - expected) > _FIRST_LOSS_TOLERANCE
    found += _sign(
        health.first_loss, off, f"expected a first loss of {expected:.4f}, found {loss:.4f}"
    )
    saturated = figures.means.get("accuracy") == 1.0 and 0 < step < _EARLY_SHARE * steps
    return found + _sign(
        health.accuracy,
        saturated,
        f"every pair of step {step + 1} of {steps} is told apart already: the answers may differ "
        "in something trivial, such as their form",
    )


def signs_in_check(health: Health, figures: CheckFigures, at_start: CheckFigures) -> list[Sign]:
    """Look at the figures of the validation examples, beside those from before the phase."""
    reward = figures.chosen_reward
    found = _sign(
        health.chosen_reward,
        reward is not None and reward < health.chosen_reward_floor,
        f"the validation chosen reward fell to {reward or 0:.3f}, "
        f"below {health.chosen_reward_floor}",
    )
    logp = figures.chosen_answer_logp
    found += _sign(
        health.not_finite,
        not math.isfinite(logp),
        f"expected a finite validation log-probability, found {logp}",
    )
    fall = at_start.chosen_answer_logp - logp
    found += _sign(
        health.chosen_logp,
        fall > health.chosen_logp_fall,
        f"the validation log-probability of a chosen answer fell by {fall:.1f} nats",
    )
    if figures.repetitive is not None and at_start.repetitive is not None:
        found += _sign(
            health.repetitive,
            figures.repetitive - at_start.repetitive > health.repetitive_rise,
            f"{figures.repetitive:.0%} of sampled answers repeat, {at_start.repetitive:.0%} "
            "did at the start",
        )
    if figures.answer_tokens is not None and at_start.answer_tokens is not None:
        length, before = figures.answer_tokens, at_start.answer_tokens
        found += _sign(
            health.length,
            length > health.length_growth * before,
            f"sampled answers grew from {before:.0f} to {length:.0f} tokens",
        )
    return found
