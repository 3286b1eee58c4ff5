"""The metrics by hand, and intervals that cover what they should."""

import numpy as np
import pytest

from soda.evaluation.metrics import holds_expected, paired_bootstrap, repeats, rouge_l


def test_rouge_l_by_hand():
    # longest common subsequence "the cat sat": 3 of 4 and 3 of 3 words
    assert rouge_l(["the cat sat down"], ["the cat sat"]) == [pytest.approx(6 / 7)]
    assert rouge_l(["yes"], [""]) == [0.0]


@pytest.mark.parametrize(
    ("expected", "answer", "right"),
    [
        ("12", "7 + 5 is 12.", True),
        ("12", "It is 120.", False),
        ("Paris", "paris, of course", True),
        ("spam", "not spamming", False),
        ("C++", "Use C++ here", True),
    ],
)
def test_expected_strings_are_found_as_whole_words(expected, answer, right):
    assert holds_expected(expected, answer) is right


def test_answers_in_circles_are_seen():
    assert repeats("one two three four " * 3)
    assert not repeats("one two three four five six seven eight nine ten")
    assert not repeats("")


def test_intervals_cover_the_mean_about_95_times_in_100():
    draw = np.random.default_rng(0)
    covered = 0
    for seed in range(200):
        before, after = draw.normal(0, 1, 60), draw.normal(0.5, 1, 60)
        change = paired_bootstrap(before, after, samples=400, seed=seed)["change"]
        covered += change["low"] <= 0.5 <= change["high"]
    assert 180 <= covered <= 199


def test_the_change_is_paired():
    before = np.linspace(0, 100, 50)
    found = paired_bootstrap(before, before + 1, samples=200, seed=0)
    assert found["change"] == {"mean": pytest.approx(1), "low": pytest.approx(1), "high": 1}
    assert found["before"]["high"] - found["before"]["low"] > 10
