"""The figures of every step: one line of JSON each."""

import json
import resource
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from soda.training.run.checkpoint import Position

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
        return next(iter(self._of(phase, name)), {})

    def has(self, position: Position, name: str) -> bool:
        """Tell whether there are figures of a position under a name."""
        return any(line["step"] == position.step for line in self._of(position.phase, name))

    def _of(self, phase: int, name: str) -> list[dict[str, Any]]:
        lines = map(json.loads, self.read().splitlines())
        return [line for line in lines if (line["phase"], line["name"]) == (phase, name)]


def peak_memory_gib() -> float:
    """Return the most memory held so far: the GPU's, or this process's where there is none."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 2**30
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 2**30
