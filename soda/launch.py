"""Run a stage as a process of its own would: under `accelerate launch` where there are devices."""

import collections
import contextlib
import os
import shlex
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from signal import SIGINT, SIGKILL, SIGTERM, Signals
from typing import Any

import yaml

from soda import storage
from soda.artifacts.artifact import Artifact, name_in_store
from soda.artifacts.kinds import Registration
from soda.errors import ArtifactError, ModelError, SodaError, refuse
from soda.progress import say
from soda.run_state import recording
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

# The stages that run in processes of their own, one or several, and are restarted if one is lost.
_IN_PROCESSES = {"train"}
_RESTARTS = 3
_KILLED, _INTERRUPTED, _TERMINATED = (128 + number for number in (SIGKILL, SIGINT, SIGTERM))
# Where a container's kernel counts the processes that it killed for memory: cgroup v2, and v1.
_MEMORY_EVENTS = (
    Path("/sys/fs/cgroup/memory.events"),
    Path("/sys/fs/cgroup/memory/memory.oom_control"),
)


class _Said:
    """Passes on what a process prints on standard error, and keeps the line that says most."""

    def __init__(self, process: "subprocess.Popen[str]"):
        self._lines: collections.deque[str] = collections.deque(maxlen=200)
        self._thread = threading.Thread(target=self._read, args=(process.stderr,), daemon=True)
        self._thread.start()

    def _read(self, stream: Any) -> None:
        with stream:
            for line in stream:
                self._lines.append(line.strip())
                with contextlib.suppress(BrokenPipeError):
                    sys.stderr.write(line)
                    sys.stderr.flush()

    def last_line(self) -> str:
        """Return why it ended, as far as it said so: its refusal, or else its last line.

        A refusal after which others went on talking is said again: it belongs at a log's end.
        """
        self._thread.join(timeout=5)
        lines = [line for line in self._lines if line]
        refusals = [line for line in lines if line.startswith("soda: ")]
        if refusals and lines[-1] != refusals[-1]:
            say(refusals[-1])
        return (refusals or lines or [""])[-1].removeprefix("soda: ")


def _run(command: list[str]) -> tuple[int, str]:
    """Run a command; return its exit code, and the line in which it said why.

    A SIGTERM that reaches this process goes on to it: a cluster sends it to a pod's first process
    alone, and training needs it to save its state.
    """
    how: dict[str, Any] = {"stderr": subprocess.PIPE, "text": True, "errors": "replace"}
    # Not `with Popen`: its end waits for whatever a killed process has left behind.
    process = subprocess.Popen(command, **how)
    said = _Said(process)
    with listen() as interrupt:
        while not interrupt.came:
            with contextlib.suppress(subprocess.TimeoutExpired):
                code = process.wait(timeout=0.5)
                return code if code >= 0 else 128 - code, said.last_line()
        process.terminate()
        return _TERMINATED if process.wait() else 0, said.last_line()


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
        if code - 128 not in list(Signals) or code in (_INTERRUPTED, _TERMINATED):
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
            "give the pod more (gpus.memory), or set device.micro_batch_tokens lower"
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
    process is lost, training continues from its last checkpoint, a few times. For the other stages
    this process does the work.

    Raises:
        SystemExit: the stage refused (code 2), or a launched process failed (its own code).
    """
    _use_store(store)
    config = {**config, **{key: value for key, value in (overrides or {}).items() if value != ""}}
    try:
        with recording(name, store=_store(), out=out) as tell:
            call = prepare(name, inputs=inputs, config=config, out=out)
            made = call.reuse()
            if made is None and name in _IN_PROCESSES:

                def begin(halvings: int) -> int:
                    code, line = _run_apart(call, config, inputs, out, processes, halvings)
                    if code:
                        tell(last_line=line)
                    return code

                restarting(begin)
                made = call.stage.output.open(out)
            elif made is None:
                made = call.run()
            if isinstance(made, Registration):
                tell(**made.facts())
            return made
    except SodaError as error:
        raise refuse(error) from None


def _run_apart(
    call: Call,
    config: Mapping[str, Any],
    inputs: Locations,
    out: Location,
    processes: int,
    halvings: int,
) -> tuple[int, str]:
    """Run a stage in processes of its own; return the exit code, and the line that says why."""
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
        with recording(name, store=_store(), out=out) as tell:
            call = prepare(name, inputs=inputs, config=config, out=out)
            made = call.reuse()
            if made is None:
                job = job_of(call, store, Nodes(**where))
                tell(trainjob=job["metadata"]["name"])
                run_job(job, lambda: call.reuse() is not None)
                made = call.reuse()
            if made is None:
                raise ArtifactError(
                    f"{store}: expected what the TrainJob made, found nothing there"
                )
            return made
    except SodaError as error:
        raise refuse(error) from None


def _use_store(store: str) -> None:
    if store:
        os.environ["SODA_STORE"] = store


def _store() -> str:
    return os.environ.get("SODA_STORE", "")


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
        storage.copy_file(made.path / name, Path(path))
