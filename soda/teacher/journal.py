"""Append-only answers of the teacher, keyed by the digest of the whole request.

An answer is on the disk before anyone uses it. A line torn by a crash is passed over: its request
is asked again.
"""

import json
import os
from collections.abc import Container
from pathlib import Path
from types import TracebackType
from typing import Any, Self

__all__ = ["Journal"]


class Journal:
    """A file of JSON lines `{"key": ..., "answer": {...}}`, open for appending."""

    def __init__(self, path: Path):
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        self._file = path.open("ab+")
        self._end_a_torn_line()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()

    def _end_a_torn_line(self) -> None:
        if self._file.seek(0, os.SEEK_END):
            self._file.seek(-1, os.SEEK_END)
            if self._file.read(1) != b"\n":
                self._file.write(b"\n")

    def read(self, keys: Container[str]) -> dict[str, dict[str, Any]]:
        """Return the answers to these requests; of two to one request the first counts."""
        found: dict[str, dict[str, Any]] = {}
        with self.path.open("rb") as lines:
            for line in lines:
                try:
                    entry = json.loads(line)
                    key, answer = entry["key"], entry["answer"]
                except (ValueError, KeyError, TypeError):
                    continue  # torn
                if key in keys:
                    found.setdefault(key, answer)
        return found

    def append(self, key: str, answer: dict[str, Any]) -> None:
        """Write one answer through to the disk."""
        line = json.dumps({"key": key, "answer": answer}, ensure_ascii=False)
        self._file.write(line.encode("utf-8", errors="surrogatepass") + b"\n")
        self._file.flush()
        os.fsync(self._file.fileno())
