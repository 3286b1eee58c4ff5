"""A journal in object storage: what a writer appends on its disk is shipped in small parts.

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
from soda.storage import Store, hold, lock, open_store
from soda.storage.places import remote_location

__all__ = ["Shipping", "open_journal"]

_PAUSE_SECONDS = 0.2  # between two parts: what comes in meanwhile goes together
_PARTS = 256  # so many become one object
_READERS = 16
_PART = re.compile(r"(.+\.\d{5})\.\d{6}\.jsonl")


class Shipping:
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
        self._shipped = 0  # bytes of the writer's file
        self._merged = 0  # bytes of it that lie in merged objects
        self._merges = 0
        self._parts: list[str] = []
        self._arrived = asyncio.Condition()
        self._problem: StorageError | None = None

    def fetch(self) -> None:
        """Bring the folder up to date, after shipping what a killed process left in it."""
        self._folder.mkdir(parents=True, exist_ok=True)
        for path in self._folder.glob("*.jsonl"):
            if "." not in path.stem:
                self._ship_leftover(path)
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

    def _ship_leftover(self, path: Path) -> None:
        """Ship the end of a file whose writer was killed on this machine."""
        needed = self._needed(f"{path.stem}.")
        with path.open("rb") as file:
            file.seek(sum(needed.values()))
            rest = file.read()
        if rest:
            self._store.create(f"{path.stem}.99999.{len(needed):06}.jsonl", rest)
        path.unlink()

    @contextlib.asynccontextmanager
    async def running(self, journal: Journal) -> AsyncIterator[None]:
        """Ship what the journal appends while the block runs; at its end, merge the parts."""

        async def kept(end: int) -> None:
            async with self._arrived:
                await self._arrived.wait_for(
                    lambda: self._shipped >= end or self._problem is not None
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
                await asyncio.to_thread(self._ship, journal)
                await asyncio.to_thread(self._merge, journal.tail)

    async def _run(self, journal: Journal) -> None:
        while self._problem is None:
            await journal.wrote.wait()
            journal.wrote.clear()
            shipping = asyncio.ensure_future(asyncio.to_thread(self._ship, journal))
            try:
                await asyncio.shield(shipping)
            except StorageError as error:
                self._problem = error
            except asyncio.CancelledError:
                await asyncio.wait([shipping])  # a part half-way up would be shipped twice
                raise
            async with self._arrived:
                self._arrived.notify_all()
            await asyncio.sleep(_PAUSE_SECONDS)

    def _ship(self, journal: Journal) -> None:
        self._check()
        tail, end = journal.tail, journal.tail_size
        if tail is None or end == self._shipped:
            return
        with tail.open("rb") as file:
            file.seek(self._shipped)
            part = file.read(end - self._shipped)
        name = f"{tail.stem}.{self._merges:05}.{len(self._parts):06}.jsonl"
        self._create(name, part)
        self._parts.append(name)
        self._shipped += len(part)
        if len(self._parts) >= _PARTS:
            self._merge(tail)

    def _merge(self, tail: Path) -> None:
        """Replace the parts by one object; a reader that sees both takes that one."""
        if len(self._parts) > 1:
            with tail.open("rb") as file:
                file.seek(self._merged)
                self._create(
                    f"{tail.stem}.{self._merges:05}.jsonl", file.read(self._shipped - self._merged)
                )
            for name in self._parts:
                self._store.delete(name)
        self._merged = self._shipped
        self._merges += 1
        self._parts.clear()

    def _create(self, name: str, data: bytes) -> None:
        if self._store.create(name, data) is None:
            raise StorageError(f"{self._store.url}/{name}: expected nothing there, found an object")


@contextlib.contextmanager
def open_journal(store: Path, teacher: str, share: str) -> Iterator[Journal]:
    """Open a teacher's journal as the one writer for a share of the prompts.

    Args:
        store: the store's folder on this machine.
        teacher: a name for the endpoint, the model and the sampling.
        share: a name for the prompts that this run asks.

    Raises:
        StorageError: another run asks the same share.
    """
    folder = store / "journal" / teacher
    remote = remote_location(store)
    if remote is None:
        earlier = store / "journal" / "teacher.jsonl"  # of version 0.1
        with lock(folder / f".{share}.lock"), Journal(folder, earlier=(earlier,)) as journal:
            yield journal
        return
    mine = folder / share
    leases = open_store(f"{remote}/leases")
    with lock(folder / f".{share}.lock"), hold(leases, f"{teacher}-{share}") as lease:
        shipping = Shipping(open_store(f"{remote}/journal/{teacher}"), mine, lease.check)
        shipping.fetch()
        with Journal(mine, keeper=shipping) as journal:
            yield journal
