"""Answers that the policy samples to be trained on."""

import pytest

from soda.training.objectives.rollouts import draw_rollouts
from tests.soda.training.plain import PAIRS, policy_of, setup_of, tiny


@pytest.fixture(params=["llama", "gpt2"])  # the packed path, and the plain one
def setup(request, tmp_path):
    values = {"method": "gad", "adversarial": {"max_new_tokens": 4}}
    return setup_of(tmp_path, policy_of(tiny(request.param)), **values)


def ids(rollouts):
    return [[answer.tolist() for answer in one.answers] for one in rollouts]


def test_they_are_some_a_prompt_and_the_same_for_the_same_step(setup):
    drawn = draw_rollouts(setup, PAIRS[:2], 0, range(3))
    assert [one.id for one in drawn] == [one.id for one in PAIRS[:2]]
    assert [one.prompt.tolist() for one in drawn] == [one.prompt.tolist() for one in PAIRS[:2]]
    assert all(len(answers) == 3 for answers in ids(drawn))
    assert all(1 <= len(answer) <= 4 for answers in ids(drawn) for answer in answers)
    assert ids(draw_rollouts(setup, PAIRS[:2], 0, range(3))) == ids(drawn)


def test_another_step_or_number_draws_others(setup):
    drawn = ids(draw_rollouts(setup, PAIRS[:2], 0, range(3)))
    assert ids(draw_rollouts(setup, PAIRS[:2], 1, range(3))) != drawn
    assert ids(draw_rollouts(setup, PAIRS[:2], 0, range(3, 6))) != drawn


def test_sigterm_ends_it(setup):
    setup.interrupt.came = True
    assert draw_rollouts(setup, PAIRS, 0, range(3)) is None
