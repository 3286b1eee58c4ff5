"""A bucket of S3, or of what speaks its protocol, as a store; only this file imports boto3."""

import base64
import contextlib
import functools
import os
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from soda.errors import MissingObject, StorageError
from soda.storage import parts
from soda.storage.store import Entry, Version, checked, lists, one_line, ours

__all__ = ["S3Store"]

ATTEMPTS = 10  # with botocore's pauses of up to 20 seconds: about two minutes
CONFLICT_SECONDS = 0.2
_BLOCK = 2**20
_MISSING = ("404", "NoSuchKey")


class S3Store:
    """Objects below s3://bucket/prefix; the version of one is its ETag."""

    def __init__(self, bucket: str, prefix: str):
        try:
            import boto3  # noqa: F401
        except ImportError as error:
            raise StorageError(
                f"s3://{bucket}: expected boto3, found no such library; "
                "pip install 'soda-distill[s3]'"
            ) from error

        self.url = f"s3://{bucket}/{prefix}".rstrip("/")
        self._bucket = bucket
        self._prefix = f"{prefix}/" if prefix else ""
        settings = {name: value for name, value in os.environ.items() if name.startswith("AWS_")}
        try:
            with self._asking(""):
                self._client: Any = _client(ATTEMPTS, *sorted(settings.items()))
        except ValueError as error:  # the endpoint from the environment
            raise StorageError(f"{self.url}: expected an URL, found: {one_line(error)}") from error

    def read(self, name: str) -> tuple[bytes, Version]:
        """Return an object whole; MissingObject if it is not there."""
        return self._get(name)

    def write(self, name: str, data: bytes) -> Version:
        """Write an object whole, over one that is there."""
        with self._asking(name):
            return self._put(name, data)

    def create(self, name: str, data: bytes) -> Version | None:
        """Write an object that is not there yet; None: it is there, with other content."""
        return self._put_if(name, data, IfNoneMatch="*")

    def swap(self, name: str, data: bytes, expected: Version) -> Version | None:
        """Write over one version of an object; None: it is another by now, or gone."""
        return self._put_if(name, data, IfMatch=expected)

    def list(self, prefix: str = "") -> Iterator[Entry]:
        """Yield the objects whose name begins with `prefix`, sorted by name."""
        pages = self._client.get_paginator("list_objects_v2")
        with self._asking(prefix):
            for page in pages.paginate(Bucket=self._bucket, Prefix=self._prefix + prefix):
                for found in page.get("Contents", ()):
                    name = found["Key"].removeprefix(self._prefix)
                    if lists(name):
                        yield Entry(name, found["Size"], found["ETag"])

    def read_part(self, name: str, start: int, length: int) -> bytes:
        """Return so many bytes of an object from a place in it; fewer, where it ends before."""
        return self._get(name, Range=f"bytes={start}-{start + length - 1}")[0]

    def delete(self, name: str) -> None:
        """Delete an object; one that is not there is fine."""
        with self._asking(name):
            self._client.delete_object(**self._place(name))

    def upload(self, path: Path, name: str, on_bytes: Callable[[int], None]) -> None:
        """Write a file of any size, in parts that go at the same time."""
        from boto3.s3.transfer import TransferConfig

        crc32, size = _crc32(path), path.stat().st_size
        config = TransferConfig(
            multipart_threshold=parts.PART_BYTES + 1,
            multipart_chunksize=parts.PART_BYTES,
            max_concurrency=parts.WORKERS,
        )
        # The server computes the same over the whole object and refuses another. A store that
        # does not know this is announced by AWS_REQUEST_CHECKSUM_CALCULATION=when_required.
        when = self._client.meta.config.request_checksum_calculation
        extra = {"ChecksumCRC32": crc32} if when == "when_supported" else {}
        with self._asking(name):
            self._client.upload_file(
                str(path), **self._place(name), ExtraArgs=extra, Config=config, Callback=on_bytes
            )
        head = self._head(name)
        if head["ContentLength"] != size:
            raise StorageError(
                f"{self.url}/{name}: expected {size} bytes, found {head['ContentLength']}"
            )
        self._compare(name, crc32, head)

    def download(self, name: str, path: Path, on_bytes: Callable[[int], None]) -> None:
        """Read an object of any size into a file that appears when it is whole."""
        head = self._head(name)

        def read(start: int, length: int) -> bytes:
            place = f"bytes={start}-{start + length - 1}"
            return self._get(name, Range=place, IfMatch=head["ETag"])[0]

        with parts.arriving(path) as near:
            parts.write_parts(near, head["ContentLength"], read, on_bytes)
            self._compare(name, _crc32(near), head)

    def _head(self, name: str) -> dict[str, Any]:
        with self._asking(name):
            head: dict[str, Any] = self._client.head_object(
                **self._place(name), ChecksumMode="ENABLED"
            )
        return head

    def _compare(self, name: str, mine: str, head: dict[str, Any]) -> None:
        theirs = head.get("ChecksumCRC32", "")
        # One with a dash is a checksum of the parts' checksums: another program wrote the object.
        if theirs and "-" not in theirs and theirs != mine:
            raise StorageError(f"{self.url}/{name}: expected crc32 {theirs}, found {mine}")

    def _get(self, name: str, **options: str) -> tuple[bytes, Version]:
        """Read a body; botocore tries a request again, but not a body that breaks off."""
        from botocore.exceptions import HTTPClientError, IncompleteReadError

        for attempt in range(ATTEMPTS):
            with self._asking(name):
                try:
                    reply = self._client.get_object(**self._place(name), **options)
                    return reply["Body"].read(), reply["ETag"]
                except (HTTPClientError, IncompleteReadError):
                    if attempt == ATTEMPTS - 1:
                        raise
            time.sleep(min(0.2 * 2**attempt, 15))
        raise AssertionError("the last attempt returns or raises")

    def _put(self, name: str, data: bytes, **condition: str) -> Version:
        reply = self._client.put_object(**self._place(name), Body=data, **condition)
        return str(reply["ETag"])

    def _put_if(self, name: str, data: bytes, **condition: str) -> Version | None:
        from botocore.exceptions import ClientError

        for attempt in range(ATTEMPTS):
            try:
                with self._asking(name):
                    try:
                        return self._put(name, data, **condition)
                    except ClientError as error:
                        status = error.response["ResponseMetadata"]["HTTPStatusCode"]
                        # 409: two at the same time, and S3 has settled neither yet.
                        if status == 412:
                            return ours(self, name, data)
                        if status != 409 or attempt == ATTEMPTS - 1:
                            raise
            except MissingObject:
                return None
            time.sleep(CONFLICT_SECONDS)
        raise AssertionError("the last attempt returns or raises")

    def _place(self, name: str) -> dict[str, str]:
        return {"Bucket": self._bucket, "Key": self._prefix + checked(name)}

    @contextlib.contextmanager
    def _asking(self, name: str) -> Iterator[None]:
        """Turn what the user can correct into one line."""
        from boto3.exceptions import Boto3Error
        from botocore.exceptions import BotoCoreError, ClientError, ParamValidationError

        where = f"{self.url}/{name}".rstrip("/")
        try:
            yield
        except ParamValidationError:
            raise
        except (BotoCoreError, Boto3Error, ClientError) as error:
            if (code := _code(error)) == "NoSuchBucket" or (
                code in _MISSING and not self._has_bucket()
            ):
                raise StorageError(
                    f"{self.url}: expected a bucket, found none of this name"
                ) from error
            if code in _MISSING:
                raise MissingObject(f"{where}: expected an object, found nothing there") from error
            raise StorageError(f"{where}: expected an answer, found: {one_line(error)}") from error

    def _has_bucket(self) -> bool:
        """Tell a missing bucket from a missing object: an answer to HEAD has no body to say it."""
        from botocore.exceptions import ClientError

        try:
            self._client.list_objects_v2(Bucket=self._bucket, MaxKeys=1)
        except ClientError as error:
            return _code(error) != "NoSuchBucket"
        return True


def _code(error: Exception) -> str:
    from botocore.exceptions import ClientError

    return str(error.response["Error"]["Code"]) if isinstance(error, ClientError) else ""


@functools.cache
def _client(attempts: int, *settings: tuple[str, str]) -> Any:
    """Return a client, one for all that is the same in the environment: one takes 0.3 s to make."""
    import boto3
    import botocore.session
    from botocore.config import Config

    session = botocore.session.Session()
    # MinIO and SeaweedFS behind a plain host name have no name for every bucket.
    own = {"AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"} & dict(settings).keys()
    style = _addressing_style(session) or ("path" if own else None)
    config = Config(
        retries={"mode": "standard", "total_max_attempts": attempts},
        connect_timeout=10,
        max_pool_connections=2 * parts.WORKERS,
        s3={"addressing_style": style} if style else {},
    )
    # A session of our own: boto3's default one may not be used by several threads.
    return boto3.session.Session(botocore_session=session).client("s3", config=config)


def _addressing_style(session: Any) -> str | None:
    """Return what the AWS configuration says; a Config of ours would override it."""
    s3 = session.get_scoped_config().get("s3")
    return s3.get("addressing_style") if isinstance(s3, dict) else None


def _crc32(path: Path) -> str:
    crc = 0
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            crc = zlib.crc32(block, crc)
    return base64.b64encode(crc.to_bytes(4, "big")).decode()
