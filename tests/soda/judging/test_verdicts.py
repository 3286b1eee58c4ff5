import json

import pytest

from soda.judging.verdicts import SAME_ANSWER, Matchup, Reading, Verdict, tally
from tests.fakes.judges import matchup, verdict


def orders(first, second, scores=(None, None)):
    readings = [
        Reading("candidate", first, "one", scores[0]),
        Reading("baseline", second, "two", scores[1]),
    ]
    return Verdict.of(matchup(), "fake", "scores", readings)


@pytest.mark.parametrize(
    ("first", "second", "score", "agreed"),
    [
        (1.0, 1.0, 1.0, True),
        (0.0, 0.0, 0.0, True),
        (0.5, 0.5, 0.5, True),
        (1.0, 0.0, 0.5, False),
        (1.0, 0.5, 0.5, False),
        (None, 1.0, None, False),
        (None, None, None, False),
    ],
)
def test_orders_that_disagree_are_a_tie_and_an_unclear_one_is_unclear(first, second, score, agreed):
    found = orders(first, second)
    assert found.score == score and found.agreed == agreed


def test_what_cannot_be_told_is_counted_apart():
    silent = Verdict.of(matchup(), "fake", "pairwise", [Reading("candidate", None, None)])
    found = tally(
        [verdict(1.0), verdict(0.5), orders(1.0, 0.0), verdict(0.0), verdict(None), silent]
    )
    assert (found.wins, found.ties, found.losses) == (1, 2, 1)
    assert (found.unparsed, found.unanswered, found.disagreements) == (1, 1, 1)
    assert found.score == 2 and found.clear == 4 and found.unclear == 2


def test_the_papers_score_is_the_mean_share_of_both_orders():
    both = orders(1.0, 0.0, ([8.0, 4.0], [3.0, 6.0]))  # 2/3 and 1/3
    better = orders(1.0, 1.0, ([9.0, 3.0], [9.0, 3.0]))  # 3/4
    half_read = orders(1.0, None, ([9.0, 1.0], None))
    assert both.relative_score == pytest.approx(50)
    assert better.relative_score == pytest.approx(75)
    assert half_read.relative_score is None and verdict(1.0).relative_score is None
    same = Verdict.of(matchup(), "fake", SAME_ANSWER, [Reading("candidate", 0.5, "")])
    assert same.relative_score == 50


def test_a_verdict_is_the_same_after_writing_and_reading():
    found = orders(1.0, None, ([8.0, 4.0], None))
    assert Verdict.from_json(json.loads(json.dumps(found.to_json()))) == found


@pytest.mark.parametrize(
    ("candidate", "baseline", "same"),
    [
        ("Paris.", "Paris.", True),
        ("Paris is it.\n", "  paris  is it. ", True),
        ("\n \t", "", True),
        ("\uff21", "A", True),
        ("Paris.", "Paris", False),
    ],
)
def test_identical_and_white_space_only_answers_are_the_same(candidate, baseline, same):
    assert Matchup("m", [], candidate, baseline).same == same
