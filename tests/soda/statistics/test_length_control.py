import numpy as np
import pytest

from soda.statistics.length_control import length_controlled


def judged(draw, count, theta, phi, longer):
    """A judge that likes length; `longer` answers on average, in standard deviations."""
    differences = draw.normal(100 * longer, 100, (1, count))
    chance = 1 / (1 + np.exp(-(theta + phi * np.tanh(differences / 100))))
    return (draw.random((1, count)) < chance).astype(float), differences


def test_what_a_judge_gives_for_length_is_taken_out():
    scores, differences = judged(np.random.default_rng(0), 5_000, 0.0, 2.0, longer=1.0)
    assert scores.mean() > 0.7
    assert length_controlled(scores, differences, samples=100).mean == pytest.approx(0.5, abs=0.03)


def test_the_interval_holds_the_truth():
    draw, theta, trials = np.random.default_rng(1), 0.3, 1_000
    truth, inside = 1 / (1 + np.exp(-theta)), 0
    for trial in range(trials):
        rows = judged(draw, 120, theta, 1.2, 0.7)
        found = length_controlled(*rows, samples=250, seed=trial)
        inside += found.low <= truth <= found.high
    assert inside / trials >= 0.93  # 0.948 with 200 prompts and 1,000 draws


def test_equal_lengths_leave_the_win_rate_as_it_is():
    scores = np.array([[1, 1, 1, 0.5, 0] * 40])
    found = length_controlled(scores, np.zeros(scores.shape), samples=200)
    assert found.mean == pytest.approx(0.7, abs=1e-3)  # the ridge takes a trifle


def test_a_candidate_that_always_wins_has_a_rate():
    scores, differences = np.ones((2, 30)), np.arange(60.0).reshape(2, 30)
    found = length_controlled(scores, differences, samples=100)
    assert 0.8 < found.low <= found.mean <= found.high <= 1
