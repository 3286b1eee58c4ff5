"""Each component's function, called with KFP's own artifacts: what it makes and says of it."""

from pathlib import Path

import pytest
from kfp import dsl

import soda
from soda.artifacts.kinds import Registration
from soda.errors import ConfigError
from soda.run_state import recording
from soda.stage import load_stage

TORCH = {"import_student", "snapshot", "train"}
STAGES = {  # component -> its inputs by name of what is ready, its config
    "prepare_prompts": ({}, lambda ready: {"dataset": ready.dataset}),
    "teacher_gen": ({"prompts": "prompts"}, lambda ready: {"base_url": ready.url, "model": "fake"}),
    "pair_build": ({"teacher": "teacher", "student": "student"}, lambda ready: {}),
    "import_student": ({}, lambda ready: {"source": ready.source}),
    "snapshot": ({"prompts": "prompts", "model": "base"}, lambda ready: ready.quick["snapshot"]),
    "train": ({"data": "pairs", "model": "base"}, lambda ready: ready.quick["train"]),
}


def marked(name):
    return pytest.param(name, marks=[pytest.mark.slow] if name in TORCH else [])


@pytest.mark.parametrize("name", [marked(name) for name in STAGES])
def test_a_component_makes_the_stages_artifact_and_notes_its_digest_and_rows(name, ready, call):
    inputs, config = STAGES[name]
    given = {key: getattr(ready, where) for key, where in inputs.items()}
    made = call(name, **given, config=config(ready))
    [output] = [each for each in vars(made).values() if isinstance(each, dsl.Artifact)]
    stage = name.replace("_", "-")
    artifact = load_stage(stage).output.open(output.path)
    assert output.metadata == {"digest": artifact.digest, "rows": artifact.manifest.rows}
    assert artifact.manifest.stage == stage


def test_the_teacher_is_asked_a_shard_of_the_prompts_under_its_identity(ready, call, tmp_path):
    config = {"base_url": ready.url, "model": "fake"}
    made = call("teacher_gen", prompts=ready.prompts, config=config, shard="1/4", identity="abc")
    artifact = soda.Responses.open(made.responses.path)
    assert len(artifact) == 10
    assert artifact.manifest.config["identity"] == "abc"


def test_answers_are_collected_by_their_places_in_the_store(ready, call, tmp_path, monkeypatch):
    monkeypatch.setenv("SODA_STORE", "")  # so that it is as before, afterwards
    store = str(tmp_path / "store")
    config = {"base_url": ready.url, "model": "fake"}
    (place,) = call("teacher_gen", prompts=ready.prompts, config=config, store=store).returned
    assert place.startswith(f"{store}/artifacts/teacher-gen-")
    soda.storage.remove_tree(tmp_path / "made")  # the pod is gone
    given = {"candidates": [ready.student, place], "model": ready.base, "store": store}
    made = call("choose_rejects", **given, config={"shares": [0, 1]})
    chosen = soda.Responses.open(made.responses.path)
    assert {row.source for row in chosen.rows()} == {"fake"}
    assert made.responses.metadata == {"digest": chosen.digest, "rows": chosen.manifest.rows}


def test_answers_without_a_store_have_no_place_and_are_refused(ready, call, tmp_path, capsys):
    config = {"base_url": ready.url, "model": "fake"}
    (place,) = call("teacher_gen", prompts=ready.prompts, config=config).returned
    with pytest.raises(SystemExit) as stopped:
        call("choose_rejects", candidates=[place], model=ready.base, config={})
    assert stopped.value.code == 2
    [line] = [line for line in capsys.readouterr().err.splitlines() if line.startswith("soda:")]
    assert line == "soda: choose-rejects: candidates: expected an artifact, found an empty address"


def test_what_a_component_made_is_in_the_store_and_is_found_there_again(
    ready, call, tmp_path, monkeypatch, capsys
):
    monkeypatch.setenv("SODA_STORE", "")  # so that it is as before, afterwards
    given = {"config": {"dataset": ready.dataset}, "store": str(tmp_path / "store")}
    first = call("prepare_prompts", **given).prompts.metadata
    assert list((tmp_path / "store" / "artifacts").glob("prepare-prompts-*"))
    soda.storage.remove_tree(tmp_path / "made" / "prompts")
    capsys.readouterr()
    assert call("prepare_prompts", **given).prompts.metadata == first
    assert "nothing to do" in "".join(capsys.readouterr())


@pytest.mark.slow
def test_eval_shows_a_page_a_summary_the_figures_and_the_right_answers(ready, call):
    inputs = {key: getattr(ready, key) for key in ("model", "warmed", "base", "teacher", "pairs")}
    made = call("eval", **inputs, config=ready.quick["eval"])
    report = soda.Report.open(made.report.path)
    assert made.report.metadata == {"digest": report.digest, "rows": report.manifest.rows}
    assert "ROUGE-L" in Path(made.page.path).read_text()
    assert "ROUGE-L" in Path(made.summary.path).read_text()
    assert made.metrics.metadata == report.numbers()
    rows = made.answers.metadata["confusionMatrix"]["rows"]
    assert [row["row"] for row in rows] == report.answers_right()


def test_register_shows_the_card_and_notes_version_and_champion(ready, call, tmp_path):
    config = {"name": "tiny", "registry": str(tmp_path / "registry"), "teacher_licence": "MIT"}
    made = call("register", model=ready.model, report=ready.report, config=config)
    registration = Registration.open(made.registration.path)
    assert made.registration.metadata == {"digest": registration.digest, **registration.facts()}
    found = made.registration.metadata
    assert (found["version"], found["champion"]) == (1, True)
    assert made.metrics.metadata == {"version": 1.0, "champion": 1.0, "failed_checks": 0.0}
    assert Path(made.card.path).read_text() == (registration.path / "card.md").read_text()


def test_compare_shows_the_three_methods_side_by_side(ready, call):
    names = {"names": ["SODA", "SeqKD", "GAD"]}
    made = call("compare", reports=[ready.report] * 3, config=names)
    assert made.comparison.metadata.keys() == {"digest"}
    for page in (made.page, made.summary):
        assert all(text in Path(page.path).read_text() for text in ("SODA", "SeqKD", "GAD"))


def test_preflight_reports_what_it_found(ready, call, configs, tmp_path):
    recipe = configs(tmp_path / "registry")
    made = call("preflight", recipe=recipe, store=str(tmp_path / "store"), steps=list(recipe))
    report = Path(made.report.path).read_text()
    assert "✗" not in report
    for check in ("recipe", "teacher", "student", "store", "registry"):
        assert f"| ✓ | {check} |" in report


def test_preflight_returns_what_pods_ask_for_as_text_and_takes_what_is_empty_for_its_default(
    call, configs, tmp_path
):
    recipe, store = configs(tmp_path / "registry"), str(tmp_path / "store")
    gpus = {"count": 2.0, "memory": "", "cpu": 16, "affinity": None}
    found = call("preflight", recipe=recipe, store=store, gpus=gpus, pods={}).returned
    assert (found.gpu_count, found.gpu_memory, found.gpu_cpu) == ("2", "64Gi", "16")
    assert (found.cpu, found.memory, found.gpu_affinity) == ("2", "8Gi", {})


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"gpus": {"typ": "x"}}, "gpus.typ: unknown key; did you mean 'type'?"),
        ({"gpus": {"count": "two"}}, "gpus.count: expected"),
        ({"steps": ["train", "train: gad"]}, "recipe: expected values for train: gad, found none"),
    ],
)
def test_preflight_refuses_what_the_form_got_wrong(call, configs, tmp_path, given, reason, capsys):
    with pytest.raises(SystemExit):
        call("preflight", recipe=configs(tmp_path), store=str(tmp_path / "store"), **given)
    assert reason in capsys.readouterr().err


def test_preflight_of_a_pipeline_that_registers_nothing_looks_at_no_registry(
    call, configs, tmp_path
):
    recipe = configs(tmp_path / "registry")
    del recipe["register"]
    made = call("preflight", recipe=recipe, store=str(tmp_path / "store"))
    report = Path(made.report.path).read_text()
    assert "✗" not in report and "| registry |" not in report


def test_preflight_fails_with_one_line_on_a_teacher_that_is_not_listed(
    call, configs, web, tmp_path, capsys
):
    wrong = configs(tmp_path / "registry", base_url=f"{web.url}/v1", model="big-teachr")
    with pytest.raises(SystemExit) as stopped:
        call("preflight", recipe=wrong, store=str(tmp_path / "store"))
    assert stopped.value.code == 2
    [line] = [line for line in capsys.readouterr().err.splitlines() if line.startswith("soda: ")]
    assert "1 of " in line and "did you mean 'big-teacher'?" in line
    assert "| ✗ | teacher |" in (tmp_path / "made" / "report").read_text()


def test_watch_calls_a_teacher_new_and_unchanged_once_it_has_a_champion(
    ready, call, tmp_path, monkeypatch
):
    registry = {"name": "tiny", "registry": str(tmp_path / "registry"), "teacher_licence": "MIT"}
    given = {
        "teacher_gen_config": {
            "base_url": ready.url,
            "model": "fake",
            "sampling": {"max_tokens": 20},
        },
        "register_config": registry,
        "store": str(tmp_path / "store"),
    }
    monkeypatch.setenv("SODA_RUN_ID", "one")
    made = call("watch", **given)
    assert made.returned == ("new", "")
    assert "**The teacher is new.**" in Path(made.report.path).read_text()
    inputs = {"model": ready.model, "report": ready.report}
    soda.run("register", inputs=inputs, config=registry, out=tmp_path / "registration")
    monkeypatch.setenv("SODA_RUN_ID", "two")
    assert call("watch", **given).returned[0] == "unchanged"
    assert call("watch", **given, force=True).returned[0] == "changed"


def test_notify_posts_one_message_with_links(call, web, tmp_path, monkeypatch):
    monkeypatch.setenv("SODA_NOTIFY_URL", web.url)
    monkeypatch.setenv("SODA_RUN_ID", "one")
    web.posted.clear()
    store = str(tmp_path / "store")
    with pytest.raises(ConfigError), recording("train", store=store, out="a"):
        raise ConfigError("a value\nis wrong")
    status = dsl.PipelineTaskFinalStatus(
        state="FAILED",
        pipeline_job_resource_name="job",
        pipeline_task_name="notify",
        error_code=None,
        error_message="",
    )
    config = {"name": "tiny", "registry": "gs://bucket/registry", "teacher_licence": "MIT"}
    more = {"store": store, "ui_url": "https://kubeflow.example"}
    call("notify", status=status, pipeline="distill", recipe={"register": config}, **more)
    [message] = web.posted
    assert message["text"].splitlines() == [
        "✗ distill tiny: failed at train: a value is wrong",
        "run: https://kubeflow.example/#/runs/details/one",
        "registry: gs://bucket/registry/tiny",
    ]


def test_train_job_refuses_with_one_line_outside_of_a_cluster(
    ready, call, tmp_path, monkeypatch, capsys
):
    monkeypatch.setenv("SODA_STORE", "")
    given = {"data": ready.pairs, "model": ready.base, "config": ready.quick["train"]}
    with pytest.raises(SystemExit) as stopped:
        call("train_job", **given, store=str(tmp_path / "store"), image="soda")
    assert stopped.value.code == 2
    assert capsys.readouterr().err.splitlines() == [
        "soda: train: expected to be in a cluster with the Kubeflow Trainer, found none"
    ]


def test_a_component_refuses_an_input_of_another_kind_with_one_line(ready, call, tmp_path, capsys):
    with pytest.raises(SystemExit) as stopped:
        call("pair_build", teacher=ready.prompts, student=ready.student, config={})
    assert stopped.value.code == 2
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("soda: ") and "expected 'responses', found 'prompts'" in line
    assert not (tmp_path / "made" / "pairs").exists()
