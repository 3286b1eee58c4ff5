"""Run a stage as a process of its own would: under `accelerate launch` where there are devices."""

import contextlib
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from signal import SIGINT, SIGKILL, SIGTERM, Signals
from typing import Any

import yaml

from soda.artifacts.artifact import Artifact, name_in_store
from soda.errors import ArtifactError, ModelError, SodaError, refuse
from soda.progress import say
from soda.stage import Call, Locations, one_by_one, prepare
from soda.storage import Location, Place
from soda.training.run.interrupt import listen

__all__ = [
    "launch",
    "launch_on_nodes",
    "memory_kills",
    "place_in_store",
    "restarting",
    "show",
]

# The stages that run in processes of their own, one or several, and are begun again if one is lost.
_IN_PROCESSES = {"train"}
_RESTARTS = 3
_KILLED, _INTERRUPTED, _TERMINATED = (128 + number for number in (SIGKILL, SIGINT, SIGTERM))
# Where a container's kernel counts the processes that it killed for memory: cgroup v2, and v1.
_MEMORY_EVENTS = (
    Path("/sys/fs/cgroup/memory.events"),
    Path("/sys/fs/cgroup/memory/memory.oom_control"),
)


def _run(command: list[str]) -> int:
    """Run a command and return its exit code; a SIGTERM that reaches this process goes on to it.

    A cluster sends it to a pod's first process alone, and training needs it to save its state.
    """
    with listen() as interrupt, subprocess.Popen(command) as process:
        while not interrupt.came:
            with contextlib.suppress(subprocess.TimeoutExpired):
                code = process.wait(timeout=0.5)
                return code if code >= 0 else 128 - code
        process.terminate()
        return _TERMINATED if process.wait() else 0


def memory_kills(places: Iterable[Path] = _MEMORY_EVENTS) -> int | None:
    """Return how many processes were killed for memory in this container; None: nobody counts."""
    for place in places:
        with contextlib.suppress(OSError, KeyError, ValueError):
            counts = dict(line.split() for line in place.read_text().splitlines())
            return int(counts["oom_kill"])
    return None


def restarting(run: Callable[[int], int], kills: Callable[[], int | None] = memory_kills) -> None:
    """Run something until it ends well; where a signal ends it, a few times from its checkpoint.

    Args:
        run: takes how often to halve what is computed at once, and returns an exit code.
        kills: counts the processes that were killed for memory.

    Raises:
        ModelError: it ran out of host memory again and again.
        SystemExit: it ended otherwise; refusals (2), SIGTERM and Ctrl-C are not tried again.
    """
    halvings = 0
    for restart in range(_RESTARTS + 1):
        before = kills()
        code = run(halvings)
        if not code:
            return
        if code <= 128 or code in (_INTERRUPTED, _TERMINATED):
            raise SystemExit(code)
        after = kills()
        for_memory = code == _KILLED and (after is None or before != after)
        why = f"was ended by {Signals(code - 128).name}"
        if for_memory:
            halvings += 1
            why = "ran out of host memory and was killed (SIGKILL, 137)"
        if restart < _RESTARTS:
            how = ", with half as many tokens at once" if for_memory else ""
            say(f"a process {why}: restart {restart + 1} of {_RESTARTS} from its checkpoint{how}")
    if for_memory:
        raise ModelError(
            f"expected enough host memory, found too little in {_RESTARTS + 1} tries; "
            "give the pod more (gpu_memory), or set device.micro_batch_tokens lower"
        )
    raise SystemExit(code)


def launch(
    name: str,
    *,
    inputs: Locations,
    config: Mapping[str, Any],
    out: Location,
    overrides: Mapping[str, Any] | None = None,
    store: str = "",
    processes: int = 1,
) -> Artifact:
    """Run a stage like `soda.run`, and end the process with one line and code 2 if it refuses.

    `overrides` are values over the config's, where they are not "". `store` takes the place of
    SODA_STORE. Training runs in a process of its own, or in several under `accelerate launch`:
    SODA_ACCELERATE holds other arguments for it, such as `--multi_gpu --num_processes 8`. If a
    process is lost, training goes on from its last checkpoint, a few times. For the other stages
    this process does the work.

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
        if call.stage.name not in _IN_PROCESSES:
            return call.run()
        restarting(lambda halvings: _run_apart(call, config, inputs, out, processes, halvings))
        return call.stage.output.open(out)
    except SodaError as error:
        raise refuse(error) from None


def _run_apart(
    call: Call,
    config: Mapping[str, Any],
    inputs: Locations,
    out: Location,
    processes: int,
    halvings: int,
) -> int:
    """Run a stage in processes of its own; return the exit code."""
    name, device = call.stage.name, {**(config.get("device") or {})}
    if halvings:
        config = {**config, "device": {**device, "halvings": halvings}}
    arguments = os.environ.get("SODA_ACCELERATE")
    if arguments is None and processes > 1:
        arguments = f"--multi_gpu --num_processes {int(processes)}"
    command = [sys.executable]
    if arguments is not None:
        command += ["-m", "soda.training.run.workers", *shlex.split(arguments)]
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as recipe:
        yaml.safe_dump({name: dict(config)}, recipe)
        recipe.flush()
        command += ["-m", "soda", name, "--recipe", recipe.name, "--out", str(out)]
        for key, path in one_by_one(inputs):
            command += [f"--{key}", str(path)]
        return _run(command)


def launch_on_nodes(
    name: str,
    *,
    inputs: Locations,
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


def place_in_store(made: Artifact) -> str:
    """Return the address of an artifact in SODA_STORE, which a later step may take as an input.

    A compiled pipeline cannot collect artifacts in a list; it can collect these texts. Without a
    store it is "", which every stage refuses.
    """
    store = os.environ.get("SODA_STORE")
    return (
        str(Place.of(store) / name_in_store(made.manifest.stage, made.manifest.key))
        if store
        else ""
    )


def show(made: Artifact, pages: Mapping[str, str]) -> None:
    """Copy files of an artifact to where Kubeflow's UI shows them: name -> path."""
    for name, path in pages.items():
        shutil.copyfile(made.path / name, path)
