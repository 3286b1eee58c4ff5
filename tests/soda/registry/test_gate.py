import numpy as np
import pytest

from soda.registry.gate import Change, chance_of_passing, decide_promotion
from soda.statistics.bootstrap import resample
from soda.statistics.intervals import Estimate

WON, LEVEL = Estimate(0.58, 0.53, 0.63), Estimate(0.52, 0.47, 0.57)


def trained(rate, *, seeds, models, prompts=200, seed_spread=0.02):
    """Judge so many models, each of some training seeds, whose true win rate is known."""
    draw = np.random.default_rng(0)
    for number in range(models):
        of_prompts = draw.normal(0, 0.15, (1, prompts))
        of_seeds = draw.normal(0, seed_spread, (seeds, 1)) if seeds > 1 else 0.0
        chance = rate + of_prompts + of_seeds
        drawn = draw.random((seeds, prompts))
        scores = np.where(drawn < chance - 0.1, 1, np.where(drawn < chance + 0.1, 0.5, 0))
        yield resample(scores, samples=400, seed=number, within=(0, 1))


def passes(rates, margin=0.0):
    made = [decide_promotion(rate, {}, margin=margin, allowances={}) for rate in rates]
    return np.mean([not one.reasons for one in made]), np.mean([one.power for one in made])


@pytest.mark.parametrize(("seeds", "margin"), [(1, 0.0), (1, 0.03), (3, 0.0)])
def test_of_a_thousand_models_that_are_no_better_at_most_5_percent_pass(seeds, margin):
    passed, _ = passes(trained(0.5 + margin, seeds=seeds, models=1_000), margin)
    assert passed <= 0.05


@pytest.mark.parametrize("seeds", [1, 3])
def test_the_reported_power_at_5_points_is_how_often_such_a_model_passes(seeds):
    passed, power = passes(trained(0.55, seeds=seeds, models=500, seed_spread=0.0))
    assert passed == pytest.approx(power, abs=0.08)
    assert 0.15 < power < 0.8


def test_a_better_model_that_holds_what_is_guarded_is_the_champion():
    changes = {"exact_match": Change(-0.01, "higher"), "repetitive": Change(0.004, "lower")}
    allowances = {"exact_match": 0.02, "repetitive": 0.005}
    found = decide_promotion(WON, changes, margin=0.02, allowances=allowances)
    assert found.reasons == []


def test_every_reason_against_is_given():
    changes = {"exact_match": Change(-0.05, "higher"), "repetitive": Change(0.02, "lower")}
    allowances = {"exact_match": 0.02, "repetitive": 0.0, "arc.acc": 0.01}
    found = decide_promotion(LEVEL, changes, allowances=allowances)
    assert found.reasons == [
        "win rate: expected a lower end above 0.500, found 0.470",
        "exact_match: expected a fall of at most 0.02, found 0.05",
        "repetitive: expected a fall of at most 0.0, found 0.02",
        "arc.acc: expected a measurement, found none",
    ]


def test_a_lower_end_at_the_margin_is_not_above_it():
    assert decide_promotion(WON, {}, margin=0.03, allowances={}).reasons


def test_more_prompts_have_more_power():
    few, many = Estimate(0.5, 0.40, 0.60), Estimate(0.5, 0.47, 0.53)
    assert chance_of_passing(0.05, few) < 0.2 < 0.8 < chance_of_passing(0.05, many)
    assert chance_of_passing(0.05, Estimate(0.5, 0.5, 0.5)) == 1
