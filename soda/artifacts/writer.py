"""What a stage fills: rows, files, facts, and reasons for the rows it dropped."""

import contextlib
import json
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TextIO

from soda import storage
from soda.artifacts.unfinished import UnfinishedWork
from soda.errors import StorageError
from soda.storage import Content

__all__ = ["DROPS", "LOGS", "WORK", "Writer"]

DROPS = "drops.jsonl"  # one line for each dropped row: id, reason, detail
LOGS = "logs"  # files about the run, not the result: clocks and speeds; no part of the digest
WORK = "work"


class Writer:
    """An artifact that is being made, and the work folder that a next try finds."""

    def __init__(self, folder: Path, unfinished: UnfinishedWork | None = None):
        self._unfinished = unfinished
        self.path = folder / "artifact"  # begun anew by every try
        self.work = folder / WORK  # kept from try to try: partial results, checkpoints
        self.rows: Counter[str] = Counter()
        self.drops: Counter[str] = Counter()
        self.facts: dict[str, Any] = {}
        self.account: dict[str, Any] = {}  # what the run did that is no part of the result
        self._open: dict[str, TextIO] = {}
        self.open_files = contextlib.ExitStack()  # closing writes the last rows, and can fail
        storage.remove_tree(self.path)
        self.path.mkdir(parents=True)
        self.work.mkdir(exist_ok=True)

    def write(self, name: str, row: Mapping[str, Any]) -> None:
        """Append one row to a file of JSON lines."""
        if name not in self._open:
            file = self.path / name
            file.parent.mkdir(parents=True, exist_ok=True)
            self._open[name] = self.open_files.enter_context(file.open("w", encoding="utf-8"))
        self._open[name].write(json.dumps(row, ensure_ascii=False) + "\n")
        if name != DROPS:
            self.rows[name] += 1

    def push(self, *, now: bool = False) -> None:
        """Let what is in `work` outlive this machine, where the store is elsewhere.

        Args:
            now: at once; otherwise it may wait for a later call, as it takes time.
        """
        if self._unfinished is not None:
            self._unfinished.push(now=now)

    def drop(self, row_id: str, reason: str, detail: str = "") -> None:
        """Leave a row out, and say why: it is counted and listed."""
        self.drops[reason] += 1
        self.write(DROPS, {"id": row_id, "reason": reason, "detail": detail})

    @contextlib.contextmanager
    def cleaning_up(self) -> Iterator[None]:
        """After an error keep nothing but what a next try can use."""
        try:
            yield
        except BaseException:
            storage.remove_tree(self.path)
            if self._unfinished is not None and any(self.work.iterdir()):
                with contextlib.suppress(StorageError):  # the error that brought us here counts
                    self._unfinished.push()
            if not any(self.work.iterdir()):
                storage.remove_tree(self.work.parent)
            raise

    def files(self) -> dict[str, Content]:
        """Return size and checksum of every file but the logs.

        Raises:
            StorageError: a link, a pipe or a device is among them.
        """
        return {
            name: Content.of(path)
            for name, path in storage.files_in(self.path).items()
            if not name.startswith(f"{LOGS}/")
        }
