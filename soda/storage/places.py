"""Where things lie: every location has a folder on this machine, also one in object storage.

`gs://bucket/runs/pairs` is worked on in `<scratch>/gs/bucket/runs/pairs` and goes up from there, so
stages see folders only.
"""

import os
import re
import tempfile
from pathlib import Path

from soda import storage
from soda.errors import StorageError

__all__ = ["fetch", "local_folder", "remote_location", "scratch", "store_of"]


def scratch() -> Path:
    """Return this machine's folder for copies of what lies elsewhere: SODA_SCRATCH.

    Without it, a folder of this user below the system's temporary one.

    Raises:
        StorageError: it belongs to somebody else.
    """
    if chosen := os.environ.get("SODA_SCRATCH"):
        return Path(chosen).absolute()
    folder = Path(tempfile.gettempdir()) / f"soda-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.stat().st_uid != os.getuid():
        raise StorageError(f"{folder}: expected a folder of this user; set SODA_SCRATCH")
    return folder


def local_folder(location: str | Path) -> Path:
    """Return the folder on this machine that stands for a location.

    Raises:
        StorageError: it is neither a path nor file://, gs:// or s3://.
    """
    if not storage.is_remote(location):
        return storage.local_path(location)
    url = storage.open_store(location).url  # refuses what is no bucket and prefix
    scheme, _, rest = url.partition("://")
    return scratch() / scheme / rest.strip("/")


def remote_location(folder: Path) -> str | None:
    """Return the location that a folder stands for, if it is another than the folder itself."""
    try:
        scheme, *rest = folder.absolute().relative_to(scratch()).parts
    except ValueError:
        return None
    return f"{scheme}://{'/'.join(rest)}" if scheme in ("gs", "s3") and rest else None


def store_of(out: Path) -> Path:
    """Return the folder for journals, checkpoints and unfinished work: SODA_STORE or `.soda`."""
    if store := os.environ.get("SODA_STORE"):
        return local_folder(store)
    return out.absolute().parent / ".soda"


def fetch(location: str | Path) -> Path:
    """Return a path on this machine with the file or folder at a location.

    What was fetched before is fetched again only if it is another version by now.

    Raises:
        StorageError: nothing is at a location in object storage, or it cannot be reached.
    """
    if not storage.is_remote(location):
        return storage.local_path(location)
    parent, _, name = storage.open_store(location).url.rpartition("/")
    if parent.endswith("/"):
        raise StorageError(f"{location}: expected a file or folder, found a whole bucket")
    store = storage.open_store(parent)
    found = [entry for entry in store.list(name) if f"{entry.name}/".startswith(f"{name}/")]
    if not found:
        raise StorageError(f"{location}: expected a file or folder, found nothing there")
    target = local_folder(parent) / ".fetched"
    for entry in found:
        mark = target / ".versions" / entry.name / re.sub(r"[^\w.-]", "", entry.version)
        if not mark.exists():
            store.download(entry.name, target / entry.name, lambda count: None)
            storage.remove_tree(mark.parent)
            storage.write_atomically(mark, b"")
    return target / name
