"""What a phase of training minimises: SFT on the teacher's answers, or a preference loss."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from soda.training.model.examples import Example
from soda.training.model.head import Objective, Sums, answer_logps
from soda.training.objectives.losses import Logps, PairLoss
from soda.training.objectives.reference import Reference

__all__ = ["StepObjective", "pair_logps", "preference", "sft", "watch"]

# From all examples of a step, the objective of its batches: each gives a share of one mean.
StepObjective = Callable[[Sequence[Example]], Objective]


def pair_logps(logps_N: Tensor, lengths_A: Tensor) -> Logps:
    """Return both sides' log-probabilities, from answer tokens in the order chosen, rejected."""
    logps = answer_logps(logps_N, lengths_A).view(-1, 2)
    tokens = lengths_A.to(logps_N.device).clamp(min=1).view(-1, 2)
    return Logps(logps[:, 0], logps[:, 1], tokens[:, 0], tokens[:, 1])


def sft(step: Sequence[Example]) -> Objective:
    """Return the SFT objective: mean negative log-probability of a step's answer tokens."""
    tokens = sum(example.answer_tokens for example in step)

    def objective(
        examples: Sequence[Example], logps_N: Tensor, lengths_A: Tensor
    ) -> tuple[Tensor, Sums]:
        loss = -logps_N.sum() / tokens
        mean_A = answer_logps(logps_N, lengths_A) / lengths_A.to(logps_N.device)
        return loss, {"loss": loss * len(step), "chosen_logp": mean_A.sum()}

    return objective


def preference(
    pair_loss: PairLoss, beta: float, reference: Reference, sft_weight: float = 0.0
) -> StepObjective:
    """Return a preference objective: the mean of a pair loss over a step's pairs.

    Args:
        sft_weight: how much of the SFT loss on the chosen answers is added.
    """

    def of_step(step: Sequence[Example]) -> Objective:
        tokens = sum(len(example.answers[0]) for example in step)

        def objective(
            examples: Sequence[Example], logps_N: Tensor, lengths_A: Tensor
        ) -> tuple[Tensor, Sums]:
            policy = pair_logps(logps_N, lengths_A)
            frozen = reference.of(examples, logps_N.device)
            losses = pair_loss(policy, frozen, beta)
            at_start = pair_loss(frozen, frozen, beta)
            loss = losses.sum() / len(step) - sft_weight * policy.chosen.sum() / tokens
            return loss, {
                "loss": losses.sum(),
                "loss_of_reference": at_start.sum(),
                **watch(policy, frozen, beta),
            }

        return objective

    return of_step


def watch(policy: Logps, reference: Logps, beta: float) -> Sums:
    """Return sums over pairs of rewards, in nats times beta, and log-probabilities a token.

    The implicit reward is beta * (policy - reference): Rafailov et al. 2023, equation 5.
    `accuracy` counts the pairs whose chosen reward is the greater.
    """
    with torch.no_grad():
        chosen = beta * (policy.chosen - reference.chosen)
        rejected = beta * (policy.rejected - reference.rejected)
        return {
            "chosen_reward": chosen.sum(),
            "rejected_reward": rejected.sum(),
            "margin": (chosen - rejected).sum(),
            "accuracy": (chosen > rejected).float().sum(),
            "chosen_logp": (policy.chosen / policy.chosen_tokens).sum(),
            "rejected_logp": (policy.rejected / policy.rejected_tokens).sum(),
        }
