"""Which examples a step sees, and at which rate it learns."""

from itertools import chain, pairwise

import pytest

from soda.training.run.schedule import learning_rate, step_plan


def test_every_epoch_sees_every_pair_once_in_an_order_of_its_own():
    plan = step_plan(10, batch_size=4, epochs=2, seed=1)
    assert [len(step) for step in plan] == [4, 4, 2, 4, 4, 2]
    first, second = [*chain(*plan[:3])], [*chain(*plan[3:])]
    assert sorted(first) == sorted(second) == list(range(10)) and first != second
    assert plan == step_plan(10, batch_size=4, epochs=2, seed=1)
    assert plan != step_plan(10, batch_size=4, epochs=2, seed=2)


def test_the_rate_rises_to_its_peak_and_falls_as_a_cosine():
    rates = [learning_rate(step, 20, 1.0, 0.1) for step in range(20)]
    assert rates[:3] == pytest.approx([0.5, 1.0, 1.0])
    assert rates[11] == pytest.approx(0.5)
    assert all(one >= other for one, other in pairwise(rates[2:]))
    assert 0 < rates[-1] < 0.01
    assert learning_rate(0, 1, 1.0, 0.0) == 1.0
    assert [learning_rate(step, 4, 1.0, 1.0) for step in range(4)] == [0.25, 0.5, 0.75, 1.0]
