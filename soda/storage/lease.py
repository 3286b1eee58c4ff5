"""One run at a time on something in object storage, without trusting anybody's clock."""

import contextlib
import json
import threading
import time
import uuid
from collections.abc import Iterator
from typing import Any

from soda.errors import MissingObject, StorageError
from soda.progress import say
from soda.storage.store import Store, Version

__all__ = ["Lease", "hold"]

_HEARTBEAT = 10.0  # seconds
_EXPIRY = 60.0


class Lease:
    """An object that its holder rewrites again and again; who watches it sees that it lives."""

    def __init__(self, store: Store, name: str, heartbeat: float, expiry: float):
        self._store = store
        self._heartbeat, self._expiry = heartbeat, expiry
        self._name = name
        self._url = f"{store.url}/{name}"
        self._owner = uuid.uuid4().hex
        self._count = 0
        self._lost = ""
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._beat, name=f"lease {name}", daemon=True)
        self._alive = time.monotonic()  # when the last rewriting that worked was begun
        self._version = self._take()

    def check(self) -> None:
        """Raise StorageError if another run may hold the lease by now."""
        # The thread may hang in a request, so the time is compared here too. A watcher's clock
        # starts later than ours, at the first sight of what we wrote: we stop before it takes over.
        if not self._lost and time.monotonic() - self._alive > self._expiry:
            self._lost = f"no answer for {self._expiry:.0f} seconds"
        if self._lost:
            raise StorageError(f"{self._url}: expected to hold the lease, found {self._lost}")

    def start(self) -> None:
        """Begin to show that the holder lives."""
        self._thread.start()

    def release(self) -> None:
        """Mark the lease as free, if it is still ours."""
        self._over.set()
        self._thread.join()
        # Swapped and not deleted: some servers ignore preconditions when they delete. After an
        # error the lease expires by itself.
        with contextlib.suppress(StorageError):
            self._rewrite(free=True)

    def _content(self, *, free: bool = False) -> bytes:
        self._count += 1
        return json.dumps({"free": free, "owner": self._owner, "count": self._count}).encode()

    def _take(self) -> Version:
        while True:
            self._alive = time.monotonic()
            content = self._content()
            if version := self._store.create(self._name, content):
                return version
            with contextlib.suppress(MissingObject):  # gone since: create it again
                found = self._wait_until_free()
                self._alive = time.monotonic()
                if version := self._store.swap(self._name, content, found):
                    return version
                raise self._taken()

    def _wait_until_free(self) -> Version:
        data, first = self._store.read(self._name)
        if _field(data, "free"):
            return first
        say(f"{self._url}: another run is at work or died; watching for {self._expiry:.0f} s")
        end = time.monotonic() + self._expiry
        while (left := end - time.monotonic()) > 0:
            time.sleep(min(self._heartbeat / 2, left))
            data, version = self._store.read(self._name)
            if version != first and _field(data, "free"):
                return version
            if version != first:
                raise self._taken()
        return first

    def _taken(self) -> StorageError:
        return StorageError(f"{self._url}: another run is at work on this; wait for it")

    def _beat(self) -> None:
        while not self._over.wait(self._heartbeat) and not self._lost:
            begun = time.monotonic()
            try:
                version = self._rewrite()
            except StorageError:
                continue  # an outage may end before the lease does; check() knows when it has not
            if version is None:
                self._lost = "that another run took it"
            else:
                self._version, self._alive = version, begun

    def _rewrite(self, *, free: bool = False) -> Version | None:
        """Write the next content; None: another run took the lease."""
        content = self._content(free=free)
        if version := self._store.swap(self._name, content, self._version):
            return version
        try:
            data, found = self._store.read(self._name)
        except MissingObject:
            return None
        if _field(data, "owner") != self._owner:
            return None
        # An earlier rewriting of ours arrived, though an outage ate the answer.
        return self._store.swap(self._name, content, found)


@contextlib.contextmanager
def hold(
    store: Store, name: str, *, heartbeat: float = _HEARTBEAT, expiry: float = _EXPIRY
) -> Iterator[Lease]:
    """Hold a lease while the block runs.

    Args:
        store: where it lies.
        name: of what is held.
        heartbeat: seconds between two signs of life.
        expiry: seconds without one after which a holder counts as dead.

    Raises:
        StorageError: another run holds it.
    """
    lease = Lease(store, name, heartbeat, expiry)
    lease.start()
    try:
        yield lease
    finally:
        lease.release()


def _field(data: bytes, name: str) -> Any:
    try:
        return json.loads(data)[name]
    except (ValueError, TypeError, KeyError):
        return None  # not our form: whoever wrote it must be still for the whole time
