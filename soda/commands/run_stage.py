"""A stage as a command: its options come from its signature, its help from its config."""

import argparse
import inspect
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

from pydantic import BaseModel

from soda import recipe
from soda.artifacts.artifact import Artifact
from soda.config import (
    Config,
    assign,
    group_name,
    groups_of,
    parse_assignment,
    summary,
    values_of,
)
from soda.recipe import STEPS, load_recipe
from soda.stage import load_stage, run

__all__ = ["add_arguments", "run_command"]


def add_arguments(parser: argparse.ArgumentParser, name: str) -> None:
    """Declare what a stage takes: an option for each input artifact, and its values."""
    stage = load_stage(name)
    text = (inspect.getdoc(stage.function) or "").replace("Raises:", "It ends with code 2 if:")
    parser.description = re.sub(r"(?m)^    \w+Error: ", "    ", text)
    parser.epilog = _values(stage.config)
    for key, kinds in stage.inputs.items():
        text = f"artifact: {' or '.join(kind.kind for kind in kinds)}"
        many = {"action": "append", "help": f"{text}; repeat it for each"}
        more = many if key in stage.lists else {"help": text}
        parser.add_argument(f"--{key}", required=True, metavar="DIR", **more)
    parser.add_argument("--recipe", type=Path, metavar="FILE", help="YAML with this stage's values")
    steps = [step for step, stage in STEPS.items() if stage == name]
    if len(steps) > 1:
        text = "which of the recipe's steps"
        parser.add_argument("--step", choices=steps, default=name, help=text)
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="one value, over the recipe; group.key=value of a group",
    )
    parser.add_argument(
        "--out", required=True, metavar="DIR", help=f"the {stage.output.kind} to make"
    )


def run_command(parsed: argparse.Namespace, name: str) -> int:
    """Run the stage and print a line about what it made."""
    step = getattr(parsed, "step", name)
    values = recipe.values_of(load_recipe(parsed.recipe) if parsed.recipe else {}, step)
    for text in parsed.set:
        assign(values, *parse_assignment(text))
    inputs = {key: getattr(parsed, key) for key in load_stage(name).inputs}
    _report(run(name, inputs=inputs, config=values, out=parsed.out))
    return 0


def _values(config: type[Config]) -> str:
    """List a config's keys with type, default and meaning."""
    return "\n".join(["values (in the recipe, or --set):", *_lines(config)])


def _lines(config: type[BaseModel], path: str = "") -> Iterator[str]:
    for key, field in values_of(config).items():
        groups = groups_of(field.annotation)
        if not groups:
            default = "required"
            if not field.is_required():
                value = field.get_default(call_default_factory=True)
                default = f"default {json.dumps(value, ensure_ascii=False)}"
            yield f"  {path}{key}: {_kind(field.annotation)}, {default}"
        elif len(groups) == 1:
            yield f"  {path}{key}: a group" + (", default null" if field.default is None else "")
        else:
            names = ", ".join(str(group_name(group)) for group in groups)
            yield f"  {path}{key}: a group by its name, {names}; default {field.default.name}"
        if field.description:
            yield f"      {field.description}"
        for group in groups:
            if len(groups) > 1:
                yield f"  {path}{key}={group_name(group)}: {summary(group)}"
            yield from _lines(group, f"{path}{key}.")


def _kind(annotation: Any) -> str:
    """Return what a value may be, in a recipe's words."""
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _kind(inner[0])
    if origin is Literal:
        return " or ".join(map(str, inner))
    if origin is list:
        return f"list of {_kind(inner[0])}"
    if origin is dict:
        return "mapping"
    if inner:  # a union; null is the default then, or is not told apart
        return " or ".join(_kind(each) for each in inner if each is not type(None))
    names = {str: "text", int: "whole number", float: "number", bool: "true or false"}
    return names.get(annotation, getattr(annotation, "__name__", str(annotation)))


def _report(made: Artifact) -> None:
    """Print what was made: one line on standard output."""
    rows = ", ".join(f"{count} in {name}" for name, count in made.manifest.rows.items())
    drops = ", ".join(f"{count} {reason}" for reason, count in made.manifest.drops.items())
    parts = [f"{made.path}: {made.kind} {made.digest[:12]}", rows, drops and f"dropped: {drops}"]
    print("; ".join(part for part in parts if part))
