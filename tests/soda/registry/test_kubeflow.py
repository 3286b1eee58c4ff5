"""A version in a Kubeflow Model Registry: made once, whole, and only if it is the same model."""

import json
import logging
import subprocess
import sys
import urllib.error
import urllib.request

import pytest

from soda.errors import RegistryError, SodaError
from soda.registry.kubeflow import register_version
from tests.fakes.model_registry import fake_model_registry

pytest.importorskip("model_registry")

LINEAGE = {
    "model_digest": "sha256:abc",
    "rows": 264,
    "champion": True,
    "rouge_l": {"mean": 0.418, "change": {"low": 0.133, "bad": float("nan")}},
    "failed_checks": ["a > 0", "b < 1"],
    "teacher": None,
}


@pytest.fixture
def registry():
    with fake_model_registry() as registry:
        yield registry


def register(registry, **values):
    declared = {
        "name": "student",
        "version": "3",
        "uri": "gs://bucket/registry/student/models/abc",
        "lineage": LINEAGE,
        "author": "soda",
        **values,
    }
    return register_version(registry.url, **declared)


def refused(registry, **values):
    """Return the one line that a refusal is."""
    with pytest.raises(RegistryError) as error:
        register(registry, **values)
    assert isinstance(error.value, SodaError) and "\n" not in str(error.value)
    return str(error.value)


def test_a_version_is_registered_with_its_place_and_lineage(registry):
    identifier = register(registry)
    (model,), (version,), (artifact,) = registry.models, registry.versions, registry.artifacts
    assert model["name"] == "student" and model["owner"] == "soda"
    assert version["id"] == identifier and version["name"] == "3" and version["author"] == "soda"
    assert version["registeredModelId"] == model["id"]
    assert artifact["uri"] == "gs://bucket/registry/student/models/abc"
    assert artifact["modelFormatName"] == "safetensors" and artifact["parent"] == identifier
    assert "modelSourceKind" not in artifact
    found = {
        key: next(value for kind, value in one.items() if kind != "metadataType")
        for key, one in version["customProperties"].items()
    }
    assert found == {
        "model_digest": "sha256:abc",
        "rows": "264",  # int64 is a string in the registry's JSON
        "champion": True,
        "rouge_l.mean": 0.418,
        "rouge_l.change.low": 0.133,
        "rouge_l.change.bad": "nan",
        "failed_checks": '["a > 0", "b < 1"]',
    }


def test_the_run_that_made_it_is_named(registry, monkeypatch):
    monkeypatch.setenv("SODA_RUN_ID", "run-7")
    monkeypatch.setenv("SODA_RUN_NAMESPACE", "team")
    register(registry)
    (artifact,) = registry.artifacts
    source = {key: value for key, value in artifact.items() if key.startswith("modelSource")}
    assert source == {
        "modelSourceKind": "kfp",
        "modelSourceClass": "pipelinerun",
        "modelSourceGroup": "team",
        "modelSourceId": "run-7",
        "modelSourceName": "run-7",
    }


def test_a_second_time_nothing_is_sent(registry):
    first = register(registry)
    assert registry.changes() == [
        "POST /registered_models",
        "POST /model_versions",
        f"POST /model_versions/{first}/artifacts",
    ]
    assert register(registry) == first and registry.changes() == []
    register(registry, version="4", lineage={**LINEAGE, "model_digest": "sha256:def"})
    assert len(registry.models) == 1 and len(registry.versions) == len(registry.artifacts) == 2


def test_a_version_that_is_another_models_is_refused(registry):
    register(registry)
    registry.changes()
    said = refused(registry, lineage={**LINEAGE, "model_digest": "sha256:def"})
    assert "student version 3" in said
    assert "expected model_digest sha256:def, found sha256:abc" in said
    del registry.versions[0]["customProperties"]
    assert "found None" in refused(registry) and registry.changes() == []


@pytest.mark.parametrize(
    "call", ["POST /registered_models", "POST /model_versions", "POST /model_versions/2/artifacts"]
)
def test_killed_in_between_it_is_made_whole(registry, call):
    registry.fail(call, 500)
    assert "500" in refused(registry)
    register(registry)
    assert len(registry.models) == len(registry.versions) == len(registry.artifacts) == 1


def test_of_two_at_once_the_second_takes_what_the_first_made(registry, monkeypatch):
    first = register(registry)
    find, looks = type(registry)._find, []

    def not_at_first(self, where, what, **wanted):
        looks.append(what)
        if "name" in wanted and looks.count(what) == 1:
            return find(self, [], what, **wanted)
        return find(self, where, what, **wanted)

    monkeypatch.setattr(type(registry), "_find", not_at_first)
    assert register(registry) == first and len(registry.versions) == 1
    monkeypatch.undo()
    registry.versions[0]["customProperties"]["model_digest"]["string_value"] = "sha256:theirs"
    assert "found sha256:theirs" in refused(registry)


def test_the_token_comes_from_the_environment(registry, monkeypatch):
    registry.token = "canary-token"
    said = refused(registry)
    assert "401" in said and "SODA_MODEL_REGISTRY_TOKEN" in said
    monkeypatch.setenv("SODA_MODEL_REGISTRY_TOKEN", "canary-token")
    register(registry)
    registry.token = "another"
    assert "canary-token" not in refused(registry)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 500, 503])
def test_a_refusal_of_the_server_is_one_line(registry, status):
    registry.fail("POST /model_versions", status)
    said = refused(registry)
    assert str(status) in said and "told to fail" in said and registry.url in said


def test_an_unreachable_registry_is_one_line(registry):
    with pytest.raises(RegistryError, match=r":9: student version 3: expected an answer"):
        register_version(
            "http://127.0.0.1:9", name="student", version="3", uri="x", lineage=LINEAGE, author="a"
        )
    with pytest.raises(RegistryError, match="expected http:// or https://, found 'registry:8080'"):
        register_version(
            "registry:8080", name="s", version="3", uri="x", lineage=LINEAGE, author="a"
        )


def test_an_older_server_is_named_as_the_reason(registry):
    registry.speaks = ("v1alpha3",)
    assert "does it know /api/model_registry/v1/?" in refused(registry)


def test_an_older_client_is_understood(registry):
    url = f"{registry.url}/api/model_registry/v1alpha3/registered_models"
    for body, status in (({"name": "x"}, 201), ({"name": "y", "nonsense": 1}, 400)):
        request = urllib.request.Request(url, json.dumps(body).encode(), method="POST")
        try:
            with urllib.request.urlopen(request) as reply:
                assert reply.status == status
        except urllib.error.HTTPError as error:
            error.close()
            assert error.code == status
    assert [model["name"] for model in registry.models] == ["x"]


def test_the_clients_logging_is_not_ours(registry):
    before = list(logging.root.handlers)
    register(registry)
    assert logging.root.handlers == before


def test_without_the_package_the_refusal_says_what_to_install():
    code = (
        "import sys\nsys.modules['model_registry'] = None\n"
        "from soda.registry.kubeflow import register_version\n"
        "from soda.errors import RegistryError\n"
        "try: register_version('http://x', name='s', version='1', uri='u', author='a',"
        " lineage={'model_digest': 'd'})\nexcept RegistryError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "expected the package model-registry" in done.stdout
