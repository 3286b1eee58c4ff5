"""The compiled pipeline on KFP's local runner: a tiny random student and a teacher over HTTP."""

import os
import signal
import subprocess
import sys
import time

import pytest
import yaml

import soda
from soda.registry.registry import Registry
from tests.fakes.artifacts import write_dataset
from tests.fakes.student import save_student
from tests.fakes.teacher import fake_teacher

pytestmark = pytest.mark.slow


def write_recipe(root, **changes):
    recipe = {
        "prepare-prompts": {
            "dataset": str(write_dataset(root / "dataset.jsonl")),
            "validation_share": 0.2,
            "test_share": 0.2,
        },
        "import-student": {"source": str(save_student(root / "source"))},
        "snapshot": {"max_new_tokens": 8},
        "warm-up": {"batch_size": 8, "epochs": 2, "learning_rate": 1e-2},
        "train": {"batch_size": 8},
        "eval": {"max_new_tokens": 8, "lm_eval_tasks": []},
        "register": {
            "name": "tiny",
            "registry": str(root / "registry"),
            "champion_if": ["teacher_logp.change.low > 0"],
        },
    }
    for name, values in changes.items():
        recipe[name] = {**recipe.get(name, {}), **values}
    (root / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    return root / "recipe.yaml"


def command(root):
    run = [sys.executable, "-m", "soda", "run", "--recipe", str(root / "recipe.yaml")]
    return [*run, "--root", str(root / "runs")]


def environment(teacher, model="fake"):
    return {**os.environ, "SODA_TEACHER_BASE_URL": teacher.url, "SODA_TEACHER_MODEL": model}


def run(root, teacher, model="fake"):
    return subprocess.run(
        command(root), env=environment(teacher, model), capture_output=True, text=True
    )


def reused(done):
    """Return the steps that had nothing to do; after its shards, a whole never has."""
    lines = [line for line in done.stdout.splitlines() if line.endswith("  reused")]
    return {line[:26].strip().removesuffix(" 1/1") for line in lines}


def log_of(root):
    """Return all that the steps of the last run said."""
    return max((root / "runs" / "logs").iterdir()).read_text()


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """One run from nothing."""
    root = tmp_path_factory.mktemp("pipeline")
    with fake_teacher() as teacher:
        write_recipe(root)
        done = run(root, teacher)
        yield root, teacher, done


def test_the_whole_pipeline_registers_a_champion_and_says_where_it_is(finished):
    root, teacher, done = finished
    assert done.returncode == 0, done.stdout + done.stderr
    assert sum(teacher.asked.values()) == 40
    version = Registry(root / "registry").place_of("tiny", 1).folder
    for name in ("model/model.safetensors", "README.md", "report/report.html", "lineage.json"):
        assert (version / name).is_file() and str(version) in done.stdout
    assert (root / "registry" / "tiny" / "aliases" / "champion").read_text() == "1\n"
    pairs = "40 pairs of 40 prompts (dropped: none)"
    for text in (pairs, "ROUGE-L", "tiny version 1 is the champion"):
        assert text in done.stdout


def test_a_rerun_does_nothing_and_a_changed_recipe_only_what_depends_on_it(finished):
    root, teacher, _ = finished
    again = run(root, teacher)
    assert again.returncode == 0
    students = {"Base student", "Ask the student", "Student's answers"}
    before_training = {"Prompts", "Ask the teacher", "Teacher's answers", *students, "Pairs"}
    assert reused(again) == {*before_training, "Warm up", "Train", "Measure"}
    assert len(again.stdout.splitlines()) < 25 and "details: " in again.stdout

    write_recipe(root, train={"loss": {"name": "dpo", "beta": 0.2}})
    changed = run(root, teacher)
    assert reused(changed) == {*before_training, "Warm up"}
    assert "tiny version 2" in changed.stdout

    write_recipe(root)
    other_teacher = run(root, teacher, model="newer")
    whole = {"Teacher's answers"}  # after its shards
    assert reused(other_teacher) - whole == {"Prompts", *students}
    assert sum(teacher.asked.values()) == 80


def test_killed_in_training_it_goes_on_from_the_checkpoint(tmp_path):
    values = {"epochs": 10, "check_every_steps": 1, "health": {"chosen_reward": "warn"}}
    write_recipe(tmp_path, train=values, **{"warm-up": {"check_every_steps": 100}})
    with fake_teacher() as teacher:
        process = subprocess.Popen(
            command(tmp_path),
            env=environment(teacher),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        work = tmp_path / "runs" / "store" / "work"
        while process.poll() is None and not list(work.glob("train-*/work/checkpoint-1-*[1-9]")):
            time.sleep(0.01)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        assert not (tmp_path / "registry").exists()
        done = run(tmp_path, teacher)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "train: going on from checkpoint-1-" in log_of(tmp_path)
    assert len(reused(done)) == 8
    assert sum(teacher.asked.values()) == 40


def test_a_failing_step_fails_the_run_with_one_line_of_its_own(tmp_path):
    write_recipe(tmp_path)
    with fake_teacher(lambda body, times: (401, {}, {"error": {"message": "bad key"}})) as teacher:
        done = run(tmp_path, teacher)
    assert done.returncode == 2
    lines = done.stdout.splitlines()
    failed = next(number for number, line in enumerate(lines) if line.endswith("  failed"))
    assert lines[failed].startswith("Ask the teacher 1/1")
    assert lines[failed + 1].startswith("    soda: ")
    assert "SODA_TEACHER_API_KEY was refused: bad key" in lines[failed + 1]
    assert "Traceback" not in done.stdout + done.stderr
    [line] = done.stderr.splitlines()
    assert line.startswith("soda: 'Ask the teacher 1/1' failed; details: ")
    assert "bad key" in log_of(tmp_path)
    assert not (tmp_path / "registry").exists()


def test_a_stage_as_function_command_and_component_gives_one_digest(made, tmp_path):

    inputs = {"teacher": made["teacher"].path, "student": made["student"].path}
    function = soda.run("pair-build", inputs=inputs, config={}, out=tmp_path / "function")
    words = ["-m", "soda", "pair-build", "--out", str(tmp_path / "command")]
    for name, path in inputs.items():
        words += [f"--{name}", str(path)]
    subprocess.run([sys.executable, *words], check=True, capture_output=True)
    script = tmp_path / "component.py"
    script.write_text(
        "import sys, warnings\n"
        "warnings.simplefilter('ignore')\n"
        "from kfp import dsl, local\n"
        "from soda_components.pair_build.component import pair_build\n"
        "local.init(local.SubprocessRunner(use_venv=False), pipeline_root=sys.argv[1])\n"
        "@dsl.pipeline\n"
        "def one(teacher: str, student: str) -> dsl.Dataset:\n"
        "    load = lambda uri: dsl.importer(artifact_uri=uri, artifact_class=dsl.Dataset)\n"
        "    one, other = load(teacher), load(student)\n"
        "    made = pair_build(teacher=one.output, student=other.output, config={})\n"
        "    return made.output\n"
        "print('AT', one(teacher=sys.argv[2], student=sys.argv[3]).output.path)\n"
    )
    paths = [str(tmp_path / "component"), *map(str, inputs.values())]
    done = subprocess.run(
        [sys.executable, str(script), *paths],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    component = next(line[3:] for line in done.stdout.splitlines() if line.startswith("AT "))
    digests = {
        soda.Pairs.open(path).digest for path in (function.path, tmp_path / "command", component)
    }
    assert len(digests) == 1
