"""Run a compiled pipeline on this machine, each component in a process of its own."""

import argparse
import contextlib
import os
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from kfp import components, local

from pipelines.compile import compile_pipeline, read_recipe
from pipelines.summary import summarize
from soda.errors import SodaError
from soda.kinds import Registration

__all__ = ["PipelineFailed", "add_arguments", "run_command", "run_compiled", "start_runner"]

_NEXT = """
next:   .venv/bin/python -m soda train --help        what a recipe can change
        SODA_TEACHER_BASE_URL=... SODA_TEACHER_MODEL=... SODA_TEACHER_API_KEY=... make quickstart"""


class PipelineFailed(SodaError):  # noqa: N818 - it says what happened
    """A step failed; its own lines above say why."""


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Declare what `python -m pipelines run` takes."""
    command.add_argument("--recipe", type=Path, required=True)
    command.add_argument("--root", type=Path, default=Path("runs"), help="where everything goes")


def run_command(parsed: argparse.Namespace) -> int:
    """Compile `distill`, run it here and print what came of it."""
    arguments = read_recipe(parsed.recipe)
    spec = parsed.root / "distill.yaml"
    compile_pipeline("distill", spec)
    registration = run_compiled(spec, arguments, parsed.root)
    print(summarize(registration, arguments["register_config"]["registry"]))
    print(_NEXT)
    return 0


def run_compiled(spec: Path, arguments: Mapping[str, Any], root: Path) -> Registration:
    """Run a compiled spec and return what it registered.

    Journals, checkpoints and finished artifacts go to SODA_STORE, or else to `root/store`, under
    keys made of code, config and inputs: a run repeats only what changed, and goes on where a
    killed one stopped.

    Retries are left out: they wait minutes for what a cluster may do to a pod, and nothing does
    that here.

    Raises:
        PipelineFailed: a step failed.
    """
    os.environ.setdefault("SODA_STORE", str((root / "store").absolute()))
    with start_runner(root / "pipeline"):
        pipeline = components.load_component_from_text(_without_retries(spec))
        try:
            task = pipeline(**arguments)
        except RuntimeError as error:
            raise PipelineFailed(f"the pipeline stopped: {error}; run it again to go on") from error
    return Registration.open(task.output.path)


@contextlib.contextmanager
def start_runner(root: Path) -> Iterator[None]:
    """Let pipelines and components that are called in the block run on this machine."""
    with warnings.catch_warnings():
        # kfp warns that GPUs, secrets and volumes mean nothing here, which is so
        warnings.simplefilter("ignore")
        local.init(runner=local.SubprocessRunner(use_venv=False), pipeline_root=str(root))
        yield


def _without_retries(spec: Path) -> str:
    documents = list(yaml.safe_load_all(spec.read_text(encoding="utf-8")))
    for task in documents[0]["root"]["dag"]["tasks"].values():
        task.pop("retryPolicy", None)
    return yaml.safe_dump_all(documents)
