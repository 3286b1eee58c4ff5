"""A GCS bucket as a store; the only file that imports google.cloud."""

import base64
import contextlib
import functools
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from soda.errors import MissingObject, StorageError
from soda.storage import parts
from soda.storage.composing import upload_composed
from soda.storage.store import Entry, Version, checked, lists, one_line, ours

__all__ = ["GcsStore"]

RETRY_SECONDS = 120.0  # how long one request is tried again
_BLOCK = 2**20
_SETTINGS = ("STORAGE_EMULATOR_HOST", "GOOGLE_APPLICATION_CREDENTIALS")


class GcsStore:
    """Objects below gs://bucket/prefix; the version of one is its generation."""

    def __init__(self, bucket: str, prefix: str):
        try:
            from google.cloud import storage  # noqa: F401
        except ImportError as error:
            raise StorageError(
                f"gs://{bucket}: expected google-cloud-storage, found no such library; "
                "pip install 'soda-distill[cpu]'"
            ) from error

        self.url = f"gs://{bucket}/{prefix}".rstrip("/")
        self._prefix = f"{prefix}/" if prefix else ""
        with self._asking(""):
            self._client = _client(*(os.environ.get(name) for name in _SETTINGS))
        self._bucket = self._client.bucket(bucket)

    def read(self, name: str) -> tuple[bytes, Version]:
        """Return an object whole; MissingObject if it is not there."""
        blob = self._blob(name)
        with self._asking(name):
            data = blob.download_as_bytes(raw_download=True, checksum="crc32c", retry=_retry())
        return data, str(blob.generation)

    def write(self, name: str, data: bytes) -> Version:
        """Write an object whole, over one that is there."""
        with self._asking(name):
            return self._put(name, data)

    def create(self, name: str, data: bytes) -> Version | None:
        """Write an object that is not there yet; None: it is there, with other content."""
        return self._put_if(name, data, 0)

    def swap(self, name: str, data: bytes, expected: Version) -> Version | None:
        """Write over one version of an object; None: it is another by now, or gone."""
        return self._put_if(name, data, int(expected))

    def list(self, prefix: str = "") -> Iterator[Entry]:
        """Yield the objects whose name begins with `prefix`, sorted by name."""
        fields = "items(name,size,generation),nextPageToken"
        with self._asking(prefix):
            for blob in self._client.list_blobs(
                self._bucket, prefix=self._prefix + prefix, fields=fields, retry=_retry()
            ):
                name = blob.name.removeprefix(self._prefix)
                if lists(name):
                    yield Entry(name, blob.size, str(blob.generation))

    def read_part(self, name: str, start: int, length: int) -> bytes:
        """Return so many bytes of an object from a place in it; fewer, where it ends before."""
        with self._asking(name):
            data: bytes = self._blob(name).download_as_bytes(
                start=start, end=start + length - 1, raw_download=True, retry=_retry()
            )
        return data

    def delete(self, name: str) -> None:
        """Delete an object; one that is not there is fine."""
        with contextlib.suppress(MissingObject), self._asking(name):
            self._blob(name).delete(retry=_retry())

    def upload(self, path: Path, name: str, on_bytes: Callable[[int], None]) -> None:
        """Write a file of any size."""
        if (size := path.stat().st_size) <= parts.PART_BYTES:
            self.write(name, path.read_bytes())  # which compares the checksum
            on_bytes(size)
            return
        upload_composed(self, path, name, self._compose, on_bytes)
        blob = self._blob(name)
        with self._asking(name):
            blob.reload(retry=_retry())
        self._compare(name, _crc32c(path), blob.crc32c)

    def download(self, name: str, path: Path, on_bytes: Callable[[int], None]) -> None:
        """Read an object of any size into a file that appears when it is whole."""
        blob = self._blob(name)
        with self._asking(name):
            blob.reload(retry=_retry())
        generation = blob.generation

        def read(start: int, length: int) -> bytes:
            with self._asking(name):
                data: bytes = self._blob(name).download_as_bytes(
                    start=start,
                    end=start + length - 1,
                    if_generation_match=generation,  # not half of one and half of the next
                    raw_download=True,
                    retry=_retry(),
                )
            return data

        with parts.arriving(path) as near:
            parts.write_parts(near, blob.size, read, on_bytes)
            self._compare(name, _crc32c(near), blob.crc32c)

    def _compose(self, names: Sequence[str], joined: str) -> None:
        with self._asking(joined):
            self._blob(joined).compose([self._blob(name) for name in names], retry=_retry())

    def _compare(self, name: str, mine: str, theirs: str | None) -> None:
        if theirs and mine != theirs:
            raise StorageError(f"{self.url}/{name}: expected crc32c {theirs}, found {mine}")

    def _put_if(self, name: str, data: bytes, generation: int) -> Version | None:
        from google.api_core.exceptions import PreconditionFailed

        try:
            with self._asking(name):
                try:
                    return self._put(name, data, if_generation_match=generation)
                except PreconditionFailed:
                    return ours(self, name, data)
        except MissingObject:
            return None

    def _put(self, name: str, data: bytes, **condition: int) -> Version:
        import google_crc32c

        blob = self._blob(name)
        blob.upload_from_string(
            data, "application/octet-stream", checksum="crc32c", retry=_retry(), **condition
        )
        self._compare(name, _base64(google_crc32c.value(data)), blob.crc32c)
        return str(blob.generation)

    def _blob(self, name: str) -> Any:
        return self._bucket.blob(self._prefix + checked(name))

    @contextlib.contextmanager
    def _asking(self, name: str) -> Iterator[None]:
        """Turn what the user can correct into one line."""
        from google.api_core.exceptions import GoogleAPIError, NotFound
        from google.auth.exceptions import GoogleAuthError
        from google.cloud.storage.exceptions import DataCorruption
        from requests.exceptions import RequestException

        where = f"{self.url}/{name}".rstrip("/")
        try:
            yield
        except NotFound as error:
            self._require_bucket()
            raise MissingObject(f"{where}: expected an object, found nothing there") from error
        except (GoogleAPIError, GoogleAuthError, DataCorruption, RequestException) as error:
            raise StorageError(f"{where}: expected an answer, found: {one_line(error)}") from error

    def _require_bucket(self) -> None:
        """Tell a missing bucket from a missing object: the server answers both alike."""
        from google.api_core.exceptions import Forbidden, NotFound

        try:
            with contextlib.suppress(Forbidden):
                next(iter(self._client.list_blobs(self._bucket, max_results=1)), None)
        except NotFound as error:
            raise StorageError(f"{self.url}: expected a bucket, found none of this name") from error


@functools.cache
def _client(*settings: str | None) -> Any:
    """Return a client, one for all that is the same in the environment."""
    from google.cloud import storage

    # With STORAGE_EMULATOR_HOST set the client asks for no credentials. No request of ours needs a
    # project; without this, a machine that has none would be refused.
    return storage.Client(project=None)


def _retry() -> Any:
    # Also for writes with a precondition: the answer of a lost first try is known by its content.
    from google.cloud.storage.retry import DEFAULT_RETRY

    return DEFAULT_RETRY.with_timeout(RETRY_SECONDS).with_delay(initial=0.2, maximum=15)


def _crc32c(path: Path) -> str:
    import google_crc32c

    crc = 0
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            crc = google_crc32c.extend(crc, block)
    return _base64(crc)


def _base64(crc: int) -> str:
    return base64.b64encode(crc.to_bytes(4, "big")).decode()
