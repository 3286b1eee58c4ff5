"""The objectives of a step, from log-probabilities of tokens."""

import math

import pytest
import torch

from soda.training.model.examples import Example
from soda.training.objectives.losses import LOSSES, dpo_loss
from soda.training.objectives.objectives import pair_logps, preference, sft, watch
from soda.training.objectives.reference import Reference

STEP = [
    Example.of("a", [5, 6], [7, 8, 1], [9, 1]),
    Example.of("b", [5], [7], []),
]
LOGPS = torch.tensor([-1.0, -2.0, -3.0, -0.5, -1.5, -4.0])  # of the tokens, in their order
LENGTHS = torch.tensor([3, 2, 1, 0])
FROZEN = Reference({"a": [-5.0, -4.0], "b": [-4.0, 0.0]})


def values(sums):
    return {key: float(value) for key, value in sums.items()}


def test_answers_of_any_length_are_summed_and_an_empty_one_is_certain():
    logps = pair_logps(LOGPS, LENGTHS)
    assert logps.chosen.tolist() == [-6.0, -4.0] and logps.rejected.tolist() == [-2.0, 0.0]
    assert logps.chosen_tokens.tolist() == [3, 1]
    assert logps.rejected_tokens.tolist() == [2, 1]  # not 0: means stay finite


def test_sft_is_the_mean_over_the_tokens_of_a_step_not_of_a_batch():
    step = [pair.first() for pair in STEP]
    objective = sft(step)
    first, sums = objective(step[:1], LOGPS[:3], LENGTHS[[0]])
    second, _ = objective(step[1:], LOGPS[5:], LENGTHS[[2]])
    assert float(first) == pytest.approx(6 / 4) and float(second) == pytest.approx(4 / 4)
    # the loop divides sums by the number of examples
    assert values(sums) == pytest.approx({"loss": 2 * 6 / 4, "chosen_logp": -2.0})


def test_preference_is_the_mean_over_the_pairs_of_a_step():
    objective = preference(dpo_loss, 0.5, FROZEN)(STEP)
    loss, sums = objective(STEP, LOGPS, LENGTHS)
    # growth of the margins: (-6 + 2) - (-5 + 4) = -3 and (-4 - 0) - (-4 - 0) = 0
    losses = [math.log(1 + math.exp(1.5)), math.log(2)]
    assert float(loss) == pytest.approx(sum(losses) / 2)
    assert float(sums["loss"]) == pytest.approx(sum(losses))
    assert float(sums["loss_of_reference"]) == pytest.approx(2 * math.log(2))
    parts = [
        objective(STEP[:1], LOGPS[:5], LENGTHS[:2])[0],
        objective(STEP[1:], LOGPS[5:], LENGTHS[2:])[0],
    ]
    assert float(sum(parts)) == pytest.approx(float(loss))


@pytest.mark.parametrize("name", LOSSES)
def test_the_sft_term_is_weighted_and_on_chosen_tokens_only(name):
    without, _ = preference(LOSSES[name], 0.5, FROZEN)(STEP)(STEP, LOGPS, LENGTHS)
    added, sums = preference(LOSSES[name], 0.5, FROZEN, sft_weight=0.3)(STEP)(STEP, LOGPS, LENGTHS)
    assert float(added - without) == pytest.approx(0.3 * (6 + 4) / 4)
    assert float(sums["loss"]) == pytest.approx(2 * float(without))  # health compares it with ln 2


def test_an_empty_answer_gives_finite_slopes():
    leaf = LOGPS.clone().requires_grad_()
    loss, _ = preference(LOSSES["dpo_norm"], 0.5, FROZEN)(STEP)(STEP, leaf, LENGTHS)
    (slope,) = torch.autograd.grad(loss, leaf)
    assert slope.isfinite().all() and (slope[[0, 1, 2, 5]] < 0).all() and (slope[3:5] > 0).all()


def test_rewards_are_beta_times_the_growth():
    found = values(watch(pair_logps(LOGPS, LENGTHS), FROZEN.of(STEP, "cpu"), 0.5))
    assert found == pytest.approx(
        {
            "chosen_reward": 0.5 * (-1 + 0),
            "rejected_reward": 0.5 * (2 + 0),
            "margin": 0.5 * -3,
            "accuracy": 0.0,  # equal rewards are not told apart
            "chosen_logp": -6 / 3 - 4,
            "rejected_logp": -2 / 2 - 0,
        }
    )
    likelier = torch.cat([LOGPS[:5], LOGPS[5:] + 0.1])
    assert values(watch(pair_logps(likelier, LENGTHS), FROZEN.of(STEP, "cpu"), 0.5))[
        "accuracy"
    ] == pytest.approx(1.0)
