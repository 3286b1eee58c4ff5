"""The fused head, beside the whole log-softmax and autograd."""

import pytest
import torch

from soda.training.model import head
from soda.training.model.head import answer_logps, fused_logps, fused_loss, token_logps
from soda.training.model.micro_batch import pack
from tests.soda.training.plain import PAIRS, VOCABULARY, dpo

BATCH = pack(PAIRS, 64)


@pytest.fixture(params=["one chunk", "a chunk an example", "a few examples"])
def chunks(request, monkeypatch):
    size = {"one chunk": 2**20, "a chunk an example": 1, "a few examples": 12 * 4 * VOCABULARY}
    monkeypatch.setitem(head._CHUNK_BYTES, "cpu", size[request.param])


def states():
    torch.manual_seed(0)
    hidden_NE = torch.randn(len(BATCH.target_N), 16, requires_grad=True)
    weight_VE = torch.randn(VOCABULARY, 16, requires_grad=True)
    return hidden_NE, weight_VE


def plain(hidden_NE, weight_VE):
    logps_NV = (hidden_NE @ weight_VE.t()).log_softmax(-1)
    return logps_NV[torch.arange(len(BATCH.target_N)), BATCH.target_N]


def test_log_probabilities_of_targets(chunks):
    hidden_NE, weight_VE = states()
    expected = plain(hidden_NE, weight_VE)
    found = fused_logps(hidden_NE, weight_VE, BATCH)
    torch.testing.assert_close(found, expected.detach(), rtol=1e-5, atol=1e-5)
    logits_NV = hidden_NE @ weight_VE.t()
    torch.testing.assert_close(token_logps(logits_NV, BATCH.target_N), expected)


def test_loss_sums_and_gradients(chunks):
    expected_states, found_states = states(), states()
    objective = dpo(PAIRS)
    loss, sums = objective(PAIRS, plain(*expected_states), BATCH.lengths_A)
    (3 * loss).backward()
    found, found_sums = fused_loss(*found_states, BATCH, objective)
    (3 * found).backward()  # as the loop scales it by the number of processes
    torch.testing.assert_close(found, loss)
    torch.testing.assert_close(found_sums, {key: value.detach() for key, value in sums.items()})
    for one, other in zip(found_states, expected_states, strict=True):
        torch.testing.assert_close(one.grad, other.grad, rtol=1e-5, atol=1e-6)


def test_a_frozen_head_gets_no_gradient(chunks):
    hidden_NE, weight_VE = states()
    loss, _ = fused_loss(hidden_NE, weight_VE.detach(), BATCH, dpo(PAIRS))
    loss.backward()
    expected_NE, expected_VE = states()
    dpo(PAIRS)(PAIRS, plain(expected_NE, expected_VE), BATCH.lengths_A)[0].backward()
    torch.testing.assert_close(hidden_NE.grad, expected_NE.grad, rtol=1e-5, atol=1e-6)
    assert weight_VE.grad is None


def test_bf16_weights_give_float32_log_probabilities():
    hidden_NE, weight_VE = (x.detach().bfloat16() for x in states())
    found = fused_logps(hidden_NE, weight_VE, BATCH)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, plain(hidden_NE.float(), weight_VE.float()))


def test_answers_are_summed_by_their_lengths():
    logps_N = torch.tensor([1.0, 2.0, 3.0, 4.0], requires_grad=True)
    summed = answer_logps(logps_N, torch.tensor([0, 3, 1, 0]))
    assert summed.tolist() == [0, 6, 4, 0]
    (summed * torch.tensor([5.0, 6.0, 7.0, 8.0])).sum().backward()
    assert logps_N.grad.tolist() == [6, 6, 6, 7]
