"""Log-probabilities of the frozen model: computed once, kept, and handed to the losses."""

import pytest
import torch

from soda.training.model.examples import Example
from soda.training.model.processes import Processes
from soda.training.objectives.reference import Reference, logps_of_answers
from tests.soda.training.plain import PAIRS, plain_logps, policy_of, tiny


@pytest.fixture(scope="module")
def policy():
    return policy_of(tiny("llama"))


@pytest.fixture(scope="module")
def expected():
    return plain_logps(tiny("llama"), PAIRS).view(-1, 2)


@pytest.mark.parametrize("micro_batch_tokens", [1, 30, 1000])
def test_logps_are_the_models_however_they_are_batched(policy, expected, micro_batch_tokens):
    reference = Reference.compute(policy, PAIRS, Processes(), micro_batch_tokens)
    logps = reference.of(PAIRS, "cpu")
    torch.testing.assert_close(logps.chosen, expected[:, 0], rtol=1e-5, atol=1e-4)
    torch.testing.assert_close(logps.rejected, expected[:, 1], rtol=1e-5, atol=1e-4)


def test_lengths_are_of_answers_and_never_0(policy):
    logps = Reference.compute(policy, PAIRS, Processes(), 1000).of(PAIRS[3:5], "cpu")
    assert logps.chosen_tokens.tolist() == [1, 2]
    assert logps.rejected_tokens.tolist() == [6, 1]  # the second is empty


def test_they_outlive_a_run_bit_for_bit(policy):
    reference = Reference.compute(policy, PAIRS, Processes(), 1000)
    again = Reference.from_bytes(reference.to_bytes(PAIRS), PAIRS)
    some = [PAIRS[4], PAIRS[0]]
    assert torch.equal(again.of(some, "cpu").chosen, reference.of(some, "cpu").chosen)
    assert torch.equal(again.of(some, "cpu").rejected, reference.of(some, "cpu").rejected)
    with pytest.raises(ValueError):
        Reference.from_bytes(reference.to_bytes(PAIRS), PAIRS[:-1])


def test_no_pairs_are_no_work(policy):
    reference = Reference.compute(policy, [], Processes(), 1000)
    assert Reference.from_bytes(reference.to_bytes([]), []).to_bytes([]) == reference.to_bytes([])


def test_examples_have_any_number_of_answers_and_are_counted(policy, expected):
    three = Example("three", PAIRS[0].prompt, (*PAIRS[0].answers, PAIRS[0].answers[0]))
    counted = []
    found = dict(logps_of_answers(policy, [three, *PAIRS[1:]], Processes(), 40, counted.append))
    assert found.keys() == {"three", *(pair.id for pair in PAIRS[1:])}
    assert found["three"] == pytest.approx([*expected[0].tolist(), float(expected[0, 0])], abs=1e-4)
    assert found["long prompt"] == pytest.approx(expected[2].tolist(), abs=1e-4)
    assert sum(counted) == len(PAIRS)
