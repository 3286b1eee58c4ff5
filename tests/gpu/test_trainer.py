"""The packed path on a GPU: FlashAttention, compiled layers, bf16 weights with residuals."""

import json

import pytest
import torch

import soda
from soda.training.model.attention import Packing, _by_example, _flash
from soda.training.model.head import answer_logps
from soda.training.run.optimizer import MasterAdamW, make_optimizer
from tests.soda.training.plain import PAIRS, dpo, gradients, plain_gradients, policy_of, tiny

pytestmark = pytest.mark.gpu

LAYOUT = [(40, [30, 50]), (3, [1, 70]), (128, [20, 0]), (9, [])]


def test_flash_attention_equals_attention_example_by_example():
    places = sum(prompt + sum(answers) for prompt, answers in LAYOUT)
    torch.manual_seed(0)
    states = [torch.randn(1, heads, places, 64, device="cuda") for heads in (8, 2, 2)]
    upstream = torch.randn(places, 8, 64, device="cuda")
    found, expected = [], []
    packing = Packing(LAYOUT, 256).to("cuda")
    for dtype, results in ((torch.bfloat16, found), (torch.float32, expected)):
        mine = [state.to(dtype).requires_grad_() for state in states]
        if dtype == torch.bfloat16:
            out = _flash(*mine, packing, None)
        else:
            out = _by_example(*mine, LAYOUT, None)
        out.backward(upstream.to(dtype))
        results += [out, *(state.grad for state in mine)]
    for one, other in zip(found, expected, strict=True):
        assert (one.float() - other).norm() < 1e-2 * other.norm()


@pytest.mark.parametrize("kind", ["llama", "mistral", "qwen2", "qwen3", "smollm3"])
@pytest.mark.parametrize("compiled", [False, True])
def test_gradients_equal_plain_float32(kind, compiled):
    window = {"sliding_window": None} if kind == "mistral" else {}
    plain = tiny(kind, **window)
    with torch.no_grad():
        for parameter in plain.parameters():
            parameter.copy_(parameter.bfloat16())
    expected = plain_gradients(plain, PAIRS)
    policy = policy_of(tiny(kind, **window))
    policy.model.load_state_dict(plain.state_dict())
    policy.cuda()
    make_optimizer(policy, 0.0, 0.0, half=True)
    if compiled:
        policy.compile_layers()
    loss, _ = policy(policy.micro_batch(PAIRS).to("cuda"), dpo(PAIRS))
    loss.backward()
    found = gradients(policy.model)
    whole = torch.cat([grad.flatten() for grad in expected.values()])
    error = torch.cat([found[name].float().cpu().flatten() for name in expected]) - whole
    assert error.norm() < 1e-2 * whole.norm()


def test_reference_and_first_forward_round_alike():
    policy = policy_of(tiny("qwen2")).cuda()
    make_optimizer(policy, 0.0, 0.0, half=True)
    policy.compile_layers()
    frozen = policy.answer_logps(PAIRS)
    batch = policy.micro_batch(PAIRS).to("cuda")
    again = answer_logps(policy(batch).detach(), batch.lengths_A)
    torch.testing.assert_close(again, frozen, rtol=0, atol=1e-5)


def test_the_fused_optimizer_equals_float32_adamw():
    torch.manual_seed(0)
    weight = 0.02 * torch.randn(4096, 33, device="cuda")
    plain = torch.nn.Parameter(weight.clone())
    half = torch.nn.Parameter(weight.bfloat16())
    ours = MasterAdamW([half], 1e-6, 0.01)
    ours.adopt([weight])
    theirs = torch.optim.AdamW([plain], 1e-6, weight_decay=0.01)
    for _ in range(20):
        grad = torch.randn_like(weight) * 1e-3
        half.grad, plain.grad = grad.clone(), grad
        ours.step()
        theirs.step()
    error = ours.exact(half) - plain.detach()
    assert error.norm() < 1e-3 * (plain.detach() - weight).norm()


def test_training_on_a_gpu_starts_at_ln_2_and_learns(made, tmp_path):
    inputs = {"data": made["pairs"].path, "model": made["base"].path}
    config = {"learning_rate": 1e-3, "epochs": 2, "batch_size": 8, "check_every_steps": 2}
    model = soda.run("train", inputs=inputs, config=config, out=tmp_path / "model")
    lines = map(json.loads, (model.path / "logs" / "metrics.jsonl").read_text().splitlines())
    losses = [line["loss"] for line in lines if line["kind"] == "step"]
    assert losses[0] == pytest.approx(0.6931, abs=5e-3) and losses[-1] < 0.6
