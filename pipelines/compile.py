"""Pipelines -> the spec that a cluster runs."""

import argparse
import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kfp import compiler

from soda.errors import ConfigError
from soda.recipe import load_recipe, parse_step
from soda.storage import BUCKETS, Place

from .distill.pipelines import PIPELINES, build
from .parameters import RECIPE

__all__ = ["PIPELINES", "add_arguments", "compile_pipeline", "read_recipe", "run_command"]


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Declare what `soda compile` takes."""
    command.description = "Write a pipeline's spec, for upload to any Kubeflow Pipelines v2."
    command.add_argument("--pipeline", default="distill", choices=PIPELINES)
    command.add_argument("--recipe", type=Path, help="its values become the parameters' defaults")
    command.add_argument("--out", type=Path, help="build/PIPELINE.yaml if left out")
    command.add_argument("--store", default="", help="gs:// or s3:// location: the run's default")
    command.add_argument("--volume", action="store_true", help="mount a claim for the store")
    command.add_argument(
        "--nodes", action="store_true", help="train as a TrainJob on several nodes; needs --volume"
    )


def run_command(parsed: argparse.Namespace) -> int:
    """Compile one pipeline and print where its spec is."""
    out = parsed.out or Path("build") / f"{parsed.pipeline}.yaml"
    compile_pipeline(
        parsed.pipeline,
        out,
        arguments=read_recipe(parsed.recipe, parsed.pipeline) if parsed.recipe else None,
        store=parsed.store,
        volume=parsed.volume,
        nodes=parsed.nodes,
    )
    print(out)
    return 0


def read_recipe(path: Path, pipeline: str = "distill") -> dict[str, Any]:
    """Read a recipe as pipeline arguments, every stage's values checked and pinned.

    Raises:
        ConfigError: the recipe is wrong; nothing was started.
    """
    recipe = load_recipe(path)
    return {
        f"recipe_{name.replace('-', '_')}": parse_step(recipe, name).model_dump(
            mode="json",
            exclude_none=True,  # Kubeflow cannot hold None
        )
        for name in RECIPE
        if not (pipeline == "compare" and name == "register")  # it registers nothing
    }


def compile_pipeline(
    name: str,
    out: Path,
    *,
    arguments: Mapping[str, Any] | None = None,
    store: str = "",
    volume: bool = False,
    nodes: bool = False,
) -> None:
    """Write a pipeline's spec; arguments become the defaults of its parameters.

    Args:
        name: one of `PIPELINES`.
        out: the file to write.
        arguments: values by parameter.
        store: the store's default; "": a run has to name it.
        volume: mount a volume for the store.
        nodes: train on several nodes.

    Raises:
        ConfigError: `out` is no YAML file, or the options do not go together.
    """
    if out.suffix != ".yaml":
        raise ConfigError(f"--out: expected a name that ends in .yaml, found '{out}'")
    if store and Place.of(store).remote == volume:
        expected = "a folder on the volume" if volume else BUCKETS
        raise ConfigError(f"--store: expected {expected}, found '{store}'")
    if nodes and not volume:
        raise ConfigError("--nodes: expected --volume, which all nodes share, found none")
    if nodes and name == "compare":
        raise ConfigError("--nodes: expected distill or refresh, found compare")
    out.parent.mkdir(parents=True, exist_ok=True)
    compiler.Compiler().compile(
        build(name, store=store, volume=volume, nodes=nodes),
        str(out),
        pipeline_parameters=dict(arguments or {}),
    )
    # kfp begins with the defaults as comments, in an order that changes with the hash seed
    lines = out.read_text(encoding="utf-8").splitlines(keepends=True)
    spec = "".join(itertools.dropwhile(lambda line: line.startswith("#"), lines))
    out.write_text(spec, encoding="utf-8")
