"""Digests of files that do not change, computed once a file.

What is known of a file is known by its inode, size and times: a write changes one of them. Of large
files it is kept in scratch, so that the next process does not read them again.
"""

import contextlib
import hashlib
import os
import re
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import Annotated, ClassVar, cast

from pydantic import ConfigDict, StringConstraints

from soda.errors import StorageError, found_instead
from soda.storage.scratch import scratch
from soda.storage.tree import open_file

__all__ = ["Content", "file_digest", "known_digest", "remember_digest"]

_LARGE = 8 * 2**20  # bytes; a smaller file is read in no time

_State = tuple[int, int, int, int, int]
_known: dict[_State, str] = {}


@dataclass(frozen=True, slots=True)
class Content:
    """What a file holds: how many bytes, and which."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid", strict=True)

    bytes: int
    sha256: Annotated[str, StringConstraints(pattern="^[0-9a-f]{64}$")]

    @classmethod
    def of(cls, path: Path) -> "Content":
        """Read a file."""
        return cls(path.stat().st_size, file_digest(path))


def file_digest(path: Path) -> str:
    """Return the sha256 of a regular file, in hex.

    Raises:
        StorageError: it is a link, a pipe or a device, or cannot be read.
        FileNotFoundError: it is not there.
    """
    try:
        with open_file(path) as file:
            return hashlib.file_digest(cast(BufferedReader, file), "sha256").hexdigest()
    except FileNotFoundError:
        raise
    except OSError as error:
        raise StorageError(f"{path}: expected a file, found {found_instead(error)}") from error


def known_digest(path: Path) -> str:
    """Return the sha256 of a regular file; it is read only if nothing is known of it.

    Raises:
        StorageError: it is a link, a pipe or a device.
    """
    state = _state(path)
    if state in _known:
        return _known[state]
    digest = _kept(state) or file_digest(path)
    if _state(path) == state:  # nobody wrote while we read
        _remember(state, digest)
    return digest


def remember_digest(path: Path, digest: str) -> None:
    """Note the digest of a file that this process has just made or read."""
    _remember(_state(path), digest)


def _state(path: Path) -> _State:
    found = path.lstat()
    # ctime_ns: a write that sets the old modification time again shows there
    return (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)


def _note(state: _State) -> Path:
    return scratch() / "digests" / "-".join(map(str, state))


def _kept(state: _State) -> str | None:
    if state[2] < _LARGE:
        return None
    with contextlib.suppress(OSError, StorageError):
        found = _note(state).read_text()
        return found if re.fullmatch(r"[0-9a-f]{64}", found) else None
    return None


def _remember(state: _State, digest: str) -> None:
    _known[state] = digest
    if state[2] < _LARGE:
        return
    with contextlib.suppress(OSError, StorageError):  # it only saves time
        note = _note(state)
        note.parent.mkdir(mode=0o700, exist_ok=True)
        near = note.with_name(f".{os.getpid()}-{note.name}")
        near.write_text(digest)
        near.replace(note)
