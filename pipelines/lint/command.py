"""`python -m pipelines lint`."""

import argparse
from pathlib import Path

from pipelines.lint import lint, load

__all__ = ["add_arguments", "run_command"]


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Declare what `python -m pipelines lint` takes."""
    command.add_argument("specs", nargs="+", type=Path, metavar="SPEC")


def run_command(parsed: argparse.Namespace) -> int:
    """Print every finding; the exit code is 1 if one is an error."""
    worst = 0
    for spec in parsed.specs:
        for found in lint(load(spec)):
            print(f"{spec}: {found.severity} {found.rule}: {found.place}: {found.message}")
            print(f"    {found.mend}")
            worst |= found.severity == "error"
    return int(worst)
