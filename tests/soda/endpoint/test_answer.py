"""An answer and what was received outlive the process as JSON."""

import json

from soda.endpoint.answer import Answer, Received


def test_both_come_back_from_json():
    answer = Answer("é", "truncated", None, "hm", 3, 5, "m", "fp", 7, 0.5, worked=True)
    assert Answer.from_json(json.loads(json.dumps(answer.to_json()))) == answer
    received = Received(400, 'half \udcff "pair"\n', 0.5)
    assert Received.from_json(json.loads(json.dumps(received.to_json()))) == received


def test_what_has_its_default_takes_no_room():
    assert Answer("a", "answered").to_json() == {"text": "a", "outcome": "answered"}


def test_a_missing_answer_says_why_and_costs_nothing():
    found = Answer.missing("not asked")
    assert (found.outcome, found.detail, found.worked) == ("failed", "not asked", False)
