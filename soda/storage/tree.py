"""Folders of regular files: the one way to list, copy, link, move and close them.

Nothing is followed: a link, a pipe or a device in a folder is refused, so what is copied, uploaded
or read lies in that folder and nowhere else. The folder itself may be reached by a link.
"""

import contextlib
import errno
import os
import shutil
import stat
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, cast

from soda.errors import StorageError

__all__ = [
    "copy_file",
    "files_in",
    "link_tree",
    "make_read_only",
    "move_tree",
    "open_file",
    "private",
    "remove_tree",
]

_MODES = {"rb": os.O_RDONLY, "r+b": os.O_RDWR, "xb": os.O_WRONLY | os.O_CREAT | os.O_EXCL}
_LOCKED = os.O_RDWR | os.O_CREAT


def open_file(path: Path, mode: str = "rb", *, create: bool = False) -> BinaryIO:
    """Open a regular file; the last name of its path is not followed, and nothing is cut off.

    Args:
        mode: "rb", "r+b", or "xb" for one that is not there yet.
        create: with "r+b", make it if it is not there.

    Raises:
        StorageError: it is a link, a pipe, a device or a folder.
        OSError: it is not there, or cannot be opened.
    """
    flags = _LOCKED if create else _MODES[mode]
    try:
        number = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o600)
    except OSError as error:
        if error.errno not in (errno.ELOOP, errno.EISDIR, errno.ENXIO):
            raise
        raise _odd(path) from error
    if not stat.S_ISREG(os.fstat(number).st_mode):
        os.close(number)
        raise _odd(path)
    return cast(BinaryIO, os.fdopen(number, mode))


def _odd(path: Path) -> StorageError:
    kind = path.lstat().st_mode
    if stat.S_ISLNK(kind):
        found = "a link"
    else:
        found = "a folder" if stat.S_ISDIR(kind) else "a pipe or device"
    return StorageError(f"{path}: expected a file, found {found}")


def files_in(folder: Path) -> dict[str, Path]:
    """Return the files of a folder and its folders, by their relative names, sorted.

    A folder that is not there has none.

    Raises:
        StorageError: something in it is a link, a pipe or a device.
    """
    found: dict[str, Path] = {}
    todo = [folder]
    while todo:
        here = todo.pop()
        with (
            contextlib.suppress(FileNotFoundError, NotADirectoryError),
            os.scandir(here) as entries,
        ):
            for entry in entries:
                path = here / entry.name
                if entry.is_dir(follow_symlinks=False):
                    todo.append(path)
                elif entry.is_file(follow_symlinks=False):
                    found[path.relative_to(folder).as_posix()] = path
                else:
                    with contextlib.suppress(FileNotFoundError):  # deleted since
                        raise _odd(path)
    return dict(sorted(found.items()))


def copy_file(source: Path, target: Path) -> None:
    """Copy the content of a regular file; what has the target's name, also a link, gives way.

    Raises:
        StorageError: the source is a link, a pipe or a device.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    target.unlink(missing_ok=True)
    with open_file(source) as reader, open_file(target, "xb") as writer:
        shutil.copyfileobj(reader, writer, 2**20)


def link_tree(source: Path, target: Path) -> None:
    """Make a second name for every file of a folder (a copy where the disk cannot link).

    Raises:
        StorageError: something is already there, or the source holds a link, a pipe or a device.
    """

    def link_or_copy(one: Path, other: Path) -> None:
        try:
            os.link(one, other, follow_symlinks=False)
        except OSError:
            copy_file(one, other)

    _arrive(source, target, link_or_copy)


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
    _arrive(folder, target, copy_file)
    remove_tree(folder)


def _arrive(source: Path, target: Path, bring: Callable[[Path, Path], None]) -> None:
    """Fill a folder beside the target and rename it; after an error nothing of it stays."""
    target.parent.mkdir(parents=True, exist_ok=True)
    near = target.with_name(f".{target.name}.{uuid.uuid4().hex}")
    try:
        near.mkdir()
        for name, path in files_in(source).items():
            other = near / name
            other.parent.mkdir(parents=True, exist_ok=True)
            bring(path, other)
            other.chmod(path.stat().st_mode)
        for here in [near, *_folders_in(near)]:
            here.chmod((source / here.relative_to(near)).stat().st_mode)
        _rename(near, target)
    finally:
        remove_tree(near)


def _folders_in(folder: Path) -> Iterator[Path]:
    for here, names, _ in os.walk(folder):
        yield from (Path(here, name) for name in names)


def _rename(folder: Path, target: Path) -> None:
    try:
        folder.rename(target)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
            raise
        raise StorageError(f"{target}: expected nothing there, found a file or folder") from error


def remove_tree(folder: Path) -> None:
    """Remove a folder and all in it; a folder that is not there is fine."""
    shutil.rmtree(folder, ignore_errors=True)


def make_read_only(folder: Path) -> None:
    """Close a finished folder: its owner may read its files, nobody may write, others see nothing.

    Raises:
        StorageError: something in it is a link, a pipe or a device.
    """
    for path in files_in(folder).values():
        path.chmod(stat.S_IRUSR)
    for path in [folder, *_folders_in(folder)]:
        path.chmod(stat.S_IRWXU)


@contextlib.contextmanager
def private() -> Iterator[None]:
    """Make every file and folder of this process, while it lasts, one that only its owner reads."""
    before = os.umask(0o077)
    try:
        yield
    finally:
        os.umask(before)
