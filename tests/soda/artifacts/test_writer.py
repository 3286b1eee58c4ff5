"""The writer: rows, drops, files and what an error leaves."""

import json

import pytest

from soda.artifacts.writer import DROPS, Writer
from soda.storage import Content


def test_rows_and_drops_are_counted_and_written(tmp_path):
    writer = Writer(tmp_path)
    with writer.open_files:
        writer.write("rows.jsonl", {"text": "é"})
        writer.write("sub/rows.jsonl", {})
        writer.drop("a", "too_long", "9 tokens")
        writer.drop("b", "too_long")
    assert writer.rows == {"rows.jsonl": 1, "sub/rows.jsonl": 1}
    assert writer.drops == {"too_long": 2}
    assert (writer.path / "rows.jsonl").read_text(encoding="utf-8") == '{"text": "é"}\n'
    lines = [json.loads(line) for line in (writer.path / DROPS).read_text().splitlines()]
    assert lines[0] == {"id": "a", "reason": "too_long", "detail": "9 tokens"}


def test_logs_are_no_part_of_the_files(tmp_path):
    writer = Writer(tmp_path)
    for name in ("logs/clock", "model/logs", "rows.jsonl"):
        (writer.path / name).parent.mkdir(exist_ok=True)
        (writer.path / name).write_text("x")
    expected = Content.of(writer.path / "rows.jsonl")
    assert writer.files() == {"model/logs": expected, "rows.jsonl": expected}


@pytest.mark.parametrize("useful", [False, True])
def test_an_error_leaves_only_what_a_next_try_can_use(tmp_path, useful):
    writer = Writer(tmp_path / "run")
    with pytest.raises(ZeroDivisionError), writer.cleaning_up():
        if useful:
            (writer.work / "part").write_text("half")
        raise ZeroDivisionError
    assert not writer.path.exists() and (tmp_path / "run").exists() is useful


def test_an_artifact_is_begun_again_and_the_work_is_kept(tmp_path):
    first = Writer(tmp_path)
    (first.path / "rows.jsonl").write_text("of a killed run")
    (first.work / "part").write_text("half")
    second = Writer(tmp_path)
    assert not any(second.path.iterdir()) and (second.work / "part").read_text() == "half"
