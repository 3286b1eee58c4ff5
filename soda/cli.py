"""The command line: one subcommand for each stage, read from the stage's signature."""

import argparse
import importlib
import importlib.util
import inspect
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn, get_args

from pydantic import BaseModel

from soda import __version__
from soda.artifacts.artifact import Artifact
from soda.artifacts.keys import module_of
from soda.config import Config, assign, load_recipe, parse_assignment
from soda.errors import SodaError
from soda.launch import refuse
from soda.stage import load_stage, run
from soda.stages import STAGES

__all__ = ["main"]

_DESCRIPTION = """Distil a teacher, reached only through an API, into a small student.

One command for each stage; each makes one artifact, a folder, from finished ones:

  prompts ──> teacher answers ──┐
     └──────> student answers ──┴─> pairs ──> trained student ──> report ──> registration
"""
_EPILOG = """`soda STAGE --help` explains a stage and the values a recipe can give it.
The whole pipeline: python -m pipelines run --recipe pipelines/distill/recipes/quickstart.yaml"""

# What is no stage. Each module has `add_arguments(parser)` and `run_command(parsed) -> exit code`.
_TOOLS = {
    "recorded-teacher": ("soda.commands.recorded_teacher", "serve recorded answers on loopback"),
    "plan": ("soda.commands.plan", "what teacher-gen will ask, take and cost"),
    "preflight": ("soda.commands.preflight", "whether a run can work here, in seconds"),
    "watch": ("soda.commands.watch", "whether the teacher is another than the champion's"),
}


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
            help=_first_line(module_of(name)),
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        if name == wanted:  # only the wanted stage is imported: `soda --help` stays fast
            _describe(command, name)
    for name, (path, text) in _TOOLS.items():
        command = commands.add_parser(name, help=text)
        if name == wanted:
            module = importlib.import_module(path)
            module.add_arguments(command)
            raise SystemExit(module.run_command(parser.parse_args(words)))
    _run_stage(parser.parse_args(words))


def _first_line(module: str) -> str:
    """Return the first line of a module's docstring, without importing it."""
    spec = importlib.util.find_spec(module)
    assert spec is not None and spec.origin is not None, "the stages are ours"
    with Path(spec.origin).open(encoding="utf-8") as file:
        return file.readline().strip().strip('"')


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
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="one value, over the recipe; group.key=value of a group",
    )
    command.add_argument(
        "--out", required=True, metavar="DIR", help=f"the {stage.output.kind} to make"
    )


def _values(config: type[Config]) -> str:
    """List a config's keys with type, default and meaning."""
    return "\n".join(["values (in the recipe, or --set):", *_lines(config)])


def _lines(config: type[BaseModel], group: str = "") -> Iterator[str]:
    for key, field in config.model_fields.items():
        kinds = [kind for kind in (field.annotation, *get_args(field.annotation)) if kind]
        inner = next((k for k in kinds if inspect.isclass(k) and issubclass(k, BaseModel)), None)
        default = "required" if field.is_required() else f"default {field.get_default()!r}"
        if inner is None:
            kind = getattr(field.annotation, "__name__", str(field.annotation))
            kind = str(field.annotation) if "[" in str(field.annotation) else kind
            yield f"  {group}{key}: {kind.replace('typing.', '')}, {default}"
        else:
            yield f"  {group}{key}: a group" + (", default None" if default[8:] == "None" else "")
        if field.description:
            yield f"      {field.description}"
        if inner is not None:
            yield from _lines(inner, f"{group}{key}.")


def _run_stage(arguments: argparse.Namespace) -> None:
    name = arguments.command
    stage = load_stage(name)
    values = dict(load_recipe(arguments.recipe, STAGES).get(name, {})) if arguments.recipe else {}
    for text in arguments.set:
        assign(values, *parse_assignment(text))
    inputs = {key: getattr(arguments, key) for key in stage.inputs}
    _report(run(name, inputs=inputs, config=values, out=arguments.out))


def _report(made: Artifact) -> None:
    """Print what was made: one line on standard output."""
    rows = ", ".join(f"{count} in {name}" for name, count in made.manifest.rows.items())
    drops = ", ".join(f"{count} {reason}" for reason, count in made.manifest.drops.items())
    parts = [f"{made.path}: {made.kind} {made.digest[:12]}", rows, drops and f"dropped: {drops}"]
    print("; ".join(part for part in parts if part))
