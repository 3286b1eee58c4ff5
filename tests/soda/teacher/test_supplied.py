"""Answers that a team already has, in every form that is read."""

import json

import pytest

from soda.errors import DataError
from soda.rows import digest
from soda.teacher.given import read_answers


def read(path):
    """Return the first answer for every key."""
    found = {}
    for key, answer in read_answers(path):
        found.setdefault(key, answer)
    return found


def write(path, *rows):
    lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def batch(name, content="yes", finish="stop", status=200, **message):
    """A line of an OpenAI Batch API output file."""
    choice = {"index": 0, "message": {"content": content, **message}, "finish_reason": finish}
    body = {"model": "gpt-x", "choices": [choice]}
    response = {"status_code": status, "request_id": "r", "body": body}
    return {"id": "batch_1", "custom_id": name, "response": response, "error": None}


def user(text):
    return digest([{"role": "user", "content": text}])


def test_an_answer_is_found_by_prompt_by_messages_and_by_id(tmp_path):
    talk = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}]
    found = read(
        write(
            tmp_path / "a.jsonl",
            {"prompt": "Say one.", "response": "one"},
            {"prompt": talk, "response": "two"},
            {"messages": talk[1:], "response": "three"},
            {"id": 7, "response": "four"},
            {"id": "x", "prompt": "Say five.", "response": "five"},
        )
    )
    texts = {key: answer["text"] for key, answer in found.items()}
    assert texts == {
        user("Say one."): "one",
        digest(talk): "two",
        user("Hi"): "three",
        "7": "four",
        "x": "five",
        user("Say five."): "five",
    }


@pytest.mark.parametrize(
    ("response", "finish", "outcome"),
    [
        ("text", None, "answered"),
        ("text", "stop", "answered"),
        ("text", "length", "truncated"),
        ("", "content_filter", "refused"),
        ("  ", "stop", "empty"),
        (None, None, "empty"),
    ],
)
def test_the_finish_reason_decides_the_outcome(tmp_path, response, finish, outcome):
    row = {"id": "a", "response": response, "finish_reason": finish}
    assert read(write(tmp_path / "a.jsonl", row))["a"]["outcome"] == outcome


def test_a_batch_output_is_read_by_custom_id(tmp_path):
    found = read(
        write(
            tmp_path / "out.jsonl",
            batch("a"),
            batch("b", "half", "length"),
            batch("c", None, refusal="I won't"),
            batch("d", status=500),
            {"custom_id": "e", "response": None, "error": {"code": "batch_expired"}},
        )
    )
    outcomes = {key: answer["outcome"] for key, answer in found.items()}
    assert outcomes == {"a": "answered", "b": "truncated", "c": "refused"}
    assert found["a"]["text"] == "yes" and found["a"]["model"] == "gpt-x"


def test_of_two_answers_to_one_prompt_the_first_counts(tmp_path):
    rows = [{"prompt": "Hi", "response": "one"}, {"prompt": "Hi", "response": "two"}]
    assert read(write(tmp_path / "a.jsonl", *rows))[user("Hi")]["text"] == "one"


@pytest.mark.parametrize(
    "line",
    [
        '{"torn',
        "3",
        '"text"',
        "[]",
        '{"prompt": "Hi"}',
        '{"response": "to what?"}',
        '{"prompt": "Hi", "response": 5}',
        '{"custom_id": "a", "response": {"status_code": 200, "body": {"choices": []}}}',
        '{"custom_id": "a", "response": "text"}',
    ],
)
def test_a_line_that_is_no_answer_is_named(tmp_path, line):
    path = write(tmp_path / "a.jsonl", {"prompt": "Hi", "response": "ok"}, "", line)
    with pytest.raises(DataError, match=r"a\.jsonl:3: expected prompt and response"):
        read(path)


def test_a_file_that_cannot_be_read_is_refused(tmp_path):
    (tmp_path / "latin.jsonl").write_bytes('{"id": "a", "response": "é"}'.encode("latin-1"))
    with pytest.raises(DataError, match="expected UTF-8"):
        read(tmp_path / "latin.jsonl")
    with pytest.raises(DataError, match="found No such file"):
        read(tmp_path / "missing.jsonl")
    with pytest.raises(DataError, match="found Is a directory"):
        read(tmp_path)
