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

__all__ = ["explain_os_errors", "lock", "make_folder", "write_atomically"]

_WRITES = (
    *(errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM),
    *(errno.ENOTDIR, errno.ENAMETOOLONG),
)
_EITHER = (errno.EIO, errno.ESTALE)  # a disk that is broken or away
_FULL = os.strerror(errno.ENOSPC)


@contextlib.contextmanager
def explain_os_errors() -> Iterator[None]:
    """Turn a disk that is full, read-only, forbidden or broken into a StorageError of one line.

    safetensors and copytree report a full disk as errors without a number, known by their text.
    """
    try:
        yield
    except Exception as error:
        number = error.errno if isinstance(error, OSError) else None
        name = (error.filename if isinstance(error, OSError) else None) or "the output"
        if number in _WRITES:
            text = f"{name}: expected to write, found: {os.strerror(number)}"
        elif number in _EITHER:
            text = f"{name}: expected to read or write, found: {os.strerror(number)}"
        elif _FULL in str(error):
            text = f"{name}: expected to write, found: {_FULL}"
        else:
            raise
        raise StorageError(text) from error


def make_folder(path: Path) -> None:
    """Make a folder and those above it.

    Raises:
        StorageError: none can be made there, as in /proc.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except FileNotFoundError as error:
        raise StorageError(f"{path}: expected to write, found that it cannot be made") from error


def write_atomically(path: Path, data: bytes) -> None:
    """Write a whole file, or nothing: to a temporary name, to the disk, then renamed."""
    make_folder(path.parent)
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
    make_folder(path.parent)
    with open_file(path, "r+b", create=True) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise StorageError(
                f"{path.parent}: another run is at work on this; wait for it"
            ) from error
        yield
