"""The one door to storage: every file that outlives a stage is written and read through here."""

import contextlib
import errno
import fcntl
import hashlib
import os
import shutil
import stat
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from soda.errors import StorageError

__all__ = [
    "Content",
    "explain_os_errors",
    "file_digest",
    "link_tree",
    "lock",
    "make_read_only",
    "move_tree",
    "remove_tree",
    "write_atomically",
]

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


@dataclass(frozen=True, slots=True)
class Content:
    """What a file holds: how many bytes, and which."""

    bytes: int
    sha256: str

    @classmethod
    def of(cls, path: Path) -> "Content":
        """Read a file."""
        return cls(path.stat().st_size, file_digest(path))


def file_digest(path: Path) -> str:
    """Return the sha256 of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_atomically(path: Path, data: bytes) -> None:
    """Write a whole file, or nothing: to a temporary name, to the disk, then renamed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def move_tree(folder: Path, target: Path) -> None:
    """Move a finished folder to its place in one step, so that nobody ever sees half of it.

    Raises:
        StorageError: something is already there.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        _rename(folder, target)
        return
    except OSError as error:
        # also between two mounts of one disk, which its device number does not show
        if error.errno != errno.EXDEV:
            raise
    with _beside(target) as near:
        shutil.copytree(folder, near)
        _rename(near, target)
    remove_tree(folder)


@contextlib.contextmanager
def _beside(target: Path) -> Iterator[Path]:
    """Give a name to prepare a copy under; after an error, such as a full disk, nothing stays."""
    near = target.with_name(f".{target.name}.{uuid.uuid4().hex}")
    try:
        yield near
    finally:
        remove_tree(near)


def _rename(folder: Path, target: Path) -> None:
    try:
        folder.rename(target)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
            raise
        raise StorageError(f"{target}: expected nothing there, found a file or folder") from error


def link_tree(source: Path, target: Path) -> None:
    """Make a second name for every file of a folder (a copy where the disk cannot link)."""

    def link_or_copy(one: str, other: str) -> None:
        try:
            os.link(one, other)
        except OSError:
            shutil.copy2(one, other)

    target.parent.mkdir(parents=True, exist_ok=True)
    with _beside(target) as near:
        shutil.copytree(source, near, copy_function=link_or_copy)
        _rename(near, target)


def remove_tree(folder: Path) -> None:
    """Remove a folder and all in it; a folder that is not there is fine."""
    shutil.rmtree(folder, ignore_errors=True)


def make_read_only(folder: Path) -> None:
    """Take the write permission from every file of a finished artifact: it never changes again."""
    for path in folder.rglob("*"):
        if path.is_file():
            path.chmod(path.stat().st_mode & ~(stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH))


@contextlib.contextmanager
def lock(path: Path) -> Iterator[None]:
    """Hold a file lock; the kernel lets go of it when the process dies.

    Raises:
        StorageError: another process holds it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise StorageError(
                f"{path.parent}: another run is at work on this; wait for it"
            ) from error
        yield
