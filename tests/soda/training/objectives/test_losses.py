"""The losses, against their formulas by hand."""

import math

import pytest
import torch

from soda.training.objectives.losses import (
    LOSSES,
    Logps,
    dpo_loss,
    dpo_norm_loss,
    ipo_loss,
    simpo_loss,
)

# margins: 2 and -1; a token: -1/2 + 3/4 = 0.25 and -4/2 + 3/1 = 1
POLICY = Logps(*map(torch.tensor, ([-1.0, -4.0], [-3.0, -3.0], [2, 2], [4, 1])))
# margins: 1 and 0; a token: -2/2 + 3/4 = -0.25 and -2/2 + 2/1 = 1
FROZEN = Logps(*map(torch.tensor, ([-2.0, -2.0], [-3.0, -2.0], [2, 2], [4, 1])))


def minus_log_sigmoid(value):
    return math.log(1 + math.exp(-value))


def test_dpo_by_hand():
    expected = [minus_log_sigmoid(0.5 * 1), minus_log_sigmoid(0.5 * -1)]
    assert dpo_loss(POLICY, FROZEN, 0.5).tolist() == pytest.approx(expected)


def test_dpo_norm_by_hand():
    expected = [minus_log_sigmoid(5 * 0.5), minus_log_sigmoid(0)]
    assert dpo_norm_loss(POLICY, FROZEN, 5.0).tolist() == pytest.approx(expected)


def test_ipo_by_hand():
    assert ipo_loss(POLICY, FROZEN, 0.25).tolist() == pytest.approx([(1 - 2) ** 2, (-1 - 2) ** 2])


def test_simpo_by_hand_and_without_the_reference():
    expected = [minus_log_sigmoid(2 * 0.25 - 1), minus_log_sigmoid(2 * 1 - 1)]
    assert simpo_loss(POLICY, FROZEN, 2.0).tolist() == pytest.approx(expected)
    assert torch.equal(simpo_loss(POLICY, POLICY, 2.0), simpo_loss(POLICY, FROZEN, 2.0))


@pytest.mark.parametrize("name", ["dpo", "dpo_norm"])
def test_the_loss_is_ln_2_where_the_policy_is_the_reference(name):
    assert LOSSES[name](POLICY, POLICY, 0.1).tolist() == pytest.approx([math.log(2)] * 2)


@pytest.mark.parametrize("name", LOSSES)
def test_every_loss_falls_where_the_chosen_answer_becomes_likelier(name):
    likelier = Logps(
        POLICY.chosen + 0.1, POLICY.rejected, POLICY.chosen_tokens, POLICY.rejected_tokens
    )
    assert (LOSSES[name](likelier, FROZEN, 0.1) < LOSSES[name](POLICY, FROZEN, 0.1)).all()
