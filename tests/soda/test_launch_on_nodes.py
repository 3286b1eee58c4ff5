"""A stage as a process of its own, and as a TrainJob whose nodes work from a store."""

import os
import signal
import subprocess
import sys
import time

import pytest

from soda.artifacts.kinds import Model
from soda.launch import launch, launch_on_nodes, show
from tests.fakes.artifacts import make_pairs
from tests.fakes.kubernetes import fake_kubernetes, inside
from tests.fakes.teacher import fake_teacher

CONFIG = {"batch_size": 8, "learning_rate": 1e-3, "check_every_steps": 5}


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """A volume on which the steps up to the pairs have left what they made."""
    root = tmp_path_factory.mktemp("shared")
    with pytest.MonkeyPatch.context() as patch, fake_teacher() as teacher:
        patch.setenv("SODA_STORE", str(root / "store"))
        return {"store": root / "store", **make_pairs(root, teacher)}


class Cluster:
    """Plays the cluster: runs what a TrainJob says, in one process, and says how it ended."""

    def __init__(self, fake):
        self.fake = fake
        self.process = None

    def __call__(self, job):
        trainer = job["spec"]["trainer"]
        python, _, workers, torchrun, *words = trainer["command"]
        assert (python, torchrun) == ("python", "torchrun") and workers.endswith("workers")
        environment = {each["name"]: each["value"] for each in trainer["env"]}
        self.process = subprocess.Popen(
            [sys.executable, *words],
            env={**os.environ, "SODA_STORE": "", **environment},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        lines = self.process.communicate()[1].splitlines()
        state = "Failed" if self.process.returncode else "Complete"
        self.fake.set_state(job["metadata"]["name"], state, lines[-1] if lines else "")


@pytest.fixture
def cluster(monkeypatch):
    monkeypatch.setattr("soda.kubernetes.trainjob.POLL_SECONDS", 0.05)
    monkeypatch.setenv("SODA_STORE", "")  # launch_on_nodes sets it, this sets it back
    with fake_kubernetes() as fake:
        inside(fake, monkeypatch)
        fake.began = Cluster(fake)
        yield fake


def train(shared, out, config=CONFIG, store=None):
    return launch_on_nodes(
        "train",
        inputs={"data": shared["pairs"].path, "model": shared["base"].path},
        config=config,
        out=out,
        store=str(store or shared["store"]),
        image="registry/soda-gpu:1",
        nodes=2,
    )


def refusal(capfd, *arguments, **named):
    with pytest.raises(SystemExit) as refused:
        train(*arguments, **named)
    assert refused.value.code == 2
    return capfd.readouterr().err.splitlines()[-1]


def test_overrides_win_where_they_say_something(made, tmp_path):
    inputs = {"teacher": made["teacher"].path, "student": made["student"].path}
    config = {"max_prompt_tokens": 99, "max_answer_tokens": 98}
    found = launch(
        "pair-build",
        inputs=inputs,
        config=config,
        overrides={"max_prompt_tokens": "", "max_answer_tokens": 97},
        out=tmp_path / "out",
    )
    assert found.manifest.config == {"max_prompt_tokens": 99, "max_answer_tokens": 97}


def test_a_stage_that_refuses_is_one_line_and_code_2(tmp_path, capfd):
    with pytest.raises(SystemExit) as refused:
        launch("prepare-prompts", inputs={}, config={"limits": 1}, out=tmp_path / "out")
    assert refused.value.code == 2
    assert (
        capfd.readouterr().err == "soda: prepare-prompts.limits: unknown key; did you mean 'limit'?"
        " (and 1 more)\n"
    )


def test_what_the_store_holds_is_not_made_again(made, tmp_path, monkeypatch, capfd):
    monkeypatch.setenv("SODA_STORE", "")  # launch sets it, this sets it back
    inputs = {"teacher": made["teacher"].path, "student": made["student"].path}
    for name in ("one", "two"):
        found = launch(
            "pair-build",
            inputs=inputs,
            config={},
            out=tmp_path / name,
            store=f"file://{tmp_path}/store",
        )
    assert found.path == tmp_path / "two" and "nothing to do, reusing" in capfd.readouterr().err


def test_the_nodes_train_and_the_step_finds_what_they_made(cluster, shared, tmp_path):
    made = train(shared, tmp_path / "out")
    assert made.path == tmp_path / "out" and made.manifest.stage == "train"
    assert made.manifest.inputs["data"] == shared["pairs"].digest
    assert made.weights_digest != shared["base"].weights_digest
    [place] = (shared["store"] / "artifacts").glob("train-*")
    assert Model.open(place, verify=True).digest == made.digest
    weights = "model.safetensors"
    assert (place / weights).samefile(made.path / weights)
    assert cluster.changes() == ["POST trainjobs", "DELETE trainjobs"]

    again = train(shared, tmp_path / "again")
    assert again.digest == made.digest and cluster.calls == []


def test_a_job_that_fails_is_one_line_and_code_2(cluster, shared, tmp_path, capfd):
    line = refusal(capfd, shared, tmp_path / "out", CONFIG, tmp_path / "another-volume")
    assert line.startswith("soda: train: soda-train-")
    key = shared["pairs"].manifest.key[:16]
    place = tmp_path / "another-volume" / "artifacts" / f"pair-build-{key}"
    assert f"failed: soda: {place}: expected a folder with pairs, found nothing" in line


def test_a_job_that_leaves_nothing_is_refused(cluster, shared, tmp_path, capfd):
    cluster.began = lambda job: cluster.set_state(job["metadata"]["name"], "Complete")
    line = refusal(capfd, shared, tmp_path / "out", {**CONFIG, "seed": 2})
    store = shared["store"]
    assert line == f"soda: {store}: expected what the TrainJob made, found nothing there"


def test_a_store_in_a_bucket_is_refused_before_anything_is_created(
    cluster, shared, tmp_path, capfd, cloud, monkeypatch
):
    monkeypatch.setenv("SODA_SCRATCH", str(tmp_path / "scratch"))
    line = refusal(capfd, shared, tmp_path / "out", CONFIG, "gs://soda-test/nodes")
    assert line.endswith("a folder on a volume that all nodes share, found gs://soda-test/nodes")
    assert cluster.changes() == []


def test_a_wrong_value_is_refused_before_anything_is_created(cluster, shared, tmp_path, capfd):
    assert "train.seed" in refusal(capfd, shared, tmp_path / "out", {"seed": -1})
    assert cluster.calls == []


def test_a_step_that_is_cancelled_takes_its_job_away(cluster, shared, tmp_path):
    def began(job):
        while cluster.calls.count("GET trainjobs") < 3:
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGTERM)

    cluster.began = began
    with pytest.raises(SystemExit) as stopped:
        train(shared, tmp_path / "out", {**CONFIG, "seed": 3})
    assert stopped.value.code == 143 and not cluster.jobs
    assert not (tmp_path / "out").exists()


def test_pages_are_copied_to_where_the_ui_shows_them(shared, tmp_path):
    show(shared["pairs"], {"manifest.json": str(tmp_path / "shown")})
    assert (tmp_path / "shown").read_bytes() == (
        shared["pairs"].path / "manifest.json"
    ).read_bytes()
