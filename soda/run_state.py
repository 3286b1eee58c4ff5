"""What the steps of a run leave in the store for its last one: who is at work, who failed and why.

<store>/runs/<run>/<step>-<digest of where its result goes>.json

Kubeflow tells a run's last step no more than COMPLETE, RUNNING or FAILED, without step or reason.
A try of a step replaces what the try before it left, as both have one address for the result.
"""

import contextlib
import json
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from soda.errors import StorageError
from soda.progress import say
from soda.rows import digest
from soda.storage import Place

__all__ = ["Step", "forget_steps", "read_steps", "recording", "run_id"]

State = Literal["at work", "done", "failed"]
_LONGEST = 1000  # characters of an error


@dataclass(frozen=True, slots=True)
class Step:
    """A step of a run, and how it ended: one that vanished is still at work."""

    name: str
    state: State
    error: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)


def run_id() -> str:
    """Return the id of the run that this process belongs to; '' outside of one."""
    return os.environ.get("SODA_RUN_ID", "")


@contextlib.contextmanager
def recording(name: str, *, store: str, out: object) -> Iterator[Callable[..., None]]:
    """Note that a step is at work, and how it ends; the block gets a function that adds facts.

    The fact `last_line` says why a process of the step ended. SIGTERM (code 143) leaves the step
    at work: it was stopped, and did not fail.

    Args:
        name: the step's.
        store: where runs keep what they share; "": nothing is noted.
        out: where the step's result goes.
    """
    facts: dict[str, Any] = {}
    place = f"runs/{run_id()}/{name}-{digest(str(out))[:12]}.json"

    def note(state: State, error: str = "") -> None:
        step = Step(name, state, " ".join(error.split())[:_LONGEST], facts)
        if not (store and run_id()):
            return
        try:
            Place.of(store).open().write(place, json.dumps(asdict(step)).encode())
        except StorageError as problem:  # the step itself may do without
            say(f"{name}: the run's last step will not hear of this one: {problem}")

    def tell(**more: Any) -> None:
        facts.update(more)
        note("at work")

    tell()
    try:
        yield tell
    except SystemExit as stop:
        if stop.code not in (0, 143):
            note("failed", facts.get("last_line") or f"exit code {stop.code}")
        raise
    except BaseException as error:
        note("failed", str(error) or type(error).__name__)
        raise
    note("done")


def read_steps(store: str, run: str) -> list[Step]:
    """Return what the steps of a run have left.

    Raises:
        StorageError: the store cannot be read.
    """
    if not (store and run):
        return []
    shared = Place.of(store).open()
    names = [entry.name for entry in shared.list(f"runs/{run}/")]
    return [Step(**json.loads(shared.read(name)[0])) for name in names]


def forget_steps(store: str, run: str) -> None:
    """Delete what the steps of a run have left.

    Raises:
        StorageError: the store cannot be written to.
    """
    if not (store and run):
        return
    shared = Place.of(store).open()
    for entry in list(shared.list(f"runs/{run}/")):
        shared.delete(entry.name)
