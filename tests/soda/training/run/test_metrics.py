"""The file of figures."""

import json
import math

import pytest
import torch

from soda.training.run.metrics import (
    CheckFigures,
    Metrics,
    Row,
    StepFigures,
    peak_memory_gib,
    read_rows,
)
from soda.training.run.position import Position


def step(number, loss, phase=0, **means):
    return Row(Position(phase, number), "dpo", StepFigures(loss, 2.0, 1e-3, means))


def check(number, reward, phase=0, **others):
    return Row(
        Position(phase, number), "dpo", CheckFigures(-1.5, -20.0, chosen_reward=reward, **others)
    )


def test_a_line_for_each_step_and_check(tmp_path):
    metrics = Metrics(tmp_path / "logs" / "metrics.jsonl")
    metrics.write(check(0, 0.0, margin=0.25))
    metrics.write(step(1, 0.5, accuracy=0.75))
    first, second = (json.loads(line) for line in metrics.read().splitlines())
    assert first == {
        "phase": 0, "step": 0, "name": "dpo", "kind": "check",
        "chosen_logp": -1.5, "chosen_answer_logp": -20.0, "chosen_reward": 0.0, "margin": 0.25,
    }  # fmt: skip
    assert second == {
        "phase": 0, "step": 1, "name": "dpo", "kind": "step", "accuracy": 0.75, "loss": 0.5,
        "gradient_norm": 2.0, "learning_rate": 1e-3,
        "seconds": 0.0, "tokens_per_second": 0.0, "peak_memory_gib": 0.0,
    }  # fmt: skip


def test_rows_are_read_as_they_were_written(tmp_path):
    rows = [check(0, 0.5, repetitive=0.25, answer_tokens=7.0), step(1, 0.5, kl=0.1), step(2, 0.25)]
    metrics = Metrics(tmp_path / "metrics.jsonl")
    for row in rows:
        metrics.write(row)
    assert list(read_rows(metrics.read())) == rows
    metrics.write(step(3, math.nan))
    assert math.isnan([*read_rows(metrics.read())][-1].figures.loss)


def test_a_resumed_run_begins_with_what_its_checkpoint_had(tmp_path):
    path = tmp_path / "metrics.jsonl"
    first = Metrics(path)
    first.write(step(1, 1.0))
    kept = first.read()
    first.write(step(2, 2.0))
    path.write_text(path.read_text() + '{"phase": 0, "st')  # torn by a crash
    Metrics(path, kept).write(step(2, 20.0))
    assert [row.figures.loss for row in read_rows(path.read_bytes())] == [1.0, 20.0]


def test_the_checks_of_a_phase_by_step(tmp_path):
    metrics = Metrics(tmp_path / "metrics.jsonl")
    assert metrics.checks(0) == {}
    for phase, number, reward in [(0, 0, 1), (0, 5, 2), (1, 0, 3), (1, 5, 4)]:
        metrics.write(check(number, reward, phase))
        metrics.write(step(number + 1, 0.5, phase))
    for again in (metrics, Metrics(tmp_path / "again.jsonl", metrics.read())):
        found = again.checks(1)
        assert {at.step: one.chosen_reward for at, one in found.items()} == {0: 3, 5: 4}


@pytest.mark.skipif(torch.cuda.is_available(), reason="there it is the GPU's memory")
def test_memory_is_in_gib():
    block = bytearray(200 * 2**20)
    block[:: 2**10] = b"1" * (len(block) // 2**10)  # a page that is not touched is not held
    assert 200 / 1024 < peak_memory_gib() < 100
