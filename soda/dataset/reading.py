"""Rows of a dataset's file, as they stand there: no type is guessed, and a bad row is no end."""

import codecs
import contextlib
import csv
import datetime
import io
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, BinaryIO

from soda.errors import DataError
from soda.escape import shown_value
from soda.limits import ROW_BYTES, SHOWN_CELL_CHARACTERS

__all__ = ["FORMATS", "Row", "read_rows", "shown"]

_CHUNK = 2**16


@dataclass(frozen=True, slots=True)
class Row:
    """One row, or why it is none."""

    place: str  # "line 7", or "row 7" where lines say nothing
    values: dict[str, Any] = field(default_factory=dict)
    problem: str = ""


def shown(value: Any) -> str:
    """Return a value as it is shown in a message: in one line, and not all of a long one."""
    return shown_value(value, SHOWN_CELL_CHARACTERS)


def read_rows(file: BinaryIO, form: str, columns: Sequence[str]) -> Iterator[Row]:
    """Yield the rows of a file in its order.

    Args:
        file: opened for reading bytes; an io.BufferedReader, or what can `peek` as it does.
        form: one of `FORMATS`, such as ".jsonl".
        columns: which are of interest; a form that can reads no others.

    Raises:
        DataError: it is no file of this form, or is cut off where no next row can be found.
    """
    return _READERS[form](file, columns)


def _json_lines(file: BinaryIO, columns: Sequence[str]) -> Iterator[Row]:
    number = 0
    while line := file.readline(ROW_BYTES + 1):
        number += 1
        if number == 1:
            line = line.removeprefix(codecs.BOM_UTF8)
            _refuse_utf16(line)
        place = f"line {number}"
        if len(line) > ROW_BYTES:
            while line and not line.endswith(b"\n"):
                line = file.readline(ROW_BYTES)
            yield Row(place, problem=f"expected at most {ROW_BYTES} bytes, found more")
        elif line.strip():
            yield _parsed(line, place)


def _parsed(line: bytes, place: str) -> Row:
    twice: list[str] = []
    try:
        value = json.loads(line.decode(), object_pairs_hook=_object(twice))
    except (ValueError, RecursionError) as error:
        return Row(place, problem=f"expected JSON in UTF-8, found: {error}")
    return _row(place, value, twice)


def _row(place: str, value: Any, twice: list[str]) -> Row:
    if not isinstance(value, dict):
        return Row(place, problem=f"expected an object, found {shown(value)}")
    if twice:
        return Row(place, problem=f"expected each name once, found {shown(twice[0])} twice")
    return Row(place, value)


def _object(twice: list[str]) -> Callable[[list[tuple[str, Any]]], dict[str, Any]]:
    """Return a maker of objects that notes the names that come twice."""

    def make(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        made = dict(pairs)
        if len(made) < len(pairs):
            names = [name for name, _ in pairs]
            twice.extend(name for name in made if names.count(name) > 1)
        return made

    return make


def _json_document(file: Any, columns: Sequence[str]) -> Iterator[Row]:
    """Read a list of objects, piece by piece; or one object a line, which often has this name."""
    head = file.peek(_CHUNK)
    _refuse_utf16(head)
    start = head.removeprefix(codecs.BOM_UTF8).lstrip()
    if start.partition(b"\n")[0].strip() == b"{":
        raise DataError("expected a list of objects, or an object a line, found one on several")
    return _json_list(file) if start.startswith(b"[") else _json_lines(file, columns)


def _json_list(file: BinaryIO) -> Iterator[Row]:
    with _decoded(file) as text:
        yield from _elements(text)


@contextlib.contextmanager
def _decoded(file: BinaryIO) -> Iterator[io.TextIOWrapper]:
    """Read a file as UTF-8; bytes that are none become half characters, which no text has."""
    text = io.TextIOWrapper(file, "utf-8-sig", errors="surrogateescape", newline="")
    try:
        yield text
    finally:
        text.detach()  # who opened the file closes it


def _elements(text: io.TextIOWrapper) -> Iterator[Row]:
    twice: list[str] = []
    decoder = json.JSONDecoder(object_pairs_hook=_object(twice))
    buffer, number, ended = text.read(_CHUNK).lstrip()[1:], 0, False
    while True:
        buffer = buffer.lstrip()
        if buffer.startswith("]"):
            return
        twice.clear()
        problem = "its end is missing"
        try:
            value, end = decoder.raw_decode(buffer)
            closed = buffer[end:].lstrip()[:1]
            if closed not in (",", "]") and (closed or ended):
                raise ValueError("no comma after it")
        except (ValueError, RecursionError) as error:
            value, end, closed, problem = None, 0, "", str(error)
        if not closed:  # the rest has not been read, or there is none
            more = text.read(max(_CHUNK, len(buffer)))
            if ended or len(buffer) > ROW_BYTES:
                raise DataError(f"expected a list of objects, found after row {number}: {problem}")
            buffer, ended = buffer + more, not more
            continue
        number += 1
        yield _row(f"row {number}", value, twice)
        rest = buffer[end:].lstrip()
        buffer = rest.removeprefix(",")


def _csv_rows(file: Any, columns: Sequence[str], delimiter: str = ",") -> Iterator[Row]:
    """Read every cell as the text it is: `07` and `NA` too; an empty one is no value."""
    _refuse_utf16(file.peek(2))
    csv.field_size_limit(ROW_BYTES)
    with _decoded(file) as text:
        lines = _Lines(text)
        table = csv.reader(lines, delimiter=delimiter, strict=True)
        try:
            header = [name.strip() for name in next(table, [])]
        except csv.Error as error:
            raise DataError(f"expected a header, found: {error}") from error
        _refuse_twice(header)
        while True:
            place = lines.begin()
            try:
                cells = next(table)
            except StopIteration:
                return
            except csv.Error as error:
                lines.take_back()
                yield Row(place, problem=f"expected CSV, found: {error}")
                continue
            if cells:
                yield _cells(place, header, cells)


class _Lines:
    """A file's lines. A quote that nobody closes takes in all that follow: they are given again."""

    def __init__(self, text: io.TextIOWrapper):
        self._text = text
        self._number = 0
        self._row: list[str] = []
        self._again: list[str] = []  # the next one last

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = self._again.pop() if self._again else self._text.readline()
        if not line:
            raise StopIteration
        self._number += 1
        self._row.append(line)
        return line

    def begin(self) -> str:
        """Begin a row, and return its place."""
        self._row.clear()
        return f"line {self._number + 1}"

    def take_back(self) -> None:
        """Give the row's lines again, but for its first."""
        again = self._row[1:]
        self._again += reversed(again)
        self._number -= len(again)


def _cells(place: str, header: list[str], cells: list[str]) -> Row:
    if len(cells) != len(header):
        return Row(place, problem=f"expected {len(header)} cells, found {len(cells)}")
    return Row(place, {name: cell or None for name, cell in zip(header, cells, strict=True)})


def _tsv_rows(file: Any, columns: Sequence[str]) -> Iterator[Row]:
    return _csv_rows(file, columns, "\t")


def _parquet_rows(file: BinaryIO, columns: Sequence[str]) -> Iterator[Row]:
    import pyarrow
    from pyarrow.parquet import ParquetFile

    number = 0
    try:
        table = ParquetFile(file)
        names = table.schema_arrow.names
        _refuse_twice(names)
        wanted = [name for name in columns if name in names]
        kinds = {name: table.schema_arrow.field(name).type for name in wanted}
        for batch in table.iter_batches(batch_size=256, columns=wanted):
            for values in batch.to_pylist():
                number += 1
                plain = {name: _plain(value, kinds[name]) for name, value in values.items()}
                yield Row(f"row {number}", plain or dict.fromkeys(names))
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        raise DataError(f"expected parquet, found after row {number}: {error}") from error


def _plain(value: Any, kind: Any) -> Any:
    """Return a column's value as JSON has it: a day as text, a decimal as a number, a map.

    Args:
        kind: its pyarrow type.
    """
    from pyarrow import types

    if value is None:
        return None
    if types.is_map(kind):
        return {str(name): _plain(one, kind.item_type) for name, one in value}
    if isinstance(value, list):
        return [_plain(one, kind.value_type) for one in value]
    if isinstance(value, dict):
        return {name: _plain(one, kind.field(name).type) for name, one in value.items()}
    if types.is_float32(kind) or types.is_float16(kind):  # 0.1 is not 0.10000000149
        return float(str(kind.to_pandas_dtype()(value)))
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    if isinstance(value, datetime.date | datetime.time):  # a time of a day is a date, too
        return value.isoformat()
    if isinstance(value, bytes):  # text, in files of old writers
        return value.decode(errors="surrogateescape")
    return value


def _refuse_utf16(start: bytes) -> None:
    if start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise DataError("expected UTF-8, found UTF-16")


def _refuse_twice(names: list[str]) -> None:
    twice = [name for name in dict.fromkeys(names) if name and names.count(name) > 1]
    if twice:
        raise DataError(f"expected columns of different names, found {shown(twice[0])} twice")


_READERS: dict[str, Callable[[Any, Sequence[str]], Iterator[Row]]] = {
    ".jsonl": _json_lines,
    ".ndjson": _json_lines,
    ".json": _json_document,
    ".parquet": _parquet_rows,
    ".csv": _csv_rows,
    ".tsv": _tsv_rows,
}
FORMATS = tuple(_READERS)
