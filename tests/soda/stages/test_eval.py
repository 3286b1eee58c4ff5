"""The report: base, warmed-up and trained student, on held-out prompts only."""

import json
from unittest.mock import ANY

import pytest

import soda
from soda.artifacts.kinds import Responses
from soda.errors import ConfigError, DataError
from soda.rows import Prompt, Response
from soda.stages.eval import EvalConfig


def evaluate(made, out, model="base", warmed="base", **config):
    inputs = {key: made[key].path for key in ("base", "teacher", "pairs")}
    inputs |= {"model": made[model].path, "warmed": made[warmed].path}
    config = {"max_new_tokens": 8, "lm_eval_tasks": [], "bootstrap_samples": 200, **config}
    return soda.run("eval", inputs=inputs, config=config, out=out)


@pytest.fixture(scope="module")
def trained(made, tmp_path_factory):
    """The artifacts, with the student warmed up, and then trained by DPO."""
    root, config = tmp_path_factory.mktemp("trained"), {"batch_size": 8, "learning_rate": 1e-2}
    config |= {"health": {"chosen_reward": "warn"}}

    def train(name, data, model, **values):
        inputs = {"data": data.path, "model": model.path}
        return soda.run("train", inputs=inputs, config={**config, **values}, out=root / name)

    warmed = train("warmed", made["teacher"], made["base"], method="sft", epochs=4)
    model = train("model", made["pairs"], warmed, learning_rate=1e-3)
    return {**made, "warmed": warmed, "model": model}


def test_base_warmed_up_and_trained_student_are_compared(trained, tmp_path):
    report = evaluate(trained, tmp_path / "report", "model", "warmed")
    figures = report.figures()
    logp = figures["metrics"]["teacher_logp"]
    assert logp["change"]["low"] > 0
    for change, (before, after) in {
        "change": ("before", "after"),
        "change_by_warm_up": ("before", "warmed"),
        "change_since_warm_up": ("warmed", "after"),
    }.items():
        difference = logp[after]["mean"] - logp[before]["mean"]
        assert logp[change]["mean"] == pytest.approx(difference)
        assert logp[change]["low"] <= logp[change]["mean"] <= logp[change]["high"]
    assert set(figures["metrics"]) == {
        *("rouge_l", "teacher_logp", "preference_accuracy", "exact_match"),
        *("length_ratio", "stopped", "repetitive"),
    }
    assert figures["weights"] == {
        "before": trained["base"].weights_digest,
        "warmed": trained["warmed"].weights_digest,
        "after": trained["model"].weights_digest,
    }
    assert [one["method"] for one in figures["trainings"]] == ["sft", "dpo"]
    held_out = [row.id for row in trained["prompts"].rows() if row.split == "test"]
    samples = list(map(json.loads, (report.path / "samples.jsonl").read_text().splitlines()))
    assert [sample["id"] for sample in samples] == held_out
    assert samples[0].keys() > {"before", "warmed", "after"}
    assert figures["prompts"] == len(held_out)
    page, table = ((report.path / name).read_text() for name in ("report.html", "report.md"))
    assert "sft: loss" in page and "dpo: loss" in page
    assert "| metric | base | warmed up | student | change from base" in table
    seconds = report.log("cost")["train_seconds"]
    assert seconds > evaluate(trained, tmp_path / "seqkd", "warmed").log("cost")["train_seconds"]


@pytest.mark.parametrize(("model", "warmed"), [("warmed", "warmed"), ("model", "base")])
def test_without_a_third_student_two_are_compared(trained, tmp_path, model, warmed):
    """SeqKD's student is the warmed-up one itself; GAD starts from the base."""
    report = evaluate(trained, tmp_path / "report", model, warmed)
    metric = report.figures()["metrics"]["rouge_l"]
    assert metric.keys() == {"label", "better", "count", "before", "after", "change"}
    assert (
        "| metric | base | student | change (95 % interval)"
        in (report.path / "report.md").read_text()
    )


def test_what_the_report_says_of_two_students_does_not_depend_on_the_third(trained, tmp_path):
    two = evaluate(trained, tmp_path / "two", "model").figures()["metrics"]
    three = evaluate(trained, tmp_path / "three", "model", "warmed").figures()["metrics"]
    for name, metric in two.items():
        assert {key: three[name][key] for key in metric} == metric


def test_a_model_beside_itself_changes_nothing(made, tmp_path):
    figures = evaluate(made, tmp_path / "report").figures()
    for metric in figures["metrics"].values():
        assert metric["change"] == {"mean": 0, "low": 0, "high": 0}


def test_same_inputs_same_digest(trained, tmp_path):
    one = evaluate(trained, tmp_path / "one", "model", "warmed")
    other = evaluate(trained, tmp_path / "other", "model", "warmed")
    assert one.digest == other.digest


def test_our_lm_eval_task_runs_without_a_network(made, tmp_path):
    report = evaluate(made, tmp_path / "report", lm_eval_tasks=["soda_facts"], lm_eval_limit=8)
    [task] = report.figures()["lm_eval"]["soda_facts"].values()
    assert min(task["stderr"].values()) > 0
    assert task["stderr"]["change"] > task["stderr"]["after"]
    assert report.figures()["lm_eval_with"] == {"version": ANY, "batch_size": 64, "limit": 8}
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


def test_figures_are_given_by_script_where_prompts_mix_them(made, tmp_path):
    asked = {"Latin": "Say {}.", "Thai": "พูดว่า {}"}
    rows = [
        Prompt(f"{name}-{n}", [{"role": "user", "content": text.format(n)}], "test", n)
        for name, text in asked.items()
        for n in range(3 if name == "Latin" else 2)
    ]
    with Responses.create(tmp_path / "teacher", config=EvalConfig(), inputs={}) as writer:
        writer.facts["teacher"] = {}
        for row in rows:
            Responses.write(writer, Response(row, f"{row.expected}", "answered"))
    mixed = {**made, "teacher": Responses.open(tmp_path / "teacher")}
    scripts = evaluate(mixed, tmp_path / "report").figures()["scripts"]
    assert {name: part["prompts"] for name, part in scripts.items()} == {"Latin": 3, "Thai": 2}
    assert {part["metrics"]["exact_match"]["count"] for part in scripts.values()} == {3, 2}
    assert evaluate(made, tmp_path / "plain").figures()["scripts"] == {}


def test_an_answer_that_is_too_long_to_score_is_a_drop(made, tmp_path, monkeypatch):
    report = evaluate(made, tmp_path / "whole")
    assert "answer_too_long" not in report.manifest.drops
    monkeypatch.setattr("soda.evaluation.questions.SCORED_TOKENS", 3)
    with pytest.raises(DataError, match="expected answers in split 'test', found none"):
        evaluate(made, tmp_path / "none", bootstrap_samples=201)


VICUNA = [
    {"instruction": "Say sky.", "output": "sky"},
    {"instruction": "Say moon.", "expected": "moon"},
    {"instruction": "Say stone. " * 3000},
    {"instruction": " "},
]


def write_set(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_task_sets_are_measured_beside_the_split_without_a_teacher(trained, tmp_path, capsys):
    known = next(row for row in trained["teacher"].rows() if row.prompt.split == "train")
    rows = [*VICUNA, {"instruction": known.prompt.messages[-1]["content"]}]
    path = write_set(tmp_path / "v.jsonl", rows)
    path.write_text(path.read_text() + "{\n")
    sets = [f"vicuna-80={path}"]
    report = evaluate(trained, tmp_path / "report", "model", "warmed", sets=sets)
    figures, plain = report.figures(), evaluate(trained, tmp_path / "no", "model", "warmed")
    assert plain.figures()["sets"] == {} and plain.figures()["metrics"] == figures["metrics"]
    assert plain.scores() == report.scores()
    found = figures["sets"]["vicuna-80"]
    assert found["prompts"] == 3 and found["trained_on"] == 1
    assert found["drops"] == {"prompt_too_long": 1, "empty_prompt": 1, "bad_row": 1}
    assert found["drops"].items() <= report.manifest.drops.items()
    counts = {name: metric["count"] for name, metric in found["metrics"].items()}
    assert counts == {"reference_rouge_l": 1, "exact_match": 1} | dict.fromkeys(
        ("tokens", "stopped", "repetitive"), 3
    )
    assert found["metrics"]["tokens"].keys() > {"before", "warmed", "after", "change"}
    samples = [row for row in report.read_rows("samples.jsonl") if row["set"] == "vicuna-80"]
    assert [row["id"] for row in samples] == ["vicuna-80:1", "vicuna-80:2", "vicuna-80:5"]
    assert samples[0]["reference"] == "sky" and samples[0]["teacher"] is None
    assert isinstance(samples[1]["after_right"], bool) and samples[0]["after_right"] is None
    said = capsys.readouterr().err
    assert "3 of 6 prompts of vicuna-80 are not asked" in said
    assert "1 of 3 prompts of vicuna-80 are training prompts too" in said
    assert "Task sets" in (report.path / "report.html").read_text()


def test_what_was_measured_on_a_set_is_read_by_every_later_report(trained, tmp_path, capsys):
    path = write_set(tmp_path / "v.jsonl", VICUNA[:2])
    one = evaluate(trained, tmp_path / "one", "warmed", sets=[f"vicuna-80={path}"])
    capsys.readouterr()
    again = evaluate(
        trained, tmp_path / "again", "warmed", sets=[f"vicuna-80={path}"], bootstrap_samples=201
    )
    said = capsys.readouterr().err
    assert "before: measured before" in said and "after: measured before" in said
    assert again.digest != one.digest and again.scores() == one.scores()
    write_set(path, VICUNA[:1])
    other = evaluate(trained, tmp_path / "other", "warmed", sets=[f"vicuna-80={path}"])
    said = capsys.readouterr().err
    assert "before: measured before" not in said and "before: lm-eval" not in said
    assert other.digest != one.digest and other.figures()["sets"]["vicuna-80"]["prompts"] == 1


@pytest.mark.parametrize(
    ("name", "rows", "error", "reason"),
    [
        ("test.jsonl", VICUNA, ConfigError, "expected another name than the split's, 'test'"),
        ("none.jsonl", None, ConfigError, "none: expected a file, found none at"),
        ("v.jsonl", VICUNA[3:], DataError, "v: expected prompts, found none"),
        ("v.jsonl", VICUNA[2:3], DataError, "v: expected prompts that can be asked, found none"),
        ("vicuna-81@main", None, ConfigError, "did you mean 'vicuna-80'"),
    ],
)
def test_a_set_that_cannot_be_asked_is_refused(made, tmp_path, name, rows, error, reason):
    named = name if "@" in name else str(tmp_path / name)
    if rows:
        write_set(tmp_path / name, rows)
    with pytest.raises(error, match=reason):
        evaluate(made, tmp_path / "report", sets=[named])
    assert not (tmp_path / "report").exists()


def test_two_sets_of_one_name_are_refused(made, tmp_path):
    path = write_set(tmp_path / "v.jsonl", VICUNA)
    with pytest.raises(ConfigError, match="v: expected each task set once, found it twice"):
        evaluate(made, tmp_path / "report", sets=[str(path), str(path)])
