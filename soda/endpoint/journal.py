"""Append-only responses of an endpoint, keyed by the digest of the whole request.

A journal is a folder of files of JSON lines, one line an event:

    {"key": K, "sent": 1}            the request is about to leave
    {"key": K, "freed": 1}           the server refused that attempt: nothing was billed
    {"key": K, "received": {...}}    the response that answers it, word for word
    {"key": K, "unusable": {...}}    a response that is no answer, as far as this version can read
    {"probe": {...}}                 what the model said to the fixed probe prompts
    {"batch": ID, "status": S}       all answers of a batch are above

What a response means is read from it each time, never stored. Every writer has a file of its own,
so that several may write to one folder, on any file system. A request that was sent and neither
freed nor answered is possibly billed. Memory does not grow with the number of answers: only where
each one lies is kept, on a temporary file.
"""

import asyncio
import contextlib
import json
import os
import struct
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from soda.endpoint.answer import Received
from soda.endpoint.disk_map import DiskMap
from soda.errors import StorageError

__all__ = ["Journal"]

_SYNC_SECONDS = 0.5  # a machine that loses power loses no more than this; a killed process nothing
_OPEN_FILES = 64
_PLACE = struct.Struct("<IQI")  # file, offset, size
_KEY = slice(9, 41)  # in `{"key": "<sha256>", ...`: 128 bits are enough to tell requests apart
_EVENT = slice(75, 83)  # ` "sent":`
_STATUS = slice(88, 108)
_TOGETHER = 20_000  # places that are noted at once
_UNUSABLE = 8  # responses to one request that are no answer and can be read again

Uploading = Callable[["Journal"], contextlib.AbstractAsyncContextManager[None]]


class Journal:
    """The events of one endpoint, model and sampling.

    Args:
        folder: where the files lie; made if it is not there.
        uploading: while it is entered, what is appended goes to a place that outlives this machine.
    """

    def __init__(self, folder: Path, *, uploading: Uploading | None = None):
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.open_requests: Counter[bytes] = Counter()  # possibly billed
        self.probes: list[dict[str, Any]] = []  # oldest first
        self.batches_done: set[str] = set()
        self._places = DiskMap()
        self._unsorted: list[tuple[bytes, bytes]] = []  # places that are not noted yet
        self._files = sorted(folder.glob("*.jsonl"), key=lambda path: path.name)
        self._readers: dict[int, int] = {}  # number of the file -> descriptor
        self._tail: int | None = None
        self._problem: BaseException | None = None
        self._uploading = uploading
        self.has_answers = False
        self.tail_size = 0
        self.wrote = asyncio.Event()
        # Waits until so many bytes of this writer's file outlive its machine, where that is wanted.
        self.kept: Callable[[int], Awaitable[None]] = _at_once
        for number, path in enumerate(self._files):
            self._read(number, path)
        self._flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._places.close()
        for reader in self._readers.values():
            os.close(reader)
        if self._tail is not None:
            os.close(self._tail)

    # --- reading

    def _read(self, number: int, path: Path) -> None:
        offset = 0
        with path.open("rb") as lines:
            for line in lines:
                if line[-1] == 10 or _is_json(line):  # else it is torn
                    self._count(line, number, offset)
                offset += len(line)

    def _count(self, line: bytes, number: int, offset: int) -> None:
        """Take one event in."""
        event = line[_EVENT]
        if event == b' "sent":':
            self.open_requests[_short(line)] += 1
        elif event == b' "receiv' or event == b' "freed"':
            key = _short(line)
            left = self.open_requests.get(key, 0) - 1
            if left > 0:
                self.open_requests[key] = left
            else:
                self.open_requests.pop(key, None)
            if event == b' "receiv':
                self.has_answers = self.has_answers or b'"status": 200,' in line[_STATUS]
                self._unsorted.append((key, _PLACE.pack(number, offset, len(line))))
                if len(self._unsorted) >= _TOGETHER:
                    self._flush()
        elif event == b' "unusab':
            key, place = _short(line), _PLACE.pack(number, offset, len(line))
            any(self._places.add(key + bytes([n]), place) for n in range(_UNUSABLE))
        elif line.startswith(b'{"probe"'):
            self.probes.append(json.loads(line)["probe"])
        elif line.startswith(b'{"batch"'):
            self.batches_done.add(json.loads(line)["batch"])

    def _flush(self) -> None:
        if self._unsorted:
            self._places.add_many(self._unsorted)
            self._unsorted = []

    def __contains__(self, key: str) -> bool:
        return bytes.fromhex(key[:32]) in self._places

    def get(self, key: str) -> Received | None:
        """Return the response that answers a request; of two the first counts.

        Raises:
            StorageError: its line is damaged.
        """
        place = self._places.get(bytes.fromhex(key[:32]))
        return None if place is None else self._at(place, "received")

    def unusable(self, key: str) -> Iterator[Received]:
        """Yield the responses to a request that were no answer to the version that had them.

        Raises:
            StorageError: see `get`.
        """
        for number in range(_UNUSABLE):
            place = self._places.get(bytes.fromhex(key[:32]) + bytes([number]))
            if place is None:
                return
            yield self._at(place, "unusable")

    def _at(self, place: bytes, event: str) -> Received:
        number, offset, size = _PLACE.unpack(place)
        line = os.pread(self._reader(number), size, offset)
        try:
            return Received.from_json(json.loads(line)[event])
        except (ValueError, LookupError, TypeError) as error:
            raise StorageError(
                f"{self._files[number]}: expected a response at byte {offset}, found a damaged "
                "line; remove it to ask again"
            ) from error

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

    async def received(self, key: str, response: Received) -> None:
        """Keep the response that answers a request; when this returns it outlives the process."""
        await self._append({"key": key, "received": response.to_json()})

    async def not_usable(self, key: str, response: Received, why: str) -> None:
        """Keep a response that is no answer; a later version may read it as one."""
        await self._append({"key": key, "unusable": response.to_json(), "why": why})

    async def probed(self, probe: dict[str, Any]) -> None:
        """Keep what the model said to the probe prompts."""
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
            self._places.add(*entry)
        self._unsorted.clear()
        self.tail_size += len(line)
        self.wrote.set()
        await self.kept(self.tail_size)

    @contextlib.asynccontextmanager
    async def writing(self) -> AsyncIterator[None]:
        """Bring what is written to the disk, every half second and at the end of the block."""
        syncing = asyncio.create_task(self._sync_now_and_then())
        try:
            if self._uploading is None:
                yield
            else:
                async with self._uploading(self):
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
    """Return the first half of an event's key."""
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
