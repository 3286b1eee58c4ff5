"""What a phase of training minimises: SFT on the teacher's answers, or a preference loss."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from soda.training.batch import Layout, Row, TokenPair, collate
from soda.training.logps import Logps, answer_logps, pair_logps
from soda.training.losses import PairLoss
from soda.training.reference import Reference

__all__ = ["Objective", "Sums", "preference", "sft", "watch"]

# From a model, a micro-batch and the whole step: this micro-batch's share of the step's loss, to
# run backward, and sums over its pairs of what is worth watching.
Sums = dict[str, float]
Objective = Callable[[Any, Sequence[TokenPair], Sequence[TokenPair]], tuple[Tensor, Sums]]


def sft(layout: Layout) -> Objective:
    """Return the SFT objective: mean negative log-probability of a step's chosen answer tokens."""

    def objective(
        model: Any, pairs: Sequence[TokenPair], step: Sequence[TokenPair]
    ) -> tuple[Tensor, Sums]:
        rows = [Row(pair.prompt, (pair.chosen,)) for pair in pairs]
        logps = answer_logps(model, collate(rows, layout))[:, 0]
        loss = -logps.sum() / sum(len(pair.chosen) for pair in step)
        return loss, {
            "loss": float(loss.detach()) * len(step),
            "chosen_logp": _per_token("chosen", pairs, logps),
        }

    return objective


def preference(pair_loss: PairLoss, beta: float, reference: Reference, layout: Layout) -> Objective:
    """Return a preference objective: the mean of a pair loss over a step's pairs."""

    def objective(
        model: Any, pairs: Sequence[TokenPair], step: Sequence[TokenPair]
    ) -> tuple[Tensor, Sums]:
        policy = pair_logps(model, pairs, layout)
        frozen = reference.of(pairs, layout.device)
        losses = pair_loss(policy, frozen, beta)
        return losses.sum() / len(step), {
            "loss": float(losses.detach().sum()),
            **watch(pairs, policy, frozen, beta),
        }

    return objective


def watch(pairs: Sequence[TokenPair], policy: Logps, reference: Logps, beta: float) -> Sums:
    """Return sums over pairs of rewards, in nats times beta, and log-probabilities a token.

    The implicit reward is beta * (policy - reference): Rafailov et al. 2023, equation 5.
    `accuracy` counts the pairs whose chosen reward is the greater.
    """
    with torch.no_grad():
        chosen = beta * (policy.chosen - reference.chosen)
        rejected = beta * (policy.rejected - reference.rejected)
        return {
            "chosen_reward": float(chosen.sum()),
            "rejected_reward": float(rejected.sum()),
            "margin": float((chosen - rejected).sum()),
            "accuracy": float((chosen > rejected).sum()),
            "chosen_logp": _per_token("chosen", pairs, policy.chosen),
            "rejected_logp": _per_token("rejected", pairs, policy.rejected),
        }


def _per_token(side: str, pairs: Sequence[TokenPair], logps: Tensor) -> float:
    """Return the sum over pairs of the log-probability per answer token, in nats."""
    lengths = [max(1, len(getattr(pair, side))) for pair in pairs]
    return float((logps.detach().cpu() / torch.tensor(lengths)).sum())
