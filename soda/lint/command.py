"""`soda lint`: its options, its refusals, its exit code."""

import argparse
import os
import sys
from collections.abc import Iterable
from dataclasses import replace
from typing import NoReturn

from . import __version__
from .baseline import read_baseline, write_baseline
from .check import check
from .config import FORMATS, LintConfig, read_config, rule_names, target_names
from .errors import LintError, NoPipelineError
from .files import files
from .findings import SEVERITIES, Finding
from .report import REPORTS, explain, list_rules
from .rules import RULES
from .source import read
from .spec import TARGETS

__all__ = ["add_arguments", "main", "run_command"]


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Declare what `soda lint` takes."""
    command.description = "Check compiled KFP v2 pipelines for what goes wrong at run time."
    add = command.add_argument
    add("specs", nargs="*", metavar="SPEC", help="files, folders or patterns (**); - reads stdin")
    add("--target", action="append", metavar="TARGET,...", help=f"{', '.join(TARGETS)}; guessed")
    add("--format", choices=FORMATS, help="default: text")
    add("--select", action="append", metavar="RULE,...", help="only these rules")
    add("--ignore", action="append", metavar="RULE,...", help="all rules but these")
    add("--style", action="store_true", help="show each finding of the rules about style")
    add("--allow-image", action="append", metavar="PREFIX", help="others are errors; repeatable")
    add("--min-severity", choices=SEVERITIES, help="show nothing less (default: note)")
    add("--fail-on", choices=SEVERITIES, help="what makes the exit code 1 (default: error)")
    add("--config", metavar="FILE", help="YAML with the same keys, and `suppress`")
    add("--baseline", metavar="FILE", help="accept the findings in this file")
    add("--write-baseline", metavar="FILE", help="write the findings there, and exit with 0")
    add("--partial", action="store_true", help="some files only: no suppression counts as unused")
    add("--list-rules", action="store_true", help="print every rule in a line")
    add("--explain", metavar="RULE", help="print all that is known of a rule")
    add("--version", action="version", version=f"soda-lint {__version__}")


def main(arguments: list[str] | None = None) -> NoReturn:
    """Run the lint alone, as `soda-lint`."""
    parser = argparse.ArgumentParser(prog="soda-lint")
    add_arguments(parser)
    try:
        raise SystemExit(run_command(parser.parse_args(arguments)))
    except KeyboardInterrupt:
        raise SystemExit(130) from None


def run_command(parsed: argparse.Namespace) -> int:
    """Print every finding.

    Returns: the exit code: 1 if a finding is as bad as --fail-on, 2 for refusals of one line each.
    """
    try:
        code = _run(parsed)
        sys.stdout.flush()
        return code
    except LintError as error:
        _refuse(error)
        return 2
    except BrokenPipeError:  # the reader, such as `head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def _refuse(error: LintError) -> None:
    print(f"soda lint: {' '.join(str(error).split())}", file=sys.stderr)


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
    findings, names, refused = _check(map(str, parsed.specs), settings)
    if not parsed.partial:
        findings += settings.unused(findings, names)
    if parsed.write_baseline:
        write_baseline(parsed.write_baseline, findings)
        return 2 if refused else 0
    if names and (text := REPORTS[settings.format](findings)):
        print(text)
    bad = SEVERITIES[: SEVERITIES.index(settings.fail_on) + 1]
    failed = any(each.severity in bad and each.suppressed is None for each in findings)
    return 2 if refused else int(failed)


def _check(words: Iterable[str], settings: LintConfig) -> tuple[list[Finding], list[str], bool]:
    """Check every file; one that is refused does not hide what is found in the others."""
    findings: list[Finding] = []
    names: list[str] = []
    refused = False
    for word in words:
        before = len(names)
        try:
            for name, by_itself in files(word):
                try:
                    findings += check(read(name), settings)
                    names.append(name)
                except LintError as error:
                    if by_itself or not isinstance(error, NoPipelineError):
                        _refuse(error)
                        refused = True
            if len(names) == before and not refused:
                raise LintError(f"{word}: expected a compiled KFP v2 pipeline, found none")
        except LintError as error:
            _refuse(error)
            refused = True
    return findings, names, refused


def _settings(parsed: argparse.Namespace) -> LintConfig:
    """Put the command line over the file."""
    given = {
        "format": parsed.format,
        "targets": target_names(_split(parsed.target), "--target"),
        "select": rule_names(_split(parsed.select), "--select"),
        "ignore": rule_names(_split(parsed.ignore), "--ignore"),
        "style": parsed.style,
        "allow_image": tuple(_split(parsed.allow_image)),
        "min_severity": parsed.min_severity,
        "fail_on": parsed.fail_on,
        "baseline": read_baseline(parsed.baseline) if parsed.baseline else None,
    }
    settings = read_config(parsed.config) if parsed.config else LintConfig()
    return replace(settings, **{key: value for key, value in given.items() if value})


def _split(options: list[str] | None) -> list[str]:
    """Return the words of an option that may be repeated, with commas and blanks between them."""
    return [word for each in options or [] for word in each.replace(",", " ").split()]
