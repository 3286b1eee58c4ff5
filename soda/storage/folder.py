"""A folder of this machine as a store: every object is a file."""

import contextlib
import fcntl
import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path

from soda.errors import MissingObject, StorageError
from soda.storage.files import explain_os_errors, file_digest, write_atomically
from soda.storage.parts import arriving
from soda.storage.store import Entry, Version, checked, is_temporary

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
            data = path.read_bytes()
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
                return _version(data) if path.read_bytes() == data else None
            write_atomically(path, data)
        return _version(data)

    def swap(self, name: str, data: bytes, expected: Version) -> Version | None:
        """Write over one version of a file; None: it is another by now, or gone."""
        with self._locked(name) as path:
            found = path.read_bytes() if path.exists() else None
            if found is not None and _version(found) == expected:
                write_atomically(path, data)
            elif found != data:
                return None
        return _version(data)

    def list(self, prefix: str = "") -> Iterator[Entry]:
        """Yield the files whose name begins with `prefix`, sorted by name."""
        top = self._root / prefix.rpartition("/")[0]
        paths = [path for path in top.rglob("*") if path.is_file()]
        for name, path in sorted((path.relative_to(self._root).as_posix(), path) for path in paths):
            if name.startswith(prefix) and path.name != _LOCK and not is_temporary(name):
                with contextlib.suppress(FileNotFoundError):  # deleted since
                    yield Entry(name, path.stat().st_size, file_digest(path))

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
        return self._root / checked(name)

    @contextlib.contextmanager
    def _locked(self, name: str) -> Iterator[Path]:
        """Keep other writers of the same folder out; the lock lies beside the file.

        Not in the root: two stores may have one folder in common and different roots.
        """
        path = self._path(name)
        with explain_os_errors():
            path.parent.mkdir(parents=True, exist_ok=True)
            with (path.parent / _LOCK).open("w") as file:
                fcntl.flock(file, fcntl.LOCK_EX)
                yield path

    @contextlib.contextmanager
    def _found(self, path: Path) -> Iterator[None]:
        try:
            with explain_os_errors():
                yield
        except (FileNotFoundError, IsADirectoryError) as error:
            raise MissingObject(f"{path}: expected a file, found nothing there") from error


def _version(data: bytes) -> Version:
    return hashlib.sha256(data).hexdigest()


def _copy(source: Path, target: Path, on_bytes: Callable[[int], None]) -> None:
    with explain_os_errors(), arriving(target) as near:
        copied = 0
        with source.open("rb") as reader, near.open("wb") as writer:
            while block := reader.read(_BLOCK):
                writer.write(block)
                copied += len(block)
                on_bytes(len(block))
        if copied != (size := source.stat().st_size):
            raise StorageError(f"{source}: expected {size} bytes, found {copied}")
