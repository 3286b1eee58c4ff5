"""Whole folders to and from a store: at the same time, with one bar, every file verified."""

import functools
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from soda.errors import StorageError
from soda.progress import progress
from soda.storage import parts
from soda.storage.digests import Content, file_digest
from soda.storage.store import Store, checked
from soda.storage.tree import files_in

__all__ = ["download_tree", "upload_tree"]

SHOWN_BYTES = 8 * 2**20  # less is there before anybody could read a bar

_Move = Callable[[str, Callable[[int], None]], None]


def upload_tree(folder: Path, store: Store, prefix: str, *, label: str) -> None:
    """Write every file of a folder below a prefix of a store.

    Raises:
        StorageError: something in the folder is a link, a pipe or a device.
    """
    sizes = {name: path.stat().st_size for name, path in files_in(folder).items()}

    def move(name: str, on_bytes: Callable[[int], None]) -> None:
        store.upload(folder / name, _below(prefix, name), on_bytes)

    _move_all(sizes, move, label)


def download_tree(
    store: Store,
    prefix: str,
    files: Mapping[str, Content],
    folder: Path,
    *,
    label: str,
) -> None:
    """Read files below a prefix of a store into a folder, each compared with its sha256.

    Args:
        files: from the relative name to what the file has to hold.

    Raises:
        StorageError: a file holds something else; nothing stays under its name.
    """

    def move(name: str, on_bytes: Callable[[int], None]) -> None:
        url = f"{store.url}/{_below(prefix, name)}"
        target = folder / checked(name)
        with parts.arriving(target) as near:
            store.download(_below(prefix, name), near, on_bytes)
            _verify(url, near, files[name])

    _move_all({name: content.bytes for name, content in files.items()}, move, label)


def _below(prefix: str, name: str) -> str:
    return f"{prefix}/{checked(name)}" if prefix else checked(name)


def _verify(url: str, path: Path, expected: Content) -> None:
    if (size := path.stat().st_size) != expected.bytes:
        raise StorageError(f"{url}: expected {expected.bytes} bytes, found {size}")
    if (digest := file_digest(path)) != expected.sha256:
        raise StorageError(f"{url}: expected sha256 {expected.sha256}, found {digest}")


def _move_all(sizes: Mapping[str, int], move: _Move, label: str) -> None:
    """Move small files at the same time; large ones, which have threads of their own, in turn."""
    with _counting(sum(sizes.values()), label) as on_bytes:
        small = [name for name, size in sizes.items() if size <= parts.PART_BYTES]
        parts.in_parallel([functools.partial(move, n, on_bytes) for n in small], parts.WORKERS)
        for name, size in sizes.items():
            if size > parts.PART_BYTES:
                move(name, on_bytes)


@contextmanager
def _counting(total: int, label: str) -> Iterator[Callable[[int], None]]:
    if total < SHOWN_BYTES:
        yield lambda count: None
        return
    lock = threading.Lock()  # a bar counts wrong when two threads move it at once
    with progress(label, total, "B") as bar:

        def on_bytes(count: int) -> None:
            with lock:
                bar.update(count)

        yield on_bytes
