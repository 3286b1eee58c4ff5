"""How many prompts became pairs, and at which step each of the others was lost; sums are exact."""

from collections.abc import Mapping
from dataclasses import dataclass

from soda.errors import ArtifactError

__all__ = ["STEPS", "Funnel", "Step", "build_funnel"]

# From the first to the last: step -> what is lost there, by reason.
STEPS: dict[str, tuple[str, ...]] = {
    "answered": (
        "teacher_missing",
        "teacher_failed",
        "teacher_empty",
        "student_missing",
        "student_failed",
        "student_empty",
        "student_refused",
        "prompts_differ",
        "template_refused",
        "noncharacter",
        "control_token",
    ),
    "not truncated": ("teacher_truncated",),
    "not refused": ("teacher_refused",),
    "different": ("same_answer", "judged_equal"),
    "not inverted": ("inverted",),
    "not contaminated": ("contaminated",),
    "kept": ("prompt_too_long", "teacher_too_long", "student_too_long", "sensitive", "unbalanced"),
}
_LAST = "kept"  # what belongs to no other step is lost there


@dataclass(frozen=True, slots=True)
class Step:
    """One step of the funnel: how many rows were left after it, and why the others went."""

    name: str
    rows: int
    lost: dict[str, int]


@dataclass(frozen=True, slots=True)
class Funnel:
    """All steps, from the prompts to what was kept."""

    steps: list[Step]

    @property
    def kept(self) -> int:
        """How many rows came through."""
        return self.steps[-1].rows


def build_funnel(prompts: int, drops: Mapping[str, int], kept: int) -> Funnel:
    """Return the funnel of one set of pairs.

    Args:
        prompts: how many there were.
        drops: reason -> rows, from the manifest.
        kept: how many pairs there are.

    Raises:
        ArtifactError: the numbers do not add up: rows were lost without a reason, or counted twice.
    """
    known = {reason for reasons in STEPS.values() for reason in reasons}
    others = tuple(sorted(set(drops) - known))
    steps = [Step("prompts", prompts, {})]
    for name, reasons in STEPS.items():
        reasons += others if name == _LAST else ()
        lost = {reason: drops[reason] for reason in reasons if drops.get(reason)}
        steps.append(Step(name, steps[-1].rows - sum(lost.values()), lost))
    if steps[-1].rows != kept:
        raise ArtifactError(
            f"funnel: expected {prompts} prompts less {sum(drops.values())} dropped, "
            f"{steps[-1].rows}, found {kept} pairs"
        )
    return Funnel(steps)
