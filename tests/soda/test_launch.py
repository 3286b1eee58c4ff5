"""Training in processes of its own: what is tried again, what is not, and with which result."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import soda
from soda.errors import ModelError
from soda.launch import launch as launch_stage
from soda.launch import memory_kills, restarting

CONFIG = {"learning_rate": 1e-3, "batch_size": 8, "epochs": 10, "check_every_steps": 2}
CONFIG |= {"health": {"answers": 0, "accuracy": "off", "chosen_reward": "off"}}


class Runs:
    """Runs that end with these codes, one after the other."""

    def __init__(self, *codes):
        self.codes, self.halvings = list(codes), []

    def __call__(self, halvings):
        self.halvings.append(halvings)
        return self.codes.pop(0)


def test_a_lost_process_is_begun_again_with_the_same_batch(capsys):
    runs = Runs(139, 134, 0)
    restarting(runs, lambda: 0)
    assert runs.halvings == [0, 0, 0]
    first, second = capsys.readouterr().err.splitlines()
    assert first == "a process was ended by SIGSEGV: restart 1 of 3 from its checkpoint"
    assert second == "a process was ended by SIGABRT: restart 2 of 3 from its checkpoint"


def test_one_that_was_killed_for_memory_gets_half_as_much_to_do(capsys):
    runs, kills = Runs(137, 137, 0), iter([0, 1, 1, 2, 2])
    restarting(runs, lambda: next(kills))
    assert runs.halvings == [0, 1, 2]
    said = capsys.readouterr().err
    assert "ran out of host memory and was killed (SIGKILL, 137): restart 1 of 3" in said
    assert said.count("with half as many tokens at once") == 2


def test_where_nobody_counts_a_kill_is_taken_for_one_for_memory():
    runs = Runs(137, 0)
    restarting(runs, lambda: None)
    assert runs.halvings == [0, 1]


def test_one_that_somebody_else_killed_keeps_its_batch():
    runs = Runs(137, 0)
    restarting(runs, lambda: 7)
    assert runs.halvings == [0, 0]


@pytest.mark.parametrize("code", [1, 2, 130, 143, 255])  # 255 is no signal's
def test_an_error_a_refusal_and_a_stop_are_not_tried_again(code):
    runs = Runs(code)
    with pytest.raises(SystemExit) as ended:
        restarting(runs, lambda: 0)
    assert ended.value.code == code and runs.halvings == [0]


def test_it_is_tried_a_few_times_only():
    with pytest.raises(SystemExit) as ended:
        restarting(Runs(*[139] * 4), lambda: 0)
    assert ended.value.code == 139
    with pytest.raises(ModelError, match="expected enough host memory, found too little in 4"):
        restarting(Runs(*[137] * 4), lambda: None)


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("low 0\nhigh 0\nmax 3\noom 2\noom_kill 5\n", 5),
        ("oom_kill_disable 0\nunder_oom 0\noom_kill 1\n", 1),
        ("oom_kill_disable 0\nunder_oom 0\n", None),
        ("nonsense", None),
    ],
)
def test_kernels_count_what_they_kill_for_memory(tmp_path, text, count):
    (tmp_path / "events").write_text(text)
    assert memory_kills([tmp_path / "missing", tmp_path / "events"]) == count


def launch(made, out, **changes):
    inputs = {"data": made["pairs"].path, "model": made["base"].path}
    return launch_stage("train", inputs=inputs, config={**CONFIG, **changes}, out=out)


def test_a_refusal_of_the_child_is_one_line_and_code_2(made, tmp_path, capfd):
    with pytest.raises(SystemExit) as ended:
        launch(made, tmp_path / "model", max_tokens=2)
    assert ended.value.code == 2
    lines = capfd.readouterr().err.splitlines()
    assert [line for line in lines if line.startswith("soda: ")] == lines[-1:]
    assert "expected pairs to train on, found none; dropped: 31 too_long" in lines[-1]
    assert not (tmp_path / "model").exists()


def workers(process):
    """Return the processes below one that hold a model, by what they have loaded."""
    found, todo = [], [process.pid]
    while todo:
        pid = todo.pop()
        path = Path(f"/proc/{pid}/task/{pid}/children")
        todo += [int(child) for child in path.read_text().split()] if path.exists() else []
        if pid != process.pid and "libtorch" in Path(f"/proc/{pid}/maps").read_text():
            found.append(pid)
    return found


@pytest.mark.slow
@pytest.mark.parametrize("processes", [1, 2])
def test_a_killed_worker_is_made_up_for_and_the_result_is_the_same(made, tmp_path, processes):
    code = f"""from soda.launch import launch
made = launch("train", inputs={{"data": {str(made["pairs"].path)!r}, "model":
    {str(made["base"].path)!r}}}, config={CONFIG!r}, processes={processes},
    out={str(tmp_path / "killed" / "model")!r})
"""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"}
    process = subprocess.Popen(
        [sys.executable, "-c", code], stderr=subprocess.PIPE, text=True, env=environment
    )
    work = tmp_path / "killed" / ".soda" / "work"
    while process.poll() is None and not list(work.glob("*/work/checkpoint-0-000000[2-9]")):
        time.sleep(0.01)
    os.kill(workers(process)[-1], signal.SIGKILL)
    said = process.communicate()[1]
    assert process.returncode == 0, said
    counted = memory_kills() is not None  # then it is known that no memory was wanting
    assert ("was ended by SIGKILL: restart 1 of 3" if counted else "half as many") in said
    assert "train: going on from checkpoint-0-" in said
    model = soda.Model.open(tmp_path / "killed" / "model", verify=True)
    whole = launch(made, tmp_path / "whole" / "model")
    assert steps(model) == pytest.approx(steps(whole), abs=1e-4)
    assert processes > 1 or not counted or model.digest == whole.digest


def steps(model):
    lines = map(json.loads, (model.path / "logs" / "metrics.jsonl").read_text().splitlines())
    return [line["loss"] for line in lines if line["kind"] == "step"]
