"""Stages by name: what `run` checks before it starts, and what it does not do twice."""

import dataclasses
import json

import pytest

import soda
from soda.artifacts.artifact import Artifact, work_place
from soda.artifacts.kinds import Prompts
from soda.cli import main
from soda.errors import ArtifactError, ConfigError, StorageError
from soda.launch import place_in_store
from soda.stage import load_stage, prepare, run
from soda.stages import STAGES
from soda.stages.eval import EvalConfig
from soda.storage import Place


@pytest.fixture
def dataset(tmp_path):
    path = tmp_path / "data.jsonl"
    path.write_text('{"prompt": "a"}\n{"prompt": "b"}\n')
    return str(path)


def contents(folder):
    return {
        path.relative_to(folder): (path.stat().st_mtime_ns, path.read_bytes())
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.mark.parametrize("name", STAGES)
def test_every_stage_says_what_it_takes_and_makes(name):
    stage = load_stage(name)
    assert stage.name == name and stage.config.stage() == name
    assert issubclass(stage.output, Artifact)
    assert all(issubclass(kind, Artifact) for kinds in stage.inputs.values() for kind in kinds)
    assert stage.function.__name__ == name.replace("-", "_")


@pytest.mark.parametrize("name", ["pair-biuld", "pair_build"])
def test_an_unknown_stage_is_refused(name):
    with pytest.raises(ConfigError, match=f"unknown stage '{name}'; did you mean 'pair-build'"):
        run(name, inputs={}, config={}, out="out")


def test_inputs_that_the_stage_does_not_know_are_refused(made, tmp_path):
    with pytest.raises(ArtifactError, match="pair-build: expected inputs teacher, student, found"):
        run("pair-build", inputs={"teacher": made["teacher"].path}, config={}, out=tmp_path / "x")
    with pytest.raises(ArtifactError, match="prepare-prompts: expected inputs none, found x"):
        run("prepare-prompts", inputs={"x": tmp_path}, config={}, out=tmp_path / "x")


def test_an_input_may_be_of_one_of_some_kinds(made):
    assert load_stage("train").inputs["data"] == (soda.Pairs, soda.Responses)
    for name in ("pairs", "teacher"):
        inputs = {"data": made[name].path, "model": made["base"].path}
        call = prepare("train", inputs=inputs, config={}, out="out")
        assert call.inputs["data"].digest == made[name].digest
    with pytest.raises(ArtifactError) as refused:
        prepare("train", inputs={**inputs, "data": made["base"].path}, config={}, out="out")
    assert str(refused.value) == (
        f"{made['base'].path}: expected 'pairs' or 'responses', found 'model'"
    )


@pytest.fixture
def report(made, tmp_path):
    """A report as eval makes it, as far as compare reads it."""
    figures = {"split": "test", "prompts": 1, "teacher": {"model": "t"}, "metrics": {}}
    figures["weights"] = {"before": "abc"}
    inputs = {key: made[key] for key in ("base", "teacher", "pairs")}
    with soda.Report.create(tmp_path / "report", config=EvalConfig(), inputs=inputs) as writer:
        (writer.path / "report.json").write_text(json.dumps(figures))
    return str(tmp_path / "report")


def test_a_list_of_artifacts_counts_in_its_order(report, tmp_path):
    stage = load_stage("compare")
    assert (stage.inputs, stage.lists) == ({"reports": (soda.Report,)}, {"reports"})
    digest = soda.Report.open(report).digest
    given = {"config": {"names": ["a", "b"]}, "out": tmp_path / "out"}
    made = run("compare", inputs={"reports": [report, report]}, **given)
    assert made.manifest.inputs == {"reports.0": digest, "reports.1": digest}
    assert run("compare", inputs={"reports": [report, report]}, **given).digest == made.digest


@pytest.mark.parametrize(
    ("reports", "problem"),
    [
        ([], "compare: reports: expected an artifact, found none"),
        ([""], "compare: reports: expected an artifact, found an empty address"),
        ("a", "compare: reports: expected a list of artifacts, found 'a'"),
        (["nothing"], "nothing: expected a folder with report, found nothing"),
    ],
)
def test_a_list_that_is_none_or_holds_none_is_refused(reports, problem, tmp_path):
    inputs = {"reports": reports}
    with pytest.raises(ArtifactError) as refused:
        run("compare", inputs=inputs, config={"names": ["a"]}, out=tmp_path / "out")
    assert str(refused.value) == problem and not (tmp_path / "out").exists()


def test_a_list_where_one_artifact_belongs_is_refused(made, tmp_path):
    inputs = {"teacher": [made["teacher"].path], "student": made["student"].path}
    with pytest.raises(ArtifactError, match="pair-build: teacher: expected one artifact, found "):
        run("pair-build", inputs=inputs, config={}, out=tmp_path / "out")


def test_an_artifact_is_found_by_its_address_in_the_store(made, tmp_path, monkeypatch):
    assert place_in_store(made["teacher"]) == ""
    monkeypatch.setenv("SODA_STORE", str(tmp_path / "store"))
    inputs = {"teacher": made["teacher"].path, "student": made["student"].path}
    pairs = run("pair-build", inputs=inputs, config={}, out=tmp_path / "pairs")
    assert soda.Pairs.open(place_in_store(pairs)).digest == pairs.digest


def test_the_same_run_again_changes_nothing(dataset, tmp_path, capsys):
    one = run("prepare-prompts", inputs={}, config={"dataset": dataset}, out=tmp_path / "out")
    before = contents(tmp_path / "out")
    capsys.readouterr()
    again = run("prepare-prompts", inputs={}, config={"dataset": dataset}, out=tmp_path / "out")
    assert again.digest == one.digest and contents(tmp_path / "out") == before
    said = f"prepare-prompts: nothing to do, reusing {one.digest[:12]}\n"
    assert capsys.readouterr().err == said


def test_another_config_at_the_same_out_is_refused(dataset, tmp_path):
    config = {"dataset": dataset}
    run("prepare-prompts", inputs={}, config=config, out=tmp_path / "out")
    before = contents(tmp_path)
    with pytest.raises(ArtifactError, match="made with another config, input or version"):
        run("prepare-prompts", inputs={}, config={**config, "limit": 1}, out=tmp_path / "out")
    (tmp_path / "data.jsonl").write_text('{"prompt": "changed"}\n')  # the same path, another file
    with pytest.raises(ArtifactError, match="made with another config, input or version"):
        run("prepare-prompts", inputs={}, config=config, out=tmp_path / "out")
    after = contents(tmp_path)
    assert {key: value for key, value in after.items() if key.name != "data.jsonl"}.items() < (
        before.items()
    )


def test_an_empty_folder_at_out_is_filled(dataset, tmp_path):
    (tmp_path / "out").mkdir()
    run("prepare-prompts", inputs={}, config={"dataset": dataset}, out=tmp_path / "out")
    assert (tmp_path / "out" / "manifest.json").is_file()


def test_a_place_of_another_scheme_is_refused(dataset, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = {"dataset": f"file://{dataset}"}
    run("prepare-prompts", inputs={}, config=config, out=f"file://{tmp_path}/out")
    soda.Prompts.open(tmp_path / "out")
    with pytest.raises(StorageError, match="ftp://host/out: expected a path"):
        run("prepare-prompts", inputs={}, config=config, out="ftp://host/out")
    assert not (tmp_path / "ftp:").exists()


def test_going_on_where_an_earlier_run_stopped_is_said(dataset, tmp_path, capsys):
    config = load_stage("prepare-prompts").config.parse({"dataset": dataset})
    (work_place(Place.of(tmp_path / "out"), config, {}).folder / "work").mkdir(parents=True)
    run("prepare-prompts", inputs={}, config={"dataset": dataset}, out=tmp_path / "out")
    assert "going on where an earlier run stopped" in capsys.readouterr().err


def test_function_and_command_line_make_the_same(dataset, tmp_path, capsys):
    one = run("prepare-prompts", inputs={}, config={"dataset": dataset}, out=tmp_path / "one")
    with pytest.raises(SystemExit) as done:
        main(["prepare-prompts", "--set", f"dataset={dataset}", "--out", str(tmp_path / "other")])
    assert done.value.code == 0 and one.digest[:12] in capsys.readouterr().out
    assert dataclasses.replace(one.manifest, account={}) == dataclasses.replace(
        Prompts.open(tmp_path / "other").manifest, account={}
    )
