"""Answers that a team already has, in every form that is read."""

import json

import pytest

from soda.errors import DataError
from soda.rows import Prompt
from soda.teacher.supplied import Supplied, name_of, read_answers


def read(path):
    """Return the first answer for every key."""
    found = {}
    for _, keys, answer in read_answers(path):
        for key in keys:
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
    return name_of([{"role": "user", "content": text}])


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
    texts = {key: answer.text for key, answer in found.items()}
    assert texts == {
        user("Say one."): "one",
        name_of(talk): "two",
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
    assert read(write(tmp_path / "a.jsonl", row))["a"].outcome == outcome


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
    outcomes = {key: answer.outcome for key, answer in found.items()}
    assert outcomes == {"a": "answered", "b": "truncated", "c": "refused"}
    assert found["a"].text == "yes" and found["a"].model == "gpt-x"


def test_of_two_answers_to_one_prompt_the_first_counts(tmp_path):
    rows = [{"prompt": "Hi", "response": "one"}, {"prompt": "Hi", "response": "two"}]
    assert read(write(tmp_path / "a.jsonl", *rows))[user("Hi")].text == "one"


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
    with pytest.raises(DataError, match="expected text in UTF-8"):
        read(tmp_path / "latin.jsonl")
    with pytest.raises(DataError, match="found no such file"):
        read(tmp_path / "missing.jsonl")
    (tmp_path / "empty.jsonl").write_text("\n")
    with pytest.raises(DataError, match="expected answers, found none"):
        Supplied(tmp_path / "empty.jsonl")
    with pytest.raises(DataError, match="found a folder"):
        read(tmp_path)


def test_a_byte_order_mark_is_no_part_of_the_first_line(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_bytes(b"\xef\xbb\xbf" + json.dumps({"id": "a", "response": "yes"}).encode())
    assert read(path)["a"].text == "yes"


def test_thoughts_are_taken_out_of_supplied_answers_too(tmp_path):
    found = read(write(tmp_path / "a.jsonl", {"id": "a", "response": "<think>hm</think>yes"}))
    assert (found["a"].text, found["a"].thoughts) == ("yes", "hm")


def test_the_input_lines_of_a_batch_say_which_prompt_request_n_is(tmp_path):
    asked = {"body": {"messages": [{"role": "user", "content": "Hi"}]}, "method": "POST"}
    rows = [{"custom_id": "request-1", **asked}, batch("request-1"), batch("request-2")]
    found = read(write(tmp_path / "a.jsonl", *rows))
    assert found[user("Hi")].text == found["request-1"].text == "yes"


def prompt(name, text, system=None):
    messages = [{"role": "system", "content": system}] if system else []
    return Prompt(name, [*messages, {"role": "user", "content": text}], "train")


def test_how_much_of_what_was_supplied_is_used(tmp_path):
    rows = [{"prompt": f"Say {number}.\r\n", "response": "x"} for number in range(10)]
    rows += [rows[0], {"id": "p9", "prompt": "unknown", "response": "x"}]
    supplied = Supplied(write(tmp_path / "a.jsonl", *rows))
    prompts = [prompt(f"p{number}", f"Say {number}.") for number in range(10)]
    use = supplied.use(prompts)
    assert (use.used, use.supplied, use.enough) == (10, 11, True)  # one was there twice
    assert str(use) == (
        "10 of 11 supplied answers belong to these prompts; that of line 10 does not"
    )
    assert supplied.get(prompts[3]).text == "x" and supplied.get(prompt("p", "Say 11.")) is None
    few = supplied.use(prompts[:4])
    assert (few.used, few.enough) == (4, False)
    assert supplied.use([prompt("q", "Say 1.", system="Be brief.")]).used == 0
    supplied.close()
    nothing = Supplied(None)
    assert nothing.use(prompts).used == 0 and nothing.get(prompts[0]) is None
    nothing.close()
