"""One forward and backward of real architectures, beside plain float32 DPO one row at a time."""

import pytest
import torch

from soda.errors import ModelError
from soda.training.model import head
from soda.training.model.examples import Example
from soda.training.model.head import answer_logps
from tests.soda.training.plain import (
    PAIRS,
    assert_same_gradients,
    dpo,
    our_gradients,
    plain_gradients,
    plain_logps,
    policy_of,
    tiny,
)

PACKED = {
    "llama": {},
    "llama-biases": {"attention_bias": True, "mlp_bias": True},
    "llama-yarn": {
        "rope_parameters": {"rope_type": "yarn", "factor": 4.0, "rope_theta": 1e4},
    },
    "llama-all-heads": {"num_key_value_heads": 4},
    "mistral": {"sliding_window": None},
    "mistral-window": {"sliding_window": 64},  # as long as the longest may be
    "qwen2": {},
    "qwen2-window": {"use_sliding_window": True, "sliding_window": 64, "max_window_layers": 1},
    "qwen3": {},
    "smollm3": {"no_rope_layer_interval": 2},  # its second layer knows no positions
}
OPT = {"word_embed_proj_dim": 32, "ffn_dim": 48}
PLAIN = {
    "gpt2": {},
    "opt": OPT,
    "gemma": {},
    "gemma2": {"query_pre_attn_scalar": 8},
    "llama-dynamic": {
        "rope_parameters": {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 1e4}
    },
}
WINDOW = {"sliding_window": 64}


def both(name, options):
    """Return a model for the trainer, and the same with the attention that is written out."""
    kind = name.partition("-")[0]
    plain = tiny(kind, **options)
    plain.set_attn_implementation("eager")
    return policy_of(tiny(kind, **options)), plain


def check(policy, plain):
    torch.testing.assert_close(
        policy.answer_logps(PAIRS), plain_logps(plain, PAIRS), rtol=1e-5, atol=1e-4
    )
    found = our_gradients(policy, [PAIRS], dpo(PAIRS))
    assert_same_gradients(found, plain_gradients(plain, PAIRS), 1e-4)


@pytest.mark.parametrize("tied", [True, False], ids=["tied", "untied"])
@pytest.mark.parametrize("name", PACKED)
def test_the_packed_path_equals_plain_float32(name, tied):
    policy, plain = both(name, {**PACKED[name], "tie_word_embeddings": tied})
    assert policy.packed
    check(policy, plain)


@pytest.mark.parametrize("name", PLAIN)
def test_the_plain_path_equals_plain_float32(name):
    policy, plain = both(name, PLAIN[name])
    assert not policy.packed
    check(policy, plain)


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_a_temperature_divides_the_logits(kind):
    policy, plain = policy_of(tiny(kind)), tiny(kind)
    plain.get_output_embeddings().weight.data /= 0.7
    if kind == "gpt2":  # its embeddings are the same matrix
        plain.transformer.wte.weight = torch.nn.Parameter(tiny(kind).transformer.wte.weight.data)
    with torch.no_grad():
        logps = policy(policy.micro_batch(PAIRS, temperature=0.7))
    lengths = torch.tensor([len(answer) for pair in PAIRS for answer in pair.answers])
    found = answer_logps(logps, lengths)
    torch.testing.assert_close(found, plain_logps(plain, PAIRS), rtol=1e-5, atol=1e-4)


# The same examples, computed in another way: the same gradients.


@pytest.fixture(scope="module")
def whole():
    """The gradients of all pairs in one packed row."""
    return our_gradients(policy_of(tiny("mistral", **WINDOW)), [PAIRS], dpo(PAIRS))


@pytest.fixture
def policy():
    return policy_of(tiny("mistral", **WINDOW))


def test_packed_equals_padded(whole):
    padded = policy_of(tiny("mistral", **WINDOW), longest=65)  # past the window
    assert not padded.packed
    assert_same_gradients(our_gradients(padded, [PAIRS], dpo(PAIRS)), whole, 1e-5)


def test_a_shared_prompt_equals_one_for_each_answer(whole, policy):
    halves = [Example(pair.id, pair.prompt, (one,)) for pair in PAIRS for one in pair.answers]
    objective = dpo(PAIRS)
    loss, _ = policy(
        policy.micro_batch(halves),
        lambda examples, logps, lengths: objective(PAIRS, logps, lengths),
    )
    loss.backward()
    found = {name: weight.grad for name, weight in policy.model.named_parameters()}
    assert_same_gradients(found, whole, 1e-5)


def test_one_at_a_time_equals_all_at_once(whole, policy):
    found = our_gradients(policy, [[pair] for pair in PAIRS], dpo(PAIRS))
    assert_same_gradients(found, whole, 1e-5)


def test_the_order_within_a_row_does_not_matter(whole, policy):
    assert_same_gradients(our_gradients(policy, [PAIRS[::-1]], dpo(PAIRS)), whole, 1e-5)


def test_a_chunked_head_equals_a_whole_one(whole, policy, monkeypatch):
    monkeypatch.setitem(head._CHUNK_BYTES, "cpu", 1)
    assert_same_gradients(our_gradients(policy, [PAIRS], dpo(PAIRS)), whole, 1e-5)


RECOMPUTED = {
    "mistral": {"sliding_window": 64, "attention_dropout": 0.5},
    "gpt2": {"resid_pdrop": 0.5, "embd_pdrop": 0.5, "attn_pdrop": 0.5},
    "gemma": {"attention_dropout": 0.5},
    "opt": {**OPT, "dropout": 0.5, "attention_dropout": 0.5},
}


@pytest.mark.parametrize("kind", RECOMPUTED)
def test_recomputed_activations_change_nothing_and_nothing_drops_out(kind):
    policy = policy_of(tiny(kind, **RECOMPUTED[kind]))
    logps = policy.answer_logps(PAIRS)
    expected = our_gradients(policy, [PAIRS], dpo(PAIRS))
    policy.recompute_activations()
    assert policy.recomputes
    torch.testing.assert_close(policy.answer_logps(PAIRS), logps)
    assert_same_gradients(our_gradients(policy, [PAIRS], dpo(PAIRS)), expected, 1e-6)


def test_recomputing_keeps_fewer_activations():
    def kept(policy):
        sizes = []
        with torch.autograd.graph.saved_tensors_hooks(
            lambda tensor: sizes.append(tensor.numel()) or tensor, lambda tensor: tensor
        ):
            policy(policy.micro_batch(PAIRS), dpo(PAIRS))
        return sum(sizes)

    policy = policy_of(tiny("llama"))
    before = kept(policy)
    policy.recompute_activations()
    assert kept(policy) < before / 2


def test_a_model_that_cannot_recompute_is_refused(policy):
    policy.model.supports_gradient_checkpointing = False
    with pytest.raises(ModelError, match="mistral, which cannot recompute activations"):
        policy.recompute_activations()


@pytest.mark.parametrize("recompute", [False, True])
def test_a_policy_generates_as_its_model_does(recompute):
    prompts = torch.tensor([[1, 1, 5, 6, 7], [20, 21, 22, 23, 24]])
    options = {"attention_mask": (prompts != 1).long(), "max_new_tokens": 8, "do_sample": False}
    expected = tiny("llama").generate(prompts, **options)
    policy = policy_of(tiny("llama"))
    if recompute:
        policy.recompute_activations()
    assert torch.equal(policy.model.generate(prompts, **options), expected)


# Which path a model takes, and why.

LONGROPE = {
    "rope_type": "longrope",
    "rope_theta": 1e4,
    "factor": 2.0,
    "original_max_position_embeddings": 64,
    "short_factor": [1.0] * 4,
    "long_factor": [2.0] * 4,
}
REASONS = {
    "gpt2": ({}, "the packed path knows llama, mistral, qwen2, qwen3, smollm3"),
    "mistral": (
        {"sliding_window": 63},
        "its attention sees 63 tokens, and the longest example has 64",
    ),
    "qwen2": (
        {"use_sliding_window": True, "sliding_window": 63, "max_window_layers": 1},
        "its attention sees 63 tokens, and the longest example has 64",
    ),
    "llama": (
        {"rope_scaling": {"type": "dynamic", "factor": 2.0}},
        "its rotary angles (dynamic) depend on the length of a row",
    ),
    "qwen3": (
        {"rope_parameters": LONGROPE},
        "its rotary angles (longrope) depend on the length of a row",
    ),
}


@pytest.mark.parametrize("kind", REASONS)
def test_the_plain_path_and_why(kind, capsys):
    options, reason = REASONS[kind]
    policy = policy_of(tiny(kind, **options), longest=64)
    policy.say_path()
    assert not policy.packed
    assert capsys.readouterr().err == f"train: {kind}: plain path: {reason}\n"


def test_a_window_that_is_off_does_not_count():
    options = {"use_sliding_window": False, "sliding_window": 16}
    assert policy_of(tiny("qwen2", **options), longest=64).packed


def test_the_packed_path_is_said(policy, capsys):
    policy.say_path()
    assert capsys.readouterr().err == (
        "train: mistral: packed path: prompts shared, no padding, fused head\n"
    )
