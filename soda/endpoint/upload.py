"""A journal in object storage: what a writer appends on its disk goes up in small parts.

An object cannot be appended to, so a writer's file `W.jsonl` goes up as `W.00000.000000.jsonl`,
`W.00000.000001.jsonl` and so on, each created once. Every so often, and at the end, `W.00000.jsonl`
takes their place, and `W.00001.000000.jsonl` follows. An event counts as kept only when its part is
there: a machine that vanishes takes nothing with it but the requests that were under way.
"""

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from soda.endpoint.journal import Journal
from soda.errors import MissingObject, StorageError
from soda.storage import Place, Store, hold, lock

__all__ = ["Upload", "open_journal"]

_PAUSE_SECONDS = 0.2  # between two parts: what comes in meanwhile goes together
_PARTS = 256  # so many become one object
_READERS = 16
_PART = re.compile(r"(.+\.\d{5})\.\d{6}\.jsonl")


class Upload:
    """Keeps a folder of this machine and a prefix of a store in step, for one writer.

    Args:
        store: the prefix where the journal lies.
        folder: its copy on this machine; no other writer may use it.
        check: raises if this writer may no longer write.
    """

    def __init__(self, store: Store, folder: Path, check: Callable[[], None]):
        self._store = store
        self._folder = folder
        self._check = check
        self._uploaded = 0  # bytes of the writer's file
        self._merged = 0  # bytes of it that lie in merged objects
        self._merges = 0
        self._parts: list[str] = []
        self._arrived = asyncio.Condition()
        self._problem: StorageError | OSError | None = None

    def fetch(self) -> None:
        """Bring the folder up to date, after uploading what a killed process left in it."""
        self._folder.mkdir(parents=True, exist_ok=True)
        for path in self._folder.glob("*.jsonl"):
            if "." not in path.stem:
                self._upload_leftover(path)
        while True:
            wanted = self._needed()
            for path in self._folder.glob("*.jsonl"):
                if wanted.get(path.name) != path.stat().st_size:
                    path.unlink()
            missing = [name for name in wanted if not (self._folder / name).exists()]
            try:
                with ThreadPoolExecutor(_READERS) as pool:
                    list(pool.map(self._fetch_one, missing))
            except MissingObject:
                continue  # another writer has just merged its parts
            return

    def _needed(self, prefix: str = "") -> dict[str, int]:
        """Return names and sizes of the objects, without parts that a merged one replaces."""
        sizes = {entry.name: entry.size for entry in self._store.list(prefix)}
        return {
            name: size
            for name, size in sizes.items()
            if not ((part := _PART.fullmatch(name)) and f"{part[1]}.jsonl" in sizes)
        }

    def _fetch_one(self, name: str) -> None:
        self._store.download(name, self._folder / name, lambda count: None)

    def _upload_leftover(self, path: Path) -> None:
        """Upload the end of a file whose writer was killed on this machine."""
        needed = self._needed(f"{path.stem}.")
        with path.open("rb") as file:
            file.seek(sum(needed.values()))
            rest = file.read()
        if rest:
            self._store.create(f"{path.stem}.99999.{len(needed):06}.jsonl", rest)
        path.unlink()

    @contextlib.asynccontextmanager
    async def running(self, journal: Journal) -> AsyncIterator[None]:
        """Upload what the journal appends while the block runs; at its end, merge the parts."""

        async def kept(end: int) -> None:
            async with self._arrived:
                await self._arrived.wait_for(
                    lambda: self._uploaded >= end or self._problem is not None
                )
            if self._problem is not None:
                raise self._problem

        journal.kept = kept
        task = asyncio.create_task(self._run(journal))
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait([task])
            if journal.tail is not None and self._problem is None:
                await asyncio.to_thread(self._upload, journal)
                await asyncio.to_thread(self._merge, journal.tail)

    async def _run(self, journal: Journal) -> None:
        while self._problem is None:
            await journal.wrote.wait()
            journal.wrote.clear()
            uploading = asyncio.ensure_future(asyncio.to_thread(self._upload, journal))
            try:
                await asyncio.shield(uploading)
            except (StorageError, OSError) as error:  # who waits for its answers is told
                self._problem = error
            except asyncio.CancelledError:
                await asyncio.wait([uploading])  # a part half-way up would go up twice
                raise
            async with self._arrived:
                self._arrived.notify_all()
            await asyncio.sleep(_PAUSE_SECONDS)

    def _upload(self, journal: Journal) -> None:
        self._check()
        tail, end = journal.tail, journal.tail_size
        if tail is None or end == self._uploaded:
            return
        with tail.open("rb") as file:
            file.seek(self._uploaded)
            part = file.read(end - self._uploaded)
        name = f"{tail.stem}.{self._merges:05}.{len(self._parts):06}.jsonl"
        self._create(name, part)
        self._parts.append(name)
        self._uploaded += len(part)
        if len(self._parts) >= _PARTS:
            self._merge(tail)

    def _merge(self, tail: Path) -> None:
        """Replace the parts by one object; a reader that sees both takes that one."""
        if len(self._parts) > 1:
            with tail.open("rb") as file:
                file.seek(self._merged)
                self._create(
                    f"{tail.stem}.{self._merges:05}.jsonl", file.read(self._uploaded - self._merged)
                )
            for name in self._parts:
                self._store.delete(name)
        self._merged = self._uploaded
        self._merges += 1
        self._parts.clear()

    def _create(self, name: str, data: bytes) -> None:
        if self._store.create(name, data) is None:
            raise StorageError(f"{self._store.url}/{name}: expected nothing there, found an object")


@contextlib.contextmanager
def open_journal(store: Place, name: str, share: str) -> Iterator[Journal]:
    """Open a journal as the one writer for a share of the requests.

    Args:
        store: the store's place.
        name: the journal's folder: who asks, and whom: `teacher-gen/big-1f2e3d4c`.
        share: a name for the requests of this run.

    Raises:
        StorageError: another run asks the same share.
    """
    place = store / "journal" / name
    folder = place.folder
    if not store.remote:
        with lock(folder / f".{share}.lock"), Journal(folder) as journal:
            yield journal
        return
    mine = folder / share
    leases = (store / "leases").open()
    held = hold(leases, f"{name.replace('/', '-')}-{share}")
    with lock(folder / f".{share}.lock"), held as lease:
        upload = Upload(place.open(), mine, lease.check)
        upload.fetch()
        with Journal(mine, uploading=upload.running) as journal:
            yield journal
