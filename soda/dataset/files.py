"""A dataset's file as it lies there, compressed or not: its rows by its name."""

import bz2
import gzip
import io
import lzma
import zlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any, BinaryIO

from soda.dataset.reading import FORMATS, Row, read_rows
from soda.errors import DataError

__all__ = ["file_rows"]


def _zstandard(file: BinaryIO) -> Any:
    from pyarrow import CompressedInputStream

    return CompressedInputStream(file, "zstd")


_COMPRESSED: dict[str, Callable[[BinaryIO], Any]] = {
    ".gz": lambda file: gzip.GzipFile(fileobj=file),
    ".bz2": bz2.BZ2File,
    ".xz": lzma.LZMAFile,
    ".zst": _zstandard,
}


def file_rows(file: BinaryIO, name: str, columns: Sequence[str]) -> Iterator[Row]:
    """Yield the rows of a file in its order.

    Args:
        file: opened for reading bytes.
        name: says the form, such as `prompts.jsonl` or `prompts.csv.gz`.
        columns: which are of interest; a form that can reads no others.

    Raises:
        DataError: the name is of no known form, or the file is not of the form that it says.
    """
    stem, dot, last = name.lower().rpartition(".")
    open_compressed = _COMPRESSED.get(dot + last)
    plain = stem if open_compressed else name.lower()
    form = next((form for form in FORMATS if plain.endswith(form)), None)
    if form is None:
        raise DataError(f"expected {', '.join(FORMATS)}, found '{dot + last}'")
    if open_compressed is None:
        yield from read_rows(_peeking(file), form, columns)
        return
    try:
        with open_compressed(file) as raw:
            yield from read_rows(_peeking(raw), form, columns)
    except (OSError, EOFError, zlib.error, lzma.LZMAError) as error:
        raise DataError(f"expected a whole {dot}{last} file, found: {error}") from error


def _peeking(file: Any) -> Any:
    return file if hasattr(file, "peek") else io.BufferedReader(file)
