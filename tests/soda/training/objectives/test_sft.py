"""The SFT objective of a step, from log-probabilities of tokens; and its phase."""

import pytest
import torch

from soda.training.model.examples import Example
from soda.training.objectives.sft import sft, sft_phase
from soda.training.run.phase import Start
from tests.soda.training.plain import FROZEN, PAIRS, setup_of

STEP = [Example.of("a", [5, 6], [7, 8, 1]), Example.of("b", [5], [7])]
LOGPS = torch.tensor([-1.0, -2.0, -3.0, -4.0])  # of the tokens, in their order


def test_the_loss_is_the_mean_over_the_tokens_of_a_step_not_of_a_micro_batch():
    objective = sft(STEP)
    first, sums = objective(STEP[:1], LOGPS[:3], torch.tensor([3]))
    second, _ = objective(STEP[1:], LOGPS[3:], torch.tensor([1]))
    assert float(first) == pytest.approx(6 / 4) and float(second) == pytest.approx(4 / 4)
    # the loop divides sums by the number of examples
    found = {key: float(value) for key, value in sums.items()}
    assert found == pytest.approx({"loss": 2 * 6 / 4, "chosen_logp": -2.0})


def test_the_phase_trains_the_policy_on_first_answers(tmp_path):
    setup = setup_of(tmp_path)
    phase = sft_phase(setup, 1e-3, 2)
    assert phase.trainee is setup.policy and phase.learning_rate == 1e-3
    assert phase.watched and not phase.compares
    turn = phase.begin(Start(0, FROZEN, {}, 100))(0, PAIRS[:2])
    assert [one.answers for one in turn.examples] == [one.answers[:1] for one in PAIRS[:2]]
    assert len(phase.largest(PAIRS[0])) == 6
