"""The losses: pure functions of log-probabilities, one value a pair."""

from collections.abc import Callable

import torch.nn.functional as F  # noqa: N812 - torch's own convention
from torch import Tensor

from soda.training.logps import Logps

__all__ = ["LOSSES", "PairLoss", "dpo_loss", "ipo_loss"]

PairLoss = Callable[[Logps, Logps, float], Tensor]


def dpo_loss(policy: Logps, reference: Logps, beta: float) -> Tensor:
    """How far the policy is from preferring the chosen answer, per pair: (pairs,).

    Rafailov et al. 2023 (arXiv 2305.18290), equation 7: -log sigmoid(beta * (policy margin -
    reference margin)). It is ln 2 where the policy is the reference.
    """
    return -F.logsigmoid(beta * (policy.margin - reference.margin))


def ipo_loss(policy: Logps, reference: Logps, beta: float) -> Tensor:
    """Squared distance of the margin's growth from 1 / (2 beta), per pair: (pairs,).

    Azar et al. 2023 (arXiv 2310.12036), equation 17, on summed log-probabilities.
    """
    return (policy.margin - reference.margin - 1 / (2 * beta)) ** 2


LOSSES: dict[str, PairLoss] = {"dpo": dpo_loss, "ipo": ipo_loss}
