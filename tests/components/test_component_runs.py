"""Each component on KFP's local runner: a process of its own, from importers to artifacts."""

from pathlib import Path

import pytest
from kfp import dsl

import soda
from soda.artifacts.kinds import Comparison, Registration
from soda_components.compare.component import compare
from soda_components.eval.component import eval as evaluate
from soda_components.import_student.component import import_student
from soda_components.notify.component import notify
from soda_components.pair_build.component import pair_build
from soda_components.preflight.component import preflight
from soda_components.prepare_prompts.component import prepare_prompts
from soda_components.register.component import register
from soda_components.snapshot.component import snapshot
from soda_components.teacher_gen.component import teacher_gen
from soda_components.train.component import train
from soda_components.train_job.component import train_job
from soda_components.watch.component import watch
from soda_pipelines.local import start_runner

pytestmark = pytest.mark.slow

# What a task makes: output -> kind of artifact, or text on a page.
LIGHT = {
    "preflight": {"report": "| ✓ | teacher |"},
    "prepare-prompts": {"prompts": soda.Prompts},
    "teacher-gen": {"responses": soda.Responses},
    "pair-build": {"pairs": soda.Pairs},
    "register": {"registration": Registration, "card": "tiny"},
    "compare": {"comparison": Comparison, "page": "<html", "summary": "SeqKD"},
}
HEAVY = {
    "import-student": {"model": soda.Model},
    "snapshot": {"responses": soda.Responses},
    "train": {"student": soda.Model},
    "train-2": {"student": soda.Model},
    "eval": {"report": soda.Report, "page": "<html", "summary": "ROUGE-L"},
}


def load(path, kind=dsl.Dataset):
    return dsl.importer(artifact_uri=path, artifact_class=kind).output


def run(pipeline, root):
    """Run a pipeline; return the folder of every task by its name."""
    with start_runner(root):
        pipeline()
    [made] = root.iterdir()
    return {folder.name: folder for folder in made.iterdir()}


def check(made, expected):
    for task, outputs in expected.items():
        for output, what in outputs.items():
            path = made[task] / output
            if isinstance(what, str):
                assert what in path.read_text()
            else:
                stage = task.removesuffix("-2")
                assert what.open(path, verify=True).manifest.stage == stage


# One test a run, as a run is what takes the time.
def test_the_components_without_torch_make_their_artifacts_on_the_local_runner(
    ready, configs, web, tmp_path, monkeypatch
):
    registry = {"name": "tiny", "registry": str(tmp_path / "registry")}
    store = str(tmp_path / "store")

    @dsl.pipeline(name="light")
    def pipeline():
        end = notify(pipeline="light", register_config=registry, store=store, run="one")
        with dsl.ExitHandler(end):
            preflight(**configs(tmp_path / "registry"), store=store, images=[])
            prompts = prepare_prompts(config={"dataset": ready.dataset}, store=store)
            config = {"base_url": ready.url, "model": "fake"}
            teacher_gen(prompts=prompts.output, config=config, store=store)
            student = load(ready.student)
            pair_build(teacher=load(ready.teacher), student=student, config={}, store=store)
            report = load(ready.report, dsl.Artifact)
            model = load(ready.model, dsl.Model)
            register(model=model, report=report, config=registry, store=store)
            names = {"names": ["SODA", "SeqKD", "GAD"]}
            compare(reports=[ready.report] * 3, config=names, store=store)

    monkeypatch.setenv("SODA_NOTIFY_URL", web.url)
    made = run(pipeline, tmp_path / "runs")
    check(made, LIGHT)
    assert "✗" not in (made["preflight"] / "report").read_text()
    [message] = web.posted
    assert message["text"].splitlines() == [
        "✓ light tiny: succeeded",
        f"registry: {tmp_path}/registry/tiny",
    ]


def test_the_components_with_torch_make_their_artifacts_on_the_local_runner(ready, tmp_path):
    @dsl.pipeline(name="heavy")
    def pipeline():
        base = import_student(config={"source": ready.source}).output
        snapshot(prompts=load(ready.prompts), model=base, config=ready.quick["snapshot"])
        pairs, teacher = load(ready.pairs), load(ready.teacher)
        warmed = train(data=teacher, model=base, config=ready.quick["warm-up"]).output
        trained = train(data=pairs, model=warmed, config=ready.quick["train"]).output
        measured = {"base": base, "teacher": teacher, "pairs": pairs}
        evaluate(model=trained, warmed=warmed, **measured, config=ready.quick["eval"])

    check(run(pipeline, tmp_path / "runs"), HEAVY)


def test_preflight_stops_a_run_on_the_local_runner_and_says_why(configs, web, tmp_path, capsys):
    wrong = configs(tmp_path / "registry", base_url=f"{web.url}/v1", model="big-teachr")
    wrong["import_student_config"] = {
        "source": wrong["prepare_prompts_config"]["dataset"]
    }  # a file
    with start_runner(tmp_path / "runs"), pytest.raises(RuntimeError, match="FAILURE"):
        preflight(**wrong, store=str(tmp_path / "store"), images=[])
    shown = capsys.readouterr().out
    assert "did you mean 'big-teacher'?" in shown
    assert "Traceback" not in shown


def test_watch_tells_new_from_unchanged_on_the_local_runner(ready, tmp_path):
    registry = {"name": "tiny", "registry": str(tmp_path / "registry")}
    teacher = {"base_url": ready.url, "model": "fake", "sampling": {"max_tokens": 20}}

    def look(run):
        with start_runner(tmp_path / run):
            task = watch(
                teacher_gen_config=teacher,
                register_config=registry,
                store=str(tmp_path / "store"),
                run=run,
            )
        return task.outputs

    found = look("one")
    assert (found["Output"], found["identity"]) == ("new", "")
    inputs = {"model": ready.model, "report": ready.report}
    soda.run("register", inputs=inputs, config=registry, out=tmp_path / "registration")
    found = look("two")
    assert found["Output"] == "unchanged"
    assert "The teacher is unchanged" in Path(found["report"].path).read_text()


def test_train_job_is_refused_on_the_local_runner_with_one_line(ready, tmp_path, capsys):
    @dsl.pipeline(name="nodes")
    def pipeline():
        train_job(
            data=load(ready.pairs),
            model=load(ready.base, dsl.Model),
            config=ready.quick["train"],
            store=str(tmp_path / "store"),
            image="soda",
        )

    with pytest.raises(RuntimeError, match="FAILURE"):
        run(pipeline, tmp_path / "runs")
    shown = capsys.readouterr().out
    assert "soda: train: expected to be in a cluster with the Kubeflow Trainer, found none" in shown
    assert "Traceback" not in shown
