"""Pipelines -> the spec that a cluster runs."""

import argparse
import json
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from kfp import compiler

from soda.config import parse_assignment
from soda.errors import ConfigError
from soda.recipe import load_recipe
from soda.storage import BUCKETS, Place, explain_os_errors, make_folder

from .distill.graph import Shards, make_graph
from .distill.pipelines import PIPELINES, Fixed, build
from .form import fold
from .placement import Secrets

__all__ = [
    "PIPELINES",
    "PIPELINE_HELP",
    "Compiled",
    "add_arguments",
    "compile_pipeline",
    "run_command",
]

# KFP's API server refuses a run with more, all of it together; MAX_PARAMETER_BYTES is its own.
MOST_PARAMETER_BYTES = 10_000

PIPELINE_HELP = (
    "distill: one student; refresh: only if the teacher has changed; compare: variants side by "
    "side (default: %(default)s)"
)


@dataclass(frozen=True, slots=True)
class Compiled:
    """A compiled pipeline: its two documents, and the values of its steps."""

    documents: tuple[dict[str, Any], dict[str, Any]]
    recipe: Mapping[str, Any]

    def write(self, out: Path) -> None:
        """Write it as YAML.

        Raises:
            ConfigError: `out` is no YAML file.
            StorageError: it cannot be written.
        """
        if out.suffix != ".yaml":
            raise ConfigError(f"--out: expected a name that ends in .yaml, found '{out}'")
        text = yaml.dump_all(self.documents, Dumper=yaml.CSafeDumper)
        with explain_os_errors():
            make_folder(out.parent)
            out.write_text(text, encoding="utf-8")


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Declare what `soda compile` takes."""
    command.description = "Write a pipeline's spec, for upload to any Kubeflow Pipelines v2."
    command.add_argument("--pipeline", default="distill", choices=PIPELINES, help=PIPELINE_HELP)
    text = "its values become the form's defaults"
    command.add_argument("--recipe", type=Path, required=True, metavar="FILE", help=text)
    text = "the spec to write (default: build/PIPELINE.yaml)"
    command.add_argument("--out", type=Path, metavar="FILE", help=text)
    text = "where runs keep what they make: gs:// or s3://, with --volume a folder on it"
    command.add_argument("--store", default="", metavar="PLACE", help=text)
    command.add_argument("--volume", action="store_true", help="mount a claim for the store")
    text = "the claim that --volume mounts (default: %(default)s)"
    command.add_argument("--claim", default="soda-store", metavar="NAME", help=text)
    command.add_argument(
        "--nodes", action="store_true", help="train as a TrainJob on several nodes; needs --volume"
    )
    text = "pods that share the teacher's prompts (default: %(default)s)"
    command.add_argument("--teacher-shards", type=int, default=1, metavar="N", help=text)
    text = "pods that share the snapshot, a GPU each (default: %(default)s)"
    command.add_argument("--snapshot-shards", type=int, default=1, metavar="N", help=text)
    text = f"another name for a Secret; KEY is one of {', '.join(Secrets.model_fields)}; repeatable"
    command.add_argument("--secret", action="append", default=[], metavar="KEY=NAME", help=text)


def run_command(parsed: argparse.Namespace) -> int:
    """Compile one pipeline and print where its spec is."""
    out = parsed.out or Path("build") / f"{parsed.pipeline}.yaml"
    secrets = Secrets.parse(dict(map(parse_assignment, parsed.secret)))
    compiled = compile_pipeline(
        parsed.pipeline,
        load_recipe(parsed.recipe),
        fixed=Fixed(parsed.volume, parsed.nodes, parsed.claim, secrets),
        shards=Shards(parsed.teacher_shards, parsed.snapshot_shards),
        defaults={"store": parsed.store} if parsed.store else {},
    )
    compiled.write(out)
    print(out)
    return 0


def compile_pipeline(
    name: str,
    recipe: Mapping[str, Any],
    *,
    fixed: Fixed = Fixed(),  # noqa: B008 - frozen
    shards: Shards = Shards(),  # noqa: B008
    defaults: Mapping[str, Any] | None = None,
) -> Compiled:
    """Return a pipeline's spec for a recipe, whose values become the form's defaults.

    Args:
        name: one of `PIPELINES`.
        recipe: raw values.
        fixed: what no run can change.
        shards: among how many pods the prompts are shared.
        defaults: of the form's other fields.

    Raises:
        ConfigError: the recipe is wrong, the options do not go together, or a limit of Kubeflow's
            is passed.
    """
    defaults = dict(defaults or {})
    store = defaults.get("store", "")
    if store and Place.of(store).remote == fixed.volume:
        expected = "a folder on the volume" if fixed.volume else BUCKETS
        raise ConfigError(f"--store: expected {expected}, found '{store}'")
    if fixed.nodes and not fixed.volume:
        raise ConfigError("--nodes: expected --volume, which all nodes share, found none")
    if fixed.nodes and name == "compare":
        raise ConfigError("--nodes: expected distill or refresh, found compare")
    if min(shards.teacher, shards.snapshot) < 1:
        raise ConfigError(
            f"shards: expected 1 or more, found {shards.teacher} for the teacher and "
            f"{shards.snapshot} for the snapshot"
        )
    graph = make_graph(recipe, name, shards)
    values = {step.key: dict(step.values) for step in graph}
    _refuse_what_kubeflow_does({"recipe": values, **defaults})
    spec, platform = _compile(build(name, graph, fixed, defaults))
    fold(spec, values)
    return Compiled((spec, platform), values)


def _compile(pipeline: Any) -> list[dict[str, Any]]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "pipeline.yaml"
        compiler.Compiler().compile(pipeline, str(path))
        return list(yaml.load_all(path.read_bytes(), Loader=yaml.CSafeLoader))


def _refuse_what_kubeflow_does(parameters: Mapping[str, Any]) -> None:
    text = json.dumps(parameters)
    for name, value in parameters.items():
        if "{{" in json.dumps(value):
            raise ConfigError(
                f"{name}: expected no '{{{{', which Argo takes for its own template, found one"
            )
    if len(text.encode()) > MOST_PARAMETER_BYTES:
        raise ConfigError(
            f"expected at most {MOST_PARAMETER_BYTES:,} bytes of parameters, as Kubeflow takes for "
            f"one run, found {len(text.encode()):,}; compare fewer variants, or leave out "
            "values that are the defaults"
        )
