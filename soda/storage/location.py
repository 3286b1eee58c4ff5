"""Which store a location names: a path, file://, gs:// or s3://."""

import re
from pathlib import Path

from soda.errors import StorageError
from soda.storage.files import local_path
from soda.storage.folder import FolderStore
from soda.storage.gcs import GcsStore
from soda.storage.s3 import S3Store
from soda.storage.store import Store, checked

__all__ = ["is_remote", "open_store"]

_REMOTE: dict[str, type[GcsStore] | type[S3Store]] = {"gs": GcsStore, "s3": S3Store}

_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*[A-Za-z0-9]")


def is_remote(location: str | Path) -> bool:
    """Say whether a location lies in object storage, not on a disk of this machine."""
    return str(location).partition("://")[0] in _REMOTE and "://" in str(location)


def open_store(location: str | Path) -> Store:
    """Open the store at a location; nothing is sent yet.

    Raises:
        StorageError: the location's scheme, bucket or form is wrong, or a library is missing.
    """
    text = str(location)
    scheme, separator, rest = text.partition("://")
    if not separator or scheme == "file":
        return FolderStore(local_path(text))
    if "@" in rest.partition("/")[0]:
        # The text is left out: a password may stand in it.
        raise StorageError(f"{scheme}://: expected a bucket, found a user or password in the URL")
    if scheme not in _REMOTE:
        raise StorageError(f"{text}: expected a path, file://, gs:// or s3://, found {scheme}://")
    bucket, _, prefix = rest.partition("/")
    if not bucket:
        raise StorageError(f"{text}: expected {scheme}://bucket/prefix, found no bucket")
    if not _BUCKET.fullmatch(bucket):
        raise StorageError(f"{text}: expected a bucket's name, found {bucket!r}")
    if "?" in rest or "#" in rest:
        raise StorageError(f"{text.partition('?')[0]}: expected no query or fragment, found one")
    prefix = prefix.strip("/")
    return _REMOTE[scheme](bucket, checked(prefix) if prefix else "")
