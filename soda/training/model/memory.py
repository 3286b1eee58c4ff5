"""How many tokens a device takes at once, found by trying."""

from collections.abc import Sequence

import torch

from soda.errors import ModelError
from soda.progress import say
from soda.training.model.examples import Example
from soda.training.model.policy import Policy
from soda.training.objectives.objectives import sft

__all__ = ["fit"]

_ENOUGH_TOKENS = 4096  # smaller batches cost speed; above it, halving costs less than recomputing


def fit(policy: Policy, examples: Sequence[Example], tokens: int, *, may_recompute: bool) -> int:
    """Return how many tokens can be trained on at once; activations are recomputed if they must be.

    Call it when weights and optimizer state are where they will be. The heaviest batch is tried,
    forward and backward; where memory runs out it is halved down to 4,096 tokens, then begun anew
    with activations recomputed (checkpointing), then halved down to one example.

    Raises:
        ModelError: not even the longest example fits.
    """
    longest = max(map(len, examples))
    sizes = [tokens]  # the last is that of one example alone
    while sizes[-1] > longest:
        sizes.append(sizes[-1] // 2)
    first = [size for size in sizes if size >= min(tokens, _ENOUGH_TOKENS)]
    if policy.recomputes or not may_recompute:
        first = sizes
    tries = [(size, False) for size in first] + [(size, True) for size in sizes if may_recompute]
    for size, recompute in tries:
        if recompute and not policy.recomputes:
            policy.recompute_activations()
        if _fits(policy, _heaviest(examples, size)):
            how = "recomputing activations" if policy.recomputes else "keeping activations"
            say(f"train: {size} tokens at once, {how}")
            return size
    raise ModelError(
        f"train: expected memory for one example of {longest} tokens, found too little; "
        "shorten pairs (pair-build), use lora, or more processes"
    )


def _heaviest(examples: Sequence[Example], tokens: int) -> list[Example]:
    """Return the longest examples that make one batch."""
    chosen: list[Example] = []
    for example in sorted(examples, key=len, reverse=True):
        if chosen and sum(map(len, chosen)) + len(example) > tokens:
            break
        chosen.append(example)
    return chosen


def _fits(policy: Policy, examples: list[Example]) -> bool:
    try:
        for _ in range(2):  # the second time there are gradients already
            loss, _ = policy(policy.micro_batch(examples).to(policy.device), sft(examples))
            loss.backward()
    except torch.OutOfMemoryError:
        return False
    finally:
        loss = None
        policy.zero_grad()
        if policy.device.type == "cuda":
            torch.cuda.empty_cache()
    return True
