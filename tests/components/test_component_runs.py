"""Each component on KFP's local runner: a process of its own, from importers to artifacts."""

from pathlib import Path
from types import SimpleNamespace

import pytest
from kfp import dsl

import soda
from components.compare.component import compare
from components.eval.component import eval as evaluate
from components.import_student.component import import_student
from components.notify.component import notify
from components.pair_build.component import pair_build
from components.preflight.component import preflight
from components.prepare_prompts.component import prepare_prompts
from components.register.component import register
from components.snapshot.component import snapshot
from components.teacher_gen.component import teacher_gen
from components.train.component import train
from components.train_job.component import train_job
from components.watch.component import watch
from pipelines.local import start_runner
from soda.kinds import Comparison, Registration

pytestmark = pytest.mark.slow

# task -> output, kind
LIGHT = {
    "prepare-prompts": ("prompts", soda.Prompts),
    "teacher-gen": ("responses", soda.Responses),
    "pair-build": ("pairs", soda.Pairs),
    "register": ("registration", Registration),
    "compare": ("comparison", Comparison),
}
HEAVY = {
    "import-student": ("model", soda.Model),
    "snapshot": ("responses", soda.Responses),
    "train": ("student", soda.Model),
    "eval": ("report", soda.Report),
}
PAGES = {
    "register": {"card": "tiny"},
    "compare": {"page": "<html", "summary": "SeqKD"},
    "eval": {"page": "<html", "summary": "ROUGE-L"},
}


def load(path, kind=dsl.Dataset):
    return dsl.importer(artifact_uri=path, artifact_class=kind).output


def run(pipeline, root):
    """Run a pipeline; return the folder of every task by its name."""
    with start_runner(root):
        pipeline()
    [made] = root.iterdir()
    return {folder.name: folder for folder in made.iterdir()}


@pytest.fixture(scope="module")
def light(ready, configs, web, tmp_path_factory):
    """One run of every component that needs no torch, but watch and train_job."""
    root = tmp_path_factory.mktemp("light")
    registry = {"name": "tiny", "registry": str(root / "registry")}
    store = str(root / "store")

    @dsl.pipeline(name="light")
    def pipeline():
        end = notify(pipeline="light", register_config=registry, store=store, run="one")
        with dsl.ExitHandler(end):
            preflight(**configs(root / "registry"), store=store, images=[])
            prompts = prepare_prompts(config={"dataset": ready.dataset}, store=store)
            config = {"base_url": ready.url, "model": "fake"}
            teacher_gen(prompts=prompts.output, config=config, store=store)
            student = load(ready.student)
            pair_build(teacher=load(ready.teacher), student=student, config={}, store=store)
            report = load(ready.report, dsl.Artifact)
            model = load(ready.model, dsl.Model)
            register(model=model, report=report, config=registry, store=store)
            compare(soda=report, seqkd=report, gad=report, config={}, store=store)

    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("SODA_NOTIFY_URL", web.url)
        yield SimpleNamespace(root=root, made=run(pipeline, root / "runs"))


@pytest.fixture(scope="module")
def heavy(ready, tmp_path_factory):
    """One run of the components that need torch."""
    root = tmp_path_factory.mktemp("heavy")

    @dsl.pipeline(name="heavy")
    def pipeline():
        base = import_student(config={"source": ready.source}).output
        snapshot(prompts=load(ready.prompts), model=base, config=ready.quick["snapshot"])
        pairs, teacher = load(ready.pairs), load(ready.teacher)
        trained = train(pairs=pairs, model=base, config=ready.quick["train"]).output
        config = ready.quick["eval"]
        evaluate(model=trained, base=base, teacher=teacher, pairs=pairs, config=config)

    return SimpleNamespace(root=root, made=run(pipeline, root / "runs"))


def check(made, task, output, kind):
    artifact = kind.open(made[task] / output, verify=True)
    assert artifact.manifest["stage"] == task
    for page, text in PAGES.get(task, {}).items():
        assert text in (made[task] / page).read_text()


@pytest.mark.parametrize("task", LIGHT)
def test_a_component_makes_its_artifact_on_the_local_runner(task, light):
    check(light.made, task, *LIGHT[task])


@pytest.mark.parametrize("task", HEAVY)
def test_a_component_with_torch_makes_its_artifact_on_the_local_runner(task, heavy):
    check(heavy.made, task, *HEAVY[task])


def test_preflight_passes_on_the_local_runner_and_shows_its_table(light):
    report = (light.made["preflight"] / "report").read_text()
    assert "| ✓ | teacher |" in report and "✗" not in report


def test_notify_posts_the_runs_end_from_the_local_runner(light, web):
    [message] = web.posted
    first, *others = message["text"].splitlines()
    assert first == "✓ light tiny: succeeded"
    assert others == [f"registry: {light.root}/registry/tiny"]


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


def test_watch_tells_new_from_unchanged_on_the_local_runner(ready, light, tmp_path):
    config = {"base_url": ready.url, "model": "fake", "sampling": {"max_tokens": 20}}

    def look(registry, run):
        with start_runner(tmp_path / run):
            task = watch(
                teacher_gen_config=config,
                register_config={"name": "tiny", "registry": str(registry)},
                store=str(tmp_path / "store"),
                run=run,
            )
        return task.outputs

    found = look(tmp_path / "empty", "one")
    assert (found["Output"], found["identity"]) == ("new", "")
    found = look(light.root / "registry", "two")  # where register has made a champion
    assert found["Output"] == "unchanged"
    assert "The teacher is unchanged" in Path(found["report"].path).read_text()


def test_train_job_is_refused_on_the_local_runner_with_one_line(ready, tmp_path, capsys):
    @dsl.pipeline(name="nodes")
    def pipeline():
        train_job(
            pairs=load(ready.pairs),
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
