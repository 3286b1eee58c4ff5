"""How a device is used: what is computed at once, what is kept, and how much of it fits."""

from collections.abc import Sequence
from typing import Any, Literal

from pydantic import Field

from soda.config import Group
from soda.errors import ModelError
from soda.progress import say
from soda.training.model.examples import Example

__all__ = ["Device", "fit"]

_MICRO_BATCH_TOKENS = {"cpu": 2048, "cuda": 16384}
_ENOUGH_TOKENS = 4096  # smaller ones cost speed; above it, halving costs less than recomputing


class Device(Group):
    """How the work is laid out on a device. It changes speed and memory, not the result."""

    micro_batch_tokens: int | None = Field(
        default=None,
        ge=1,
        description="at once on a device, halved until they fit; 16384, on a CPU 2048",
    )
    halvings: int = Field(
        default=0, ge=0, description="of that; set where a process ran out of host memory"
    )
    recompute_activations: Literal["auto", "on", "off"] = Field(
        default="auto",
        description="memory for time; auto: where a micro-batch would not fit otherwise",
    )
    compile: bool = Field(default=True, description="the model's layers, on a GPU")

    def tokens(self, kind: str) -> int:
        """Return how many tokens are wanted at once on a kind of device, `cpu` or `cuda`."""
        return max(1, (self.micro_batch_tokens or _MICRO_BATCH_TOKENS[kind]) >> self.halvings)


def fit(
    trainees: Sequence[Any], examples: Sequence[Example], tokens: int, *, may_recompute: bool
) -> int:
    """Return how many tokens can be trained on at once; activations are recomputed if they must be.

    Call it when weights and optimizer states are where they will be. The heaviest micro-batch is
    tried, forward and backward; where memory runs out it is halved down to 4,096 tokens, then begun
    anew with activations recomputed (checkpointing), then halved down to one example.

    Args:
        trainees: the policy first, then what is trained beside it.
        examples: as large as the steps make them.

    Raises:
        ModelError: not even the longest example fits.
    """
    longest = max(map(len, examples))
    sizes = [tokens]  # the last is that of one example alone
    while sizes[-1] > longest:
        sizes.append(sizes[-1] // 2)
    first = [size for size in sizes if size >= min(tokens, _ENOUGH_TOKENS)]
    if trainees[0].recomputes or not may_recompute:
        first = sizes
    tries = [(size, False) for size in first] + [(size, True) for size in sizes if may_recompute]
    for size, recompute in tries:
        for trainee in trainees:
            if recompute and not trainee.recomputes:
                trainee.recompute_activations()
        if _fits(trainees, _heaviest(examples, size)):
            how = "recomputing" if trainees[0].recomputes else "keeping"
            say(f"train: {size} tokens at once, {how} activations")
            return size
    raise ModelError(
        f"train: expected memory for one example of {longest} tokens, found too little; "
        "shorten pairs (pair-build), use lora, or more processes"
    )


def _heaviest(examples: Sequence[Example], tokens: int) -> list[Example]:
    """Return the longest examples that make one micro-batch."""
    chosen: list[Example] = []
    for example in sorted(examples, key=len, reverse=True):
        if chosen and sum(map(len, chosen)) + len(example) > tokens:
            break
        chosen.append(example)
    return chosen


def _fits(trainees: Sequence[Any], examples: list[Example]) -> bool:
    import torch

    try:
        for _ in range(2):  # the second time there are gradients already
            for trainee in trainees:
                batch = trainee.micro_batch(examples).to(trainee.device)
                loss, _ = trainee(batch, lambda examples, values, lengths: (values.sum(), {}))
                loss.backward()
    except torch.OutOfMemoryError:
        return False
    finally:
        loss = batch = None
        for trainee in trainees:
            trainee.zero_grad()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
    return True
