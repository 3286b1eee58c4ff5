"""What to check for and what to accept: a file, and the command line over it."""

from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from .errors import LintError
from .findings import SEVERITIES, Finding, Severity
from .rules import RULES, UNUSED
from .source import read

__all__ = ["FORMATS", "LintConfig", "Suppression", "read_config", "rule_names"]

FORMATS = ("text", "json", "sarif", "github")


@dataclass(frozen=True)
class Suppression:
    """One fault that is known and accepted, and why."""

    rule: str
    place: str  # a glob
    reason: str
    file: str
    line: int

    def covers(self, finding: Finding) -> bool:
        """Tell whether it is about this finding."""
        return finding.rule == self.rule and fnmatchcase(finding.place, self.place)


@dataclass(frozen=True)
class LintConfig:
    """How specs are checked."""

    format: str = "text"
    select: tuple[str, ...] = ()  # () for every rule
    ignore: tuple[str, ...] = ()
    allow_image: tuple[str, ...] = ()
    fail_on: Severity = "error"
    suppress: tuple[Suppression, ...] = ()

    @property
    def rules(self) -> list[str]:
        """The rules that are on."""
        return [r for r in RULES if (not self.select or r in self.select) and r not in self.ignore]

    def unused(self, findings: Iterable[Finding]) -> list[Finding]:
        """Return a finding for each suppression that matches none of the findings."""
        found = list(findings)
        rule = RULES[UNUSED]
        return [
            Finding(
                UNUSED,
                rule.severity,
                f"{each.rule} at {each.place}",
                "the suppression matches nothing",
                rule.fix,
                file=each.file,
                line=each.line,
            )
            for each in self.suppress
            if UNUSED in self.rules and each.rule in self.rules
            if not any(each.covers(finding) for finding in found)
        ]


def rule_names(names: Iterable[Any], whose: str) -> tuple[str, ...]:
    """Check names of rules.

    Raises:
        LintError: a name is no rule's.
    """
    names = tuple(names)
    for name in names:
        if name not in RULES:
            raise LintError(f"{whose}: expected a rule of --list-rules, found {name!r}")
    return names


def read_config(name: str) -> LintConfig:
    """Read a file of settings.

    Raises:
        LintError: it is missing, has an unknown key or rule, or a suppression without a reason.
    """
    source = read(name)
    tree = source.documents[0] if source.documents else {}
    known = {"format", "select", "ignore", "allow-image", "fail-on", "suppress"}
    if len(source.documents) > 1 or not isinstance(tree, dict) or not tree.keys() <= known:
        unknown = (
            sorted(map(str, tree.keys() - known)) if isinstance(tree, dict) else "another form"
        )
        raise LintError(f"{name}: expected keys among {sorted(known)}, found {unknown}")
    entries = tree.get("suppress", [])
    if not isinstance(entries, list):
        raise LintError(f"{name}: suppress: expected a list, found {entries!r}")
    return LintConfig(
        format=_one_of(tree.get("format", "text"), FORMATS, f"{name}: format"),
        select=rule_names(_words(tree, "select", name), f"{name}: select"),
        ignore=rule_names(_words(tree, "ignore", name), f"{name}: ignore"),
        allow_image=_words(tree, "allow-image", name),
        fail_on=_one_of(tree.get("fail-on", "error"), SEVERITIES, f"{name}: fail-on"),
        suppress=tuple(
            _suppression(entry, name, source.line(("0", "suppress", str(index))))
            for index, entry in enumerate(entries)
        ),
    )


def _suppression(entry: Any, name: str, line: int) -> Suppression:
    where = f"{name}:{line}: suppress"
    if not isinstance(entry, dict) or entry.keys() != {"rule", "place", "reason"}:
        raise LintError(f"{where}: expected rule, place and reason, found {entry!r}")
    for key, value in entry.items():
        if not isinstance(value, str) or not value.strip():
            raise LintError(f"{where}: {key}: expected some text, found {value!r}")
    rule_names([entry["rule"]], where)
    return Suppression(**entry, file=name, line=line)


def _words(tree: dict[str, Any], key: str, name: str) -> tuple[str, ...]:
    words = tree.get(key, [])
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        raise LintError(f"{name}: {key}: expected a list of texts, found {words!r}")
    return tuple(words)


def _one_of(value: Any, known: tuple[Any, ...], whose: str) -> Any:
    if value not in known:
        raise LintError(f"{whose}: expected one of {', '.join(known)}, found {value!r}")
    return value
