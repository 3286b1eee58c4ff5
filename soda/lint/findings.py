"""What a rule says about a spec: rules, the faults they see, the findings that are reported."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

from .spec import TARGETS, Place, Spec, Target

__all__ = ["SEVERITIES", "Fault", "Faults", "Finding", "Rule", "Severity"]

Severity = Literal["error", "warning", "note"]
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note")  # from worst to least


@dataclass(frozen=True)
class Fault:
    """One place where a rule does not hold."""

    place: Place
    message: str
    fix: str = ""  # where it is not the rule's own


Faults = Iterator[Fault]


@dataclass(frozen=True)
class Rule:
    """One thing that goes wrong at run time and shows in a spec."""

    id: str
    severity: Severity
    summary: str  # one line: what goes wrong
    fix: str  # what to call in kfp
    check: Callable[[Spec], Faults]  # its docstring is the longer explanation
    targets: tuple[Target, ...] = TARGETS  # where it is true
    style: bool = False  # good practice that most pipelines leave out: one line for a spec


@dataclass(frozen=True)
class Finding:
    """One fault: where it is, what is wrong and how to fix it."""

    rule: str
    severity: Severity
    place: str
    message: str
    fix: str
    file: str = ""
    line: int = 0  # 0: not known
    suppressed: str | None = None  # the reason that was given
