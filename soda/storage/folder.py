"""A folder of this machine as a store: every object is a file."""

import contextlib
import fcntl
import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path

from soda.errors import MissingObject, StorageError
from soda.storage.digests import known_digest
from soda.storage.files import explain_os_errors, write_atomically
from soda.storage.parts import arriving
from soda.storage.store import Entry, Version, checked, is_temporary
from soda.storage.tree import files_in, open_file

__all__ = ["FolderStore"]

_LOCK = ".soda-lock"
_BLOCK = 2**20


class FolderStore:
    """The files below a folder; the version of one is the sha256 of its content."""

    def __init__(self, root: Path):
        self.url = str(root)
        self._root = root

    def read(self, name: str) -> tuple[bytes, Version]:
        """Return a file whole; MissingObject if it is not there."""
        path = self._path(name)
        with self._found(path):
            data = _read(path)
        return data, _version(data)

    def write(self, name: str, data: bytes) -> Version:
        """Write a file whole, over one that is there."""
        with self._locked(name) as path:
            write_atomically(path, data)
        return _version(data)

    def create(self, name: str, data: bytes) -> Version | None:
        """Write a file that is not there yet; None: it is there, with other content."""
        with self._locked(name) as path:
            if path.exists():
                return _version(data) if _read(path) == data else None
            write_atomically(path, data)
        return _version(data)

    def swap(self, name: str, data: bytes, expected: Version) -> Version | None:
        """Write over one version of a file; None: it is another by now, or gone."""
        with self._locked(name) as path:
            found = _read(path) if path.exists() else None
            if found is not None and _version(found) == expected:
                write_atomically(path, data)
            elif found != data:
                return None
        return _version(data)

    def list(self, prefix: str = "") -> Iterator[Entry]:
        """Yield the files whose name begins with `prefix`, sorted by name."""
        folder, slash, _ = prefix.rpartition("/")
        top = self._path(folder) if folder else self._root
        for below, path in files_in(top).items():
            name = f"{folder}{slash}{below}"
            if name.startswith(prefix) and path.name != _LOCK and not is_temporary(name):
                with contextlib.suppress(FileNotFoundError):  # deleted since
                    yield Entry(name, path.stat().st_size, known_digest(path))

    def read_part(self, name: str, start: int, length: int) -> bytes:
        """Return so many bytes of a file from a place in it; fewer, where it ends before."""
        path = self._path(name)
        with self._found(path), path.open("rb") as file:
            file.seek(start)
            return file.read(length)

    def delete(self, name: str) -> None:
        """Delete a file; one that is not there is fine."""
        with explain_os_errors():
            self._path(name).unlink(missing_ok=True)

    def upload(self, path: Path, name: str, on_bytes: Callable[[int], None]) -> None:
        """Copy a file into the folder."""
        _copy(path, self._path(name), on_bytes)

    def download(self, name: str, path: Path, on_bytes: Callable[[int], None]) -> None:
        """Copy a file out of the folder."""
        source = self._path(name)
        with self._found(source):
            _copy(source, path, on_bytes)

    def _path(self, name: str) -> Path:
        """Return where a file lies: below the root, whatever links somebody put there."""
        path = self._root
        for part in checked(name).split("/"):
            path /= part
            if path.is_symlink():
                raise StorageError(f"{path}: expected a file or folder, found a link")
        return path

    @contextlib.contextmanager
    def _locked(self, name: str) -> Iterator[Path]:
        """Keep other writers of the same folder out; the lock lies beside the file.

        Not in the root: two stores may have one folder in common and different roots.
        """
        path = self._path(name)
        with explain_os_errors():
            path.parent.mkdir(parents=True, exist_ok=True)
            with open_file(path.parent / _LOCK, "r+b", create=True) as file:
                fcntl.flock(file, fcntl.LOCK_EX)
                yield path

    @contextlib.contextmanager
    def _found(self, path: Path) -> Iterator[None]:
        try:
            if path.is_dir():
                raise IsADirectoryError(path)
            with explain_os_errors():
                yield
        except (FileNotFoundError, IsADirectoryError) as error:
            raise MissingObject(f"{path}: expected a file, found nothing there") from error


def _version(data: bytes) -> Version:
    return hashlib.sha256(data).hexdigest()


def _read(path: Path) -> bytes:
    with open_file(path) as file:
        return file.read()


def _copy(source: Path, target: Path, on_bytes: Callable[[int], None]) -> None:
    with explain_os_errors(), arriving(target) as near:
        copied = 0
        with open_file(source) as reader, near.open("wb") as writer:
            while block := reader.read(_BLOCK):
                writer.write(block)
                copied += len(block)
                on_bytes(len(block))
        if copied != (size := source.stat().st_size):
            raise StorageError(f"{source}: expected {size} bytes, found {copied}")
