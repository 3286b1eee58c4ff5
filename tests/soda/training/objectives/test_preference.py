"""The preference objective of a step, from log-probabilities of tokens."""

import math

import pytest
import torch

from soda.training.model.examples import Example
from soda.training.objectives.losses import LOSSES, Dpo, DpoNorm, Ipo
from soda.training.objectives.preference import (
    pair_logps,
    pair_sums,
    preference,
    preference_phase,
)
from soda.training.objectives.reference import Reference
from soda.training.run.phase import Start
from tests.soda.training.plain import FROZEN as REFERENCE
from tests.soda.training.plain import PAIRS, setup_of

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


def test_preference_is_the_mean_over_the_pairs_of_a_step():
    objective = preference(Dpo(beta=0.5), FROZEN)(STEP)
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
    loss = LOSSES[name](beta=0.5)
    without, _ = preference(loss, FROZEN)(STEP)(STEP, LOGPS, LENGTHS)
    added, sums = preference(loss, FROZEN, sft_weight=0.3)(STEP)(STEP, LOGPS, LENGTHS)
    assert float(added - without) == pytest.approx(0.3 * (6 + 4) / 4)
    assert float(sums["loss"]) == pytest.approx(2 * float(without))  # health compares it with ln 2


def test_an_empty_answer_gives_finite_slopes():
    leaf = LOGPS.clone().requires_grad_()
    loss, _ = preference(DpoNorm(beta=0.5), FROZEN)(STEP)(STEP, leaf, LENGTHS)
    (slope,) = torch.autograd.grad(loss, leaf)
    assert slope.isfinite().all() and (slope[[0, 1, 2, 5]] < 0).all() and (slope[3:5] > 0).all()


def test_rewards_are_beta_times_the_growth():
    found = values(pair_sums(Dpo(beta=0.5), pair_logps(LOGPS, LENGTHS), FROZEN.of(STEP, "cpu")))
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
    likelier = pair_logps(torch.cat([LOGPS[:5], LOGPS[5:] + 0.1]), LENGTHS)
    found = values(pair_sums(Dpo(beta=0.5), likelier, FROZEN.of(STEP, "cpu")))
    assert found["accuracy"] == 1.0


def test_the_phase_trains_on_pairs_by_the_loss_of_the_config(tmp_path):
    setup = setup_of(tmp_path, loss={"name": "ipo", "beta": 0.2}, sft_weight=0.5)
    phase = preference_phase(setup, 1e-3, 2)
    assert phase.name == "ipo" and phase.trainee is setup.policy
    assert phase.compares and phase.watched
    turn = phase.begin(Start(0, REFERENCE, {}, 100))(0, PAIRS[:2])
    assert turn.examples == PAIRS[:2]
    batch = setup.policy.micro_batch(turn.examples)
    expected = preference(Ipo(beta=0.2), REFERENCE, 0.5)(PAIRS[:2])
    found, hoped = (
        setup.policy(batch, objective)[0].detach() for objective in (turn.objective, expected)
    )
    torch.testing.assert_close(found, hoped)
