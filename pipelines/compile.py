"""Pipelines -> the spec that a cluster runs."""

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kfp import compiler

from pipelines.distill.pipeline import build_distill
from soda.config import load_recipe
from soda.errors import ConfigError
from soda.stage import STAGES, load_stage
from soda.storage import is_remote

__all__ = ["PIPELINES", "add_arguments", "compile_pipeline", "read_recipe", "run_command"]

PIPELINES = {"distill": build_distill}


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Declare what `python -m pipelines compile` takes."""
    command.add_argument("--pipeline", default="distill", choices=list(PIPELINES))
    command.add_argument("--recipe", type=Path, help="its values become the parameters' defaults")
    command.add_argument("--out", type=Path, default=Path("build/distill.yaml"))
    command.add_argument("--store", default="", help="gs:// or s3:// location; else a volume claim")


def run_command(parsed: argparse.Namespace) -> int:
    """Compile one pipeline and print where its spec is."""
    arguments = read_recipe(parsed.recipe) if parsed.recipe else None
    compile_pipeline(parsed.pipeline, parsed.out, arguments=arguments, store=parsed.store)
    print(parsed.out)
    return 0


def read_recipe(path: Path) -> dict[str, dict[str, Any]]:
    """Read a recipe as pipeline arguments, every stage's values checked and pinned.

    Raises:
        ConfigError: the recipe is wrong; nothing was started.
    """
    recipe = load_recipe(path, STAGES)
    return {
        f"{name.replace('-', '_')}_config": load_stage(name)
        .config.parse(recipe.get(name, {}))
        .model_dump(mode="json", exclude_none=True)  # Kubeflow cannot hold None
        for name in STAGES
    }


def compile_pipeline(
    name: str, out: Path, *, arguments: Mapping[str, Any] | None = None, store: str = ""
) -> None:
    """Write a pipeline's spec; arguments become the defaults of its parameters.

    Args:
        store: a gs:// or s3:// location for the store, or "" for a volume of the cluster.

    Raises:
        ConfigError: `out` is no YAML file, or the store is in no bucket.
    """
    if out.suffix != ".yaml":
        raise ConfigError(f"--out: expected a name that ends in .yaml, found '{out}'")
    if store and not is_remote(store):
        raise ConfigError(f"--store: expected gs:// or s3://, found '{store}'")
    out.parent.mkdir(parents=True, exist_ok=True)
    compiler.Compiler().compile(
        PIPELINES[name](store), str(out), pipeline_parameters=dict(arguments or {})
    )
