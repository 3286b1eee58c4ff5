"""Training on a tiny random student: invariants that hold step by step."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

import soda
from soda.errors import SodaError
from soda.launch import launch

RECIPE = {
    "learning_rate": 1e-3,
    "epochs": 2,
    "batch_size": 8,
    "device": {"micro_batch_tokens": 100},
    "check_every_steps": 2,
    "health": {"chosen_reward": "warn"},
}


SFT = {**RECIPE, "method": "sft", "learning_rate": 1e-2}


def train(made, out, *, data="pairs", model="base", **changes):
    inputs = {"data": made[data].path, "model": made[model].path}
    return soda.run("train", inputs=inputs, config={**RECIPE, **changes}, out=out)


@pytest.fixture(scope="module")
def warmed(made, tmp_path_factory):
    """The artifacts, and beside them the student warmed up on the teacher's answers: SeqKD's."""
    out = tmp_path_factory.mktemp("warmed") / "model"
    return {**made, "warmed": train(made, out, data="teacher", **SFT)}


def lines(model, name="dpo", kind="step"):
    text = (model.path / "logs" / "metrics.jsonl").read_text()
    found = map(json.loads, text.splitlines())
    return [line for line in found if (line["name"], line["kind"]) == (name, kind)]


def checks(model, name="dpo"):
    return lines(model, name, "check")


def losses(model, name="dpo"):
    return [line["loss"] for line in lines(model, name)]


def test_dpo_starts_at_ln_2_and_learns(made, tmp_path):
    model = train(made, tmp_path / "model")
    found = losses(model)
    assert found[0] == pytest.approx(0.6931, abs=1e-4)
    assert found[-1] < 0.5
    assert lines(model)[-1]["accuracy"] > 0.9
    assert checks(model)[-1]["margin"] > 0
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


# SODA: the warm-up makes the student that DPO starts from, and that is its reference.


def test_the_warm_up_needs_the_teacher_s_answers_alone_and_is_seqkd_s_student(warmed, tmp_path):
    model = warmed["warmed"]
    assert losses(model, "sft")[-1] < losses(model, "sft")[0] - 0.5
    assert model.manifest.inputs == {
        "data": warmed["teacher"].digest, "model": warmed["base"].digest,
    }  # fmt: skip
    seqkd = train(warmed, tmp_path / "seqkd", data="teacher", **SFT)
    assert seqkd.digest == model.digest  # one artifact, whatever it is called


def test_dpo_trains_the_warmed_up_student_against_itself(warmed, tmp_path):
    model = train(warmed, tmp_path / "model", model="warmed")
    assert losses(model)[0] == pytest.approx(0.6931, abs=1e-4)
    assert losses(model)[-1] < losses(model)[0]
    assert model.manifest.inputs["model"] == warmed["warmed"].digest
    warm_up, dpo = model.trainings
    assert dpo["starts_from"] == warm_up["weights_digest"] == warmed["warmed"].weights_digest
    assert warm_up["starts_from"] == warmed["base"].weights_digest == model.base_weights_digest
    assert (warm_up["method"], dpo["method"], warm_up["loss"]) == ("sft", "dpo", None)
    assert dpo["loss"]["name"] == "dpo" and "Rafailov et al. 2023" in dpo["loss"]["source"]
    assert dpo["weights_digest"] == model.weights_digest
    assert len({model.base_weights_digest, dpo["starts_from"], model.weights_digest}) == 3


def test_the_rejected_answers_stay_those_of_the_untouched_student(warmed):
    snapshot = warmed["student"]
    assert snapshot.manifest.facts["student"]["weights_digest"] == (warmed["base"].weights_digest)
    texts = {row.prompt.id: row.text for row in snapshot.rows()}
    rejected = {row.id: row.rejected[0]["content"] for row in warmed["pairs"].rows("train")}
    assert rejected and all(texts[key] == text for key, text in rejected.items())


def test_dpo_s_reference_is_the_student_it_starts_from_not_the_base(warmed, tmp_path):
    """The reference's log-probabilities are the warmed-up student's: rewards begin at 0."""
    model = train(warmed, tmp_path / "model", model="warmed")
    first = checks(model)[0]
    assert first["chosen_reward"] == pytest.approx(0, abs=1e-5)
    last = checks(warmed["warmed"], "sft")[-1]
    assert first["chosen_logp"] == pytest.approx(last["chosen_logp"], abs=1e-4)


def test_from_the_best_warm_up_checkpoint(warmed):
    (training,) = warmed["warmed"].trainings
    found = checks(warmed["warmed"], "sft")
    best = max(found, key=lambda line: line["chosen_logp"])
    assert training["checkpoint"] == {
        "step": best["step"],
        "steps": 8,
        "chosen_by": "validation log-likelihood",
        "validation_logp": best["chosen_logp"],
    }


@pytest.mark.parametrize("method", ["dpo", "sft", "gad"])
def test_no_epochs_hand_the_model_on_as_it_is(warmed, tmp_path, method):
    data = "pairs" if method == "dpo" else "teacher"
    model = train(warmed, tmp_path / "model", data=data, model="warmed", method=method, epochs=0)
    before = warmed["warmed"].manifest
    assert model.manifest.files == before.files
    assert model.manifest.facts == before.facts  # DPO with 0 epochs is SeqKD


def test_dpo_on_answers_alone_is_refused(made, tmp_path):
    with pytest.raises(SodaError, match=r"expected 'pairs' for train.method dpo, found"):
        train(made, tmp_path / "model", data="teacher")
    assert not (tmp_path / "model").exists()


def test_another_kind_of_data_is_refused(made, tmp_path):
    with pytest.raises(SodaError, match="expected 'pairs' or 'responses', found 'model'"):
        train(made, tmp_path / "model", data="base")


def test_dropped_rows_are_counted_and_listed(made, tmp_path):
    from soda.student.chat import ChatFormat
    from soda.training.config import TrainConfig
    from soda.training.data import read_data

    chat = ChatFormat.load(made["base"].path)
    rows = read_data(made["teacher"], chat, TrainConfig.parse(SFT))
    limit = max(map(len, rows.examples)) - 1
    model = train(made, tmp_path / "model", data="teacher", **{**SFT, "max_tokens": limit})
    over = [one.id for one in rows.examples + rows.validation if len(one) > limit]
    assert model.manifest.drops == {"too_long": len(over)}
    (training,) = model.trainings
    kept = training["train_rows"] + training["validation_rows"]
    assert kept + len(over) == len(rows.examples) + len(rows.validation)
    text = (model.path / "drops.jsonl").read_text()
    assert {json.loads(line)["id"] for line in text.splitlines()} == set(over)
    again = train({**made, "it": model}, tmp_path / "again", model="it")
    assert again.manifest.drops == {}  # of this training, not of the one before


def test_accumulation_1x8_equals_8x1(made, tmp_path):
    whole = train(made, tmp_path / "whole", device={"micro_batch_tokens": 100_000})
    pieces = train(made, tmp_path / "pieces", device={"micro_batch_tokens": 1})
    assert losses(whole) == pytest.approx(losses(pieces), abs=1e-5)


@pytest.mark.slow
def test_two_processes_follow_the_trajectory_of_one(made, tmp_path, monkeypatch):
    alone = train(made, tmp_path / "alone")
    monkeypatch.setenv("SODA_ACCELERATE", "--multi_gpu --num_processes 2")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    inputs = {"data": made["pairs"].path, "model": made["base"].path}
    both = launch("train", inputs=inputs, config=RECIPE, out=tmp_path / "both")
    assert losses(both) == pytest.approx(losses(alone), abs=1e-5)


@pytest.mark.parametrize("changes", [{}, {"lora": {}}])
def test_same_inputs_same_digest(made, tmp_path, changes):
    one = train(made, tmp_path / "a" / "one", **changes)
    other = train(made, tmp_path / "b" / "other", **changes)
    assert one.digest == other.digest


@pytest.mark.slow
@pytest.mark.parametrize("method", ["sft", "dpo", "gad"])
def test_stopped_50_times_at_random_moments_every_bit_is_the_same(method):
    """By SIGTERM and SIGKILL; in a process of its own: this one may have threads."""
    command = [
        sys.executable,
        "-m",
        "tests.soda.training.soak",
        "--kills",
        "50",
        "--method",
        method,
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["SIGTERM"] + found["SIGKILL"] == 50
    assert min(found["SIGTERM"], found["SIGKILL"]) > 10
    assert found["same losses"] and found["same weights"]
    assert found["slowest SIGTERM, s"] < 15


def test_a_falling_chosen_reward_stops_at_the_last_good_checkpoint(made, tmp_path):
    health = {"chosen_reward": "stop", "chosen_reward_floor": 0}
    changes = {"learning_rate": 1.0, "check_every_steps": 1}
    stopped = train(made, tmp_path / "model", health=health, **changes)
    (training,) = stopped.trainings
    reason = training["stopped_early"]
    assert training["checkpoint"]["chosen_by"] == "health"
    assert "chosen reward fell" in reason and "back to checkpoint-" in reason
    assert checks(stopped)[-1]["chosen_reward"] < 0
    warned = train(made, tmp_path / "warned", **changes)
    assert warned.trainings[0]["stopped_early"] is None
    assert len(losses(warned)) > len(losses(stopped))


def test_a_policy_that_breaks_at_the_first_check_ends_as_it_came(made, tmp_path):
    """Back to before the first step, where the optimizer had no state."""
    changes = {"learning_rate": 1e6, "check_every_steps": 100, "optimizer": {"warmup_share": 0.0}}
    model = train(made, tmp_path / "model", health={"chosen_reward": "off"}, **changes)
    reason = model.trainings[0]["stopped_early"]
    assert "expected finite" in reason and "back to checkpoint-0-0000000" in reason
    assert weights(model) == weights(made["base"])


def weights(model):
    from safetensors.torch import load_file

    files = sorted(model.path.glob("*.safetensors"))
    return {
        name: tensor.float().tolist() for file in files for name, tensor in load_file(file).items()
    }


def test_recomputed_activations_change_nothing(made, tmp_path):
    kept = train(made, tmp_path / "kept")
    recomputed = train(
        made, tmp_path / "other" / "recomputed", device={"recompute_activations": "on"}
    )
    assert losses(recomputed) == pytest.approx(losses(kept), abs=1e-5)
    answers = [line["answer_tokens"] for line in checks(recomputed)]
    assert answers == [line["answer_tokens"] for line in checks(kept)]


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


def test_sft_on_pairs_is_sft_on_their_chosen_answers(made, tmp_path):
    answers = train(made, tmp_path / "answers", data="teacher", **SFT)
    pairs = train(made, tmp_path / "pairs", **SFT)
    assert losses(pairs, "sft") == losses(answers, "sft")  # here every answer made a pair
    assert pairs.weights_digest == answers.weights_digest
    assert not losses(pairs)


GAD = {
    "rollouts": 3,
    "max_new_tokens": 6,
    "sft_learning_rate": 1e-3,
    "discriminator_learning_rate": 1e-3,
}


@pytest.mark.parametrize("data", ["pairs", "teacher"])
def test_gad_warms_up_tells_apart_and_is_rewarded(made, tmp_path, data):
    model = train(made, tmp_path / "model", data=data, method="gad", adversarial=GAD, epochs=6)
    assert losses(model, "sft")[-1] < losses(model, "sft")[0]
    told = lines(model, "discriminator")
    assert told[0]["loss"] == pytest.approx(0.6931, abs=1e-4)
    assert told[-1]["loss"] < told[0]["loss"]
    assert data == "teacher" or told[-1]["accuracy"] > 0.9
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
    other = train(made, tmp_path / "other", loss={"beta": 0.2})
    said = capfd.readouterr().err
    assert "31 reference log-probabilities are of an earlier run" in said
    assert "reference:" not in said
    assert losses(other)[0] == pytest.approx(losses(one)[0], abs=1e-6)


@pytest.mark.slow
def test_damaged_checkpoints_fall_back_to_the_one_before(made, tmp_path):
    undisturbed = train(made, tmp_path / "undisturbed" / "model", epochs=6)
    out = tmp_path / "killed" / "model"
    command = [sys.executable, "-m", "soda", "train", "--out", str(out)]
    command += ["--data", str(made["pairs"].path), "--model", str(made["base"].path)]
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
    code = f"""from soda.launch import launch
launch("train", inputs={{"data": {str(made["pairs"].path)!r}, "model":
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
    assert "stopped by SIGTERM, saved checkpoint-0-" in "".join(said)
    saved = max((tmp_path / ".soda" / "work").glob("*/work/checkpoint-*"))
    assert not saved.name.endswith("-0000000")
    assert len(list(saved.glob("state-*.safetensors"))) == 2


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sft_epochs": 1}, "train: unknown key 'sft_epochs': the warm-up is a run of its own"),
        ({"method": "gad", "lora": {}}, "expected no lora with gad"),
        ({"lora": {"rank": 0}}, r"train.lora.rank: expected 1 or more"),
        ({"lora": {"quantized": True}}, "expected a GPU and bitsandbytes"),
        (
            {"health": {"lenght": "stop"}},
            r"train.health.lenght: unknown key; did you mean",
        ),
        ({"adversarial": {"rollouts": 1}}, r"train.adversarial.rollouts: expected 2 or more"),
        ({"method": "seqkd"}, r"train.method: expected 'dpo', 'sft' or 'gad', found 'seqkd'"),
        ({"seed": -1}, r"train.seed: expected 0 or more"),
    ],
)
def test_wrong_values_are_refused_in_one_line(made, tmp_path, changes, message):
    with pytest.raises(SodaError, match=message) as refused:
        train(made, tmp_path / "model", **changes)
    assert "\n" not in str(refused.value)
    assert not (tmp_path / "model").exists()
