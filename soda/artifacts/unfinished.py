"""Unfinished work in object storage, so that another machine can go on with it.

Every push is a snapshot of a folder: its files by their checksum, then, in one step, the index that
names them. A machine that dies in the middle of a push leaves the snapshot before.
"""

import dataclasses
import functools
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, TypeAdapter, ValidationError

from soda import storage
from soda.errors import MissingObject, StorageError
from soda.storage import Content, Store, checked

__all__ = ["UnfinishedWork"]

_INDEX = "index.json"
_KNOWN = ".pushed"  # the version of the index that a folder was last equal to
_PAUSE_SECONDS = 10.0
_SHARE = 0.1  # of the time may go into pushing


class UnfinishedWork:
    """Keeps a folder here and a prefix of a store in step, for the one holder of its lease."""

    def __init__(
        self,
        store: Store,
        folder: Path,
        check: Callable[[], None],
        clock: Callable[[], float] = time.monotonic,
    ):
        self._check = check  # raises once the lease is lost
        self._clock = clock
        self._store = store
        self._folder = folder
        self._known = folder.parent / _KNOWN
        self._version: str | None = None
        self._contents: dict[tuple[str, int, int], Content] = {}
        self._next_push = 0.0

    def pull(self) -> bool:
        """Bring the folder to the last snapshot, unless this machine has gone on from it.

        Returns: whether it brought anything.
        """
        try:
            data, self._version = self._store.read(_INDEX)
        except MissingObject:
            return False
        if self._known.is_file() and self._known.read_text() == self._version:
            return False
        storage.remove_tree(self._folder)
        self._folder.mkdir(parents=True)
        files = _read_index(data, f"{self._store.url}/{_INDEX}")
        unfinished = self._folder.parent / ".pulling"
        storage.remove_tree(unfinished)
        by_digest = {content.sha256: content for content in files.values()}
        storage.download_tree(
            self._store, "objects", by_digest, unfinished, label="fetching unfinished work"
        )
        arrived = {digest: unfinished / digest for digest in by_digest}
        for name, content in files.items():
            target = self._folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            source = arrived[content.sha256]
            if source.parent == unfinished:
                arrived[content.sha256] = source.rename(target)
            else:  # of equal files each is its own: who appends to one changes no other
                storage.copy_file(source, target)
        storage.remove_tree(unfinished)
        self._known.write_text(self._version)
        return True

    def push(self, *, now: bool = True) -> None:
        """Put a snapshot of the folder up.

        Args:
            now: False leaves it for later, where the last push was a moment ago or pushing would
                take more than a tenth of the time.

        Raises:
            StorageError: another holder has pushed since.
        """
        begin = self._clock()
        if not now and begin < self._next_push:
            return
        self._check()
        files = {name: self._content(path) for name, path in storage.files_in(self._folder).items()}
        there = {entry.name.removeprefix("objects/") for entry in self._store.list("objects/")}
        for name, content in files.items():
            if content.sha256 not in there:
                self._store.upload(
                    self._folder / name, f"objects/{content.sha256}", lambda count: None
                )
        values = {name: dataclasses.asdict(content) for name, content in files.items()}
        index = json.dumps(values, sort_keys=True).encode()
        if self._version is None:
            version = self._store.create(_INDEX, index)
        else:
            version = self._store.swap(_INDEX, index, self._version)
        if version is None:
            raise StorageError(f"{self._store.url}: another run is at work on this")
        self._version = version
        self._known.write_text(version)
        for digest in there - {content.sha256 for content in files.values()}:
            self._store.delete(f"objects/{digest}")
        end = self._clock()
        self._next_push = end + max(_PAUSE_SECONDS, (end - begin) / _SHARE)

    def remove(self) -> None:
        """Remove every snapshot: the work is done."""
        for entry in list(self._store.list()):
            self._store.delete(entry.name)

    def _content(self, path: Path) -> Content:
        state = path.stat()
        mark = (str(path), state.st_mtime_ns, state.st_size)
        if mark not in self._contents:
            self._contents[mark] = Content.of(path)
        return self._contents[mark]


@functools.cache
def _index() -> TypeAdapter[dict[str, Content]]:
    names = Annotated[str, AfterValidator(checked)]
    return TypeAdapter(dict[names, Content])


def _read_index(data: bytes, where: str) -> dict[str, Content]:
    """Read an index; whoever may write to the store may have written it."""
    try:
        return _index().validate_json(data)
    except (ValidationError, StorageError) as error:
        raise StorageError(f"{where}: expected an index of files, found: {error}") from error
