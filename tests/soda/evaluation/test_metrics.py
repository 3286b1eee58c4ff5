"""The metrics by hand, and intervals that cover what they should."""

import numpy as np
import pytest

from soda.evaluation.metrics import CHANGES, holds_expected, intervals, rouge_l


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


def of(before, after, **options):
    return intervals({"before": before, "after": after}, {"change": CHANGES["change"]}, **options)


def test_intervals_cover_the_mean_about_95_times_in_100():
    draw = np.random.default_rng(0)
    covered = 0
    for seed in range(200):
        before, after = draw.normal(0, 1, 60), draw.normal(0.5, 1, 60)
        change = of(before, after, samples=400, seed=seed)["change"]
        covered += change["low"] <= 0.5 <= change["high"]
    assert 180 <= covered <= 199


def test_the_change_is_paired():
    before = np.linspace(0, 100, 50)
    found = of(before, before + 1, samples=200, seed=0)
    assert found["change"] == {"mean": pytest.approx(1), "low": pytest.approx(1), "high": 1}
    assert found["before"]["high"] - found["before"]["low"] > 10


def test_a_third_model_leaves_the_figures_of_two_as_they_are():
    draw = np.random.default_rng(0)
    before, warmed, after = draw.normal(0, 1, (3, 40))
    models = {"before": before, "warmed": warmed, "after": after}
    found = intervals(models, CHANGES, samples=300, seed=1)
    assert found.items() >= of(before, after, samples=300, seed=1).items()
    total = found["change_by_warm_up"]["mean"] + found["change_since_warm_up"]["mean"]
    assert total == pytest.approx(found["change"]["mean"])
