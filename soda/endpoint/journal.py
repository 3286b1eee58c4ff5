"""Append-only answers of the teacher, keyed by the digest of the whole request.

A journal is a folder of files of JSON lines, one line an event:

    {"key": K, "sent": 1}         the request is about to leave
    {"key": K, "freed": 1}        the server refused that attempt: nothing was billed
    {"key": K, "answer": {...}}   its answer
    {"probe": {...}}              what the teacher said to the fixed probe prompts
    {"batch": ID, "status": S}    all answers of a batch are above

Every writer has a file of its own, so that several may write to one folder, on any file system. A
request that was sent and neither freed nor answered is possibly billed. Memory does not grow with
the number of answers: only where each one lies is kept, on a temporary file.
"""

import asyncio
import contextlib
import json
import os
import struct
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

from soda.endpoint.shelf import Shelf
from soda.errors import StorageError

__all__ = ["Journal", "Keeper"]

_SYNC_SECONDS = 0.5  # a machine that loses power loses no more than this; a killed process nothing
_OPEN_FILES = 64
_PLACE = struct.Struct("<IQI")  # file, offset, size
_KEY = slice(9, 41)  # in `{"key": "<sha256>", ...`
_TOGETHER = 20_000  # answers that go onto the shelf at once


class Keeper(Protocol):
    """Brings what a journal appends to a place that outlives this machine."""

    def running(self, journal: "Journal") -> contextlib.AbstractAsyncContextManager[None]:
        """Do so while the block runs."""


class Journal:
    """The events of one teacher.

    Args:
        folder: where the files lie; made if it is not there.
        earlier: other files to read, such as one that an earlier version wrote.
        keeper: brings what is appended to a place that outlives this machine.
    """

    def __init__(
        self, folder: Path, *, earlier: tuple[Path, ...] = (), keeper: Keeper | None = None
    ):
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.open_requests: Counter[bytes] = Counter()  # possibly billed
        self.probes: list[dict[str, Any]] = []  # oldest first
        self.batches_done: set[str] = set()
        self._shelf = Shelf()
        self._unsorted: list[tuple[bytes, bytes]] = []  # answers that are not on the shelf yet
        self._files = sorted(folder.glob("*.jsonl"), key=lambda path: path.name)
        self._readers: dict[int, int] = {}  # number of the file -> descriptor
        self._tail: int | None = None
        self._problem: BaseException | None = None
        self._keeper = keeper
        self.tail_size = 0
        self.wrote = asyncio.Event()
        # Waits until so many bytes of this writer's file outlive its machine, where that is wanted.
        self.kept: Callable[[int], Awaitable[None]] = _at_once
        self._files[:0] = [path for path in earlier if path.is_file()]
        for number, path in enumerate(self._files):
            self._read(number, path, trusted=path not in earlier)
        self._flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._shelf.close()
        for reader in self._readers.values():
            os.close(reader)
        if self._tail is not None:
            os.close(self._tail)

    # --- reading

    def _read(self, number: int, path: Path, *, trusted: bool) -> None:
        offset = 0
        with path.open("rb") as lines:
            for line in lines:
                if (trusted and line[-1] == 10) or _is_json(line):  # else it is torn
                    self._count(line, number, offset)
                offset += len(line)

    def _count(self, line: bytes, number: int, offset: int) -> None:
        """Take one event in."""
        event = line[75:84]
        if event == b' "sent": ':
            self.open_requests[_short(line)] += 1
        elif event == b' "answer"' or event == b' "freed":':
            key = _short(line)
            left = self.open_requests.get(key, 0) - 1
            if left > 0:
                self.open_requests[key] = left
            else:
                self.open_requests.pop(key, None)
            if event == b' "answer"':
                self._unsorted.append((key, _PLACE.pack(number, offset, len(line))))
                if len(self._unsorted) >= _TOGETHER:
                    self._flush()
        elif line.startswith(b'{"probe"'):
            self.probes.append(json.loads(line)["probe"])
        elif line.startswith(b'{"batch"'):
            self.batches_done.add(json.loads(line)["batch"])

    def _flush(self) -> None:
        if self._unsorted:
            self._shelf.add_many(self._unsorted)
            self._unsorted = []

    def __contains__(self, key: str) -> bool:
        return bytes.fromhex(key[:32]) in self._shelf

    def get(self, key: str) -> dict[str, Any] | None:
        """Return the answer to a request; of two the first counts.

        Raises:
            StorageError: its line is damaged.
        """
        place = self._shelf.get(bytes.fromhex(key[:32]))
        if place is None:
            return None
        number, offset, size = _PLACE.unpack(place)
        line = os.pread(self._reader(number), size, offset)
        try:
            answer: dict[str, Any] = json.loads(line)["answer"]
        except ValueError as error:
            raise StorageError(
                f"{self._files[number]}: expected an answer at byte {offset}, found a damaged "
                "line; remove it to ask again"
            ) from error
        return answer

    def _reader(self, number: int) -> int:
        if number not in self._readers:
            if len(self._readers) >= _OPEN_FILES:
                os.close(self._readers.pop(next(iter(self._readers))))
            self._readers[number] = os.open(self._files[number], os.O_RDONLY)
        return self._readers[number]

    def possibly_billed(self, key: str) -> int:
        """Return how often a request was sent without ever being answered."""
        return self.open_requests.get(bytes.fromhex(key[:32]), 0)

    # --- writing

    @property
    def tail(self) -> Path | None:
        """The file of this writer, once it has written."""
        return None if self._tail is None else self._files[-1]

    async def sent(self, key: str) -> None:
        """Note that a request is about to leave."""
        await self._append({"key": key, "sent": 1})

    async def freed(self, key: str) -> None:
        """Note that the server refused what was sent last."""
        await self._append({"key": key, "freed": 1})

    async def answered(self, key: str, answer: dict[str, Any]) -> None:
        """Keep an answer; when this returns it outlives the process."""
        await self._append({"key": key, "answer": answer})

    async def probed(self, probe: dict[str, Any]) -> None:
        """Keep what the teacher said to the probe prompts."""
        await self._append({"probe": probe})

    async def batch_done(self, batch: str, status: str) -> None:
        """Note that all that a batch brought is kept."""
        await self._append({"batch": batch, "status": status})

    async def _append(self, event: dict[str, Any]) -> None:
        if self._problem is not None:
            raise self._problem
        text = json.dumps(event, ensure_ascii=False) + "\n"
        line = text.encode("utf-8", errors="surrogatepass")
        if self._tail is None:
            path = self.folder / f"{len(self._files):05}-{uuid.uuid4().hex[:12]}.jsonl"
            self._tail = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL, 0o644)
            self._files.append(path)
        try:
            done = 0
            while done < len(line):
                done += os.write(self._tail, line[done:])
        except OSError as error:  # the file may end in a torn line: nothing may follow it
            error.filename = self._files[-1]
            self._problem = error
            raise
        self._count(line, len(self._files) - 1, self.tail_size)
        for entry in self._unsorted:
            self._shelf.add(*entry)
        self._unsorted.clear()
        self.tail_size += len(line)
        self.wrote.set()
        await self.kept(self.tail_size)

    @contextlib.asynccontextmanager
    async def writing(self) -> AsyncIterator[None]:
        """Bring what is written to the disk, every half second and at the end of the block."""
        syncing = asyncio.create_task(self._sync_now_and_then())
        try:
            if self._keeper is None:
                yield
            else:
                async with self._keeper.running(self):
                    yield
        finally:
            syncing.cancel()
            if self._tail is not None:
                os.fsync(self._tail)

    async def _sync_now_and_then(self) -> None:
        synced = 0
        while True:
            await asyncio.sleep(_SYNC_SECONDS)
            if self._tail is not None and synced < self.tail_size:
                synced = self.tail_size
                await asyncio.to_thread(os.fsync, self._tail)


async def _at_once(end: int) -> None:
    """Nothing more to do: a file on this machine outlives the process."""


def _short(line: bytes) -> bytes:
    """Return the first half of an event's key: 128 bits are enough to tell requests apart."""
    try:
        return bytes.fromhex(line[_KEY].decode())
    except ValueError:
        return b""


def _is_json(line: bytes) -> bool:
    try:
        json.loads(line)
    except ValueError:
        return False
    return True
