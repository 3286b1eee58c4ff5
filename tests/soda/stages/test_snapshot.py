"""The student's own answers."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

import soda
from soda.chat import ChatFormat
from tests.fakes.artifacts import make_prompts


def snapshot(made, out, **config):
    inputs = {"prompts": made["prompts"].path, "model": made["base"].path}
    return soda.run("snapshot", inputs=inputs, config={"max_new_tokens": 8, **config}, out=out)


def test_every_prompt_gets_one_answer_in_its_place(made):
    student = made["student"]
    assert [row.prompt for row in student.rows()] == list(made["prompts"].rows())
    facts = student.manifest["facts"]
    assert sum(facts["outcomes"].values()) == len(student)
    assert facts["student"]["weights_digest"] == made["base"].weights_digest
    assert facts["student"]["sampling"]["temperature"] == 0.8
    assert (
        ChatFormat.load(student.path / "tokenizer").template_digest
        == (facts["student"]["template_digest"])
    )


def test_greedy_answers_in_batches_are_those_of_one_at_a_time(made, tmp_path):
    together = snapshot(made, tmp_path / "together", temperature=0, batch_size=16)
    alone = snapshot(made, tmp_path / "alone", temperature=0, batch_size=1)
    assert [row.text for row in together.rows()] == [row.text for row in alone.rows()]


def test_another_seed_draws_other_answers(made, tmp_path):
    other = snapshot(made, tmp_path / "other", seed=1)
    assert [row.text for row in other.rows()] != [row.text for row in made["student"].rows()]


def test_too_long_prompts_are_recorded_not_cut(made, tmp_path):
    short = snapshot(made, tmp_path / "short", max_prompt_tokens=1)
    assert {(row.outcome, row.detail) for row in short.rows()} == {("failed", "prompt_too_long")}


@pytest.mark.slow
def test_killed_and_started_again_it_draws_the_same_answers(made, tmp_path):
    undisturbed = snapshot(made, tmp_path / "undisturbed", batch_size=2)
    out = tmp_path / "killed" / "student"
    command = [sys.executable, "-m", "soda", "snapshot", "--out", str(out)]
    command += ["--prompts", str(made["prompts"].path), "--model", str(made["base"].path)]
    command += ["--set", "max_new_tokens=8", "--set", "batch_size=2"]
    work = tmp_path / "killed" / ".soda" / "work"
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while process.poll() is None and len(list(work.glob("*/work/batch-*"))) < 3:
        time.sleep(0.005)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    kept = {path: path.stat().st_mtime_ns for path in work.glob("*/work/batch-*")}
    assert kept and not out.exists()
    subprocess.run(command, capture_output=True, check=True)
    assert soda.Responses.open(out).digest == undisturbed.digest


def test_a_new_teacher_leaves_the_snapshot_as_it_is(made, tmp_path, monkeypatch):
    """The pipeline's store gives back the snapshot whatever happened on the teacher's side."""
    monkeypatch.setenv("SODA_STORE", str(tmp_path / "store"))
    first = snapshot(made, tmp_path / "first")
    assert first.digest == made["student"].digest
    begun = time.monotonic()
    again = snapshot(made, tmp_path / "again")
    assert again.digest == first.digest and time.monotonic() - begun < 1
    assert (first.path / "responses.jsonl").samefile(again.path / "responses.jsonl")


def test_more_prompts_make_another_snapshot(made, tmp_path):
    more = {**made, "prompts": make_prompts(tmp_path, 44)}
    assert snapshot(more, tmp_path / "more").digest != made["student"].digest


def test_work_of_another_config_is_not_taken_up(made, tmp_path):
    one = snapshot(made, tmp_path / "one", seed=3)
    assert json.loads((one.path / "manifest.json").read_text())["config"]["seed"] == 3
    assert not list((tmp_path / ".soda" / "work").iterdir())
