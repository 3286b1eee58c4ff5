"""Run a stage as a process of its own would: under `accelerate launch` where there are devices."""

import contextlib
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from typing import Any

import yaml

from soda.artifacts.artifact import Artifact
from soda.errors import ArtifactError, SodaError, refuse
from soda.stage import prepare
from soda.storage import Location
from soda.training.run.interrupt import listen

__all__ = ["launch", "launch_on_nodes", "show"]

_DISTRIBUTED = {"train"}  # the stages that several processes can share


def _run(command: list[str]) -> int:
    """Run a command and return its exit code; a SIGTERM that reaches this process goes on to it.

    A cluster sends it to a pod's first process alone, and training needs it to save its state.
    """
    with listen() as interrupt, subprocess.Popen(command) as process:
        while not interrupt.came:
            with contextlib.suppress(subprocess.TimeoutExpired):
                return process.wait(timeout=0.5)
        process.terminate()
        return 143 if process.wait() else 0


def launch(
    name: str,
    *,
    inputs: Mapping[str, Location],
    config: Mapping[str, Any],
    out: Location,
    overrides: Mapping[str, Any] | None = None,
    store: str = "",
    processes: int = 1,
) -> Artifact:
    """Run a stage like `soda.run`, and end the process with one line and code 2 if it refuses.

    `overrides` are values over the config's, where they are not "". `store` takes the place of
    SODA_STORE. With several processes, training runs under `accelerate
    launch`; SODA_ACCELERATE holds other arguments for it, such as `--multi_gpu --num_processes 8`.
    Without both, and for the other stages, this process does the work.

    Raises:
        SystemExit: the stage refused (code 2), or a launched process failed (its own code).
    """
    _use_store(store)
    config = {**config, **{key: value for key, value in (overrides or {}).items() if value != ""}}
    try:
        call = prepare(name, inputs=inputs, config=config, out=out)
        made = call.reuse()
        if made is not None:
            return made
        arguments = os.environ.get("SODA_ACCELERATE")
        if arguments is None and processes > 1:
            arguments = f"--multi_gpu --num_processes {int(processes)}"
        if arguments is None or call.stage.name not in _DISTRIBUTED:
            return call.run()
        with tempfile.NamedTemporaryFile("w", suffix=".yaml") as recipe:
            yaml.safe_dump({call.stage.name: dict(config)}, recipe)
            recipe.flush()
            command = [sys.executable, "-m", "accelerate.commands.launch", *shlex.split(arguments)]
            command += ["-m", "soda", call.stage.name, "--recipe", recipe.name, "--out", str(out)]
            for key, path in inputs.items():
                command += [f"--{key}", str(path)]
            code = _run(command)
        if code:
            raise SystemExit(code)
        return call.stage.output.open(out)
    except SodaError as error:
        raise refuse(error) from None


def launch_on_nodes(
    name: str,
    *,
    inputs: Mapping[str, Location],
    config: Mapping[str, Any],
    out: Location,
    store: str,
    **where: Any,
) -> Artifact:
    """Run a stage as a TrainJob of the Kubeflow Trainer; the rest is as in `launch`.

    Args:
        name: the stage.
        inputs: its finished artifacts; the store has them too.
        config: its values.
        out: the folder to make.
        store: a folder on a volume that this pod and the nodes share.
        where: the fields of `soda.kubernetes.trainjob.Nodes`.

    Raises:
        SystemExit: the stage or the cluster refused (code 2), or SIGTERM came (code 143).
    """
    from soda.kubernetes.trainjob import Nodes, job_of, run_job

    _use_store(store)
    try:
        call = prepare(name, inputs=inputs, config=config, out=out)
        made = call.reuse()
        if made is None:
            run_job(job_of(call, store, Nodes(**where)))
            made = call.reuse()
        if made is None:
            raise ArtifactError(f"{store}: expected what the TrainJob made, found nothing there")
        return made
    except SodaError as error:
        raise refuse(error) from None


def _use_store(store: str) -> None:
    if store:
        os.environ["SODA_STORE"] = store


def show(made: Artifact, pages: Mapping[str, str]) -> None:
    """Copy files of an artifact to where Kubeflow's UI shows them: name -> path."""
    for name, path in pages.items():
        shutil.copyfile(made.path / name, path)
