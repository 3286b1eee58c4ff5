"""What is told of the validation examples."""

from dataclasses import replace

import pytest

from soda.training.model.processes import Processes
from soda.training.objectives.preference import pair_sums
from soda.training.objectives.reference import Reference
from soda.training.run.validation import check_figures
from tests.soda.training.plain import FROZEN, PAIRS, setup_of


def test_figures_are_means_over_the_examples(tmp_path):
    setup = setup_of(tmp_path, validation=PAIRS[:4], health={"answers": 0}, loss={"beta": 0.3})
    found = check_figures(setup, FROZEN, 40)
    now = Reference.compute(setup.policy, PAIRS[:4], Processes(), 1000).of(PAIRS[:4], "cpu")
    frozen = FROZEN.of(PAIRS[:4], "cpu")
    sums = pair_sums(setup.config.loss, now, frozen)
    for key, value in sums.items():
        assert getattr(found, key) == pytest.approx(float(value) / 4, rel=1e-4), key
    assert found.chosen_answer_logp == pytest.approx(float(now.chosen.mean()), rel=1e-4)
    assert found.repetitive is None and found.answer_tokens is None


def test_without_a_reference_the_teacher_s_answers_alone_are_looked_at(tmp_path):
    setup = setup_of(tmp_path, validation=PAIRS[:4], health={"answers": 0})
    found = check_figures(setup, None, 40)
    compared = check_figures(setup, FROZEN, 40)
    assert found.chosen_logp == pytest.approx(compared.chosen_logp, rel=1e-5)
    assert found.chosen_answer_logp == pytest.approx(compared.chosen_answer_logp, rel=1e-5)
    assert found.chosen_reward is None and found.rejected_logp is None
    alone = replace(setup, validation=[pair.first() for pair in PAIRS[:4]])
    assert check_figures(alone, None, 40) == found


@pytest.mark.parametrize("recompute", [False, True])
def test_some_prompts_are_answered_greedily(tmp_path, recompute):
    setup = setup_of(tmp_path, validation=PAIRS, health={"answers": 2, "answer_tokens": 5})
    if recompute:
        setup.policy.recompute_activations()
    found = check_figures(setup, FROZEN, 40)
    assert 1 <= found.answer_tokens <= 5 and found.repetitive == 0
    assert found == check_figures(setup, FROZEN, 40)
    assert setup.policy.model.training == recompute  # as it was before


def test_sigterm_ends_it(tmp_path):
    setup = setup_of(tmp_path, validation=PAIRS)
    setup.interrupt.came = True
    assert check_figures(setup, FROZEN, 40) is None
