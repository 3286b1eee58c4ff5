"""`python -m pipelines lint`."""

import argparse
from dataclasses import replace

from soda.errors import ConfigError
from soda.lint.check import check
from soda.lint.config import FORMATS, Settings, read_settings, rule_names
from soda.lint.findings import SEVERITIES
from soda.lint.report import REPORTS, explain, list_rules
from soda.lint.rules import RULES
from soda.lint.source import read

__all__ = ["add_arguments", "run_command"]


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Declare what `python -m pipelines lint` takes."""
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
    """Print every finding; the exit code is 1 if one is as bad as --fail-on."""
    if parsed.explain:
        print(explain(RULES[rule_names([parsed.explain], "--explain")[0]]))
        return 0
    if parsed.list_rules:
        print(list_rules())
        return 0
    if not parsed.specs:
        raise ConfigError("lint: expected a SPEC, found none")
    settings = _settings(parsed)
    findings = [found for spec in parsed.specs for found in check(read(str(spec)), settings)]
    findings += settings.unused(findings)
    if text := REPORTS[settings.format](findings):
        print(text)
    bad = SEVERITIES[: SEVERITIES.index(settings.fail_on) + 1]
    return int(any(each.severity in bad and each.suppressed is None for each in findings))


def _settings(parsed: argparse.Namespace) -> Settings:
    """Put the command line over the file."""
    given = {
        "format": parsed.format,
        "select": _split(parsed.select, "--select"),
        "ignore": _split(parsed.ignore, "--ignore"),
        "allow_image": tuple(parsed.allow_image or ()),
        "fail_on": parsed.fail_on,
    }
    settings = read_settings(parsed.config) if parsed.config else Settings()
    return replace(settings, **{key: value for key, value in given.items() if value})


def _split(words: str | None, option: str) -> tuple[str, ...]:
    return rule_names([word for word in (words or "").split(",") if word], option)
