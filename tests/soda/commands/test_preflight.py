"""Every check finds what it should, nothing is raised or left behind, and no secret is shown."""

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from soda import storage
from soda.cli import main
from soda.commands.preflight import Check, preflight, preflight_step, refuse_failures, render
from soda.errors import ConfigError
from soda.kubernetes.checks import Gpus
from tests.fakes.image_registry import fake_images
from tests.fakes.kubernetes import a_node, a_quota, fake_kubernetes, inside
from tests.fakes.listing_teacher import listing_teacher
from tests.fakes.objects import BUCKET, faulty
from tests.fakes.student import save_student

KEY = "canary-0b52"


@pytest.fixture(autouse=True)
def _outside(monkeypatch, tmp_path):
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    monkeypatch.setenv("SODA_SCRATCH", str(tmp_path / "scratch"))


@pytest.fixture
def teacher(monkeypatch):
    monkeypatch.setenv("SODA_TEACHER_API_KEY", KEY)
    with listing_teacher() as running:
        running.key = KEY
        running.lists("big", "small")
        yield running


@pytest.fixture(scope="module")
def student(tmp_path_factory):
    return save_student(tmp_path_factory.mktemp("student"))


@pytest.fixture
def recipe(teacher, student, tmp_path):
    (tmp_path / "prompts.jsonl").write_text('{"prompt": "hi"}\n')
    return {
        "prepare-prompts": {"dataset": str(tmp_path / "prompts.jsonl")},
        "teacher-gen": {"base_url": teacher.url, "model": "big"},
        "import-student": {"source": str(student)},
        "register": {
            "name": "tiny",
            "registry": str(tmp_path / "registry"),
            "teacher_licence": "MIT",
        },
    }


@pytest.fixture
def cluster(monkeypatch):
    with fake_kubernetes() as fake:
        inside(fake, monkeypatch)
        yield fake


def checked(recipe, **named):
    """Return the checks by name; no text of theirs has two lines or the key in it."""
    found = preflight(recipe, **named)
    text = render(found)
    assert KEY not in text and len(text.splitlines()) == 2 + len(found)
    return {each.name: each for each in found}


def only(recipe, stage, **values):
    return {stage: {**recipe[stage], **values}}


def test_where_all_is_well_every_check_says_what_it_found(recipe, teacher, tmp_path):
    found = checked(recipe, store=str(tmp_path / "store"))
    assert {name: each.outcome for name, each in found.items()} == {
        "recipe": "ok",
        "prompts": "ok",
        "teacher": "ok",
        "student": "ok",
        "store": "ok",
        "registry": "ok",
        "cluster": "skipped",
    }
    assert found["recipe"].found == "4 steps"
    assert found["teacher"].found == f"big at {teacher.url}: listed, with a key"
    assert found["student"].found == "llama; 20 tensors"
    refuse_failures(list(found.values()))
    assert teacher.calls == ["GET /v1/models", "POST /v1/chat/completions"]


def test_a_stage_that_is_not_in_the_recipe_is_not_looked_at():
    assert list(checked({})) == ["recipe", "cluster"]


def test_task_sets_of_eval_and_audit_are_looked_for(tmp_path):
    mine = tmp_path / "mine.jsonl"
    mine.write_text('{"prompt": "Say one."}\n')
    found = checked({"eval": {"sets": [str(mine)]}, "audit": {"held_out": [str(mine)]}})
    assert found["task sets"].outcome == "ok" and found["task sets"].found == "mine"
    absent = checked({"eval": {"sets": [f"vicuna-80={tmp_path}/later.jsonl"]}})["task sets"]
    assert absent.outcome == "failed" and absent.found.endswith("found none of vicuna-80")


def test_every_wrong_value_of_the_recipe_is_named(recipe):
    recipe["teacher-gen"]["modle"] = "x"
    recipe["train"] = {"seed": -1}
    found = checked(recipe)
    assert found["recipe"].outcome == "failed"
    assert "teacher-gen.modle: unknown key; did you mean 'model'?; train.seed:" in (
        found["recipe"].found
    )
    assert "teacher" not in found and found["student"].outcome == "ok"


def test_a_password_in_a_url_is_refused_and_not_shown(monkeypatch):
    for recipe in ({"base_url": f"https://me:{KEY}@t/v1"}, {"model": "big"}):
        found = checked({"teacher-gen": recipe})["recipe"]
        assert "expected no user or password in the URL" in found.found
        monkeypatch.setenv("SODA_TEACHER_BASE_URL", f"https://me:{KEY}@t/v1")
    found = checked({}, store=f"s3://me:{KEY}@bucket/x")["store"]
    assert found.outcome == "failed"


def test_a_teacher_that_is_not_there_is_suggested(recipe, teacher):
    teacher.knows = {"big", "small"}
    found = checked(only(recipe, "teacher-gen", model="bigg"))["teacher"]
    assert found.outcome == "failed" and found.found.endswith("did you mean 'big'?")
    assert "teacher-gen in the recipe" in found.fix


def test_a_wrong_key_fails(recipe, monkeypatch):
    monkeypatch.setenv("SODA_TEACHER_API_KEY", f"{KEY}-of-another")
    found = checked(recipe)["teacher"]
    assert found.outcome == "failed"
    assert "the key in SODA_TEACHER_API_KEY was refused" in found.found


def test_a_key_that_opens_the_list_alone_and_sampling_that_is_refused_fail(recipe, teacher):
    teacher.refuses = {"temperature": None}
    sampling = {"temperature": 0.7, "max_tokens": 10}
    found = checked(only(recipe, "teacher-gen", sampling=sampling))["teacher"]
    assert found.outcome == "failed" and "Unsupported value: 'temperature'" in found.found


def test_another_model_in_the_place_of_the_asked_one_is_said_or_refused(recipe, teacher):
    teacher.served = "small"
    found = checked(only(recipe, "teacher-gen"))["teacher"]
    assert found.outcome == "ok" and found.found.endswith("listed, with a key, served by small")
    found = checked(only(recipe, "teacher-gen", served="as_asked"))["teacher"]
    assert (found.outcome, found.found) == (
        "failed",
        "expected answers of big, found those of small",
    )


def test_an_endpoint_without_a_list_is_fine(recipe, teacher, monkeypatch):
    teacher.models, teacher.key = None, ""
    monkeypatch.delenv("SODA_TEACHER_API_KEY")
    found = checked(recipe)["teacher"]
    assert found.outcome == "ok"
    assert found.found.endswith(": an endpoint without a list of models, without a key")


def test_an_endpoint_out_of_reach_fails(recipe):
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{nobody.getsockname()[1]}/v1"
        found = checked(only(recipe, "teacher-gen", base_url=url))["teacher"]
    assert found.outcome == "failed" and "Connection refused" in found.found


@pytest.mark.parametrize(
    ("url", "check"),
    [("http://", "recipe"), ("http://[::1/v1", "recipe"), ("http://t:port/v1", "recipe")],
)
def test_a_teachers_url_that_is_none_fails(url, check):
    found = checked({"teacher-gen": {"base_url": url, "model": "big"}})
    assert found[check].outcome == "failed"


def test_no_teacher_fails_and_given_answers_need_none(tmp_path):
    assert checked({"teacher-gen": {}})["teacher"].outcome == "failed"
    path = tmp_path / "answers.jsonl"
    path.write_text('{"prompt": "a", "response": "b"}\n')
    found = checked({"teacher-gen": {"answers": str(path)}})["teacher"]
    assert (found.outcome, found.found) == ("skipped", "only given answers are used")


def test_a_student_without_safetensors_fails(recipe, student, tmp_path):
    folder = tmp_path / "pickled"
    folder.mkdir()
    (folder / "config.json").write_bytes((student / "config.json").read_bytes())
    (folder / "pytorch_model.bin").write_bytes(b"x")
    found = checked(only(recipe, "import-student", source=str(folder)))["student"]
    assert found.outcome == "failed"
    assert found.found == (
        f"{folder}: expected safetensors weights, found only pickled ones: pytorch_model.bin"
    )


@pytest.mark.parametrize(
    ("config", "problem"),
    [
        (None, "expected config.json, found no such file"),
        ("{", "expected config.json in JSON"),
        ("[]", "expected an object in config.json"),
        ('{"model_type": "t5"}', "expected a causal language model, found 't5'"),
        ('{"model_type": "nonsense"}', "expected a model type of transformers"),
        ('{"model_type": "llama", "auto_map": {}}', "found one with its own code"),
        ('{"model_type": "llama", "quantization_config": {}}', "found quantised ones"),
    ],
)
def test_a_student_that_cannot_be_trained_fails(tmp_path, config, problem):
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(b"x")
    if config is not None:
        (folder / "config.json").write_text(config)
    found = checked({"import-student": {"source": str(folder)}})["student"]
    assert found.outcome == "failed" and problem in found.found


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ({"source": "no-such-folder"}, "expected a folder, a file or a hub id"),
        ({"source": "someone/model"}, "import-student.revision: expected the commit"),
        ({"source": "a--b/model..x", "revision": "0" * 40}, "expected a hub model"),
        ({"source": "someone/model", "revision": "0" * 40}, "expected a hub model"),  # offline
        ({"source": "package:nonsense/file"}, "expected the package 'nonsense'"),
    ],
)
def test_a_student_that_is_not_there_fails(values, problem):
    found = checked({"import-student": values})
    failed = next(each for each in found.values() if each.outcome == "failed")
    assert problem in failed.found


@pytest.mark.slow  # the hub's client tries again for half a minute
def test_a_hub_out_of_reach_fails(tmp_path):
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        endpoint = f"http://127.0.0.1:{nobody.getsockname()[1]}"
        (tmp_path / "recipe.yaml").write_text(
            json.dumps(
                {
                    "prepare-prompts": {"dataset": "a/b", "revision": "0" * 40},
                    "import-student": {"source": "a/b", "revision": "0" * 40},
                }
            )
        )
        done = subprocess.run(
            [sys.executable, "-m", "soda", "preflight", "--recipe", tmp_path / "recipe.yaml"],
            env={**os.environ, "HF_ENDPOINT": endpoint, "HF_HUB_OFFLINE": "0"},
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert "| ✗ | student | a/b: expected a hub model, found: " in done.stdout


def test_a_student_whose_tensors_are_not_all_there_fails(student, tmp_path):
    from safetensors.torch import load_file, save_file

    folder = tmp_path / "model"
    shutil.copytree(student, folder)
    weights = load_file(folder / "model.safetensors")
    del weights["model.norm.weight"]
    save_file(weights, folder / "model.safetensors")
    found = checked({"import-student": {"source": str(folder)}})["student"]
    assert found.outcome == "failed" and "found none for model.norm.weight" in found.found


def test_a_gguf_file_is_only_measured(tmp_path):
    path = tmp_path / "model.gguf"
    path.write_bytes(b"GGUF" + bytes(3 * 2**20))
    found = checked({"import-student": {"source": str(path)}})["student"]
    assert (found.outcome, found.found) == ("ok", "GGUF, 3 MiB")
    path.write_bytes(bytes(3 * 2**20))
    found = checked({"import-student": {"source": str(path)}})["student"]
    assert found.outcome == "failed" and "expected a GGUF file" in found.found
    path.rename(tmp_path / "model-00001-of-00002.gguf")
    values = {"source": str(tmp_path / "model-00001-of-00002.gguf")}
    assert (
        "found no model-00002-of-00002.gguf" in checked({"import-student": values})["recipe"].found
    )


def test_a_student_in_a_bucket_is_looked_at_without_its_weights(student, place, tmp_path):
    store = storage.Place.of(place).open()
    for path in student.iterdir():
        store.write(path.name, path.read_bytes())
    values = {"source": place, "source_digest": "0" * 64}
    assert checked({"import-student": values})["student"].found == "llama; 20 tensors"
    assert not list(tmp_path.rglob("scratch/**/*.safetensors"))
    header = (student / "model.safetensors").read_bytes()
    store.write("model.safetensors", header.replace(b"model.norm.weight", b"model.nose.weight"))
    assert "found none for model.norm" in checked({"import-student": values})["student"].found


def test_a_place_that_can_be_written_to_is_as_it_was(place):
    found = checked({}, store=place)["store"]
    assert (found.outcome, found.found) == ("ok", f"{place}: writable, with conditional writes")
    assert not list(storage.Place.of(place).open().list())
    if place.startswith("file://"):
        assert not list(storage.Place.of(place).folder.rglob("*"))


def test_checks_of_one_place_at_the_same_time_do_not_disturb_each_other(tmp_path):
    outcomes, barrier = [], threading.Barrier(8)

    def look():
        barrier.wait()
        outcomes.append(checked({}, store=str(tmp_path / "store"))["store"].outcome)

    threads = [threading.Thread(target=look) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert outcomes == ["ok"] * 8


def test_a_store_and_a_registry_that_cannot_be_written_to_fail(tmp_path):
    (tmp_path / "file").write_text("no folder")
    place = str(tmp_path / "file" / "store")
    found = checked(
        {"register": {"name": "tiny", "registry": place, "teacher_licence": "MIT"}}, store=place
    )
    for name in ("store", "registry"):
        assert found[name].outcome == "failed"
        assert "where this service account may create objects" in found[name].fix


@pytest.mark.parametrize("scheme", ["gs", "s3"])
def test_a_bucket_that_is_not_there_fails(cloud, scheme):
    place = f"{scheme}://no-such-bucket-at-all/store"
    assert checked({}, store=place)["store"].outcome == "failed"


@pytest.mark.parametrize("scheme", ["gs", "s3"])
def test_a_bucket_that_refuses_writes_fails(cloud, gcs_url, s3_url, scheme, monkeypatch):
    monkeypatch.setattr("soda.storage.gcs.RETRY_SECONDS", 0.5)
    monkeypatch.setattr("soda.storage.s3.ATTEMPTS", 1)

    def rule(method, path):
        return "pass" if method == "GET" else "refuse"

    with faulty(gcs_url, rule) as gs, faulty(s3_url, rule) as s3:
        cloud(gs.url, s3.url)
        assert checked({}, store=f"{scheme}://{BUCKET}/store")["store"].outcome == "failed"


@contextlib.contextmanager
def overwriting():
    """Serve an S3 that knows no If-None-Match: every write wins."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_):
            """Say nothing."""

        def do_PUT(self):
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self._reply(200)

        def do_DELETE(self):
            self._reply(204)

        def _reply(self, status):
            self.send_response(status)
            self.send_header("ETag", '"0"')
            self.send_header("Content-Length", "0")
            self.end_headers()

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_a_store_that_overwrites_what_is_there_fails(cloud):
    with overwriting() as url:
        cloud(s3=url)
        found = checked({}, store=f"s3://{BUCKET}/store")["store"]
    assert found.outcome == "failed"
    assert "expected create-once writes (If-None-Match), found an overwrite" in found.found


def test_images_are_looked_up():
    with fake_images() as images:
        digest = images.push("soda/cpu", "1")
        images.private.add("soda/private")
        references = [f"{images.host}/soda/{name}" for name in ("cpu:1", "cpu:2", "private:1")]
        found = checked({}, images=references)
    cpu, missing, private = (found[f"image {reference}"] for reference in references)
    assert (cpu.outcome, cpu.found) == ("ok", digest)
    assert missing.outcome == "failed" and "push the image" in missing.fix
    assert private.outcome == "skipped" and "wants credentials" in private.found


def test_in_a_cluster_nodes_quota_and_permissions_are_looked_at(cluster):
    cluster.nodes = [a_node("a", 8), a_node("b", 8)]
    cluster.quotas = [a_quota("gpus", {"requests.nvidia.com/gpu": "16"}, {})]
    cluster.runtimes = {"soda-torch"}
    found = checked({}, gpus=Gpus(count=8, nodes=2), runtime="soda-torch")
    assert {name: (each.outcome, each.found) for name, each in found.items()} == {
        "recipe": ("ok", "0 steps"),
        "GPU nodes": ("ok", "room for 2 pods with 8 nvidia.com/gpu"),
        "training runtime": ("ok", "'soda-torch' is there"),
        "quota": ("ok", "enough of gpus"),
        "permissions": ("ok", "9 permissions"),
    }
    assert cluster.calls.count("POST selfsubjectaccessreviews") == 9


def test_in_a_cluster_with_too_little_every_check_fails(cluster):
    cluster.quotas = [a_quota("gpus", {"requests.nvidia.com/gpu": "15"}, {})]
    cluster.forbidden = {("trainer.kubeflow.org", "trainjobs", "create")}
    found = checked({}, gpus=Gpus(count=8, nodes=2), runtime="soda-torch")
    names = ("GPU nodes", "training runtime", "quota", "permissions")
    assert [found[name].outcome for name in names] == ["failed"] * 4
    assert "expected 16 of requests.nvidia.com/gpu in team, found 15 left" in found["quota"].found
    one = checked({}, gpus=Gpus(count=8))  # makes no TrainJob
    assert one["permissions"].outcome == "ok"


def test_nodes_that_an_autoscaler_has_to_add_are_a_warning(cluster):
    found = checked({}, gpus=Gpus(count=8), autoscaled=True)["GPU nodes"]
    assert found.outcome == "warning" and "found it for 0" in found.found
    refuse_failures([found])


def test_what_the_cluster_does_not_tell_fails_and_the_rest_is_looked_at(cluster):
    cluster.fail("GET nodes", 403)
    found = checked({})
    assert found["GPU nodes"].found == "Kubernetes refused list_node: told to fail"
    assert found["quota"].outcome == found["permissions"].outcome == "ok"


@pytest.mark.parametrize(("method", "outcome"), [("dpo", "ok"), ("gad", "failed")])
def test_more_processes_than_the_method_can_use_fail(method, outcome):
    found = checked({"train": {"method": method}}, gpus=Gpus("nvidia.com/gpu", 2, 2))["processes"]
    assert found.outcome == outcome and "4" in found.found


def test_a_table_has_a_row_for_each_check_whatever_is_in_it():
    rows = render([Check("a", "ok", "x|y"), Check("b", "failed", "z", "do this")]).splitlines()
    assert rows[2:] == ["| ✓ | a | x\\|y |  |", "| ✗ | b | z | do this |"]


def test_a_refusal_names_every_check_that_failed():
    found = [
        Check("a", "ok", ""),
        Check("b", "failed", "x", "do this"),
        Check("c", "failed", "y", "do that"),
    ]
    expected = r"2 of 3 failed: b: x \(what to do: do this\); c: y \(what to do: do that\)"
    with pytest.raises(ConfigError, match=expected):
        refuse_failures(found)


def command(capsys, tmp_path, recipe, *words):
    (tmp_path / "recipe.yaml").write_text(json.dumps(recipe))
    with pytest.raises(SystemExit) as done:
        main(["preflight", "--recipe", str(tmp_path / "recipe.yaml"), *words])
    captured = capsys.readouterr()
    assert KEY not in captured.out + captured.err
    return done.value.code, captured.out, captured.err


@pytest.mark.parametrize(
    ("text", "values", "outcome", "found"),
    [
        ('{"prompt": "hi"}', {}, "ok", "a file that can be read"),
        ("", {}, "failed", "expected prompts, found no rows"),
        ('{"text": "hi"}', {}, "failed", "line 1: expected a column"),
        ('{"prompt": "hi"}', {"dataset": "none.jsonl"}, "failed", "found no such file"),
        ('{"prompt": "hi"}', {"dataset": "a/b", "revision": "main"}, "failed", "the hub dataset"),
        ('{"prompt": "hi"}', {"dataset": "s3://b/p.jsonl", "dataset_digest": "0"}, "ok", "bucket"),
    ],
)
def test_the_prompts_are_looked_at(tmp_path, text, values, outcome, found):
    (tmp_path / "p.jsonl").write_text(text)
    check = checked({"prepare-prompts": {"dataset": str(tmp_path / "p.jsonl"), **values}})[
        "prompts"
    ]
    assert check.outcome == outcome and found in check.found


def test_the_command_names_the_steps_that_a_recipe_lacks(capsys, tmp_path, recipe):
    del recipe["import-student"]
    code, out, err = command(capsys, tmp_path, recipe)
    assert (code, out) == (2, "")
    assert "recipe.yaml: expected values for import-student, found none" in err


def test_the_command_prints_the_table(capsys, tmp_path, recipe, monkeypatch):
    monkeypatch.setenv("SODA_STORE", str(tmp_path / "store"))
    code, out, err = command(capsys, tmp_path, recipe)
    assert (code, err) == (0, "")
    assert f"| ✓ | store | {tmp_path}/store: writable, with conditional writes |  |" in out


def test_the_command_ends_with_one_line_and_code_2(capsys, tmp_path, recipe, teacher):
    teacher.knows = {"big"}
    recipe["teacher-gen"]["model"] = "bigg"
    with fake_images() as images:
        code, out, err = command(
            capsys, tmp_path, recipe, "--image", f"{images.host}/soda/cpu:1", "--nodes", "2"
        )
    [line] = err.splitlines()
    assert code == 2 and line.startswith("soda: preflight: 2 of 7 failed: teacher: ")
    assert "| ✗ | teacher |" in out and "did you mean 'big'?" in out


def test_in_a_cluster_a_folder_of_the_pod_itself_fails(cluster, tmp_path):
    found = checked({}, store=str(tmp_path / "store"))["store"]
    assert found.outcome == "failed" and "volume" in found.found
    assert not (tmp_path / "store").exists()


def step(recipe, tmp_path, store):
    preflight_step(
        recipe,
        steps=list(recipe),
        store=store,
        images=[],
        gpus={"count": 8.0, "autoscaled": True, "tolerations": []},  # Kubeflow's numbers
        pods={},
        nodes=2.0,
        report=str(tmp_path / "report.md"),
    )
    return (tmp_path / "report.md").read_text()


def test_the_step_writes_its_report(recipe, tmp_path, cluster, capfd, cloud):
    recipe["register"]["registry"] = f"gs://{BUCKET}/registry"
    assert "| ! | GPU nodes |" in step(recipe, tmp_path, f"gs://{BUCKET}/store")
    lines = capfd.readouterr().err.splitlines()
    assert "preflight: ok: recipe: 4 steps" in lines
    assert "preflight:     what to do: the autoscaler has to add them" in lines


def test_the_step_ends_with_one_line_and_code_2(recipe, teacher, tmp_path, capfd):
    teacher.knows = {"big"}
    recipe["teacher-gen"]["model"] = "bigg"
    with pytest.raises(SystemExit) as refused:
        step(recipe, tmp_path, str(tmp_path / "store"))
    *lines, last = capfd.readouterr().err.splitlines()
    assert refused.value.code == 2 and last.startswith("soda: preflight: 1 of 7 failed: teacher: ")
    assert "| ✗ | teacher |" in (tmp_path / "report.md").read_text()
    assert not any(KEY in line for line in lines)
