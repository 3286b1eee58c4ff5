"""Every rule: one thing each that goes wrong at run time and shows in a compiled spec."""

from ..findings import Faults, Rule
from . import (
    conditions,
    effects,
    gpu,
    graph,
    images,
    placeholders,
    pods,
    refused_pods,
    secrets,
    text,
    upload,
    wiring,
)

__all__ = ["RULES", "STYLE", "UNUSED"]

STYLE = "style"
UNUSED = "unused-suppression"


def _unused(_: object) -> Faults:
    """What was corrected or renamed needs no exception, and one that stays hides the next fault.

    It is found where suppressions are applied, after every spec was looked at.
    """
    yield from ()


def _style(_: object) -> Faults:
    """Practices that most pipelines leave out are counted in one line, so that the rest stands out.

    --style shows each with its place, --select NAME those of one rule, --ignore style none.
    """
    yield from ()


RULES: dict[str, Rule] = {
    rule.id: rule
    for rule in (
        *upload.RULES,
        *graph.RULES,
        *wiring.RULES,
        *placeholders.RULES,
        *conditions.RULES,
        *refused_pods.RULES,
        *pods.RULES,
        *gpu.RULES,
        *images.RULES,
        *secrets.RULES,
        *effects.RULES,
        *text.RULES,
        Rule(
            STYLE,
            "note",
            "how often a spec leaves out retries, limits, requests, descriptions and the like",
            "--style shows each, --ignore style none",
            _style,
        ),
        Rule(
            UNUSED,
            "warning",
            "a suppression matches nothing: it would hide the next fault at that place",
            "remove it, or correct its place",
            _unused,
        ),
    )
}
