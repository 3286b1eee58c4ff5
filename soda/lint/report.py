"""Findings -> text, JSON, SARIF or GitHub's annotations."""

import json
from collections.abc import Callable
from dataclasses import asdict
from inspect import getdoc
from pathlib import Path
from typing import Any
from urllib.parse import quote

from . import __version__
from .findings import SEVERITIES, Finding, Rule
from .rules import RULES

__all__ = ["REPORTS", "explain", "list_rules"]

_HOME = "https://github.com/soda-distill/soda"
_SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"


def list_rules() -> str:
    """Return a line for each rule: its name, its severity, what goes wrong."""
    width = max(map(len, RULES))
    return "\n".join(f"{r.id:{width}}  {r.severity:7}  {r.summary}" for r in RULES.values())


def explain(rule: Rule) -> str:
    """Return all that is known of a rule."""
    first = f"{rule.id} ({rule.severity}): {rule.summary}"
    return f"{first}\n\n{getdoc(rule.check)}\n\n{_where(rule)}\nFix: {rule.fix}"


def _where(rule: Rule) -> str:
    shown = "; one line for a spec, unless --style or --select asks for it" * rule.style
    return f"True of: {', '.join(rule.targets)}{shown}"


def _counts(findings: list[Finding]) -> dict[str, int]:
    counts = {
        severity: sum(f.severity == severity and f.suppressed is None for f in findings)
        for severity in SEVERITIES
    }
    return counts | {"suppressed": sum(f.suppressed is not None for f in findings)}


def _text(findings: list[Finding]) -> str:
    lines = []
    for each in findings:
        if each.suppressed is None:
            line = f":{each.line}" if each.line else ""
            where = f"{each.file}{line}: {each.severity} {each.rule}"
            lines += [f"{where}: {each.place}: {each.message}", f"    {each.fix}"]
    counts = _counts(findings)
    words = [
        f"{n} {word}{'s' * (n != 1 and word != 'suppressed')}" for word, n in counts.items() if n
    ]
    return "\n".join([*lines, ", ".join(words) or "no findings"])


def _json(findings: list[Finding]) -> str:
    tree = {"version": 1, "findings": [asdict(f) for f in findings], "counts": _counts(findings)}
    return json.dumps(tree, indent=2, ensure_ascii=False)


def _sarif(findings: list[Finding]) -> str:
    order = list(RULES)
    driver = {
        "name": "soda-lint",
        "version": __version__,
        "informationUri": _HOME,
        "rules": [
            {
                "id": rule.id,
                "shortDescription": {"text": rule.summary},
                "fullDescription": {"text": getdoc(rule.check)},
                "help": {"text": rule.fix},
                "helpUri": f"{_HOME}/blob/main/docs/lint.md",
                "defaultConfiguration": {"level": rule.severity},
            }
            for rule in RULES.values()
        ],
    }
    results = [_sarif_result(each, order.index(each.rule)) for each in findings]
    runs = [{"tool": {"driver": driver}, "columnKind": "unicodeCodePoints", "results": results}]
    return json.dumps({"$schema": _SCHEMA, "version": "2.1.0", "runs": runs}, indent=2)


def _sarif_result(finding: Finding, index: int) -> dict[str, Any]:
    path = Path(finding.file)
    if path.is_absolute() and path.is_relative_to(Path.cwd()):
        path = path.relative_to(Path.cwd())
    uri = (
        path.as_uri() if path.is_absolute() else quote(path.as_posix().replace("<stdin>", "stdin"))
    )
    return {
        "ruleId": finding.rule,
        "ruleIndex": index,
        "level": finding.severity,
        "message": {"text": f"{finding.place}: {finding.message}; {finding.fix}"},
        "locations": [
            {
                "physicalLocation": {
                    "artifactLocation": {"uri": uri},
                    "region": {"startLine": max(finding.line, 1)},
                },
                "logicalLocations": [{"fullyQualifiedName": finding.place}],
            }
        ],
        # The line moves with every edit above it; the rule and the place stay.
        "partialFingerprints": {"place/v1": f"{finding.rule}:{finding.place}:{finding.message}"},
        "suppressions": []
        if finding.suppressed is None
        else [{"kind": "external", "justification": finding.suppressed}],
    }


def _github(findings: list[Finding]) -> str:
    words = {"error": "error", "warning": "warning", "note": "notice"}
    return "\n".join(
        f"::{words[f.severity]} file={_property(f.file)},line={max(f.line, 1)},"
        f"title={_property(f.rule)}::{_data(f'{f.place}: {f.message}; {f.fix}')}"
        for f in findings
        if f.suppressed is None
    )


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")


REPORTS: dict[str, Callable[[list[Finding]], str]] = {
    "text": _text,
    "json": _json,
    "sarif": _sarif,
    "github": _github,
}
