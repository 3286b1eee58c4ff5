"""Plans, rates and metrics of the loop."""

import json
from itertools import chain, pairwise

import pytest

from soda.training.checkpoint import Position
from soda.training.loop import Metrics, learning_rate, step_plan


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


def test_metrics_after_the_checkpoint_are_cut_when_a_run_resumes(tmp_path):
    path = tmp_path / "metrics.jsonl"
    first = Metrics(path, None)
    for step in (1, 2, 3):
        first.write(Position(0, step), "dpo", {"loss": step})
    path.write_text(path.read_text() + '{"phase": 0, "st')  # torn by a crash
    Metrics(path, Position(0, 2)).write(Position(0, 3), "dpo", {"loss": 30})
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [line["loss"] for line in lines] == [1, 2, 30]
