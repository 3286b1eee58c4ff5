"""What every object store offers, whether it is a folder, a GCS bucket or an S3 bucket."""

import posixpath
import re
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from soda.errors import MissingObject, StorageError
from soda.escape import shown_message

__all__ = [
    "Entry",
    "Store",
    "Version",
    "checked",
    "is_temporary",
    "lists",
    "one_line",
    "ours",
    "temporary",
]

Version = str  # GCS: the generation; S3: the ETag; a folder: the sha256 of the content

_TEMPORARY = re.compile(r"(.*/)?\.[^/]+\.[0-9a-f]{32}(/.*)?")


@dataclass(frozen=True, slots=True)
class Entry:
    """One object of a listing."""

    name: str
    size: int
    version: Version


class Store(Protocol):
    """Named objects under one prefix; names are relative and use '/'.

    Every call may raise StorageError: no permission, no such bucket, no answer. Then it is not
    known whether a write arrived; the same bytes once more do no harm and count as ours.
    """

    url: str

    def read(self, name: str) -> tuple[bytes, Version]:
        """Return an object whole; MissingObject if it is not there."""

    def write(self, name: str, data: bytes) -> Version:
        """Write an object whole, over one that is there."""

    def create(self, name: str, data: bytes) -> Version | None:
        """Write an object that is not there yet; None: it is there, with other content.

        Of many that create the same name at the same time, one wins.
        """

    def swap(self, name: str, data: bytes, expected: Version) -> Version | None:
        """Write over one version of an object; None: it is another by now, or gone."""

    def list(self, prefix: str = "") -> Iterator[Entry]:
        """Yield the objects whose name begins with `prefix`, sorted by name."""

    def read_part(self, name: str, start: int, length: int) -> bytes:
        """Return so many bytes of an object from a place in it; fewer, where it ends before."""

    def delete(self, name: str) -> None:
        """Delete an object; one that is not there is fine."""

    def upload(self, path: Path, name: str, on_bytes: Callable[[int], None]) -> None:
        """Write a file of any size; `on_bytes` hears from several threads what has gone."""

    def download(self, name: str, path: Path, on_bytes: Callable[[int], None]) -> None:
        """Read an object of any size into a file that appears when it is whole."""


def ours(store: Store, name: str, data: bytes) -> Version | None:
    """Return an object's version if it holds our bytes.

    After a failed precondition: the write may have been ours, tried again after a lost answer.
    """
    try:
        found, version = store.read(name)
    except MissingObject:
        return None
    return version if found == data else None


def checked(name: str) -> str:
    """Return a relative name as it is.

    Raises:
        StorageError: it would lead out of the prefix.
    """
    if not name or name.startswith("/") or {"", ".", ".."} & set(name.split("/")):
        raise StorageError(f"{name!r}: expected a relative name such as 'a/b', found another form")
    return name


def temporary(name: str) -> str:
    """Return a name beside another, for what is not finished yet; listings leave it out."""
    folder, base = posixpath.split(name)
    return posixpath.join(folder, f".{base}.{uuid.uuid4().hex}")


def is_temporary(name: str) -> bool:
    """Say whether a name was made by `temporary`, or lies below one that was."""
    return bool(_TEMPORARY.fullmatch(name))


def lists(name: str) -> bool:
    """Say whether a bucket's listing shows a name: not what is temporary, nor a console's folders.

    Consoles make an empty object `base/` where somebody creates a folder.
    """
    return name != "" and not name.endswith("/") and not is_temporary(name)


def one_line(error: BaseException) -> str:
    """Say in one short line what a vendor's error says."""
    return shown_message(" ".join(str(error).split()) or type(error).__name__, 240)
