"""What the steps of a run leave for its last one, whichever way they end."""

import os
import signal
import subprocess
import sys

import pytest

from soda.errors import ConfigError
from soda.launch import launch
from soda.run_state import Step, forget_steps, read_steps, recording


@pytest.fixture
def store(tmp_path, monkeypatch):
    monkeypatch.setenv("SODA_RUN_ID", "run-1")
    return str(tmp_path / "store")


def test_a_step_is_at_work_and_then_done_with_its_facts(store):
    with recording("watch", store=store, out="report") as tell:
        assert read_steps(store, "run-1") == [Step("watch", "at work")]
        tell(outcome="unchanged")
    assert read_steps(store, "run-1") == [Step("watch", "done", facts={"outcome": "unchanged"})]
    assert read_steps(store, "run-2") == []


def test_a_failure_is_one_line(store):
    with pytest.raises(ConfigError), recording("train", store=store, out="a"):
        raise ConfigError("train.seed:\n expected a number")
    assert read_steps(store, "run-1") == [Step("train", "failed", "train.seed: expected a number")]


def test_a_second_try_replaces_the_first_and_another_step_does_not(store):
    for code in (1, 0):
        with pytest.raises(SystemExit), recording("train", store=store, out="a"):
            raise SystemExit(code) if code else SystemExit(143)
    with recording("train", store=store, out="b"):
        pass
    assert {step.state for step in read_steps(store, "run-1")} == {"at work", "done"}


def test_a_process_of_a_step_says_why_it_ended(store):
    with pytest.raises(SystemExit), recording("train", store=store, out="a") as tell:
        tell(last_line="train: out of memory")
        raise SystemExit(1)
    [step] = read_steps(store, "run-1")
    assert (step.state, step.error) == ("failed", "train: out of memory")


def test_what_was_told_is_forgotten(store):
    for out in ("a", "b"):
        with recording("train", store=store, out=out):
            pass
    forget_steps(store, "run-1")
    assert read_steps(store, "run-1") == []


def test_outside_of_a_run_nothing_is_noted(tmp_path, monkeypatch):
    monkeypatch.delenv("SODA_RUN_ID", raising=False)
    with recording("train", store=str(tmp_path), out="a"):
        pass
    assert not list(tmp_path.iterdir())
    forget_steps(str(tmp_path), "")


def test_a_store_that_cannot_be_written_to_keeps_no_step_from_its_work(tmp_path, store, capfd):
    (tmp_path / "file").write_text("no folder")
    with recording("train", store=str(tmp_path / "file" / "store"), out="a"):
        pass
    assert "train: the run's last step will not hear of this one" in capfd.readouterr().err


def test_a_stage_that_refuses_leaves_its_refusal(store, tmp_path, monkeypatch):
    monkeypatch.setenv("SODA_STORE", "")
    with pytest.raises(SystemExit):
        launch("prepare-prompts", inputs={}, config={"limits": 1}, out=tmp_path / "o", store=store)
    [step] = read_steps(store, "run-1")
    assert step.name == "prepare-prompts" and step.state == "failed"
    assert step.error.startswith("prepare-prompts.limits: unknown key; did you mean 'limit'?")


def test_a_step_that_is_killed_stays_at_work(store):
    code = (
        "import sys; from soda.run_state import recording\n"
        "with recording('snapshot', store=sys.argv[1], out='a'):\n"
        "    print('ready', flush=True); input()"
    )
    command = [sys.executable, "-c", code, store]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        os.kill(process.pid, signal.SIGKILL)
    assert read_steps(store, "run-1") == [Step("snapshot", "at work")]
