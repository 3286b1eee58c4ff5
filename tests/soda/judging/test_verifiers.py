import time

import pytest

from soda.errors import DataError
from soda.judging.judges import judge_all
from soda.judging.verdicts import tally
from soda.judging.verifiers import VerifierJudge, parse_check
from tests.fakes.judges import matchup

SCHEMA = {"type": "object", "properties": {"age": {"type": "integer"}}, "required": ["age"]}


def verify(check, answer):
    return parse_check(check, "p1").verify(answer)


@pytest.mark.parametrize(
    ("check", "right", "wrong"),
    [
        (
            {"kind": "expected", "expected": ["Mount  Everest", 8849], "tolerance": 1},
            ["It is mount everest.", "8,848.9 m"],
            ["Mounteverest", "8,800 m", ""],
        ),
        (
            {"kind": "choice", "expected": "B"},
            [
                "B",
                "(B)",
                "B.",
                "B) because of A",
                "The answer is B, not A.",
                "Answer: (B)",
                "It is B",
            ],
            ["A", "Because", "A or B", "The answer is A. B is wrong.", "b", ""],
        ),
        (
            {"kind": "json", "json_schema": SCHEMA},
            ['{"age": 3}', 'Here:\n```json\n{"age": 3}\n```\nDone.'],
            ['{"age": "3"}', "{}", "age: 3", ""],
        ),
        (
            {"kind": "regex", "pattern": r"^\d{4}-\d{2}-\d{2}$"},
            ["2026-10-01"],
            ["1 October 2026", "on 2026-10-01"],
        ),
    ],
    ids=lambda value: value["kind"] if isinstance(value, dict) else "",
)
def test_a_right_answer_is_right_and_a_wrong_one_is_wrong(check, right, wrong):
    assert [verify(check, answer) for answer in right] == [True] * len(right)
    assert [verify(check, answer) for answer in wrong] == [False] * len(wrong)


def test_a_pattern_that_never_ends_says_nothing(monkeypatch):
    monkeypatch.setattr("soda.judging.verifiers._REGEX_SECONDS", 0.02)
    started = time.monotonic()
    assert verify({"kind": "regex", "pattern": r"(a|aa)+$"}, "a" * 40 + "b") is None
    assert time.monotonic() - started < 2


def test_a_schema_elsewhere_is_not_fetched():
    schema = {"$ref": "http://127.0.0.1:9/schema.json"}
    assert verify({"kind": "json", "json_schema": schema}, "{}") is None


@pytest.mark.parametrize(
    ("check", "said"),
    [
        ({"kind": "rhyme"}, "p1: check: Input tag 'rhyme'"),
        ({"expected": "x"}, "p1: check: Unable to extract tag"),
        ({"kind": "expected", "expected": {}}, "p1: check.expected.expected"),
        ({"kind": "expected", "expected": ""}, "p1: check.expected.expected: Value error"),
        ({"kind": "expected", "expected": 1, "delta": 2}, "p1: check.expected.delta"),
        ({"kind": "regex", "pattern": "("}, "p1: check.regex.pattern"),
        ({"kind": "json", "json_schema": {"type": "thing"}}, "p1: check.json.json_schema"),
    ],
)
def test_a_check_that_is_wrong_is_refused_by_name(check, said):
    with pytest.raises(DataError) as caught:
        parse_check(check, "p1")
    assert str(caught.value).startswith(said) and "\n" not in str(caught.value)


def test_a_verifier_prefers_the_right_answer_and_ties_otherwise():
    check = {"kind": "expected", "expected": "Paris"}
    rows = [
        matchup("1", "Paris", "Lyon", check=check),
        matchup("2", "Rome", "It is Paris.", check=check),
        matchup("3", "Paris", "It is Paris.", check=check),
        matchup("4", "Rome", "Lyon", check=check),
        matchup("5", "a" * 40 + "b", "x", check={"kind": "json", "json_schema": {"$ref": "x:y"}}),
    ]
    found = list(judge_all(VerifierJudge(), rows))
    assert [one.score for one in found] == [1, 0, 0.5, 0.5, 0.5]
    assert found[0].readings[0].text == "candidate right, baseline wrong"
    assert found[0].protocol == "expected" and tally(found).disagreements == 0
