"""What to check for and what to accept: a file, and the command line over it."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

from .errors import LintError
from .findings import SEVERITIES, Finding, Severity
from .rules import RULES, STYLE, UNUSED
from .source import read
from .spec import TARGETS, Target

__all__ = [
    "FORMATS",
    "LintConfig",
    "Suppression",
    "known",
    "read_config",
    "rule_names",
    "target_names",
]

FORMATS = ("text", "json", "sarif", "github")
_KEYS = {"format", "target", "select", "ignore", "style", "allow-image", "fail-on", "min-severity"}
_KEYS |= {"suppress"}


@dataclass(frozen=True)
class Suppression:
    """One fault that is known and accepted, and why."""

    rule: str
    place: str  # a glob
    reason: str
    file: str  # the settings' own
    line: int
    spec: str = "*"  # a glob for the file of the spec

    def covers(self, finding: Finding) -> bool:
        """Tell whether it is about this finding."""
        same = finding.rule == self.rule and fnmatchcase(finding.place, self.place)
        return same and self.is_for(finding.file)

    def is_for(self, file: str) -> bool:
        """Tell whether it is about findings in this file."""
        name = file.replace("\\", "/")
        return fnmatchcase(name, self.spec) or fnmatchcase(name, f"*/{self.spec}")


@dataclass(frozen=True)
class LintConfig:
    """How specs are checked."""

    format: str = "text"
    targets: tuple[Target, ...] = ()  # () for what each spec seems to be made for
    select: tuple[str, ...] = ()  # () for every rule
    ignore: tuple[str, ...] = ()
    style: bool = False  # show each finding of style
    allow_image: tuple[str, ...] = ()
    fail_on: Severity = "error"
    min_severity: Severity = "note"
    suppress: tuple[Suppression, ...] = ()
    baseline: frozenset[tuple[str, ...]] = field(default=frozenset())

    @property
    def rules(self) -> list[str]:
        """The rules that are on."""
        return [
            name
            for name, rule in RULES.items()
            if not self.select or name in self.select
            if name not in self.ignore
            if SEVERITIES.index(rule.severity) <= SEVERITIES.index(self.min_severity)
        ]

    def accepted(self, finding: Finding) -> str | None:
        """Return why a finding is accepted, or None."""
        if known(finding) in self.baseline:
            return "in the baseline"
        return next((each.reason for each in self.suppress if each.covers(finding)), None)

    def unused(self, findings: Iterable[Finding], files: Iterable[str]) -> list[Finding]:
        """Return a finding for each suppression for these files that matches nothing in them."""
        found, files = list(findings), list(files)
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
            if any(each.is_for(file) for file in files)
            if not any(each.covers(finding) for finding in found)
        ]


def known(finding: Finding) -> tuple[str, ...]:
    """Return what a finding is known by in a baseline; its line may change."""
    return finding.file.replace("\\", "/"), finding.rule, finding.place, finding.message


def rule_names(names: Iterable[Any], whose: str) -> tuple[str, ...]:
    """Check names of rules; 'style' stands for all that are about style.

    Raises:
        LintError: a name is no rule's.
    """
    found: list[str] = []
    for name in names:
        if name == STYLE:
            found += [STYLE, *(rule.id for rule in RULES.values() if rule.style)]
        elif name not in RULES:
            raise LintError(f"{whose}: expected a rule of --list-rules, found {name!r}")
        else:
            found.append(name)
    return tuple(found)


def target_names(names: Iterable[Any], whose: str) -> tuple[Target, ...]:
    """Check names of targets.

    Raises:
        LintError: a name is no target's.
    """
    return tuple(_one_of(name, TARGETS, whose) for name in names)


def read_config(name: str) -> LintConfig:
    """Read a file of settings.

    Raises:
        LintError: it is missing, has an unknown key or rule, or a suppression without a reason.
    """
    source = read(name)
    tree = source.documents[0] if source.documents else {}
    if len(source.documents) > 1 or not isinstance(tree, dict) or not tree.keys() <= _KEYS:
        unknown = (
            sorted(map(str, tree.keys() - _KEYS)) if isinstance(tree, dict) else "another form"
        )
        raise LintError(f"{name}: expected keys among {sorted(_KEYS)}, found {unknown}")
    entries = tree.get("suppress", [])
    if not isinstance(entries, list):
        raise LintError(f"{name}: suppress: expected a list, found {entries!r}")
    return LintConfig(
        format=_one_of(tree.get("format", "text"), FORMATS, f"{name}: format"),
        targets=target_names(_words(tree, "target", name), f"{name}: target"),
        select=rule_names(_words(tree, "select", name), f"{name}: select"),
        ignore=rule_names(_words(tree, "ignore", name), f"{name}: ignore"),
        style=_one_of(tree.get("style", False), (True, False), f"{name}: style"),
        allow_image=_words(tree, "allow-image", name),
        fail_on=_one_of(tree.get("fail-on", "error"), SEVERITIES, f"{name}: fail-on"),
        min_severity=_one_of(tree.get("min-severity", "note"), SEVERITIES, f"{name}: min-severity"),
        suppress=tuple(
            _suppression(entry, name, source.line(("0", "suppress", str(index))))
            for index, entry in enumerate(entries)
        ),
    )


def _suppression(entry: Any, name: str, line: int) -> Suppression:
    where = f"{name}:{line}: suppress"
    needed = {"rule", "place", "reason"}
    if not isinstance(entry, dict) or not needed <= entry.keys() <= {*needed, "file"}:
        raise LintError(f"{where}: expected rule, place, reason and maybe file, found {entry!r}")
    for key, value in entry.items():
        if not isinstance(value, str) or not value.strip():
            raise LintError(f"{where}: {key}: expected some text, found {value!r}")
    rule_names([entry["rule"]], where)
    words = {key: entry[key] for key in needed}
    return Suppression(**words, file=name, line=line, spec=entry.get("file", "*"))


def _words(tree: dict[str, Any], key: str, name: str) -> tuple[str, ...]:
    words = tree.get(key, [])
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        raise LintError(f"{name}: {key}: expected a list of texts, found {words!r}")
    return tuple(words)


def _one_of(value: Any, known: tuple[Any, ...], whose: str) -> Any:
    if value not in known:
        raise LintError(f"{whose}: expected one of {', '.join(map(str, known))}, found {value!r}")
    return value
