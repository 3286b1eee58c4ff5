"""Every rule: one thing each that goes wrong at run time and shows in a compiled spec."""

from ..findings import Faults, Rule
from . import conditions, effects, gpu, images, pods, secrets, text, wiring

__all__ = ["RULES", "UNUSED"]

UNUSED = "unused-suppression"


def _unused(_: object) -> Faults:
    """What was fixed or renamed needs no exception, and one that stays hides the next fault.

    It is found where suppressions are applied, after every spec was looked at.
    """
    yield from ()


RULES: dict[str, Rule] = {
    rule.id: rule
    for rule in (
        *wiring.RULES,
        *conditions.RULES,
        *images.RULES,
        *secrets.RULES,
        *effects.RULES,
        *gpu.RULES,
        *pods.RULES,
        *text.RULES,
        Rule(
            UNUSED,
            "warning",
            "a suppression matches nothing: it would hide the next fault at that place",
            "remove it, or fix its place",
            _unused,
        ),
    )
}
