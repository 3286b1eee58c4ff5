"""MLflow's registry, on MLflow's own server.

MLflow's pins are not ours, so server and client run in an environment of their own, whose Python
SODA_MLFLOW names: `make mlflow` makes it and runs this.
"""

import json
import os
import socket
import subprocess
import time
import urllib.request
from contextlib import contextmanager
from pathlib import Path

import pytest

from soda.errors import RegistryError
from soda.registry.mlflow import register_in_mlflow

ROOT = Path(__file__).parents[3]
PYTHON = os.environ.get("SODA_MLFLOW", "")
REGISTER = """
import json, sys
from soda.errors import RegistryError
from soda.registry.mlflow import register_in_mlflow
try:
    print(json.dumps(register_in_mlflow(**json.loads(sys.argv[1]))))
except RegistryError as error:
    print(json.dumps({"refused": str(error)}))
"""
FIND = """
import json, sys
from mlflow import MlflowClient
client = MlflowClient(registry_uri=sys.argv[1], tracking_uri=sys.argv[1])
found = client.search_model_versions("name='tiny'")
try:
    champion = client.get_model_version_by_alias("tiny", "champion").version
except Exception:
    champion = None
print(json.dumps([[dict(v.tags), v.source, v.description] for v in found] + [champion]))
"""


def python(code, *words):
    command = [PYTHON, "-c", code, *words]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=120)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@contextmanager
def server(folder):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [PYTHON, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port)]
    command += ["--backend-store-uri", f"sqlite:///{folder}/mlflow.db", "--workers", "1"]
    with subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL) as process:
        try:
            url = f"http://127.0.0.1:{port}"
            for _ in range(600):
                try:
                    urllib.request.urlopen(f"{url}/health", timeout=5)
                    break
                except OSError:
                    time.sleep(0.1)
            yield url
        finally:
            process.terminate()


def version(url, number=1, digest="d1", champion=False, **more):
    lineage = {"model_digest": digest, "teacher": {"model": "big"}, "long": "x" * 9000}
    values = {"address": url, "name": "tiny", "version": number, "card": "# card", **more}
    values |= {"lineage": lineage, "champion": champion, "uri": "gs://bucket/tiny/model"}
    return json.dumps(values)


@pytest.mark.slow
@pytest.mark.skipif(not PYTHON, reason="SODA_MLFLOW names no Python with MLflow")
def test_versions_are_registered_once_with_lineage_card_and_alias(tmp_path):
    with server(tmp_path) as url:
        assert python(REGISTER, version(url)) == "1"
        assert python(REGISTER, version(url)) == "1"
        assert python(REGISTER, version(url, 2, "d2", champion=True)) == "2"
        *found, champion = python(FIND, url)
        assert champion in ("2", 2) and len(found) == 2
        tags, source, card = next(one for one in found if one[0]["soda.version"] == "1")
        assert source == "gs://bucket/tiny/model" and card == "# card"
        assert tags["soda.model_digest"] == "d1" and tags["soda.teacher.model"] == "big"
        assert len(tags["soda.long"]) == 5000
        refused = python(REGISTER, version(url, 1, "other"))["refused"]
        assert "expected model_digest other, found d1: the version is another model's" in refused
    assert "expected an answer" in python(REGISTER, version("http://127.0.0.1:9"))["refused"]


def test_without_the_package_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "mlflow", None)
    with pytest.raises(RegistryError, match=r"pip install 'soda-distill\[mlflow\]'"):
        values = {"uri": "gs://b", "lineage": {"model_digest": "a"}, "card": "", "champion": False}
        register_in_mlflow("http://127.0.0.1:9", name="tiny", version=1, **values)
