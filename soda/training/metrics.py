"""The figures of every step: one line of JSON each."""

import json
import resource
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from soda.training.checkpoint import Position

__all__ = ["Metrics", "peak_memory_gib"]


class Metrics:
    """A file of figures that grows; a resumed run begins with what its checkpoint had."""

    def __init__(self, path: Path, before: bytes = b""):
        self._path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(before)

    def write(self, position: Position, name: str, figures: Mapping[str, Any]) -> None:
        """Append the figures of one step, or of one check."""
        line = {"phase": position.phase, "step": position.step, "name": name, **figures}
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")

    def read(self) -> bytes:
        """Return all lines."""
        return self._path.read_bytes()

    def first(self, phase: int, name: str) -> dict[str, Any]:
        """Return the first figures under a name in a phase, or none."""
        for line in self.read().splitlines():
            values: dict[str, Any] = json.loads(line)
            if (values["phase"], values["name"]) == (phase, name):
                return values
        return {}


def peak_memory_gib() -> float:
    """Return the most memory held so far: the GPU's, or this process's where there is none."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 2**30
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 2**30
