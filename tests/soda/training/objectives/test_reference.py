"""Log-probabilities of the frozen model: computed once, kept, and handed to the losses."""

import pytest
import torch

from soda.artifacts.intermediate import Intermediate
from soda.storage import Place
from soda.training.model.examples import Example
from soda.training.model.processes import Processes
from soda.training.objectives import reference
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
    logps = Reference.compute(policy, PAIRS, Processes(), micro_batch_tokens).of(PAIRS, "cpu")
    torch.testing.assert_close(logps.chosen, expected[:, 0], rtol=1e-5, atol=1e-4)
    torch.testing.assert_close(logps.rejected, expected[:, 1], rtol=1e-5, atol=1e-4)


def test_lengths_are_of_answers_and_never_0(policy):
    logps = Reference.compute(policy, PAIRS, Processes(), 1000).of(PAIRS[3:5], "cpu")
    assert logps.chosen_tokens.tolist() == [1, 2]
    assert logps.rejected_tokens.tolist() == [6, 1]  # the second is empty


def test_they_outlive_a_run_bit_for_bit(policy, tmp_path):
    kept = Intermediate(Place.of(tmp_path))
    first = Reference.compute(policy, PAIRS, Processes(), 1000, kept)
    again = Reference.compute(None, PAIRS, Processes(), 1000, kept)  # no model is needed
    some = [PAIRS[4], PAIRS[0]]
    assert torch.equal(again.of(some, "cpu").chosen, first.of(some, "cpu").chosen)
    assert torch.equal(again.of(some, "cpu").rejected, first.of(some, "cpu").rejected)


def test_other_examples_are_other_parts(policy, tmp_path):
    kept = Intermediate(Place.of(tmp_path))
    Reference.compute(policy, PAIRS[:3], Processes(), 1000, kept)
    whole = Reference.compute(policy, PAIRS, Processes(), 1000, kept)
    assert whole.of(PAIRS, "cpu").chosen.shape == (6,)


def test_a_pass_that_was_killed_goes_on_after_its_last_part(policy, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(reference, "_WINDOW", 2)

    class KilledError(Exception):
        pass

    class Counting:
        """A policy that dies after some micro-batches."""

        def __init__(self, most):
            self.most, self.ids = most, []

        def answer_logps(self, examples):
            if len(self.ids) == self.most:
                raise KilledError
            self.ids += [one.id for one in examples]
            return policy.answer_logps(examples)

    kept = Intermediate(Place.of(tmp_path))
    with pytest.raises(KilledError):
        Reference.compute(Counting(4), PAIRS, Processes(), 1000, kept)
    second = Counting(10)
    found = Reference.compute(second, PAIRS, Processes(), 1000, kept)
    assert set(second.ids) == {one.id for one in sorted(PAIRS, key=len)[4:]}
    assert "4 reference log-probabilities are of an earlier run" in capsys.readouterr().err
    undisturbed = Reference.compute(policy, PAIRS, Processes(), 1000)
    assert torch.equal(found.of(PAIRS, "cpu").margin, undisturbed.of(PAIRS, "cpu").margin)


def test_no_pairs_are_no_work():
    Reference.compute(None, [], Processes(), 1000)


def test_examples_have_any_number_of_answers(policy, expected):
    three = Example("three", PAIRS[0].prompt, (*PAIRS[0].answers, PAIRS[0].answers[0]))
    found = dict(logps_of_answers(policy, [three, *PAIRS[1:]], Processes(), 40))
    assert found.keys() == {"three", *(pair.id for pair in PAIRS[1:])}
    assert found["three"] == pytest.approx([*expected[0].tolist(), float(expected[0, 0])], abs=1e-4)
    assert found["long prompt"] == pytest.approx(expected[2].tolist(), abs=1e-4)
