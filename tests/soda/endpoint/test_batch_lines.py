"""Every line of a batch file is read, or known to be none."""

import json

import pytest

from soda.endpoint.batch_lines import BatchLine, read_batch_line


def line(**values):
    return json.dumps({"custom_id": "a", **values})


def test_a_response_is_kept_with_its_status():
    found = read_batch_line(line(response={"status_code": 200, "body": {"é": 1}}, error=None))
    assert (found.key, found.received.status) == ("a", 200)
    assert json.loads(found.received.body) == {"é": 1}
    assert read_batch_line(line(response={"status_code": 400, "body": "no"})).received.body == "no"


def test_a_request_without_a_response_says_why():
    error = {"code": "batch_expired", "message": "late"}
    assert read_batch_line(line(response=None, error=error)).expired
    found = read_batch_line(line(response=None, error={"code": "odd"}))
    assert found.received is None and not found.expired and "odd" in found.problem


def test_an_input_line_has_a_key_and_no_response():
    assert read_batch_line(line(body={})) == BatchLine("a", None, "null")
    assert read_batch_line(b'{"custom_id": 7, "body": {}}').key == "7"


@pytest.mark.parametrize(
    "text",
    [
        *("", "{torn", "[]", "3", "null", "{}", '{"id": 1}', b"\xff"),
        *(line(response="text"), line(response=[])),
    ],
)
def test_what_is_no_line_is_none(text):
    assert read_batch_line(text) is None
