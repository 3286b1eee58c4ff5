"""Rows of odd files: what is read, and what costs one row only."""

import io

import pyarrow
import pytest
from pyarrow import parquet

from soda.dataset.reading import read_rows
from soda.errors import DataError


def read(text, form):
    file = io.BufferedReader(io.BytesIO(text.encode()))
    return list(read_rows(file, form, ["prompt", "expected"]))


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_a_quote_that_nobody_closes_costs_its_own_row(end):
    table = ["prompt", "a", '"torn', "b", '"c', 'd"', "e", '"torn again', "f", ""]
    rows = read(end.join(table), ".csv")
    assert [row.place for row in rows if row.problem] == ["line 3", "line 8"]
    assert [row.values["prompt"] for row in rows if row.values] == ["a", "b", f"c{end}d", "e", "f"]


def test_spaces_around_a_columns_name_are_not_its_name():
    assert read("prompt , expected\na,1\n", ".csv")[0].values == {"prompt": "a", "expected": "1"}


def test_an_object_over_several_lines_is_refused_at_once():
    with pytest.raises(DataError, match=r"^expected a list of objects, or an object a line"):
        read('{\n "data": [{"prompt": "a"}]\n}', ".json")


def test_parquet_keeps_types_inside_of_lists_and_maps():
    chat = pyarrow.map_(pyarrow.string(), pyarrow.string())
    table = pyarrow.table(
        {
            "prompt": pyarrow.array([[[("role", "user"), ("content", "a")]]], pyarrow.list_(chat)),
            "expected": pyarrow.array([[0.1, 2.0]], pyarrow.list_(pyarrow.float32())),
        }
    )
    file = io.BytesIO()
    parquet.write_table(table, file)
    [row] = read_rows(file, ".parquet", ["prompt", "expected"])
    assert row.values["prompt"] == [{"role": "user", "content": "a"}]
    assert row.values["expected"] == [0.1, 2.0]
