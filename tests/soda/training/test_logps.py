"""Log-probabilities and losses, against a plain float32 version written out in full."""

import math

import pytest
import torch

from soda.training.batch import Layout, Row, TokenPair, collate
from soda.training.logps import Logps, answer_logps, pair_logps
from soda.training.losses import dpo_loss, ipo_loss
from tests.fakes.student import save_student

PAIRS = [  # token 1 is both pad and end of turn, as in SmolLM2
    TokenPair("a", [5, 6, 7], [9, 10, 1], [11, 12, 13, 14]),
    TokenPair("b", [5, 6, 7, 8, 20, 21], [30, 1], [31, 32, 33, 1]),
    TokenPair("c", [40], [41, 42, 43, 44, 45, 1], [1]),
]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    from transformers import AutoModelForCausalLM

    folder = save_student(tmp_path_factory.mktemp("student"))
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()


def plain_logp(model, prompt, answer):
    """One row, no padding, the whole softmax."""
    logps = model(torch.tensor([prompt + answer])).logits[0].log_softmax(-1)
    places = range(len(prompt) - 1, len(prompt) + len(answer) - 1)
    return sum(logps[place, token] for place, token in zip(places, answer, strict=True))


@pytest.mark.parametrize("share", [True, False])
def test_padded_batches_give_the_plain_log_probabilities(model, share):
    found = pair_logps(model, PAIRS, Layout(1, "cpu", share))
    for side in ("chosen", "rejected"):
        expected = torch.stack([plain_logp(model, p.prompt, getattr(p, side)) for p in PAIRS])
        torch.testing.assert_close(getattr(found, side), expected, rtol=1e-5, atol=1e-5)


def test_an_end_of_turn_that_equals_the_padding_counts(model):
    layout = Layout(1, "cpu", False)
    rows = [Row([5, 6], ([9, 1],)), Row([5, 6], ([9],)), Row([5, 6, 7, 8, 9], ([9, 9, 9],))]
    with_end, without, _ = answer_logps(model, collate(rows, layout))[:, 0]
    end = plain_logp(model, [5, 6, 9], [1])
    torch.testing.assert_close(with_end - without, end, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("share", [True, False])
def test_dpo_loss_and_gradients_equal_plain_float32(model, share):
    beta = 0.1
    reference = Logps(torch.tensor([-20.0, -11.0, -30.0]), torch.tensor([-21.0, -15.0, -7.0]))
    model.zero_grad()
    dpo_loss(pair_logps(model, PAIRS, Layout(1, "cpu", share)), reference, beta).mean().backward()
    ours = {name: weight.grad.clone() for name, weight in model.named_parameters()}

    model.zero_grad()
    losses = []
    for row, pair in enumerate(PAIRS):
        policy = plain_logp(model, pair.prompt, pair.chosen)
        policy = policy - plain_logp(model, pair.prompt, pair.rejected)
        margin = policy - (reference.chosen[row] - reference.rejected[row])
        losses.append(-torch.log(1 / (1 + torch.exp(-beta * margin))))
    torch.stack(losses).mean().backward()
    for name, weight in model.named_parameters():
        error = (ours[name] - weight.grad).norm() / weight.grad.norm()
        assert error < 1e-4, name


def test_losses_by_hand():
    policy = Logps(torch.tensor([-1.0, -4.0]), torch.tensor([-3.0, -3.0]))
    reference = Logps(torch.tensor([-2.0, -2.0]), torch.tensor([-2.0, -2.0]))
    # margins: 2 - 0 and -1 - 0
    expected = [math.log(1 + math.exp(-0.5 * 2)), math.log(1 + math.exp(0.5))]
    assert dpo_loss(policy, reference, 0.5).tolist() == pytest.approx(expected)
    assert ipo_loss(policy, reference, 0.5).tolist() == pytest.approx([1.0, 4.0])


def test_the_loss_is_ln_2_where_the_policy_is_the_reference():
    logps = Logps(torch.tensor([-5.0, -1.0]), torch.tensor([-2.0, -9.0]))
    assert dpo_loss(logps, logps, 0.1).tolist() == pytest.approx([math.log(2)] * 2)
