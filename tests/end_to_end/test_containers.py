"""The images, built on a real engine, and the whole pipeline in them, as a restricted pod runs."""

import contextlib
import fcntl
import functools
import http.server
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import pytest
from kfp import dsl

from soda.registry.registry import Registry
from soda_components import images
from soda_pipelines.local import start_runner
from tests.end_to_end.test_pipeline import write_recipe
from tests.fakes.teacher import fake_teacher

docker = pytest.importorskip("docker")
ROOT = Path(__file__).parents[2]
# Read now: tests see no variable of ours.
WHEELS = os.environ.get("SODA_WHEELS")
DOCKER = os.environ.get("SODA_DOCKER", "docker")  # its command
REQUIRED = bool(os.environ.get("SODA_REQUIRE_DOCKER"))
pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]  # the builds take minutes


@pytest.fixture(scope="module")
def engine():
    """A Docker engine; SODA_REQUIRE_DOCKER makes a missing one a failure."""
    try:
        client = docker.from_env(timeout=900)  # a step that copies packages is silent for long
        client.ping()
    except docker.errors.DockerException as error:
        if REQUIRED:
            raise
        pytest.skip(f"no Docker engine: {error}")
    yield client
    client.close()


@pytest.fixture(scope="module")
def built(engine):
    """Both images, the gpu one without CUDA, under the references that components name.

    One worker at a time: the second finds everything in the engine's cache.
    """
    with alone(), wheels() as argument:
        for kind, reference in (("cpu", images.CPU), ("gpu", images.GPU)):
            command = [DOCKER, "build", "--network", "host", "--tag", reference]
            command += ["--file", "images/Containerfile", "--build-arg", f"KIND={kind}"]
            if kind == "gpu":
                command += ["--build-arg", "LOCK=without-cuda", "--build-arg", argument]
            command += ["."]
            done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
            assert done.returncode == 0, done.stdout + done.stderr
    return engine


@contextlib.contextmanager
def alone():
    with (Path(tempfile.gettempdir()) / "soda-images.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def wheels():
    """Say where torch's CPU build comes from: SODA_WHEELS, a folder with it, or its own index."""
    if not WHEELS:
        yield "UV_INDEX=https://download.pytorch.org/whl/cpu"
        return

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *arguments):
            pass

    handler = functools.partial(Handler, directory=WHEELS)
    # always the same port: the address is part of the engine's cache
    with http.server.ThreadingHTTPServer(("127.0.0.1", 18099), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"UV_FIND_LINKS=http://127.0.0.1:{server.server_port}/"
        server.shutdown()


@pytest.fixture
def folder():
    """A folder that the images' user can get into; pytest's own are closed to others."""
    made = Path(tempfile.mkdtemp(prefix="soda-containers-"))
    made.chmod(0o755)
    yield made
    shutil.rmtree(made)


def inside(client, reference, *command):
    """Run a command as a pod under Pod Security `restricted` would."""
    return client.containers.run(
        reference,
        list(command),
        remove=True,
        read_only=True,
        cap_drop=["ALL"],
        security_opt=["no-new-privileges"],
        network_mode="none",
    ).decode()


@pytest.mark.parametrize("reference", [images.CPU, images.GPU])
def test_an_image_has_labels_a_bill_of_materials_and_no_root(built, reference):
    image = built.images.get(reference)
    assert image.attrs["Config"]["User"] == "10001:10001"
    assert image.labels["org.opencontainers.image.licenses"] == "Apache-2.0"
    code = "import json; bill = json.load(open('/opt/soda/sbom.cdx.json')); "
    code += "print(bill['bomFormat'], *(each['name'] for each in bill['components']))"
    form, *listed = inside(built, reference, "python", "-c", code).split()
    assert form == "CycloneDX" and {"kfp", "transformers"} <= set(listed)
    assert ("torch" in listed) == (reference == images.GPU)
    code = "import os, soda, kfp; print(os.getuid(), os.access('/app', os.W_OK))"
    assert inside(built, reference, "python", "-c", code).split() == ["10001", "False"]
    assert "register" in inside(built, reference, "python", "-m", "soda", "--help")


def test_the_whole_pipeline_runs_in_the_images(built, folder):
    write_recipe(folder)
    for file in (folder / "source").iterdir():
        file.chmod(0o644)  # transformers writes weights for their owner alone
    command = [sys.executable, "-m", "soda", "run", "--containers"]
    command += ["--recipe", str(folder / "recipe.yaml"), "--root", str(folder / "runs")]
    with fake_teacher() as teacher:
        environment = {
            **os.environ,
            "SODA_TEACHER_BASE_URL": teacher.url,
            "SODA_TEACHER_MODEL": "fake",
            "SODA_VOLUMES": str(folder),
            "OMP_NUM_THREADS": "1",
        }
        done = subprocess.run(command, env=environment, capture_output=True, text=True, cwd=ROOT)
        assert done.returncode == 0, done.stdout + done.stderr
        assert teacher.asked.total() == 40
    assert "tiny version 1 is the champion" in done.stdout
    version = Registry(folder / "registry").place_of("tiny", 1).folder
    assert (version / "model" / "model.safetensors").is_file()
    assert version.stat().st_uid != 0  # nobody was root in there


@dsl.component(base_image=images.CPU, install_kfp_package=False)
def fail():
    """Fail at once."""
    raise SystemExit(3)


def test_a_step_that_fails_fails_the_run_20_of_20_times(built, folder):
    """KFP's own runner calls some of them successful; see pipelines/containers.py."""
    with start_runner(folder / "pipeline", store=str(folder / "store")):
        for _ in range(20):
            with pytest.raises(RuntimeError, match="FAILURE"):
                fail()
