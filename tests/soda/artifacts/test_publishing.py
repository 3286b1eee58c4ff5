"""Stages whose inputs, outputs, store and registry lie in object storage: real servers."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import uuid

import pytest

import soda
from soda import storage
from soda.errors import ArtifactError, StorageError
from soda.registry.registry import Registry
from tests.fakes.artifacts import make_base, make_prompts, teacher_config
from tests.fakes.objects import BUCKET, faulty
from tests.fakes.teacher import echo, fake_teacher

SECRET = "canary-52c8"


@pytest.fixture(autouse=True)
def _own_scratch(tmp_path, monkeypatch):
    monkeypatch.setenv("SODA_SCRATCH", str(tmp_path / "scratch"))


@pytest.fixture
def another_machine(tmp_path, monkeypatch):
    """Return a function that makes this a machine which has seen nothing yet."""

    def move(name="scratch2"):
        monkeypatch.setenv("SODA_SCRATCH", str(tmp_path / name))

    return move


@pytest.fixture(params=["gs", "s3"])
def bucket(request, cloud):
    """A location in a bucket that nothing has used yet."""
    return f"{request.param}://{BUCKET}/{uuid.uuid4().hex[:8]}"


@pytest.fixture
def broken_finalize(cloud, gcs_url, s3_url, monkeypatch):
    """Return a block in which the stores refuse, with 503, to take a manifest."""

    @contextlib.contextmanager
    def block():
        monkeypatch.setattr("soda.storage.gcs.RETRY_SECONDS", 0.5)
        monkeypatch.setattr("soda.storage.s3.ATTEMPTS", 2)
        refused = []

        def rule(method, path):
            created = "ifGenerationMatch=0" in path or path.endswith("/out/manifest.json")
            if method in ("PUT", "POST") and created:
                refused.append(path)
            return "refuse" if method in ("PUT", "POST") and created else "pass"

        with faulty(gcs_url, rule) as gs, faulty(s3_url, rule) as s3:
            cloud(gs.url, s3.url)
            yield refused
        cloud()

    return block


@pytest.fixture(scope="module")
def prompts(tmp_path_factory):
    return make_prompts(tmp_path_factory.mktemp("prompts"), 12)


def names(bucket):
    return [entry.name for entry in storage.Place.of(bucket).open().list()]


def generate(prompts, teacher, out, **values):
    config = {**teacher_config(teacher), **values}
    return soda.run("teacher-gen", inputs={"prompts": prompts}, config=config, out=out)


def test_all_stages_run_from_bucket_to_bucket(
    bucket, tmp_path, monkeypatch, another_machine, capsys
):
    """Dataset, student, artifacts, store and registry: nothing stays on this machine."""
    monkeypatch.setenv("SODA_STORE", f"{bucket}/store")
    for name in ("AWS_SECRET_ACCESS_KEY", "SODA_TEACHER_API_KEY"):
        monkeypatch.setenv(name, SECRET)
    local = make_prompts(tmp_path, 40)
    base = make_base(tmp_path)
    store = storage.Place.of(bucket).open()
    store.upload(tmp_path / "dataset.jsonl", "data/dataset.jsonl", lambda count: None)
    for path in (tmp_path / "source").iterdir():
        store.upload(path, f"data/source/{path.name}", lambda count: None)

    def run(name, config, **inputs):
        places = {key: f"{bucket}/runs/{value}" for key, value in inputs.items()}
        made = soda.run(name, inputs=places, config=config, out=f"{bucket}/runs/{name}")
        another_machine(name)  # the next stage runs somewhere else
        return made

    split = {"validation_share": 0.2, "test_share": 0.2}
    made = run("prepare-prompts", {"dataset": f"{bucket}/data/dataset.jsonl", **split})
    assert made.digest == local.digest
    made = run("import-student", {"source": f"{bucket}/data/source"})
    assert made.weights_digest == base.weights_digest
    with fake_teacher() as teacher:
        run("teacher-gen", teacher_config(teacher), prompts="prepare-prompts")
    run("snapshot", {"max_new_tokens": 8}, prompts="prepare-prompts", model="import-student")
    run("pair-build", {}, teacher="teacher-gen", student="snapshot")
    training = {"batch_size": 4, "check_every_steps": 2, "learning_rate": 1e-3}
    run("train", training, data="pair-build", model="import-student")
    both = {"model": "train", "warmed": "import-student", "base": "import-student"}
    measured = {"max_new_tokens": 8, "lm_eval_tasks": []}
    run("eval", measured, **both, teacher="teacher-gen", pairs="pair-build")
    values = {"name": "tiny", "registry": f"{bucket}/registry", "champion_if": []}
    values["teacher_licence"] = "MIT"
    registered = run("register", values, model="train", report="eval")
    assert registered.facts()["champion"] and registered.facts()["version"] == 1
    folder = str(Registry(f"{bucket}/registry").place_of("tiny", 1)).removeprefix(f"{bucket}/")
    assert {f"{folder}/model/model.safetensors", f"{folder}/report/report.html"} <= set(
        names(bucket)
    )
    assert not [name for name in names(f"{bucket}/store") if name.startswith("work/")]
    assert not [name for name in names(bucket) if SECRET.encode() in store.read(name)[0]]
    assert SECRET not in "".join(capsys.readouterr())


def test_a_finished_artifact_is_reused_by_another_machine(
    bucket, prompts, monkeypatch, another_machine
):
    monkeypatch.setenv("SODA_STORE", f"{bucket}/store")
    with fake_teacher() as teacher:
        made = generate(prompts.path, teacher, f"{bucket}/one")
    another_machine()
    again = generate(prompts.path, teacher, f"{bucket}/one")  # nobody listens there any more
    other = generate(prompts.path, teacher, f"{bucket}/two")
    assert made.digest == again.digest == other.digest
    assert soda.Responses.open(f"{bucket}/two", verify=True).digest == made.digest


def test_what_is_missing_damaged_or_of_another_kind_is_refused(bucket, prompts, another_machine):
    with pytest.raises(ArtifactError, match="expected a folder with prompts, found nothing"):
        soda.Prompts.open(f"{bucket}/none")
    with fake_teacher() as teacher:
        made = generate(prompts.path, teacher, f"{bucket}/out")
    with pytest.raises(ArtifactError, match="expected 'prompts', found 'responses'"):
        soda.Prompts.open(f"{bucket}/out")
    with pytest.raises(ArtifactError, match="expected nothing, or this run's own result"):
        generate(prompts.path, teacher, f"{bucket}/out", max_failed_share=0.5)
    store = storage.Place.of(f"{bucket}/out").open()
    data = next(entry.name for entry in store.list() if entry.name.endswith("responses.jsonl"))
    store.write(data, b"x" * (made.path / "responses.jsonl").stat().st_size)
    another_machine()
    with pytest.raises(StorageError, match=r"responses\.jsonl: expected sha256"):
        soda.Responses.open(f"{bucket}/out")


def test_of_two_writers_one_wins_and_nothing_is_mixed(bucket, prompts, tmp_path):
    """Both have asked a teacher that answers differently every time, without a common journal."""
    results = []

    def write(number):
        code = (
            "import json, sys, soda; name, prompts, out, config = sys.argv[1:];"
            "inputs, config = {'prompts': prompts}, json.loads(config);"
            "print(soda.run(name, inputs=inputs, config=config, out=out).digest)"
        )
        config = {**teacher_config(teacher), "probe": False}
        environment = {
            **os.environ,
            "SODA_SCRATCH": str(tmp_path / f"scratch{number}"),
            "SODA_STORE": str(tmp_path / f"store{number}"),
        }
        words = ["teacher-gen", str(prompts.path), f"{bucket}/out", json.dumps(config)]
        ran = subprocess.run(
            [sys.executable, "-c", code, *words], env=environment, capture_output=True, text=True
        )
        results.append((ran.returncode, ran.stdout.strip(), ran.stderr))

    def behaviour(body, times):
        time.sleep(0.05)
        status, headers, answer = echo(body, times)
        answer["choices"][0]["message"]["content"] += f" {times}"
        return status, headers, answer

    with fake_teacher(behaviour) as teacher:
        threads = [threading.Thread(target=write, args=(number,)) for number in range(3)]
        [thread.start() for thread in threads]
        [thread.join() for thread in threads]
    assert [code for code, _, _ in results] == [0, 0, 0], results
    winner = soda.Responses.open(f"{bucket}/out", verify=True)
    assert {digest for _, digest, _ in results} == {winner.digest}
    folders = {name.partition("/")[0] for name in names(f"{bucket}/out")} - {"manifest.json"}
    assert len(folders) == 1  # what the losers brought is gone


def start(prompts, out, config, tmp_path, name):
    sets = [f"--set={key}={json.dumps(value)}" for key, value in config.items()]
    words = ["teacher-gen", "--prompts", str(prompts.path), "--out", str(out), *sets]
    environment = {**os.environ, "SODA_SCRATCH": str(tmp_path / name)}
    return subprocess.Popen(
        [sys.executable, "-m", "soda", *words], env=environment, stderr=subprocess.PIPE, text=True
    )


@pytest.mark.parametrize("machine", ["the same", "another"])
def test_a_killed_run_goes_on_from_the_bucket(bucket, tmp_path, monkeypatch, machine):
    """What the teacher answered and the journal took is never asked again, on any machine."""
    monkeypatch.setenv("SODA_STORE", f"{bucket}/store")
    prompts = make_prompts(tmp_path, 40)

    def slow(body, times):
        time.sleep(0.05)
        return echo(body, times)

    with fake_teacher(slow) as teacher:
        config = {**teacher_config(teacher), "limits": {"concurrency": 4}, "probe": False}
        running = start(prompts, tmp_path / "out", config, tmp_path, "scratch1")
        journal = storage.Place.of(f"{bucket}/store/journal").open()
        deadline = time.monotonic() + 30
        while sum(data.count(b'"received"') for data in parts(journal)) < 10:
            assert time.monotonic() < deadline and running.poll() is None
            time.sleep(0.02)
        running.send_signal(signal.SIGKILL)
        running.communicate()
        time.sleep(0.2)  # the server ends what it was asked
        before = teacher.asked.total()
        if machine == "another":
            shutil.rmtree(tmp_path / "scratch1")
        free_the_leases(f"{bucket}/store/leases")
        resumed = start(prompts, tmp_path / "out", config, tmp_path, "scratch1")
        assert resumed.communicate(timeout=60) and resumed.returncode == 0
        assert teacher.asked.total() - 40 <= 4  # those under way
        assert before < 40
    made = soda.Responses.open(tmp_path / "out", verify=True)
    assert made.manifest.facts["outcomes"] == {"answered": 40}
    assert made.manifest.account["possibly_billed"] <= 4
    left = names(f"{bucket}/store/journal")
    assert left and not [name for name in left if "/.s" in name]


def parts(store):
    for entry in list(store.list()):
        try:
            yield store.read(entry.name)[0]
        except StorageError:  # merged meanwhile
            continue


def free_the_leases(location):
    """Do what the minute does in which nobody rewrites a dead holder's lease."""
    store = storage.Place.of(location).open()
    for entry in list(store.list()):
        store.write(entry.name, json.dumps({"free": True}).encode())


def test_training_goes_on_from_a_checkpoint_in_the_bucket(
    bucket, tmp_path, monkeypatch, another_machine
):
    """The first machine dies after a checkpoint; the second ends with the same weights."""
    from tests.fakes.artifacts import make_pairs

    with fake_teacher() as teacher:
        made = make_pairs(tmp_path, teacher)
    config = {"batch_size": 4, "check_every_steps": 1, "learning_rate": 1e-3, "epochs": 2}
    inputs = {"data": made["pairs"].path, "model": made["base"].path}
    alone = soda.run("train", inputs=inputs, config=config, out=tmp_path / "alone")
    monkeypatch.setenv("SODA_STORE", f"{bucket}/store")

    class Died(BaseException):
        pass

    from soda.training.run.checkpoint import Checkpoints

    saved, save = [], Checkpoints.save

    def die_after_three(checkpoints, *arguments, **others):
        save(checkpoints, *arguments, **others)
        checkpoints.wait()
        saved.append(1)
        if len(saved) == 4:
            raise Died

    monkeypatch.setattr(Checkpoints, "save", die_after_three)
    with pytest.raises(Died):
        soda.run("train", inputs=inputs, config=config, out=tmp_path / "out")
    monkeypatch.setattr(Checkpoints, "save", save)
    another_machine()
    resumed = soda.run("train", inputs=inputs, config=config, out=tmp_path / "out")
    assert resumed.weights_digest == alone.weights_digest and len(saved) == 4


def test_a_store_that_fails_at_the_end_leaves_no_manifest(
    bucket, prompts, broken_finalize, tmp_path, monkeypatch
):
    """503 for the manifest only: files without a manifest are no artifact; later it is finished."""
    monkeypatch.setenv("SODA_STORE", str(tmp_path / "store"))
    with fake_teacher() as teacher:
        with broken_finalize() as refused, pytest.raises(StorageError, match=r"manifest\.json"):
            generate(prompts.path, teacher, f"{bucket}/out")
        assert refused
        with pytest.raises(ArtifactError, match="found nothing"):
            soda.Responses.open(f"{bucket}/out")
        made = generate(prompts.path, teacher, f"{bucket}/out")
        assert teacher.asked.total() == len(prompts)
    assert soda.Responses.open(f"{bucket}/out", verify=True).digest == made.digest
