"""Apply the rules to the documents of a spec."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from .config import LintConfig
from .errors import LintError
from .findings import Finding
from .parse import parse
from .rules import RULES
from .source import Source

__all__ = ["check", "lint"]


def lint(documents: Sequence[Any]) -> list[Finding]:
    """Apply every rule to every pipeline among the documents."""
    return list(_findings(Source("spec", list(documents), {}), LintConfig()))


def check(source: Source, settings: LintConfig) -> list[Finding]:
    """Apply the rules that are on to one file; what is suppressed says so.

    Raises:
        LintError: the file holds no pipeline, or a broken one.
    """
    return [
        replace(
            finding,
            suppressed=next((e.reason for e in settings.suppress if e.covers(finding)), None),
        )
        for finding in _findings(source, settings)
    ]


def _findings(source: Source, settings: LintConfig) -> Iterator[Finding]:
    try:
        specs = parse(source.documents, settings.allow_image)
    except LintError as error:
        raise LintError(f"{source.name}: {error}") from None
    for spec in specs:
        for rule in (RULES[name] for name in settings.rules):
            for fault in rule.check(spec):
                yield Finding(
                    rule=rule.id,
                    severity=rule.severity,
                    place=fault.place.name,
                    message=fault.message,
                    fix=fault.fix or rule.fix,
                    file=source.name,
                    line=source.line(fault.place.keys) if source.lines else 0,
                )
