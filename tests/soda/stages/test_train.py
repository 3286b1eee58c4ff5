"""Training on a tiny random student: invariants that hold step by step."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

import soda
from soda.errors import DataError

RECIPE = {
    "learning_rate": 1e-3,
    "epochs": 2,
    "batch_size": 8,
    "batch_tokens": 100,
    "check_every_steps": 2,
    "health": {"chosen_reward": "warn"},
}


def train(made, out, **changes):
    inputs = {"pairs": made["pairs"].path, "model": made["base"].path}
    return soda.run("train", inputs=inputs, config={**RECIPE, **changes}, out=out)


def lines(model, name="dpo"):
    text = (model.path / "logs" / "metrics.jsonl").read_text()
    return [line for line in map(json.loads, text.splitlines()) if line["name"] == name]


def losses(model, name="dpo"):
    return [line["loss"] for line in lines(model, name)]


def test_dpo_starts_at_ln_2_and_learns(made, tmp_path):
    model = train(made, tmp_path / "model")
    found = losses(model)
    assert found[0] == pytest.approx(0.6931, abs=1e-4)
    assert found[-1] < 0.5
    assert lines(model)[-1]["accuracy"] > 0.9
    assert lines(model, "dpo-check")[-1]["margin"] > 0
    expected = {"loss", "margin", "accuracy", "chosen_logp", "rejected_logp", "tokens_per_second"}
    assert expected < lines(model)[0].keys()
    assert lines(model)[0]["peak_memory_gib"] > 0


def test_the_output_loads_with_from_pretrained_and_differs_from_the_base(made, tmp_path):
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = train(made, tmp_path / "model")
    trained = AutoModelForCausalLM.from_pretrained(model.path)
    base = AutoModelForCausalLM.from_pretrained(made["base"].path)
    assert AutoTokenizer.from_pretrained(model.path).chat_template
    assert trained.dtype == torch.float32
    weights = zip(trained.parameters(), base.parameters(), strict=True)
    assert any(not torch.equal(one, other) for one, other in weights)


def test_sft_warm_up_comes_first_and_dpo_still_starts_at_ln_2(made, tmp_path):
    model = train(made, tmp_path / "model", sft_epochs=2, sft_learning_rate=1e-2)
    warm = losses(model, "sft")
    assert warm[-1] < warm[0] - 0.5
    assert losses(model)[0] == pytest.approx(0.6931, abs=1e-4)
    assert lines(model, "sft-check")[-1]["chosen_reward"] > 0


def test_accumulation_1x8_equals_8x1(made, tmp_path):
    whole = train(made, tmp_path / "whole", batch_tokens=100_000)
    pieces = train(made, tmp_path / "pieces", batch_tokens=1)
    assert losses(whole) == pytest.approx(losses(pieces), abs=1e-5)


@pytest.mark.slow
def test_two_processes_follow_the_trajectory_of_one(made, tmp_path, monkeypatch):
    alone = train(made, tmp_path / "alone")
    monkeypatch.setenv("SODA_ACCELERATE", "--multi_gpu --num_processes 2")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    inputs = {"pairs": made["pairs"].path, "model": made["base"].path}
    both = soda.launch("train", inputs=inputs, config=RECIPE, out=tmp_path / "both")
    assert losses(both) == pytest.approx(losses(alone), abs=1e-5)


def test_same_inputs_same_digest(made, tmp_path):
    one, other = train(made, tmp_path / "a" / "one"), train(made, tmp_path / "b" / "other")
    assert one.digest == other.digest


@pytest.mark.slow
def test_killed_and_started_again_it_ends_bit_for_bit_as_if_undisturbed(made, tmp_path):
    """SIGKILL at several moments, each time resumed by the next start."""
    undisturbed = train(made, tmp_path / "undisturbed", epochs=6, sft_epochs=2)
    out = tmp_path / "killed" / "model"
    recipe = tmp_path / "recipe.yaml"
    values = {**RECIPE, "epochs": 6, "sft_epochs": 2}
    recipe.write_text("train:\n" + "".join(f"  {key}: {value}\n" for key, value in values.items()))
    command = [sys.executable, "-m", "soda", "train", "--recipe", str(recipe), "--out", str(out)]
    command += ["--pairs", str(made["pairs"].path), "--model", str(made["base"].path)]
    work = tmp_path / "killed" / ".soda" / "work"
    seen: set[str] = set()
    for _ in range(3):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while process.poll() is None:
            names = {path.name for path in work.glob("*/work/checkpoint-*")}
            if names - seen:  # it came further than last time: kill it now
                seen |= names
                os.kill(process.pid, signal.SIGKILL)
                process.wait()
            time.sleep(0.005)
    assert not out.exists() and seen
    finished = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "going on from checkpoint" in finished.stderr
    resumed = soda.Model.open(out)
    assert resumed.digest == undisturbed.digest
    assert losses(resumed) == losses(undisturbed)
    assert losses(resumed, "sft") == losses(undisturbed, "sft")
    assert not list(work.iterdir())


def test_a_falling_chosen_reward_stops_at_the_last_good_checkpoint(made, tmp_path):
    changes = {"learning_rate": 3e-2, "chosen_reward_floor": 0, "check_every_steps": 1}
    stopped = train(made, tmp_path / "model", falling_chosen_reward="stop", **changes)
    reason = stopped.manifest["facts"]["stopped_early"]
    assert "chosen reward fell" in reason and "back to checkpoint-" in reason
    assert lines(stopped, "dpo-check")[-1]["chosen_reward"] < 0
    warned = train(made, tmp_path / "warned", **changes)
    assert warned.manifest["facts"]["stopped_early"] is None
    assert len(losses(warned)) > len(losses(stopped))


def test_pairs_without_a_training_split_are_refused(made, tmp_path):
    from soda.kinds import Pairs
    from soda.stages.pair_build import PairBuildConfig

    with Pairs.create(tmp_path / "pairs", config=PairBuildConfig(), inputs={}):
        pass
    with pytest.raises(DataError, match="expected pairs to train on, found none"):
        train({**made, "pairs": Pairs.open(tmp_path / "pairs")}, tmp_path / "model")
    assert not (tmp_path / "model").exists()
