"""The losses, against their formulas by hand; and how a recipe names one."""

import math

import pytest
import torch

from soda.config import summary
from soda.errors import ConfigError
from soda.training.config import TrainConfig
from soda.training.objectives.losses import LOSSES, Dpo, DpoNorm, Ipo, Logps, SimPo

# margins: 2 and -1; a token: -1/2 + 3/4 = 0.25 and -4/2 + 3/1 = 1
POLICY = Logps(*map(torch.tensor, ([-1.0, -4.0], [-3.0, -3.0], [2, 2], [4, 1])))
# margins: 1 and 0; a token: -2/2 + 3/4 = -0.25 and -2/2 + 2/1 = 1
FROZEN = Logps(*map(torch.tensor, ([-2.0, -2.0], [-3.0, -2.0], [2, 2], [4, 1])))


def minus_log_sigmoid(value):
    return math.log(1 + math.exp(-value))


def test_dpo_by_hand():
    expected = [minus_log_sigmoid(0.5 * 1), minus_log_sigmoid(0.5 * -1)]
    assert Dpo(beta=0.5)(POLICY, FROZEN).tolist() == pytest.approx(expected)


def test_dpo_norm_by_hand():
    expected = [minus_log_sigmoid(5 * 0.5), minus_log_sigmoid(0)]
    assert DpoNorm()(POLICY, FROZEN).tolist() == pytest.approx(expected)


def test_ipo_by_hand():
    assert Ipo(beta=0.25)(POLICY, FROZEN).tolist() == pytest.approx([(1 - 2) ** 2, (-1 - 2) ** 2])


def test_simpo_by_hand_and_without_the_reference():
    loss = SimPo(beta=2.0, gamma=1.5)
    expected = [minus_log_sigmoid(2 * 0.25 - 1.5), minus_log_sigmoid(2 * 1 - 1.5)]
    assert loss(POLICY, FROZEN).tolist() == pytest.approx(expected)
    assert torch.equal(loss(POLICY, POLICY), loss(POLICY, FROZEN))


@pytest.mark.parametrize("name", ["dpo", "dpo_norm"])
def test_the_loss_is_ln_2_where_the_policy_is_the_reference(name):
    assert LOSSES[name]()(POLICY, POLICY).tolist() == pytest.approx([math.log(2)] * 2)


@pytest.mark.parametrize("name", LOSSES)
def test_every_loss_falls_where_the_chosen_answer_becomes_likelier(name):
    likelier = Logps(
        POLICY.chosen + 0.1, POLICY.rejected, POLICY.chosen_tokens, POLICY.rejected_tokens
    )
    loss = LOSSES[name](beta=0.1)
    assert (loss(likelier, FROZEN) < loss(POLICY, FROZEN)).all()


def test_rewards_are_beta_times_the_growth():
    chosen, rejected = Dpo(beta=0.5).rewards(POLICY, FROZEN)
    assert (chosen.tolist(), rejected.tolist()) == ([0.5, -1.0], [0.0, -0.5])


@pytest.mark.parametrize("loss", [DpoNorm(beta=0.5), SimPo(beta=0.5)])
def test_rewards_of_normalised_losses_are_of_a_token(loss):
    chosen, rejected = loss.rewards(POLICY, FROZEN)
    assert (chosen.tolist(), rejected.tolist()) == ([0.25, -0.5], [0.0, -0.5])


def of(loss):
    return TrainConfig.parse({"loss": loss}).loss


def test_a_recipe_names_a_loss_and_sets_its_own_parameters():
    assert of("ipo") == Ipo()
    assert of({"beta": 0.3}) == Dpo(beta=0.3)
    assert of({"name": "simpo", "gamma": 0.7}) == SimPo(gamma=0.7)
    assert TrainConfig.parse({}).loss == Dpo()
    config = TrainConfig.parse({"loss": "simpo"})
    assert config.deciding()["loss"] == {"name": "simpo", "beta": 2.0, "gamma": 1.0}


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        ("dpo_nrm", "train.loss: unknown loss 'dpo_nrm'; did you mean 'dpo_norm'?"),
        ({"name": "kto"}, "train.loss: unknown loss 'kto'; known: dpo, dpo_norm, ipo, simpo"),
        ({"name": "simpo", "gama": 1}, "loss.simpo.gama: unknown key; did you mean 'gamma'?"),
        ({"gamma": 1}, "loss.dpo.gamma: unknown key; known: beta, name"),
        ({"beta": 0}, "loss.dpo.beta: expected more than 0, found 0"),
    ],
)
def test_another_loss_or_parameter_is_refused_in_one_line(loss, message):
    with pytest.raises(ConfigError) as refused:
        of(loss)
    assert message in str(refused.value)


@pytest.mark.parametrize("name", LOSSES)
def test_every_loss_says_what_it_is_and_where_it_is_from(name):
    assert "arXiv" in summary(LOSSES[name])
