"""Preference training: a pair's chosen answer is to become likelier than the rejected one."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from soda.training.model.examples import Example
from soda.training.model.head import Objective, Sums, answer_logps
from soda.training.objectives.losses import Logps, PairLoss
from soda.training.objectives.reference import Reference
from soda.training.run.phase import Phase, Setup, Start, Turn, TurnOf

__all__ = ["pair_logps", "pair_sums", "preference", "preference_phase"]


def pair_logps(logps_N: Tensor, lengths_A: Tensor) -> Logps:
    """Return both sides' log-probabilities, from answer tokens in the order chosen, rejected."""
    logps = answer_logps(logps_N, lengths_A).view(-1, 2)
    tokens = lengths_A.to(logps_N.device).clamp(min=1).view(-1, 2)
    return Logps(logps[:, 0], logps[:, 1], tokens[:, 0], tokens[:, 1])


def preference(
    pair_loss: PairLoss, reference: Reference, sft_weight: float = 0.0
) -> Callable[[Sequence[Example]], Objective]:
    """Return the preference objective of a step: the mean of a pair loss over its pairs.

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
            losses = pair_loss(policy, frozen)
            at_start = pair_loss(frozen, frozen)
            sft = sft_weight * policy.chosen.sum() / tokens
            return losses.sum() / len(step) - sft, {
                "loss": losses.sum(),
                "loss_of_reference": at_start.sum(),
                **pair_sums(pair_loss, policy, frozen),
            }

        return objective

    return of_step


def pair_sums(pair_loss: PairLoss, policy: Logps, reference: Logps) -> Sums:
    """Return sums over pairs of the implicit rewards, and of log-probabilities a token.

    `accuracy` counts the pairs whose chosen reward is the greater.
    """
    with torch.no_grad():
        chosen, rejected = pair_loss.rewards(policy, reference)
        return {
            "chosen_reward": chosen.sum(),
            "rejected_reward": rejected.sum(),
            "margin": (chosen - rejected).sum(),
            "accuracy": (chosen > rejected).float().sum(),
            "chosen_logp": (policy.chosen / policy.chosen_tokens).sum(),
            "rejected_logp": (policy.rejected / policy.rejected_tokens).sum(),
        }


def preference_phase(setup: Setup, learning_rate: float, epochs: int) -> Phase:
    """Return the phase that trains the policy on pairs, against itself as the phase began."""
    pair_loss, sft_weight = setup.config.loss, setup.config.sft_weight

    def begin(start: Start) -> TurnOf:
        assert start.reference is not None, "the phase compares"
        objective_of = preference(pair_loss, start.reference, sft_weight)
        return lambda step, examples: Turn(examples, objective_of(examples))

    return Phase(
        pair_loss.name,
        epochs,
        modules={"policy": setup.policy},
        rates={"policy": learning_rate},
        begin=begin,
        compares=True,
    )
