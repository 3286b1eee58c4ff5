"""GRPO: of several answers to a prompt, the better rewarded ones are to become likelier.

Group Relative Policy Optimization, Shao et al. 2024 (arXiv 2402.03300).

Dimensions: N answer tokens, A answers.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from soda.training.model.examples import Example
from soda.training.model.head import Objective, Sums

__all__ = ["advantages", "grpo"]


def advantages(rewards: Tensor) -> Tensor:
    """Return how far each reward is above its prompt's others, in standard deviations.

    Shao et al. 2024 (GRPO, arXiv 2402.03300), section 4.1.2. Shape: (prompts, rollouts).
    """
    centred = rewards - rewards.mean(1, keepdim=True)
    return centred / (rewards.std(1, keepdim=True) + 1e-6)


def grpo(
    step: Sequence[Example],
    advantage_of: dict[str, Tensor],
    frozen_of: dict[str, Tensor],
    kl: float,
) -> Objective:
    """Return GRPO's objective, the mean over the tokens of a step's rollouts.

    Shao et al. 2024 (arXiv 2402.03300), equation 3, with one update for each set of rollouts: the
    policy is the one that sampled them, so the ratio is 1 and clipping never comes in. The KL
    estimate is their equation 4.

    Args:
        advantage_of: each example's advantages, one a rollout.
        frozen_of: the frozen model's log-probability of each of its rollouts' tokens.
        kl: its weight.
    """
    tokens = sum(example.answer_tokens for example in step)

    def objective(
        examples: Sequence[Example], logps_N: Tensor, lengths_A: Tensor
    ) -> tuple[Tensor, Sums]:
        advantage_A = torch.cat([advantage_of[example.id] for example in examples])
        advantage_N = advantage_A.repeat_interleave(lengths_A.to(advantage_A.device))
        away_N = torch.cat([frozen_of[example.id] for example in examples]) - logps_N
        kl_N = away_N.exp() - away_N - 1
        ratio_N = (logps_N - logps_N.detach()).exp()
        loss = (kl * kl_N - advantage_N * ratio_N).sum() / tokens
        share = len(step) / tokens
        return loss, {"loss": loss * len(step), "kl": kl_N.sum() * share}

    return objective
