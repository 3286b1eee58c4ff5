"""Win rates and the paper's score, over prompts and training seeds: the truth is known."""

import numpy as np
import pytest

from soda.judging.rates import by_set, relative_scores, win_rates
from soda.judging.verdicts import Reading, Verdict
from tests.fakes.judges import verdict

FEW = {"samples": 200, "seed": 0}


def scored(ours, theirs, name):
    readings = [Reading(first, 0.5, "", [ours, theirs]) for first in ("candidate", "baseline")]
    return Verdict(name, "fake", "scores", readings, [10, 5])


def all_of(score, names):
    return [verdict(score, f"p{n}") for n in names]


def test_of_several_seeds_prompts_count_that_are_clear_in_all():
    first = [*all_of(1.0, range(12)), verdict(None, "p12")]
    second = [*all_of(0.0, range(11)), verdict(None, "p11"), verdict(1.0, "p12")]
    found = win_rates([first, second], **FEW)
    assert found["prompts"] == 11 and found["seeds"] == 2
    assert found["win_rate"] == {"mean": 0.5, "low": 0.0, "high": 1.0}  # two seeds that disagree
    assert win_rates([first], **FEW)["win_rate"] == {"mean": 1.0, "low": 1.0, "high": 1.0}


def test_of_few_prompts_nothing_is_known():
    few = [scored(5, 5, f"p{n}") for n in range(9)]
    assert win_rates([few], **FEW)["win_rate"] == {"mean": None, "low": 0.0, "high": 1.0}
    assert relative_scores([few], **FEW)["mean"] is None
    assert relative_scores([[]], **FEW)["prompts"] == 0


def test_a_score_is_a_mean_of_shares_and_a_difference_is_paired_by_prompt():
    better = [scored(9, 3, f"p{n}") for n in range(12)]
    equal = [scored(1 + n % 9, 1 + n % 9, f"p{n}") for n in range(1, 13)]
    assert relative_scores([better], **FEW)["mean"] == pytest.approx(75)
    found = relative_scores([better], [equal], **FEW)
    assert found["prompts"] == 11 and found["mean"] == pytest.approx(25)
    assert found["low"] == pytest.approx(25) and found["high"] == pytest.approx(25)


def test_verdicts_are_parted_by_the_set_of_their_prompts():
    found = by_set(all_of(1.0, [1, 2]), {"p1": "test", "p2": "vicuna-80", "p3": "dolly-500"})
    assert [(name, len(each)) for name, each in found.items()] == [
        ("test", 1),
        ("vicuna-80", 1),
        ("dolly-500", 0),
    ]


@pytest.mark.parametrize("seeds", [1, 3])
def test_the_intervals_hold_the_truth_of_a_simulated_judge(seeds, trials=300):
    """Each student wins with its own probability; what varies between seeds is known."""
    draw, inside, scores_inside, spread = np.random.default_rng(0), 0, 0, 0.08 * (seeds > 1)
    for trial in range(trials):
        of_students = 0.6 + spread * draw.uniform(-1, 1, (seeds, 1))
        of_prompts = draw.uniform(-0.2, 0.2, (1, 80))
        won = draw.random((seeds, 80)) < of_students + of_prompts
        verdicts = [
            [scored(8 if one else 4, 4, f"p{n}") for n, one in enumerate(each)] for each in won
        ]
        found = relative_scores(verdicts, samples=200, seed=trial)
        truth = 0.6 * 200 / 3 + 0.4 * 50
        scores_inside += found["low"] <= truth <= found["high"]
        rates = [[verdict(float(one), f"p{n}") for n, one in enumerate(each)] for each in won]
        rate = win_rates(rates, samples=100, seed=trial)["win_rate"]
        inside += rate["low"] <= 0.6 <= rate["high"]
    assert inside >= 0.93 * trials and scores_inside >= 0.93 * trials
