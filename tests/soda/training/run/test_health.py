"""Every sign of trouble: where it is seen, where it is not, and what is done about it."""

import math
from dataclasses import replace

import pytest
from pydantic import ValidationError

from soda.training.run.health import Health, Sign, signs_in_check, signs_in_step
from soda.training.run.metrics import CheckFigures, StepFigures

STEP = StepFigures(
    loss=0.6931,
    gradient_norm=3.0,
    learning_rate=1e-3,
    means={"loss_of_reference": 0.6931, "accuracy": 0.5},
)
CHECK = CheckFigures(
    chosen_logp=-1.5,
    chosen_answer_logp=-30.0,
    chosen_reward=0.1,
    repetitive=0.25,
    answer_tokens=40.0,
)


def step_with(figures):
    means = {key: value for key, value in figures.items() if key == "accuracy"}
    others = {key: value for key, value in figures.items() if key != "accuracy"}
    return replace(STEP, **others, means={**STEP.means, **means})


STEP_SIGNS = {  # sign -> what is seen, at which step of 100, and what it says
    "first_loss": [
        ({"loss": 0.72}, 0, "expected a first loss of 0.6931, found 0.7200"),
        ({"loss": 0.67}, 0, "expected a first loss of 0.6931, found 0.6700"),
    ],
    "not_finite": [
        ({"loss": math.nan}, 0, "expected finite numbers, found loss nan"),
        ({"gradient_norm": math.inf}, 50, "gradient norm inf"),
    ],
    "accuracy": [
        ({"accuracy": 1.0}, 1, "every pair of step 2 of 100 is told apart already"),
        ({"accuracy": 1.0}, 4, "every pair of step 5 of 100"),
    ],
}
CHECK_SIGNS = {
    "chosen_reward": ({"chosen_reward": -0.051}, "the validation chosen reward fell to -0.051"),
    "chosen_logp": ({"chosen_answer_logp": -40.1}, "a chosen answer fell by 10.1 nats"),
    "repetitive": ({"repetitive": 0.75}, "75% of sampled answers repeat, 25% did at the start"),
    "length": ({"answer_tokens": 81.0}, "sampled answers grew from 40 to 81 tokens"),
}
STOPPING = {"first_loss", "not_finite", "chosen_reward"}
step_signs = pytest.mark.parametrize(
    ("sign", "figures", "step", "text"),
    [(sign, *seen) for sign, cases in STEP_SIGNS.items() for seen in cases],
)
check_signs = pytest.mark.parametrize(
    ("sign", "figures", "text"), [(sign, *seen) for sign, seen in CHECK_SIGNS.items()]
)


def test_a_healthy_run_shows_no_sign():
    for step in (0, 1, 50):
        assert signs_in_step(Health(), STEP, step, 100) == []
    assert signs_in_check(Health(), CHECK, CHECK) == []


@step_signs
def test_signs_in_a_step(sign, figures, step, text):
    (found,) = signs_in_step(Health(), step_with(figures), step, 100)
    assert text in found.text and found.stop == (sign in STOPPING)


@check_signs
def test_signs_on_validation(sign, figures, text):
    (found,) = signs_in_check(Health(), replace(CHECK, **figures), CHECK)
    assert text in found.text and found.stop == (sign in STOPPING)


@step_signs
def test_a_recipe_says_what_a_sign_in_a_step_does(sign, figures, step, text):
    figures = step_with(figures)
    for action, stops in (("stop", [True]), ("warn", [False]), ("off", [])):
        found = signs_in_step(Health(**{sign: action}), figures, step, 100)
        assert [one.stop for one in found] == stops


@check_signs
def test_a_recipe_says_what_a_sign_on_validation_does(sign, figures, text):
    figures = replace(CHECK, **figures)
    for action, stops in (("stop", [True]), ("warn", [False]), ("off", [])):
        found = signs_in_check(Health(**{sign: action}), figures, CHECK)
        assert [one.stop for one in found] == stops


@pytest.mark.parametrize(
    ("figures", "step"),
    [
        ({"loss": 0.70}, 0),  # bf16's rounding
        ({"loss": 0.2}, 1),  # it has learned
        ({"accuracy": 1.0}, 0),  # before any step: chance
        ({"accuracy": 1.0}, 5),  # a twentieth of the steps is done
        ({"accuracy": 0.99}, 1),
    ],
)
def test_what_is_no_sign_in_a_step(figures, step):
    assert signs_in_step(Health(), step_with(figures), step, 100) == []


def test_sft_has_no_first_loss_to_expect():
    assert signs_in_step(Health(), StepFigures(4.0, 1.0, 1e-3), 0, 100) == []


@pytest.mark.parametrize(
    "figures",
    [
        {"chosen_reward": -0.05},
        {"chosen_answer_logp": -40.0},
        {"repetitive": 0.5},
        {"answer_tokens": 80.0},
    ],
)
def test_what_is_no_sign_on_validation(figures):
    assert signs_in_check(Health(), replace(CHECK, **figures), CHECK) == []


def test_limits_are_the_recipes():
    health = Health(
        chosen_reward_floor=-1, chosen_logp_fall=20, repetitive_rise=0.9, length_growth=9
    )
    worse = replace(
        CHECK, chosen_reward=-0.9, chosen_answer_logp=-49.0, repetitive=1.0, answer_tokens=300.0
    )
    assert signs_in_check(health, worse, CHECK) == []
    assert len(signs_in_check(Health(), worse, CHECK)) == 4


def test_without_sampled_answers_only_probabilities_are_looked_at():
    figures = CheckFigures(chosen_logp=-1.5, chosen_answer_logp=-30.0, chosen_reward=-1.0)
    (found,) = signs_in_check(Health(), figures, figures)
    assert found == Sign(True, "the validation chosen reward fell to -1.000, below -0.05")


def test_without_rewards_the_likelihood_is_looked_at():
    before = CheckFigures(chosen_logp=-1.5, chosen_answer_logp=-30.0)
    assert signs_in_check(Health(), before, before) == []
    (found,) = signs_in_check(Health(), replace(before, chosen_answer_logp=-41.0), before)
    assert "fell by 11.0 nats" in found.text and not found.stop


def test_a_likelihood_that_is_no_number_stops():
    broken = replace(CHECK, chosen_answer_logp=math.nan)
    (found,) = signs_in_check(Health(), broken, CHECK)
    assert found == Sign(True, "expected a finite validation log-probability, found nan")


def test_a_misspelt_sign_is_refused():
    with pytest.raises(ValidationError, match="chosen_rewards"):
        Health(chosen_rewards="stop")
