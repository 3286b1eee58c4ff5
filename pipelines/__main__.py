"""`python -m pipelines compile | lint | run`."""

import argparse
import sys
from pathlib import Path
from typing import NoReturn

from soda.errors import SodaError
from soda.launch import refuse

_NEXT = """
next:   .venv/bin/python -m soda train --help        what a recipe can change
        SODA_TEACHER_BASE_URL=... SODA_TEACHER_MODEL=... SODA_TEACHER_API_KEY=... make quickstart"""


def main(arguments: list[str] | None = None) -> NoReturn:
    """Run one command; exit with 0, with 1 for lint findings, or with 2 and one line."""
    parser = argparse.ArgumentParser(prog="python -m pipelines", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    command = commands.add_parser("compile", help="write a pipeline's spec, for any KFP v2 cluster")
    command.add_argument("--pipeline", default="distill", choices=["distill"])
    command.add_argument("--recipe", type=Path, help="its values become the parameters' defaults")
    command.add_argument("--out", type=Path, default=Path("build/distill.yaml"))

    command.add_argument("--store", default="", help="gs:// or s3:// location; else a volume claim")

    command = commands.add_parser("lint", help="check compiled specs")
    command.add_argument("specs", nargs="+", type=Path, metavar="SPEC")

    command = commands.add_parser("run", help="run a recipe on this machine")
    command.add_argument("--recipe", type=Path, required=True)
    command.add_argument("--root", type=Path, default=Path("runs"), help="where everything goes")

    parsed = parser.parse_args(arguments)
    try:
        raise SystemExit({"compile": _compile, "lint": _lint, "run": _run}[parsed.command](parsed))
    except SodaError as error:
        raise refuse(error) from None
    except KeyboardInterrupt:
        print("pipelines: stopped; run the same command to go on", file=sys.stderr)
        raise SystemExit(130) from None


def _compile(parsed: argparse.Namespace) -> int:
    from pipelines.compile import compile_pipeline, read_recipe

    arguments = read_recipe(parsed.recipe) if parsed.recipe else None
    compile_pipeline(parsed.pipeline, parsed.out, arguments=arguments, store=parsed.store)
    print(parsed.out)
    return 0


def _lint(parsed: argparse.Namespace) -> int:
    from pipelines.lint import lint, load

    worst = 0
    for spec in parsed.specs:
        for found in lint(load(spec)):
            print(f"{spec}: {found.severity} {found.rule}: {found.place}: {found.message}")
            print(f"    {found.mend}")
            worst |= found.severity == "error"
    return int(worst)


def _run(parsed: argparse.Namespace) -> int:
    from pipelines.compile import compile_pipeline, read_recipe
    from pipelines.local import run_compiled
    from pipelines.summary import summarize

    arguments = read_recipe(parsed.recipe)
    spec = parsed.root / "distill.yaml"
    compile_pipeline("distill", spec)
    registration = run_compiled(spec, arguments, parsed.root)
    print(summarize(registration, arguments["register_config"]["registry"]))
    print(_NEXT)
    return 0


if __name__ == "__main__":
    main()
