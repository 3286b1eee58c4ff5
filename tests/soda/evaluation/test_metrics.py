"""The metrics by hand, and intervals that cover what they should."""

import random

import numpy as np
import pytest

from soda.evaluation.metrics import CHANGES, intervals, rouge_l
from tests.soda.test_words import SENTENCES


def test_rouge_l_by_hand():
    # longest common subsequence "the cat sat": 3 of 4 and 3 of 3 words
    assert rouge_l(["the cat sat down"], ["the cat sat"]) == [pytest.approx(6 / 7)]
    assert rouge_l(["yes"], [""]) == [0.0]


def test_rouge_l_is_rouge_scores_in_plain_english():
    from rouge_score.rouge_scorer import RougeScorer

    scorer, draw = RougeScorer(["rougeL"]), random.Random(0)
    known = ["The", "cat", "sat", "on", "a", "mat.", "dog's", "3.5", "well-known", "(it)"]
    for _ in range(200):
        one, other = (" ".join(draw.choices(known, k=draw.randint(1, 30))) for _ in range(2))
        theirs = scorer.score(one, other)["rougeL"].fmeasure
        assert rouge_l([one], [other]) == [pytest.approx(theirs)]


@pytest.mark.parametrize("text", [*SENTENCES.values(), "👍", "2 + 2 = 4", "!?", ""])
def test_equal_answers_have_a_rouge_l_of_one(text):
    assert rouge_l([text], [text]) == [1.0]
    assert rouge_l([text], ["qqq"]) == [0.0]


def test_answers_of_ten_thousand_characters_take_no_time():
    draw = random.Random(0)
    one, other = ("".join(draw.choices("今日は天気がいい", k=10_000)) for _ in range(2))
    assert 0.3 < rouge_l([one], [other])[0] < 0.9


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
