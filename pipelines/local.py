"""Run a compiled pipeline on this machine, each component in a process of its own."""

import argparse
import builtins
import contextlib
import logging
import os
import sys
import time
import uuid
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from kfp import components, local

from soda import storage
from soda.artifacts.kinds import Registration
from soda.errors import SodaError
from soda.progress import INTERVAL
from soda.recipe import load_recipe
from soda.stages.register import RegisterConfig

from .compile import PIPELINE_HELP, PIPELINES, compile_pipeline
from .display import Display
from .summary import summarize

__all__ = ["PipelineFailed", "add_arguments", "run_command", "run_compiled", "start_runner"]


class PipelineFailed(SodaError):  # noqa: N818 - it says what happened
    """A step failed; its own last lines, above, say why."""


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Declare what `soda run` takes."""
    command.description = (
        "Run a recipe on this machine, each step in a process of its own. The same command\n"
        "again repeats only what changed, and goes on where a killed run stopped."
    )
    command.add_argument(
        "--recipe", type=Path, required=True, metavar="FILE", help="the recipe, YAML"
    )
    command.add_argument("--pipeline", default="distill", choices=PIPELINES, help=PIPELINE_HELP)
    command.add_argument(
        "--root",
        type=Path,
        default=Path("runs"),
        metavar="DIR",
        help="where everything goes (default: %(default)s)",
    )
    command.add_argument(
        "--containers", action="store_true", help="each step in its image, on a Docker engine"
    )


def run_command(parsed: argparse.Namespace) -> int:
    """Compile a pipeline, run it here and print what came of it."""
    compiled = compile_pipeline(parsed.pipeline, load_recipe(parsed.recipe))
    spec = parsed.root / f"{parsed.pipeline}.yaml"
    compiled.write(spec)
    arguments = {"recipe": dict(compiled.recipe)}
    log = parsed.root / "logs" / f"{time.strftime('%Y%m%d-%H%M%S')}-{parsed.pipeline}.log"
    made = run_compiled(spec, arguments, parsed.root, log, containers=parsed.containers)
    if "register" in made:
        registration = Registration.open(made["register"] / "registration")
        config = RegisterConfig.parse(compiled.recipe["register"])
        print(summarize(registration, config.registry))
    elif "compare" in made:
        print((made["compare"] / "summary").read_text(encoding="utf-8"))
        print(f"page: {made['compare'] / 'page'}")
    print(f"details: {log}")
    return 0


def run_compiled(
    spec: Path, arguments: Mapping[str, Any], root: Path, log: Path, *, containers: bool = False
) -> dict[str, Path]:
    """Run a compiled spec and return the folder of every step that ran, by its name.

    Journals, checkpoints and finished artifacts go to SODA_STORE, or else to `root/store`, under
    keys made of code, config and inputs: a run repeats only what changed, and goes on where a
    killed one stopped.

    Retries are left out: they wait minutes for what a cluster may do to a pod, and nothing does
    that here.

    Args:
        spec: the compiled pipeline.
        arguments: values of its parameters.
        root: where everything goes.
        log: the file for all that the steps say; what is printed is a line for each.
        containers: run each step in its image, on the Docker engine of this machine.

    Raises:
        PipelineFailed: a step failed.
    """
    store = os.environ.get("SODA_STORE") or str((root / "store").absolute())
    arguments = {"store": store, "images": [], **arguments}
    place = root / "pipeline"
    before = set(place.glob("*"))
    documents = _without_retries(spec)
    with storage.private():  # steps quote prompts there
        log.parent.mkdir(parents=True, exist_ok=True)
        log.touch()
    if sys.stdout.isatty():
        os.environ.setdefault(INTERVAL, "1")
    with log.open("w", encoding="utf-8") as file:
        display = Display(_titles(documents[0]), file)
        with start_runner(place, store=arguments["store"] if containers else None, spec=documents):
            pipeline = components.load_component_from_text(
                yaml.dump_all(documents, Dumper=yaml.CSafeDumper)
            )
            try:
                with display.showing(), _named_run():
                    pipeline(**arguments)
            except RuntimeError as error:
                which = f"'{display.failed[0]}'" if display.failed else f"the pipeline ({error})"
                raise PipelineFailed(
                    f"{which} failed; details: {log}; the same command continues from there"
                ) from error
    [made] = set(place.glob("*")) - before
    return {folder.name: folder for folder in made.iterdir()}


@contextlib.contextmanager
def _named_run() -> Iterator[None]:
    """Give the run an id, as Kubeflow would."""
    before = os.environ.get("SODA_RUN_ID")
    os.environ["SODA_RUN_ID"] = f"local-{uuid.uuid4().hex}"
    try:
        yield
    finally:
        del os.environ["SODA_RUN_ID"]
        if before is not None:
            os.environ["SODA_RUN_ID"] = before


@contextlib.contextmanager
def start_runner(
    root: Path, *, store: str | None = None, spec: Sequence[Mapping[str, Any]] = ()
) -> Iterator[None]:
    """Let pipelines and components that are called in the block run on this machine.

    Args:
        root: where KFP puts what the steps make.
        store: run each step in its image, which sees this store; None: as a process.
        spec: the compiled pipeline, which says which secrets a step in its image sees.
    """
    runner: Any = local.SubprocessRunner(use_venv=False)
    if store is not None:
        from .containers import make_runner, secrets_of

        runner = make_runner(root, store, secrets_of(spec))
    with warnings.catch_warnings(), _printing_as_before():
        # kfp warns that GPUs, secrets and volumes mean nothing here, which is so
        warnings.simplefilter("ignore")
        local.init(runner=runner, pipeline_root=str(root))
        yield


@contextlib.contextmanager
def _printing_as_before() -> Iterator[None]:
    """Undo what kfp 2.17 leaves of its indented prints and its log handler.

    Each step swaps both and puts back what it found, which in the threads of a ParallelFor can be
    another step's: every later print of the process would be indented.
    """
    logger = logging.getLogger()
    before = builtins.print, logger.handlers[:], logger.level
    try:
        yield
    finally:
        builtins.print, logger.handlers[:], level = before
        logger.setLevel(level)


def _without_retries(spec: Path) -> list[dict[str, Any]]:
    documents = list(yaml.load_all(spec.read_bytes(), Loader=yaml.CSafeLoader))
    for task in _tasks(documents[0]):
        task.pop("retryPolicy", None)
    return documents


def _titles(spec: dict[str, Any]) -> dict[str, str]:
    """Return what the steps are called, by the names of their components."""
    return {task["componentRef"]["name"]: task["taskInfo"]["name"] for task in _tasks(spec)}


def _tasks(spec: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for component in [spec["root"], *spec["components"].values()]:
        yield from component.get("dag", {}).get("tasks", {}).values()
