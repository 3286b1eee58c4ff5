"""Training on a tiny random student: invariants that hold step by step."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

import soda
from soda.errors import DataError, SodaError

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


@pytest.mark.parametrize("changes", [{}, {"lora": {}}])
def test_same_inputs_same_digest(made, tmp_path, changes):
    one = train(made, tmp_path / "a" / "one", **changes)
    other = train(made, tmp_path / "b" / "other", **changes)
    assert one.digest == other.digest


@pytest.mark.slow
@pytest.mark.parametrize("method", ["soda", "gad"])
def test_stopped_50_times_at_random_moments_every_bit_is_the_same(method):
    """By SIGTERM and SIGKILL; in a process of its own: this one may have threads."""
    command = [sys.executable, "-m", "bench.train_soak", "--kills", "50", "--method", method]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["SIGTERM"] + found["SIGKILL"] == 50
    assert min(found["SIGTERM"], found["SIGKILL"]) > 10
    assert found["same losses"] and found["same weights"]
    assert found["slowest SIGTERM, s"] < 15


def test_a_falling_chosen_reward_stops_at_the_last_good_checkpoint(made, tmp_path):
    health = {"chosen_reward": "stop", "chosen_reward_floor": 0}
    changes = {"learning_rate": 0.3, "check_every_steps": 1}
    stopped = train(made, tmp_path / "model", health=health, **changes)
    reason = stopped.manifest.facts["stopped_early"]
    assert "chosen reward fell" in reason and "back to checkpoint-" in reason
    assert lines(stopped, "dpo-check")[-1]["chosen_reward"] < 0
    warned = train(made, tmp_path / "warned", **changes)
    assert warned.manifest.facts["stopped_early"] is None
    assert len(losses(warned)) > len(losses(stopped))


def test_a_policy_that_breaks_at_the_first_check_ends_as_it_came(made, tmp_path):
    """Back to before the first step, where the optimizer had no state."""
    changes = {"learning_rate": 1e6, "check_every_steps": 100, "warmup_share": 0.0}
    model = train(made, tmp_path / "model", health={"chosen_reward": "off"}, **changes)
    reason = model.manifest.facts["stopped_early"]
    assert "expected finite numbers" in reason and "back to checkpoint-1-0000000" in reason
    assert weights(model) == weights(made["base"])


def weights(model):
    from safetensors.torch import load_file

    files = sorted(model.path.glob("*.safetensors"))
    return {
        name: tensor.float().tolist() for file in files for name, tensor in load_file(file).items()
    }


def test_recomputed_activations_change_nothing(made, tmp_path):
    kept = train(made, tmp_path / "kept")
    recomputed = train(made, tmp_path / "other" / "recomputed", recompute_activations="on")
    assert losses(recomputed) == pytest.approx(losses(kept), abs=1e-5)
    answers = [line["answer_tokens"] for line in lines(recomputed, "dpo-check")]
    assert answers == [line["answer_tokens"] for line in lines(kept, "dpo-check")]


@pytest.mark.parametrize(
    ("loss", "first"), [("dpo", 0.6931), ("dpo_norm", 0.6931), ("ipo", 25.0), ("simpo", None)]
)
def test_every_loss_starts_where_its_formula_says_and_falls(made, tmp_path, loss, first):
    model = train(made, tmp_path / "model", loss=loss, epochs=4)
    found = losses(model, loss)
    assert first is None or found[0] == pytest.approx(first, abs=1e-3)
    assert found[-1] < found[0]
    assert lines(model, loss)[0]["loss_of_reference"] == pytest.approx(found[0], abs=1e-3)


def test_an_sft_term_holds_the_chosen_answers_up(made, tmp_path):
    plain, held = (
        train(made, tmp_path / name, sft_weight=weight, epochs=4)
        for name, weight in (("plain", 0.0), ("held", 1.0))
    )
    assert lines(held)[-1]["chosen_logp"] > lines(plain)[-1]["chosen_logp"]


def test_seqkd_is_sft_on_the_chosen_answers(made, tmp_path):
    model = train(made, tmp_path / "model", method="seqkd")
    warm = train(made, tmp_path / "warm", epochs=0, sft_epochs=2, sft_learning_rate=1e-3)
    assert losses(model, "sft") == pytest.approx(losses(warm, "sft"), abs=0.1)
    assert losses(model, "sft")[-1] < losses(model, "sft")[0]
    assert not losses(model)


GAD = {"rollouts": 3, "max_new_tokens": 6, "discriminator_learning_rate": 1e-3}


def test_gad_warms_up_tells_apart_and_is_rewarded(made, tmp_path):
    changes = {"sft_learning_rate": 1e-3, "epochs": 6}
    model = train(made, tmp_path / "model", method="gad", adversarial=GAD, **changes)
    assert losses(model, "sft")[-1] < losses(model, "sft")[0]
    told = lines(model, "discriminator")
    assert told[0]["loss"] == pytest.approx(0.6931, abs=1e-4)
    assert told[-1]["accuracy"] > 0.9 and told[-1]["loss"] < told[0]["loss"]
    steps = lines(model, "gad")
    assert len(steps) == len(told) * 6
    assert steps[0]["kl"] == 0 and steps[-1]["kl"] > 0
    assert 1 <= steps[0]["rollout_tokens"] <= 6
    assert steps[0]["discriminator_loss"] < 0.6931


@pytest.mark.parametrize("lora", [{"rank": 4}, {"rank": 4, "alpha": 8}])
def test_lora_trains_adapters_and_merges_them(made, tmp_path, lora):
    model = train(made, tmp_path / "model", lora=lora, learning_rate=3e-3)
    assert losses(model)[0] == pytest.approx(0.6931, abs=1e-4)
    assert losses(model)[-1] < 0.65
    before, after = weights(made["base"]), weights(model)
    assert before.keys() == after.keys()
    changed = {name.split(".")[-2] for name in before if before[name] != after[name]}
    assert changed == {f"{name}_proj" for name in ("q", "k", "v", "o", "gate", "up", "down")}


def test_reference_log_probabilities_are_computed_once_for_all_runs(made, tmp_path, capfd):
    one = train(made, tmp_path / "one")
    assert "reference:" in capfd.readouterr().err
    other = train(made, tmp_path / "other", beta=0.2)
    said = capfd.readouterr().err
    assert "reference log-probabilities of an earlier run" in said and "reference:" not in said
    assert losses(other)[0] == pytest.approx(losses(one)[0], abs=1e-6)


@pytest.mark.slow
def test_damaged_checkpoints_fall_back_to_the_one_before(made, tmp_path):
    undisturbed = train(made, tmp_path / "undisturbed" / "model", epochs=6)
    out = tmp_path / "killed" / "model"
    command = [sys.executable, "-m", "soda", "train", "--out", str(out)]
    command += ["--pairs", str(made["pairs"].path), "--model", str(made["base"].path)]
    for key, value in {**RECIPE, "epochs": 6}.items():
        command += ["--set", f"{key}={json.dumps(value)}"]
    work = tmp_path / "killed" / ".soda" / "work"
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while process.poll() is None and len(list(work.glob("*/work/checkpoint-*"))) < 2:
        time.sleep(0.002)
    process.kill()
    process.wait()
    newest = max(work.glob("*/work/checkpoint-*"))
    (newest / "state-00000.safetensors").write_bytes(b"damaged")
    finished = subprocess.run(command, capture_output=True, text=True, check=True)
    assert f"{newest.name} is damaged" in finished.stderr
    assert "going on from checkpoint" in finished.stderr
    assert soda.Model.open(out).digest == undisturbed.digest


@pytest.mark.slow
def test_sigterm_reaches_launched_processes_and_they_save(made, tmp_path):
    out = tmp_path / "model"
    values = {**RECIPE, "epochs": 400, "check_every_steps": 10_000}
    code = f"""import soda
soda.launch("train", inputs={{"pairs": {str(made["pairs"].path)!r}, "model":
    {str(made["base"].path)!r}}}, config={values!r}, out={str(out)!r})"""
    environment = {**os.environ, "SODA_ACCELERATE": "--multi_gpu --num_processes 2"}
    process = subprocess.Popen(
        [sys.executable, "-c", code], stderr=subprocess.PIPE, text=True, env=environment
    )
    said = []
    for line in process.stderr:
        said.append(line)
        if "dpo: " in line and "loss=" in line and process.poll() is None:
            process.send_signal(signal.SIGTERM)
            break
    said += process.stderr.readlines()
    process.stderr.close()
    assert process.wait() == 143
    assert "stopped by SIGTERM, saved checkpoint-1-" in "".join(said)
    saved = max((tmp_path / ".soda" / "work").glob("*/work/checkpoint-*"))
    assert not saved.name.endswith("-0000000")
    assert len(list(saved.glob("state-*.safetensors"))) == 2


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"method": "seqkd", "sft_epochs": 1}, "expected no sft_epochs and sft_weight with seqkd"),
        ({"method": "gad", "lora": {}}, "expected no lora with gad"),
        ({"lora": {"rank": 0}}, r"train.lora.rank: expected greater than or equal to 1"),
        ({"lora": {"quantized": True}}, "expected a GPU and bitsandbytes"),
        (
            {"health": {"lenght": "stop"}},
            r"train.health.lenght: unknown key; did you mean",
        ),
        ({"adversarial": {"rollouts": 1}}, r"train.adversarial.rollouts: expected greater than"),
        ({"method": "sft"}, r"train.method: expected 'soda', 'seqkd' or 'gad', found 'sft'"),
        ({"seed": -1}, r"train.seed: expected greater than or equal to 0"),
    ],
)
def test_wrong_values_are_refused_in_one_line(made, tmp_path, changes, message):
    with pytest.raises(SodaError, match=message) as refused:
        train(made, tmp_path / "model", **changes)
    assert "\n" not in str(refused.value)
    assert not (tmp_path / "model").exists()


def test_pairs_without_a_training_split_are_refused(made, tmp_path):
    from soda.artifacts.kinds import Pairs
    from soda.stages.pair_build import PairBuildConfig

    with Pairs.create(tmp_path / "pairs", config=PairBuildConfig(), inputs={}):
        pass
    with pytest.raises(DataError, match="expected pairs to train on, found none"):
        train({**made, "pairs": Pairs.open(tmp_path / "pairs")}, tmp_path / "model")
    assert not (tmp_path / "model").exists()
