"""From a folder to a policy, and back to a whole model."""

import torch

from soda.training.config import TrainConfig
from soda.training.model.loading import load_policy, trained_model
from soda.training.model.processes import Processes
from tests.soda.training.plain import PAIRS, plain_logps, policy_of, tiny


def test_a_student_in_bf16_is_loaded_in_float32_and_without_dropout(tmp_path):
    tiny("llama", attention_dropout=0.5).bfloat16().save_pretrained(tmp_path)
    policy = load_policy(tmp_path, 1, 64, Processes(), TrainConfig())
    assert policy.packed and not policy.recomputes and not policy.model.training
    assert {parameter.dtype for parameter in policy.parameters()} == {torch.float32}
    rounded = tiny("llama").bfloat16().float()
    torch.testing.assert_close(
        policy.answer_logps(PAIRS), plain_logps(rounded, PAIRS), rtol=1e-5, atol=1e-4
    )


def test_activations_are_recomputed_where_it_is_asked(tmp_path):
    tiny("llama").save_pretrained(tmp_path)
    config = TrainConfig.parse({"device": {"recompute_activations": "on"}})
    assert load_policy(tmp_path, 1, 64, Processes(), config).recomputes


def test_what_was_trained_comes_back_whole(tmp_path):
    tiny("llama", tie_word_embeddings=True).save_pretrained(tmp_path / "student")
    processes = Processes()
    policy = load_policy(tmp_path / "student", 1, 64, processes, TrainConfig())
    with torch.no_grad():
        for parameter in policy.parameters():
            parameter.mul_(1.1)
    expected = policy.answer_logps(PAIRS)
    model = trained_model(policy, tmp_path / "student", None, processes)
    model.save_pretrained(tmp_path / "trained")
    again = load_policy(tmp_path / "trained", 1, 64, processes, TrainConfig())
    assert torch.equal(again.answer_logps(PAIRS), expected)
    assert torch.equal(policy_of(model).answer_logps(PAIRS), expected)
