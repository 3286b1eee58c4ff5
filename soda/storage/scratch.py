"""This machine's folder for what can be made again: copies from buckets, digests of files."""

import os
import stat
import tempfile
from pathlib import Path

from soda.errors import StorageError

__all__ = ["scratch"]


def scratch() -> Path:
    """Return this user's folder below SODA_SCRATCH, or else below the system's temporary one.

    Raises:
        StorageError: it is a link, belongs to somebody else, or others may write there.
    """
    above = Path(os.environ.get("SODA_SCRATCH") or tempfile.gettempdir()).absolute()
    folder = above / f"soda-{os.getuid()}"
    try:
        above.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder.mkdir(mode=0o700, exist_ok=True)
        found = folder.lstat()
    except OSError as error:
        raise StorageError(
            f"{folder}: expected a folder of this user, found: {error.strerror}; set SODA_SCRATCH"
        ) from error
    if stat.S_ISLNK(found.st_mode):
        raise StorageError(f"{folder}: expected a folder, found a link; set SODA_SCRATCH")
    if found.st_uid != os.getuid():
        raise StorageError(
            f"{folder}: expected a folder of this user, found one of user {found.st_uid}; set "
            "SODA_SCRATCH"
        )
    if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise StorageError(
            f"{folder}: expected a folder that only this user writes, found mode "
            f"{stat.S_IMODE(found.st_mode):o}; set SODA_SCRATCH or chmod 700"
        )
    return folder
