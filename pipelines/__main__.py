"""Compile, lint, run, submit and schedule the pipelines."""

import argparse
import importlib
import sys
from typing import NoReturn

from soda.errors import SodaError, refuse

# Each module has `add_arguments(parser)` and `run_command(parsed) -> exit code`.
_COMMANDS = {
    "compile": ("pipelines.compile", "write a pipeline's spec, for any KFP v2 cluster"),
    "lint": ("soda.lint.command", "check compiled specs, ours or anybody's"),
    "run": ("pipelines.local", "run a recipe on this machine"),
    "submit": ("pipelines.submit", "start a run on a cluster"),
    "schedule": ("pipelines.schedule", "make a cluster's recurring runs what a file declares"),
}


def main(arguments: list[str] | None = None) -> NoReturn:
    """Run one command; exit with 0, with 1 for lint findings, or with 2 and one line."""
    words = sys.argv[1:] if arguments is None else arguments
    parser = argparse.ArgumentParser(prog="python -m pipelines", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    wanted = next((word for word in words if not word.startswith("-")), "")
    for name, (module, text) in _COMMANDS.items():
        command = commands.add_parser(name, help=text)
        if name == wanted:  # only the wanted command is imported: kfp takes a second
            importlib.import_module(module).add_arguments(command)
    try:
        parsed = parser.parse_args(words)
        code = importlib.import_module(_COMMANDS[parsed.command][0]).run_command(parsed)
    except SodaError as error:
        raise refuse(error) from None
    except KeyboardInterrupt:
        print("pipelines: stopped; run the same command to go on", file=sys.stderr)
        raise SystemExit(130) from None
    raise SystemExit(code)


if __name__ == "__main__":
    main()
