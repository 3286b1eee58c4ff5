"""Adapters: they begin at zero, they alone are trained, and they merge into the weights."""

import pytest
import torch

from soda.errors import ConfigError, ModelError
from soda.training.config import TrainConfig
from soda.training.model.loading import load_policy, trained_model
from soda.training.model.lora import Lora, add_adapters, load_quantized
from soda.training.model.processes import Processes
from soda.training.run.optimizer import make_optimizer
from tests.soda.training.plain import (
    PAIRS,
    assert_same_gradients,
    dpo,
    our_gradients,
    plain_gradients,
    policy_of,
    tiny,
)

pytestmark = [  # what peft says of its own doings
    pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning"),
    pytest.mark.filterwarnings("ignore:fan_in_fan_out is set to False:UserWarning"),
]

LORA = Lora(rank=4, alpha=8.0)
KINDS = ["llama", "gpt2"]  # the packed path, and the plain one


@pytest.fixture(params=KINDS)
def folder(request, tmp_path):
    tiny(request.param).save_pretrained(tmp_path / "student")
    return tmp_path / "student"


def stir(policy):
    """Give the adapters weights, as training would."""
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in policy.parameters():
            if parameter.requires_grad:
                parameter.add_(0.1 * torch.randn_like(parameter))


@pytest.mark.parametrize("kind", KINDS)
def test_adapters_begin_at_zero(kind):
    expected = policy_of(tiny(kind)).answer_logps(PAIRS)
    model = tiny(kind)
    add_adapters(model, LORA)
    torch.testing.assert_close(policy_of(model).answer_logps(PAIRS), expected)


def test_adapters_alone_are_trained_on_every_linear_layer_but_the_head():
    model = tiny("llama")
    add_adapters(model, LORA)
    trained = {name for name, weight in model.named_parameters() if weight.requires_grad}
    assert all(".lora_A." in name or ".lora_B." in name for name in trained)
    assert len(trained) == 2 * 2 * 7  # layers, matrices, linear layers: attention 4, MLP 3
    found = our_gradients(policy_of(model), [PAIRS], dpo(PAIRS))
    assert found.keys() == trained


@pytest.mark.parametrize("recompute", [False, True])
def test_gradients_of_adapters_equal_plain_float32(recompute):
    policy, plain = policy_of(tiny("llama")), tiny("llama")
    plain.set_attn_implementation("eager")
    for model in (policy.model, plain):
        add_adapters(model, LORA)
    stir(plain)
    policy.model.load_state_dict(plain.state_dict())
    if recompute:
        policy.recompute_activations()
    found = our_gradients(policy, [PAIRS], dpo(PAIRS))
    assert_same_gradients(found, plain_gradients(plain, PAIRS), 1e-4)


def test_the_merged_model_equals_the_adapted_one(folder):
    processes = Processes()
    policy = load_policy(folder, 1, 64, processes, TrainConfig(lora=LORA))
    before = policy.answer_logps(PAIRS)
    stir(policy)
    expected = policy.answer_logps(PAIRS)
    assert (expected - before).abs().max() > 0.1
    merged = trained_model(policy, folder, LORA, processes)
    assert not [name for name, _ in merged.named_parameters() if "lora" in name]
    torch.testing.assert_close(
        policy_of(merged).answer_logps(PAIRS), expected, rtol=1e-4, atol=1e-3
    )


def test_a_rank_above_the_width_is_refused():
    with pytest.raises(
        ConfigError, match="rank: expected at most 32, the student's width, found 33"
    ):
        add_adapters(tiny("llama"), Lora(rank=33))


def test_a_scale_of_alpha_over_rank():
    found = []
    for alpha in (8.0, 16.0):
        model = tiny("llama")
        add_adapters(model, Lora(rank=4, alpha=alpha))
        stir(model)
        layer = model.model.layers[0].self_attn.q_proj
        x = torch.ones(1, 32)
        with torch.no_grad():
            found.append(layer(x) - layer.base_layer(x))
    torch.testing.assert_close(found[1], 2 * found[0])


def test_adapters_are_trained_in_half_precision_too():
    model = tiny("llama")
    add_adapters(model, LORA)
    optimizer = make_optimizer(model, 1e-3, 0.0, half=True)
    assert {weight.dtype for weight in model.parameters()} == {torch.bfloat16}
    loss, _ = (policy := policy_of(model))(policy.micro_batch(PAIRS), dpo(PAIRS))
    loss.backward()
    before = [optimizer.exact(weight) for weight in model.parameters() if weight.requires_grad]
    optimizer.step()
    after = [optimizer.exact(weight) for weight in model.parameters() if weight.requires_grad]
    # those that begin at zero move; the others have no gradient until they do
    assert sum(not torch.equal(*both) for both in zip(before, after, strict=True)) == 14


@pytest.mark.skipif(torch.cuda.is_available(), reason="there it may work")
def test_four_bits_are_refused_without_a_gpu(tmp_path):
    with pytest.raises(ModelError, match="expected a GPU and bitsandbytes") as refused:
        load_quantized(tmp_path)
    assert "\n" not in str(refused.value)
