"""The report: figures before and after, on held-out prompts only."""

import json

import pytest

import soda
from soda.errors import ConfigError, DataError


def evaluate(made, out, model=None, **config):
    inputs = {key: made[key].path for key in ("base", "teacher", "pairs")}
    inputs["model"] = (model or made["base"]).path
    config = {"max_new_tokens": 8, "lm_eval_tasks": [], "bootstrap_samples": 200, **config}
    return soda.run("eval", inputs=inputs, config=config, out=out)


@pytest.fixture(scope="module")
def trained(made, tmp_path_factory):
    inputs = {"pairs": made["pairs"].path, "model": made["base"].path}
    config = {"sft_epochs": 4, "sft_learning_rate": 1e-2, "learning_rate": 1e-3, "batch_size": 8}
    out = tmp_path_factory.mktemp("trained") / "model"
    return soda.run("train", inputs=inputs, config=config, out=out)


def test_a_trained_student_is_measured_against_its_base(made, trained, tmp_path):
    report = evaluate(made, tmp_path / "report", trained)
    figures = report.figures()
    logp = figures["metrics"]["teacher_logp"]
    assert logp["change"]["low"] > 0
    assert logp["after"]["mean"] - logp["before"]["mean"] == pytest.approx(logp["change"]["mean"])
    assert set(figures["metrics"]) == {
        *("rouge_l", "teacher_logp", "preference_accuracy", "exact_match"),
        *("length_ratio", "stopped", "repetitive"),
    }
    held_out = [row.id for row in made["prompts"].rows() if row.split == "test"]
    samples = list(map(json.loads, (report.path / "samples.jsonl").read_text().splitlines()))
    assert [sample["id"] for sample in samples] == held_out
    assert figures["prompts"] == len(held_out)
    for name in ("report.html", "report.md"):
        assert "ROUGE-L" in (report.path / name).read_text()


def test_a_model_beside_itself_changes_nothing(made, tmp_path):
    figures = evaluate(made, tmp_path / "report").figures()
    for metric in figures["metrics"].values():
        assert metric["change"] == {"mean": 0, "low": 0, "high": 0}


def test_same_inputs_same_digest(made, trained, tmp_path):
    one = evaluate(made, tmp_path / "one", trained)
    other = evaluate(made, tmp_path / "other", trained)
    assert one.digest == other.digest


def test_our_lm_eval_task_runs_without_a_network(made, tmp_path):
    report = evaluate(made, tmp_path / "report", lm_eval_tasks=["soda_facts"], lm_eval_limit=8)
    [task] = report.figures()["lm_eval"]["soda_facts"].values()
    assert task["stderr"] > 0
    assert task["before"] == task["after"] and 0 <= task["before"] <= 1


def test_unknown_tasks_and_empty_splits_are_refused(made, tmp_path):
    with pytest.raises(ConfigError, match="expected a task of lm-eval, found 'nonsense'"):
        evaluate(made, tmp_path / "a", lm_eval_tasks=["nonsense"])
    only_train = soda.run(
        "teacher-gen",
        inputs={"prompts": _train_only(made, tmp_path).path},
        config={"answers": str(_answers(tmp_path))},
        out=tmp_path / "teacher",
    )
    with pytest.raises(DataError, match="expected answers in split 'test', found none"):
        evaluate({**made, "teacher": only_train}, tmp_path / "b")
    assert not (tmp_path / "b").exists()


def _train_only(made, tmp_path):
    (tmp_path / "one.jsonl").write_text('{"prompt": "Say one."}\n')
    config = {"dataset": str(tmp_path / "one.jsonl"), "validation_share": 0, "test_share": 0}
    return soda.run("prepare-prompts", inputs={}, config=config, out=tmp_path / "prompts")


def _answers(tmp_path):
    path = tmp_path / "answers.jsonl"
    path.write_text('{"prompt": "Say one.", "response": "One."}\n')
    return path
