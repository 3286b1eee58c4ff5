"""Single files: written whole or not at all, locked, and one line where a disk is full."""

import contextlib
import errno
import fcntl
import os
import uuid
from collections.abc import Iterator
from pathlib import Path

from soda.errors import StorageError
from soda.storage.tree import open_file

__all__ = ["explain_os_errors", "lock", "write_atomically"]

_MENDABLE = (
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EROFS,
    errno.EACCES,
    errno.EPERM,
    errno.EFBIG,
    errno.ENOTDIR,
)
_FULL = os.strerror(errno.ENOSPC)


@contextlib.contextmanager
def explain_os_errors() -> Iterator[None]:
    """Turn a full, read-only or forbidden disk into a StorageError of one line.

    safetensors and copytree report a full disk as errors without a number, known by their text.
    """
    try:
        yield
    except Exception as error:
        if isinstance(error, OSError) and error.errno in _MENDABLE:
            name, reason = error.filename or "the output", error.strerror
        elif _FULL in str(error):
            name, reason = "the output", _FULL
        else:
            raise
        raise StorageError(f"{name}: expected to write, found: {reason}") from error


def write_atomically(path: Path, data: bytes) -> None:
    """Write a whole file, or nothing: to a temporary name, to the disk, then renamed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        with open_file(temporary, "xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def lock(path: Path) -> Iterator[None]:
    """Hold a file lock; the kernel lets go of it when the process dies.

    Raises:
        StorageError: another process holds it, or a link or something else has its name.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with open_file(path, "r+b", create=True) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise StorageError(
                f"{path.parent}: another run is at work on this; wait for it"
            ) from error
        yield
