"""A version on a Hugging Face hub: one commit, one tag, and no second time."""

import json

import pytest
from huggingface_hub import constants

from soda.errors import RegistryError
from soda.registry.hub import push_to_hub
from tests.fakes.hub import fake_hub


@pytest.fixture
def hub(monkeypatch):
    with fake_hub() as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        monkeypatch.setenv("HF_TOKEN", "hf_canary")
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)  # the tests' own setting
        server.token = "hf_canary"
        yield server


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "README.md").write_text("of the artifact")
    return tmp_path


def push(folder, version=1, digest="d1"):
    lineage = {"model_digest": digest}
    return push_to_hub("team/tiny", folder=folder, version=version, card="# card", lineage=lineage)


def test_a_version_is_a_commit_and_a_tag_in_a_private_repository(hub, folder):
    assert push(folder) == f"{hub.url}/team/tiny/tree/v1"
    assert hub.repositories == {"team/tiny": True} and list(hub.tags) == ["v1"]
    files = hub.files[hub.tags["v1"]]
    assert files["model.safetensors"] == b"weights" and files["README.md"] == b"# card"
    assert json.loads(files["lineage.json"]) == {"model_digest": "d1"}


def test_a_second_time_is_no_change_and_a_second_version_a_second_tag(hub, folder):
    push(folder)
    push(folder)
    assert len(hub.titles) == 1
    push(folder, 2, "d2")
    assert list(hub.tags) == ["v1", "v2"] and len(hub.titles) == 2


def test_a_tag_of_another_model_is_refused(hub, folder):
    push(folder)
    with pytest.raises(
        RegistryError, match=r"hub team/tiny v1: expected 'soda version 1: d9', found"
    ):
        push(folder, 1, "d9")


def test_a_hub_that_refuses_is_one_line_without_the_token(hub, folder):
    hub.fail("POST /api/models/team/tiny/commit", 403)
    with pytest.raises(
        RegistryError, match=r"hub team/tiny v1: expected an answer, found"
    ) as caught:
        push(folder)
    assert "\n" not in str(caught.value) and "hf_canary" not in str(caught.value)
    assert not hub.tags
