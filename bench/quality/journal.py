"""The journal of a table: each line is a cell that is done, and its figures."""

import fcntl
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench.quality.cells import Cell

__all__ = ["read_journal", "write_cell"]


def read_journal(path: Path) -> Iterator[tuple[Cell, dict[str, Any]]]:
    """Yield the cells that are done, and their figures; a line cut off by a kill is left out."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    for line in lines:
        try:
            found = json.loads(line)
        except ValueError:
            continue
        yield Cell.from_json(found.pop("cell")), found


def write_cell(path: Path, cell: Cell, figures: dict[str, Any]) -> None:
    """Append a cell; several processes may do so at once."""
    line = json.dumps({"cell": cell.to_json(), **figures}, separators=(",", ":"))
    with path.open("a", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.write(f"\n{line}\n")  # what a kill cut off stays a line of its own
