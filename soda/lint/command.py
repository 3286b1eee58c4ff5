"""`soda lint`: its options, its refusals, its exit code."""

import argparse
import sys
from dataclasses import replace

from .check import check
from .config import FORMATS, LintConfig, read_config, rule_names
from .errors import LintError
from .findings import SEVERITIES
from .report import REPORTS, explain, list_rules
from .rules import RULES
from .source import read

__all__ = ["add_arguments", "run_command"]


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Declare what `soda lint` takes."""
    command.description = "Check compiled KFP v2 pipelines for what goes wrong at run time."
    add = command.add_argument
    add("specs", nargs="*", metavar="SPEC", help="compiled pipelines or manifests; - reads stdin")
    add("--format", choices=FORMATS, help="default: text")
    add("--select", metavar="RULE,...", help="only these rules")
    add("--ignore", metavar="RULE,...", help="all rules but these")
    add("--allow-image", action="append", metavar="PREFIX", help="others are errors; repeatable")
    add("--fail-on", choices=SEVERITIES, help="what makes the exit code 1 (default: error)")
    add("--config", metavar="FILE", help="YAML with the same keys, and `suppress`")
    add("--list-rules", action="store_true", help="print every rule in a line")
    add("--explain", metavar="RULE", help="print all that is known of a rule")


def run_command(parsed: argparse.Namespace) -> int:
    """Print every finding.

    Returns: the exit code: 1 if a finding is as bad as --fail-on, 2 for a refusal of one line.
    """
    try:
        return _run(parsed)
    except LintError as error:
        print(f"soda lint: {' '.join(str(error).split())}", file=sys.stderr)
        return 2


def _run(parsed: argparse.Namespace) -> int:
    if parsed.explain:
        print(explain(RULES[rule_names([parsed.explain], "--explain")[0]]))
        return 0
    if parsed.list_rules:
        print(list_rules())
        return 0
    if not parsed.specs:
        raise LintError("expected a SPEC, found none")
    settings = _settings(parsed)
    findings = [found for spec in parsed.specs for found in check(read(str(spec)), settings)]
    findings += settings.unused(findings)
    if text := REPORTS[settings.format](findings):
        print(text)
    bad = SEVERITIES[: SEVERITIES.index(settings.fail_on) + 1]
    return int(any(each.severity in bad and each.suppressed is None for each in findings))


def _settings(parsed: argparse.Namespace) -> LintConfig:
    """Put the command line over the file."""
    given = {
        "format": parsed.format,
        "select": _split(parsed.select, "--select"),
        "ignore": _split(parsed.ignore, "--ignore"),
        "allow_image": tuple(parsed.allow_image or ()),
        "fail_on": parsed.fail_on,
    }
    settings = read_config(parsed.config) if parsed.config else LintConfig()
    return replace(settings, **{key: value for key, value in given.items() if value})


def _split(words: str | None, option: str) -> tuple[str, ...]:
    return rule_names([word for word in (words or "").split(",") if word], option)
