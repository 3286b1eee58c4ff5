"""The journal keeps every answer that was written, whatever happened to the process."""

import json

import pytest

from soda.teacher.journal import Journal


@pytest.fixture
def path(tmp_path):
    return tmp_path / "new" / "folder" / "teacher.jsonl"


def read(path, *keys):
    with Journal(path) as journal:
        return journal.read(set(keys))


def test_answers_are_on_the_disk_at_once_and_come_back_by_key(path):
    with Journal(path) as journal:
        assert journal.read({"a"}) == {}
        journal.append("a", {"text": "one"})
        journal.append("b", {"text": "two"})
        assert len(path.read_bytes().splitlines()) == 2
        assert journal.read({"a", "b"}) == {"a": {"text": "one"}, "b": {"text": "two"}}


def test_keys_that_nobody_asked_for_are_not_returned(path):
    with Journal(path) as journal:
        journal.append("a", {"text": "one"})
        journal.append("b", {"text": "two"})
    assert read(path, "b", "c") == {"b": {"text": "two"}}


def test_of_two_answers_to_one_request_the_first_counts(path):
    with Journal(path) as journal:
        journal.append("a", {"text": "first"})
        journal.append("a", {"text": "second"})
    assert read(path, "a") == {"a": {"text": "first"}}


@pytest.mark.parametrize("cut", [1, 2, 9, 30])
def test_a_torn_last_line_is_passed_over_and_the_next_is_whole(path, cut):
    with Journal(path) as journal:
        journal.append("a", {"text": "whole"})
        journal.append("b", {"text": "torn äöü 数字"})
    path.write_bytes(path.read_bytes()[:-cut])
    with Journal(path) as journal:
        torn = journal.read({"a", "b"})
        journal.append("c", {"text": "after"})
    assert torn["a"] == {"text": "whole"}
    assert ("b" in torn) is (cut == 1)  # only the line's end was missing
    assert read(path, "a", "b", "c") == torn | {"c": {"text": "after"}}


@pytest.mark.parametrize("rubbish", [b"\0" * 64, b"\xff\xfe\n", b"3\n", b"[]\n", b'{"key": "a"}\n'])
def test_lines_that_are_no_entry_are_passed_over(path, rubbish):
    path.parent.mkdir(parents=True)
    path.write_bytes(rubbish)
    with Journal(path) as journal:
        journal.append("a", {"text": "after"})
    assert read(path, "a") == {"a": {"text": "after"}}


@pytest.mark.parametrize(
    "text", ["數字 🙂 é", "line\nline\r\n\u2028end", "\0", 'half \ud83d "pair"']
)
def test_any_text_survives(path, text):
    with Journal(path) as journal:
        journal.append("a", {"text": text})
    assert read(path, "a") == {"a": {"text": text}}
    assert path.read_bytes().count(b"\n") == 1
    assert json.loads(path.read_bytes())["answer"]["text"] == text
