"""Save and resume a training run: safetensors and JSON, written whole or not at all.

What is not here is derived: the data order from the seed, the learning rate from the step. Of
several processes each writes its own share.
"""

import json
import os
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.distributed.tensor import DTensor

from soda import storage
from soda.errors import ModelError
from soda.progress import say
from soda.training.model.processes import Processes, reshard
from soda.training.run.position import Position

__all__ = ["Checkpoint", "Checkpoints", "local_tensors"]

_KEPT = 2
_FACTS = "checkpoint.json"
_METRICS = "metrics.jsonl"
_DAMAGE = (OSError, ValueError, KeyError, SafetensorError)


def local_tensors(
    modules: Mapping[str, Any], optimizers: Mapping[str, torch.optim.Optimizer]
) -> dict[str, Tensor]:
    """Return all that changes in training, by name: this process's share, not copied.

    Args:
        modules: their trainable parameters are taken.
        optimizers: whose state is taken; the order of their parameters is fixed.
    """
    for module in modules.values():
        reshard(module)
    found = {
        f"{key}/{name}": parameter.detach()
        for key, module in modules.items()
        for name, parameter in module.named_parameters()
        if parameter.requires_grad
    }
    for key, optimizer in optimizers.items():
        for index, values in optimizer.state_dict()["state"].items():
            found |= {f"{key}/{index}/{name}": value for name, value in values.items()}
    return {
        name: tensor.to_local() if isinstance(tensor, DTensor) else tensor
        for name, tensor in found.items()
    }


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A saved state, read from the disk."""

    position: Position
    tensors: dict[str, Tensor]
    metrics: bytes  # of all steps up to it

    @torch.no_grad()
    def restore(
        self, modules: Mapping[str, Any], optimizers: Mapping[str, torch.optim.Optimizer]
    ) -> None:
        """Put weights and optimizer state back, in place, and the state of the random numbers."""
        for key, optimizer in optimizers.items():
            if f"{key}/0/step" in self.tensors:
                _make_state(optimizer)
            else:
                optimizer.state.clear()  # it was saved before the first step
        for name, tensor in local_tensors(modules, optimizers).items():
            tensor.copy_(self.tensors[name])
        torch.set_rng_state(self.tensors["random"])


def _make_state(optimizer: torch.optim.Optimizer) -> None:
    """Let an optimizer that makes its state in its first step make it now; no weight changes."""
    if optimizer.state:
        return
    rates = [group["lr"] for group in optimizer.param_groups]
    for group in optimizer.param_groups:
        group["lr"] = 0.0
        for parameter in group["params"]:
            parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    optimizer.zero_grad()
    for group, rate in zip(optimizer.param_groups, rates, strict=True):
        group["lr"] = rate


class Checkpoints:
    """The newest checkpoints of one run, in a folder; saving goes on beside the training.

    Args:
        folder: where they are.
        push: lets the folder outlive this machine, where the store is elsewhere; it is told
            whether it has to be done at once.
    """

    def __init__(self, folder: Path, processes: Processes, push: Callable[[bool], None]):
        self._folder = folder
        self._processes = processes
        self._push = push
        self._writing: threading.Thread | None = None
        self._error: BaseException | None = None
        self._best: Position | None = None
        self.newest: Position | None = None

    def save(
        self,
        position: Position,
        tensors: Mapping[str, Tensor],
        metrics: bytes,
        *,
        best: Position | None = None,
        now: bool = False,
    ) -> None:
        """Copy a state and write it in the background, one at a time.

        Args:
            metrics: the lines written so far; only the main process's count.
            best: a checkpoint that is kept beside the newest two.
            now: wait until it is written, and brought where it outlives this machine.
        """
        self.wait()
        state = {name: tensor.to("cpu", copy=True) for name, tensor in tensors.items()}
        state["random"] = torch.get_rng_state()
        self.newest = position
        self._best = best
        self._writing = threading.Thread(target=self._run, args=(position, state, metrics, now))
        self._writing.start()
        if now or self._processes.count > 1:  # processes meet in it, as they do in training
            self.wait()

    def wait(self) -> None:
        """Wait until the last save is done, and raise what went wrong in it."""
        if self._writing is not None:
            self._writing.join()
            self._writing = None
        if self._error is not None:
            error, self._error = self._error, None
            raise error

    def _run(self, position: Position, state: dict[str, Tensor], metrics: bytes, now: bool) -> None:
        try:
            self._write(position, state, metrics)
            if self._processes.main:
                self._push(now)
        except BaseException as error:  # it belongs to the thread that waits
            self._error = error

    def _write(self, position: Position, state: dict[str, Tensor], metrics: bytes) -> None:
        unfinished = self._folder / "unfinished"
        target = self._folder / position.name
        if self._processes.main:
            storage.remove_tree(target)  # a damaged one, if it is there
            storage.remove_tree(unfinished)
            unfinished.mkdir(parents=True)
        self._processes.wait()
        path = unfinished / self._file
        save_file({name: tensor.contiguous() for name, tensor in state.items()}, path)
        with path.open("rb") as file:
            os.fsync(file.fileno())
        digest = self._processes.gather([(self._file, storage.file_digest(path))])
        if not self._processes.main:
            return
        storage.write_atomically(unfinished / _METRICS, metrics)
        digest.append((_METRICS, storage.file_digest(unfinished / _METRICS)))
        facts = {"processes": self._processes.count, "files": dict(digest)}
        storage.write_atomically(unfinished / _FACTS, json.dumps(facts).encode())
        storage.move_tree(unfinished, target)
        for old in sorted(self._folder.glob("checkpoint-*"))[:-_KEPT]:
            if self._best is None or old.name != self._best.name:
                storage.remove_tree(old)

    @property
    def _file(self) -> str:
        return f"state-{self._processes.index:05}.safetensors"

    def latest(self) -> Checkpoint | None:
        """Read the newest checkpoint; a damaged one is passed over, with a line in the log.

        Of several processes each reads its own share, and all go back where one of them has to.

        Raises:
            ModelError: it was saved by another number of processes.
        """
        self.wait()
        self._processes.wait()  # the main one has moved the last of them to its place
        for found in sorted(self._folder.glob("checkpoint-*"), reverse=True):
            phase, step = (int(part) for part in found.name.split("-")[1:])
            checkpoint, problem = None, ""
            try:
                checkpoint = self._read(Position(phase, step))
            except _DAMAGE as error:
                problem = str(error) or type(error).__name__
            problems = list(filter(None, self._processes.gather([problem])))
            if not problems:
                return checkpoint
            say(f"train: {found.name} is damaged ({problems[0]}); trying the one before")
        return None

    def read(self, position: Position) -> Checkpoint:
        """Read one checkpoint.

        Raises:
            ModelError: it is damaged.
        """
        self.wait()
        try:
            return self._read(position)
        except _DAMAGE as error:
            raise ModelError(
                f"{self._folder / position.name}: expected a whole checkpoint, found {error}; "
                f"remove {self._folder} to begin again"
            ) from error

    def _read(self, position: Position) -> Checkpoint:
        found = self._folder / position.name
        facts = json.loads((found / _FACTS).read_bytes())
        self._refuse_other_processes(found, facts["processes"])
        for name in (self._file, _METRICS):
            if storage.file_digest(found / name) != facts["files"][name]:
                raise SafetensorError(f"the checksum of {name} is another")
        tensors = load_file(found / self._file)
        return Checkpoint(position, tensors, (found / _METRICS).read_bytes())

    def _refuse_other_processes(self, found: Path, count: int) -> None:
        if count != self._processes.count:
            raise ModelError(
                f"{found}: expected the {count} processes that saved it, found "
                f"{self._processes.count}; start as many, or remove the folder to start over"
            )
