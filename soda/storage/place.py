"""Where things lie: an address, and the folder on this machine that stands for it.

`gs://bucket/runs/pairs` is worked on in `<scratch>/gs/bucket/runs/pairs` and goes up from there, so
stages see folders only.
"""

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Union

from soda.errors import StorageError
from soda.escape import hide_secrets
from soda.storage.files import write_atomically
from soda.storage.folder import FolderStore
from soda.storage.gcs import GcsStore
from soda.storage.s3 import S3Store
from soda.storage.scratch import scratch
from soda.storage.store import Store, checked
from soda.storage.tree import files_in, remove_tree

__all__ = ["BUCKETS", "Location", "Place"]

_STORES: dict[str, Callable[[str, str], Store]] = {"gs": GcsStore, "s3": S3Store}
BUCKETS = " or ".join(f"{scheme}://" for scheme in _STORES)  # for messages
_BUCKET = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?")

Location = Union[str, Path, "Place"]  # what a user or another program gives us


@dataclass(frozen=True, slots=True)
class Place:
    """A place on a disk or in a bucket; `of` makes one, at the door, of what a user wrote."""

    address: str  # a path, or such as gs://bucket/prefix
    folder: Path  # that path, or where copies of what is in the bucket lie
    remote: bool

    @classmethod
    def of(cls, location: Location) -> "Place":
        """Return the place that a path or an address names; nothing is opened or asked yet.

        Raises:
            StorageError: its scheme, bucket or form is wrong.
        """
        if isinstance(location, Place):
            return location
        text = str(location)
        scheme, separator, rest = text.partition("://")
        if not separator or scheme == "file":
            path = Path(text.removeprefix("file://"))
            return cls(str(path), path, remote=False)
        bucket, _, prefix = rest.partition("/")
        if "@" in bucket:
            # The text is left out: a password may stand in it.
            raise StorageError(f"{scheme}://: expected a bucket, found a user or password in it")
        if scheme not in _STORES:
            raise StorageError(
                f"{hide_secrets(text)}: expected a path, file://, {BUCKETS}, found {scheme}://"
            )
        if not bucket:
            raise StorageError(f"{text}: expected {scheme}://bucket/prefix, found no bucket")
        if not _BUCKET.fullmatch(bucket):
            raise StorageError(f"{text}: expected a bucket's name, found {bucket!r}")
        if "?" in rest or "#" in rest:
            where = text.partition("?")[0]
            raise StorageError(f"{where}: expected no query or fragment, found one")
        names = [bucket, *([checked(prefix.strip("/"))] if prefix.strip("/") else [])]
        address = f"{scheme}://{'/'.join(names)}"
        return cls(address, scratch().joinpath(scheme, *names), remote=True)

    def __str__(self) -> str:
        return self.address

    def __truediv__(self, name: str) -> "Place":
        return Place(f"{self.address}/{name}", self.folder / name, self.remote)

    @property
    def parent(self) -> "Place":
        """The place that this one lies in.

        Raises:
            StorageError: this is a whole bucket.
        """
        if not self.remote:
            return Place.of(self.folder.absolute().parent)
        address, _, _ = self.address.rpartition("/")
        if address.endswith("/"):
            raise StorageError(f"{self}: expected a place in a bucket, found a whole bucket")
        return Place(address, self.folder.parent, remote=True)

    def store(self) -> "Place":
        """Return the place of what belongs to no single result: SODA_STORE, or `.soda` beside this.

        Journals, checkpoints, unfinished work and finished artifacts lie there.
        """
        if store := os.environ.get("SODA_STORE"):
            return Place.of(store)
        return self.parent / ".soda"

    def open(self) -> Store:
        """Return the objects below this place; nothing is sent yet.

        Raises:
            StorageError: the library for this kind of bucket is missing, or its settings are wrong.
        """
        if not self.remote:
            return FolderStore(self.folder)
        scheme, _, rest = self.address.partition("://")
        bucket, _, prefix = rest.partition("/")
        return _STORES[scheme](bucket, prefix)

    def fetch(self) -> Path:
        """Return a path on this machine with the file or folder that lies here.

        What was fetched before is fetched again only if it is another version by now, and removed
        if it is gone.

        Raises:
            StorageError: nothing lies here in object storage, it cannot be reached, or here is a
                pipe or a device.
        """
        if not self.remote:
            if self.folder.exists() and not (self.folder.is_file() or self.folder.is_dir()):
                raise StorageError(f"{self}: expected a file or folder, found a pipe or device")
            return self.folder
        store, name = self.parent.open(), self.folder.name
        found = [entry for entry in store.list(name) if f"{entry.name}/".startswith(f"{name}/")]
        if not found:
            raise StorageError(f"{self}: expected a file or folder, found nothing there")
        target = self.folder.parent / ".fetched"
        names = {entry.name for entry in found}
        for old, path in files_in(target / name).items():
            if f"{name}/{old}" not in names:
                path.unlink()
        for entry in found:
            path = target / entry.name
            mark = target / ".versions" / entry.name / re.sub(r"[^\w.-]", "", entry.version)
            if not (mark.exists() and path.is_file()):
                store.download(entry.name, path, lambda count: None)
                remove_tree(mark.parent)
                write_atomically(mark, b"")
        return target / name
