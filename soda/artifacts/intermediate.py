"""Finished parts of unfinished work, kept in the store for later runs and other machines."""

from typing import Self

from soda.errors import MissingObject
from soda.storage import Place

__all__ = ["Intermediate"]


class Intermediate:
    """Named results under one key. The key has to hold all that decides them.

    A run that was killed goes on after the last of them, and runs that share them work once.
    """

    def __init__(self, place: Place):
        self._store = place.open()

    @classmethod
    def in_store(cls, out: Place, kind: str, key: str) -> Self:
        """Return those of one kind, `snapshots` or the like, in the store that `out` has."""
        return cls(out.store() / kind / key[:16])

    def read(self, name: str) -> bytes | None:
        """Return a result, or None if there is none."""
        try:
            data, _ = self._store.read(name)
        except MissingObject:
            return None
        return data

    def write(self, name: str, data: bytes) -> bytes:
        """Keep a result, and return what is kept: of two that write at once, the first counts."""
        return data if self._store.create(name, data) else self.read(name) or data
