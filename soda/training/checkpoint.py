"""Save and resume a training run: safetensors and JSON, written whole or not at all.

What is not here is derived: the data order from the seed, the learning rate from the step.
"""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from soda import storage
from soda.progress import say

__all__ = ["Checkpoint", "Position", "load_latest", "save_checkpoint"]

_KEPT = 2


@dataclass(frozen=True, slots=True, order=True)
class Position:
    """How far a run has come: the phase's number, and the steps done in it."""

    phase: int
    step: int

    @property
    def name(self) -> str:
        """The checkpoint's folder; names sort as positions do."""
        return f"checkpoint-{self.phase}-{self.step:07}"


def save_checkpoint(
    folder: Path, position: Position, model: Any, optimizer: torch.optim.Optimizer
) -> None:
    """Save weights, optimizer state and random state; the two newest checkpoints stay."""
    target = folder / position.name
    storage.remove_tree(target)  # a damaged one, if it is there
    unfinished = folder / "unfinished"
    storage.remove_tree(unfinished)
    unfinished.mkdir(parents=True)
    weights = {name: parameter.detach() for name, parameter in model.named_parameters()}
    _save(weights, unfinished / "model.safetensors")
    _save(_flatten(optimizer), unfinished / "optimizer.safetensors")
    _save({"rng": torch.get_rng_state()}, unfinished / "random.safetensors")
    storage.publish(unfinished, target)
    for old in sorted(folder.glob("checkpoint-*"))[:-_KEPT]:
        storage.remove_tree(old)


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A saved state, read from the disk."""

    position: Position
    weights: dict[str, Tensor]
    optimizer: dict[str, Tensor]
    random: Tensor

    def restore_weights(self, model: Any) -> None:
        """Put the weights into a model, in place."""
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                parameter.copy_(self.weights[name])

    def restore_optimizer(self, optimizer: torch.optim.Optimizer) -> None:
        """Put the optimizer's moments and the random state back."""
        state: dict[int, dict[str, Tensor]] = {}
        for name, tensor in self.optimizer.items():
            index, key = json.loads(name)
            state.setdefault(index, {})[key] = tensor
        optimizer.load_state_dict({**optimizer.state_dict(), "state": state})
        torch.set_rng_state(self.random)


def load_latest(folder: Path) -> Checkpoint | None:
    """Read the newest checkpoint; a damaged one is passed over, and it is said."""
    for found in sorted(folder.glob("checkpoint-*"), reverse=True):
        phase, step = (int(part) for part in found.name.split("-")[1:])
        try:
            return Checkpoint(
                Position(phase, step),
                load_file(found / "model.safetensors"),
                load_file(found / "optimizer.safetensors"),
                load_file(found / "random.safetensors")["rng"],
            )
        except (OSError, SafetensorError) as error:
            say(f"train: {found.name} is damaged ({error}); trying the one before")
    return None


def _save(tensors: dict[str, Tensor], path: Path) -> None:
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path)
    with path.open("rb") as file:
        os.fsync(file.fileno())


def _flatten(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    state = optimizer.state_dict()["state"]
    return {
        json.dumps([index, key]): value
        for index, values in state.items()
        for key, value in values.items()
    }
