"""The judge that a recipe names: pinned to the environment and to its weights."""

import pytest

from soda.errors import ModelError
from soda.judging.model import JudgeModel


def test_the_environment_says_which_judge_it_is(monkeypatch):
    monkeypatch.setenv("SODA_JUDGE_BASE_URL", "http://127.0.0.1:9/v1")
    monkeypatch.setenv("SODA_JUDGE_MODEL", "grader")
    found = JudgeModel().pinned()
    assert found.name == "grader" and found.deciding()["model"] == "grader"
    assert JudgeModel(model="grader").name == ""  # nowhere to be asked


def test_a_reward_model_is_pinned_by_its_weights(tmp_path):
    with pytest.raises(ModelError, match="expected a reward model in safetensors, found none"):
        JudgeModel(reward_model=str(tmp_path)).pinned()
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(b"one")
    pinned = JudgeModel(reward_model=str(tmp_path)).pinned()
    assert pinned.name == tmp_path.name and pinned.pinned() == pinned
    weights.write_bytes(b"two")
    with pytest.raises(ModelError, match=f"expected {pinned.reward_model_digest[:12]}, found "):
        pinned.pinned()
