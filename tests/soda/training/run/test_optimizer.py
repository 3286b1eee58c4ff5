"""AdamW with exact float32 weights in bf16 models, beside PyTorch's own on float32 weights."""

import copy

import pytest
import torch
from torch import nn

from soda.training.run.optimizer import MasterAdamW, _join, _split, make_optimizer, restore_float32


def floats():
    """Floats of every kind: random bits, both signs, denormals, ties, the largest, infinities."""
    torch.manual_seed(0)
    bits = torch.randint(-(2**31), 2**31, (100_000,), dtype=torch.int64).to(torch.int32)
    values = bits.view(torch.float32)
    bounds = torch.tensor([0.0, 1.0, 1.5, 3.0e38, 2.0**-126, 2.0**-140]).view(torch.int32)
    near = torch.tensor([-1, 0, 1, 0x7FFF, 0x8000, 0x8001, 0x17FFF, 0x18000, 0xFFFF])
    ties = ((bounds[:, None] >> 16 << 16) + near.clamp(min=0)).to(torch.int32).flatten()
    special = torch.tensor([0.0, 1e-45, torch.finfo().max, torch.finfo().tiny, torch.inf])
    values = torch.cat([values[~values.isnan()], ties.view(torch.float32), special])
    return torch.cat([values, -values])


def test_a_float_is_its_rounding_and_the_rest_bit_for_bit():
    values = floats()
    high, residual = _split(values)
    assert high.dtype == torch.bfloat16 and residual.dtype == torch.int16
    assert torch.equal(_join(high, residual).view(torch.int32), values.view(torch.int32))


def test_what_the_model_computes_with_is_a_nearest_bf16():
    values = floats()
    values = values[values.abs() < 3.3e38]
    high, _ = _split(values)
    ours, nearest = ((x.double() - values.double()).abs() for x in (high, values.bfloat16()))
    assert torch.equal(ours, nearest)  # of two as near it may take the other


def layers():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(24, 48), nn.LayerNorm(48), nn.Linear(48, 8))


def twins(rate, weight_decay):
    """A float32 model with PyTorch's AdamW, and the same in bf16 with ours."""
    exact = layers()
    half = copy.deepcopy(exact)
    theirs = torch.optim.AdamW(exact.parameters(), rate, weight_decay=weight_decay)
    return exact, theirs, half, make_optimizer(half, rate, weight_decay, half=True)


def train(exact, theirs, half, ours, steps=20):
    """Give both the same float32 gradients, and another rate in every step."""
    torch.manual_seed(1)
    for step in range(steps):
        for one, other in zip(exact.parameters(), half.parameters(), strict=True):
            one.grad = torch.randn_like(one) * 10.0 ** float(torch.randint(-6, 3, ()))
            other.grad = one.grad.clone()
        for optimizer in (theirs, ours):
            for group in optimizer.param_groups:
                group["lr"] *= 0.9 if step else 1.0
            optimizer.step()


@pytest.mark.parametrize(("rate", "weight_decay"), [(1e-6, 0.0), (1e-3, 0.1), (1e-2, 0.0)])
def test_twenty_steps_equal_torch_on_float32(rate, weight_decay):
    exact, theirs, half, ours = twins(rate, weight_decay)
    before = [parameter.detach().clone() for parameter in exact.parameters()]
    train(exact, theirs, half, ours)
    for old, one, other in zip(before, exact.parameters(), half.parameters(), strict=True):
        assert other.dtype == torch.bfloat16
        moved = (one - old).norm()
        # the last bits of a weight round otherwise; what it moved by is the same
        rounding = 20 * torch.finfo(torch.float32).eps * old.norm()
        assert (ours.exact(other) - one).norm() < 1e-5 * moved + rounding / 4
    restore_float32(half, ours)
    for one, other in zip(exact.parameters(), half.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6 * rate * 20 + 1e-7)


def test_at_a_small_rate_no_update_is_lost():
    _, _, half, ours = twins(1e-6, 0.0)
    before = [ours.exact(parameter) for parameter in half.parameters()]
    for _ in range(20):
        for parameter in half.parameters():
            parameter.grad = torch.ones(parameter.shape)
        ours.step()
    for old, parameter in zip(before, half.parameters(), strict=True):
        moved = old - ours.exact(parameter)
        torch.testing.assert_close(moved, torch.full_like(moved, 20e-6), rtol=0.15, atol=0)


def test_gradients_are_summed_in_float32():
    _, _, half, _ = twins(1e-3, 0.0)
    rows = torch.randn(300, 24).bfloat16()
    for row in rows:
        half[0](row).sum().backward()
    grad = half[0].bias.grad
    assert grad.dtype == torch.float32
    assert (grad == 300).all()  # bf16 stays at 256: 256 + 1 = 256


def test_float32_weights_come_back_exactly():
    model = layers()
    before = copy.deepcopy(model.state_dict())
    optimizer = make_optimizer(model, 1e-3, 0.0, half=True)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.bfloat16}
    model(torch.randn(2, 24).bfloat16()).sum().backward()
    restore_float32(model, optimizer)
    assert all(parameter.grad is None for parameter in model.parameters())
    for name, parameter in model.named_parameters():
        assert parameter.dtype == torch.float32 and torch.equal(parameter, before[name])
    model(torch.randn(2, 24)).sum().backward()  # and can be trained again


def test_frozen_weights_come_back_in_float32():
    model = layers()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(parameter.bfloat16())  # as a checkpoint in bf16 is loaded
    model[0].requires_grad_(False)
    before = copy.deepcopy(model.state_dict())
    optimizer = make_optimizer(model, 1e-3, 0.0, half=True)
    assert model[0].weight.dtype == torch.bfloat16
    assert sum(len(group["params"]) for group in optimizer.param_groups) == 4
    restore_float32(model, optimizer)
    for name, parameter in model.named_parameters():
        assert parameter.dtype == torch.float32 and torch.equal(parameter, before[name])


def test_what_was_not_brought_to_bf16_is_left_alone():
    """As the 4-bit weights of QLoRA are: bytes, which are no numbers."""
    model = layers()
    packed = torch.arange(16, dtype=torch.uint8)
    model.packed = nn.Parameter(packed.clone(), requires_grad=False)
    optimizer = make_optimizer(model, 1e-3, 0.0, half=True)
    restore_float32(model, optimizer)
    assert model.packed.dtype == torch.uint8 and torch.equal(model.packed, packed)


def test_a_parameter_without_a_gradient_stays():
    model = layers()
    optimizer = make_optimizer(model, 1e-3, 0.1, half=True)
    before = [optimizer.exact(parameter) for parameter in model.parameters()]
    model[0].weight.grad = torch.ones(model[0].weight.shape)
    optimizer.step()
    same = [
        torch.equal(optimizer.exact(parameter), old)
        for parameter, old in zip(model.parameters(), before, strict=True)
    ]
    assert same == [False, True, True, True, True, True]


def test_float32_training_takes_torchs_own():
    model = layers()
    model[0].requires_grad_(False)
    optimizer = make_optimizer(model, 1e-3, 0.1, half=False)
    assert isinstance(optimizer, torch.optim.AdamW) and not isinstance(optimizer, MasterAdamW)
    (group,) = optimizer.param_groups
    assert len(group["params"]) == 4
    assert (group["lr"], group["weight_decay"]) == (1e-3, 0.1)
    restore_float32(model, optimizer)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
