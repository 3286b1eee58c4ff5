"""Which examples every step of a phase sees, and at which rate it learns from them."""

import math

from pydantic import Field

from soda.config import Group
from soda.training.methods import defaults_of

__all__ = ["Optimizer", "learning_rate", "step_plan"]


class Optimizer(Group):
    """AdamW, as all phases of a training share it."""

    warmup_share: float = Field(
        default=0.1, ge=0, le=1, description="of the steps, with a rising rate (ours)"
    )
    weight_decay: float = Field(default=0.0, ge=0, description="ours")
    max_grad_norm: float | None = Field(
        default=None, gt=0, description=f"clipped above it; {defaults_of('max_grad_norm')}"
    )

    @property
    def clipped_at(self) -> float:
        """The gradient's norm above which it is scaled down."""
        assert self.max_grad_norm is not None, "the config is pinned"
        return self.max_grad_norm


def step_plan(examples: int, batch_size: int, epochs: int, seed: int) -> list[list[int]]:
    """Shuffle each epoch anew and cut it into steps; the last of an epoch may be smaller."""
    import torch

    generator = torch.Generator().manual_seed(seed)
    steps = []
    for _ in range(epochs):
        order = torch.randperm(examples, generator=generator).tolist()
        steps += [order[start : start + batch_size] for start in range(0, examples, batch_size)]
    return steps


def learning_rate(step: int, steps: int, peak: float, warmup_share: float) -> float:
    """Return the rate of a step, counted from 0: linear warm-up, then a half cosine towards 0."""
    warmup = math.ceil(warmup_share * steps)
    if step < warmup:
        return peak * (step + 1) / warmup
    return peak * 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))
