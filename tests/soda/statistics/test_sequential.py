import math

import numpy as np
import pytest

from soda.statistics.intervals import sample_size
from soda.statistics.sequential import SequentialTest, confidence_sequence, log_evidence

PLANNED = sample_size(0.1)
THRESHOLD = 0.6


def boundaries(test):
    """For each count, the lowest score that passes and the highest that fails."""
    low, high = np.full(test.planned + 1, np.inf), np.full(test.planned + 1, -np.inf)
    for count in range(1, test.planned):
        scores = np.arange(2 * count + 1) / 2
        evidence = log_evidence(scores, count, THRESHOLD) >= math.log(100)
        above = scores / count > THRESHOLD
        low[count] = scores[evidence & above].min(initial=np.inf)
        high[count] = scores[evidence & ~above].max(initial=-np.inf)
    last = {score: test.look(score, test.planned) for score in np.arange(2 * test.planned + 1) / 2}
    low[-1] = min(score for score, said in last.items() if said == "pass")
    high[-1] = max(score for score, said in last.items() if said == "fail")
    return low[1:], high[1:]


@pytest.fixture(scope="module")
def edges():
    return boundaries(SequentialTest(THRESHOLD, PLANNED))


def simulate(edges, rate, ties=0.0, trials=20_000):
    """Look after every comparison; return how often it passed and failed, and its mean length."""
    draw = np.random.default_rng(0).random((trials, PLANNED), dtype=np.float32)
    wins = rate - ties / 2
    scores = np.where(draw < wins, 1, np.where(draw < wins + ties, 0.5, 0)).cumsum(axis=1)
    passed, failed = scores >= edges[0], scores <= edges[1]
    first = [np.where(hit.any(axis=1), hit.argmax(axis=1), PLANNED) for hit in (passed, failed)]
    length = np.minimum(np.minimum(*first) + 1, PLANNED).mean()
    return (first[0] < first[1]).mean(), (first[1] < first[0]).mean(), length


@pytest.mark.parametrize("ties", [0.0, 0.2])
def test_at_the_threshold_it_errs_no_more_often_than_it_says(edges, ties):
    passed, failed, _ = simulate(edges, THRESHOLD, ties)
    assert passed <= 0.025 and failed <= 0.025  # of 20,000, looking after every comparison


def test_a_clear_case_is_decided_after_a_fraction_of_the_plan(edges):
    passed, _, length = simulate(edges, 0.8, trials=4_000)
    assert passed > 0.999 and length < 0.25 * PLANNED
    _, failed, length = simulate(edges, 0.4, trials=4_000)
    assert failed > 0.999 and length < 0.25 * PLANNED


def test_the_boundaries_are_those_of_look(edges):
    test = SequentialTest(THRESHOLD, PLANNED)
    for count in (20, 60, 200):
        low, high = edges[0][count - 1], edges[1][count - 1]
        assert test.look(low, count) == "pass" and test.look(low - 0.5, count) == "open"
        if high >= 0:
            assert test.look(high, count) == "fail" and test.look(high + 0.5, count) == "open"


def test_the_sequence_holds_the_truth_at_all_counts_at_once():
    draw, trials, longest, rate = np.random.default_rng(1), 2_000, 300, 0.7
    scores = (draw.random((trials, longest)) < rate).cumsum(axis=1)
    evidence = log_evidence(scores, np.arange(1, longest + 1), rate)
    assert (evidence.max(axis=1) >= math.log(20)).mean() <= 0.05
    found = confidence_sequence(scores[0, -1], longest)
    for edge in (found.low, found.high):  # the interval is where the evidence is too little
        assert log_evidence(scores[0, -1], longest, edge) == pytest.approx(math.log(20), abs=1e-3)


def test_nothing_seen_and_all_won_are_no_errors():
    assert confidence_sequence(0, 0).high == 1
    assert (
        confidence_sequence(50, 50).high == pytest.approx(1)
        and confidence_sequence(50, 50).low > 0.8
    )
