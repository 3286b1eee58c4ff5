"""A student's weights on the disk."""

import torch

from soda.student.weights import load_causal_lm, weights_digest
from tests.soda.training.plain import tiny


def test_the_digest_is_of_the_weights_alone(tmp_path):
    for name, seed in (("one", 0), ("same", 0), ("other", 1)):
        tiny(seed=seed).save_pretrained(tmp_path / name)
    (tmp_path / "same" / "config.json").write_text("{}")
    digests = {name: weights_digest(tmp_path / name) for name in ("one", "same", "other")}
    assert digests["one"] == digests["same"] != digests["other"]


def test_a_model_is_loaded_in_the_type_that_is_asked_for_and_in_eval_mode(tmp_path):
    tiny().bfloat16().save_pretrained(tmp_path)
    model = load_causal_lm(tmp_path, torch.float32)
    assert not model.training
    assert {weight.dtype for weight in model.parameters()} == {torch.float32}
