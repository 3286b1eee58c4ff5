"""The command line: one subcommand for each stage, read from the stage's signature."""

import argparse
import ast
import importlib.util
import inspect
import sys
from pathlib import Path
from typing import NoReturn

from soda import __version__
from soda.artifact import Artifact
from soda.config import Config, load_recipe, parse_assignment
from soda.errors import SodaError
from soda.launch import refuse
from soda.stage import STAGES, load_stage, run

__all__ = ["main"]

_DESCRIPTION = """Distil a teacher, reached only through an API, into a small student.

One command for each stage; each makes one artifact, a folder, from finished ones:

  prompts ──> teacher answers ──┐
     └──────> student answers ──┴─> pairs ──> trained student ──> report ──> registration
"""
_EPILOG = """`soda STAGE --help` explains a stage and the values a recipe can give it.
The whole pipeline: python -m pipelines run --recipe pipelines/distill/recipes/quickstart.yaml"""


def main(arguments: list[str] | None = None) -> NoReturn:
    """Run one command; exit with 0, or with 2 and one line where the user can mend it."""
    words = sys.argv[1:] if arguments is None else arguments
    try:
        _dispatch(words)
    except SodaError as error:
        raise refuse(error) from None
    except KeyboardInterrupt:
        print("soda: stopped; run the same command to go on", file=sys.stderr)
        raise SystemExit(130) from None
    raise SystemExit(0)


def _dispatch(words: list[str]) -> None:
    parser = argparse.ArgumentParser(
        prog="soda",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    wanted = next((word for word in words if not word.startswith("-")), None)
    for name in STAGES:
        command = commands.add_parser(
            name,
            help=_first_line(STAGES[name].partition(":")[0]),
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        if name == wanted:  # only the wanted stage is imported: `soda --help` stays fast
            _describe(command, name)
    recorded = commands.add_parser("recorded-teacher", help="serve recorded answers on loopback")
    if wanted == "recorded-teacher":
        from soda.teacher import recorded as server

        server.add_arguments(recorded)
        raise SystemExit(server.serve_from_command_line(parser.parse_args(words)))
    plan = commands.add_parser("plan", help="what teacher-gen will ask, take and cost")
    if wanted == "plan":
        from soda import plan as planning

        planning.add_arguments(plan)
        raise SystemExit(planning.plan_from_command_line(parser.parse_args(words)))
    _run_stage(parser.parse_args(words))


def _first_line(module: str) -> str:
    """Return the first line of a module's docstring, without importing it."""
    spec = importlib.util.find_spec(module)
    assert spec is not None and spec.origin is not None, "the stages are ours"
    return (ast.get_docstring(ast.parse(Path(spec.origin).read_bytes())) or "").splitlines()[0]


def _describe(command: argparse.ArgumentParser, name: str) -> None:
    stage = load_stage(name)
    command.description = inspect.getdoc(stage.function)
    command.epilog = _values(stage.config)
    for key, kind in stage.inputs.items():
        command.add_argument(
            f"--{key}", required=True, metavar="DIR", help=f"artifact: {kind.kind}"
        )
    command.add_argument(
        "--recipe", type=Path, metavar="FILE", help="YAML with this stage's values"
    )
    command.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="one value, over the recipe"
    )
    command.add_argument(
        "--out", required=True, metavar="DIR", help=f"the {stage.output.kind} to make"
    )


def _values(config: type[Config]) -> str:
    """List a config's keys with type, default and meaning."""
    lines = ["values (in the recipe, or --set):"]
    for key, field in config.model_fields.items():
        kind = getattr(field.annotation, "__name__", str(field.annotation))
        kind = str(field.annotation) if "[" in str(field.annotation) else kind
        default = "required" if field.is_required() else f"default {field.get_default()!r}"
        lines.append(f"  {key}: {kind.replace('typing.', '')}, {default}")
        if field.description:
            lines.append(f"      {field.description}")
    return "\n".join(lines)


def _run_stage(arguments: argparse.Namespace) -> None:
    name = arguments.command
    stage = load_stage(name)
    values = dict(load_recipe(arguments.recipe, STAGES).get(name, {})) if arguments.recipe else {}
    values |= dict(parse_assignment(text) for text in arguments.set)
    inputs = {key: getattr(arguments, key) for key in stage.inputs}
    _report(run(name, inputs=inputs, config=values, out=arguments.out))


def _report(made: Artifact) -> None:
    """Print what was made: one line on standard output."""
    rows = ", ".join(f"{count} in {name}" for name, count in made.manifest["rows"].items())
    drops = ", ".join(f"{count} {reason}" for reason, count in made.manifest["drops"].items())
    parts = [f"{made.path}: {made.kind} {made.digest[:12]}", rows, drops and f"dropped: {drops}"]
    print("; ".join(part for part in parts if part))
