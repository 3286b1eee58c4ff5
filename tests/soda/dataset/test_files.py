"""Files by their names, compressed or not."""

import bz2
import gzip
import io
import lzma

import pyarrow
import pytest

from soda.dataset.files import file_rows
from soda.errors import DataError

LINES = b'{"prompt": "a"}\n{"prompt": "b"}\n'


def zstandard(data):
    sink = pyarrow.BufferOutputStream()
    with pyarrow.CompressedOutputStream(sink, "zstd") as file:
        file.write(data)
    return sink.getvalue().to_pybytes()


COMPRESS = {"gz": gzip.compress, "bz2": bz2.compress, "xz": lzma.compress, "zst": zstandard}


def read(data, name):
    return [row.values for row in file_rows(io.BytesIO(data), name, ["prompt"])]


@pytest.mark.parametrize("ending", COMPRESS)
def test_compressed_files_are_read(ending):
    made = COMPRESS[ending]
    assert read(made(LINES), f"a.jsonl.{ending}") == [{"prompt": "a"}, {"prompt": "b"}]
    assert read(made(b'[{"prompt": "a"}]'), f"a.json.{ending}") == [{"prompt": "a"}]
    assert read(made(b"prompt\na\n"), f"A.CSV.{ending.upper()}") == [{"prompt": "a"}]


@pytest.mark.parametrize("ending", COMPRESS)
def test_a_compressed_file_that_is_cut_or_is_none_is_refused(ending):
    for data in (COMPRESS[ending](LINES * 9)[:-6], LINES):
        with pytest.raises(DataError, match=rf"^expected a whole \.{ending} file, found: "):
            read(data, f"a.jsonl.{ending}")


@pytest.mark.parametrize("name", ["a.txt", "a.jsonl.zip", "jsonl", "a"])
def test_names_that_say_no_form_are_refused(name):
    with pytest.raises(DataError, match=r"^expected \.jsonl, .*, found"):
        read(LINES, name)
