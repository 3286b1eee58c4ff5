"""The file of figures."""

import json

import pytest
import torch

from soda.training.run.checkpoint import Position
from soda.training.run.metrics import Metrics, peak_memory_gib


def test_a_line_for_each_step_and_check(tmp_path):
    metrics = Metrics(tmp_path / "logs" / "metrics.jsonl")
    metrics.write(Position(0, 0), "dpo-check", {"margin": 0.0})
    metrics.write(Position(0, 1), "dpo", {"loss": 0.5})
    lines = [json.loads(line) for line in metrics.read().splitlines()]
    assert lines == [
        {"phase": 0, "step": 0, "name": "dpo-check", "margin": 0.0},
        {"phase": 0, "step": 1, "name": "dpo", "loss": 0.5},
    ]


def test_a_resumed_run_begins_with_what_its_checkpoint_had(tmp_path):
    path = tmp_path / "metrics.jsonl"
    first = Metrics(path)
    first.write(Position(0, 1), "dpo", {"loss": 1})
    kept = first.read()
    first.write(Position(0, 2), "dpo", {"loss": 2})
    path.write_text(path.read_text() + '{"phase": 0, "st')  # torn by a crash
    Metrics(path, kept).write(Position(0, 2), "dpo", {"loss": 20})
    assert [json.loads(line)["loss"] for line in path.read_text().splitlines()] == [1, 20]


def test_the_first_figures_of_a_phase(tmp_path):
    metrics = Metrics(tmp_path / "metrics.jsonl")
    assert metrics.first(0, "dpo-check") == {}
    for phase, step, margin in [(0, 0, 1), (0, 5, 2), (1, 0, 3), (1, 5, 4)]:
        metrics.write(Position(phase, step), "dpo-check", {"margin": margin})
    assert metrics.first(1, "dpo-check")["margin"] == 3
    assert metrics.first(1, "sft-check") == {}
    assert metrics.has(Position(1, 5), "dpo-check")
    assert not metrics.has(Position(1, 5), "dpo") and not metrics.has(Position(2, 5), "dpo-check")
    assert not metrics.has(Position(1, 4), "dpo-check")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there it is the GPU's memory")
def test_memory_is_in_gib():
    block = bytearray(200 * 2**20)
    block[:: 2**10] = b"1" * (len(block) // 2**10)  # a page that is not touched is not held
    assert 200 / 1024 < peak_memory_gib() < 100
