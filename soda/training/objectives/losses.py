"""The preference losses: pure functions of log-probabilities, one value a pair."""

from collections.abc import Callable
from dataclasses import dataclass

import torch.nn.functional as F  # noqa: N812 - torch's own convention
from torch import Tensor

__all__ = [
    "LOSSES",
    "Logps",
    "PairLoss",
    "dpo_loss",
    "dpo_norm_loss",
    "ipo_loss",
    "simpo_loss",
]


@dataclass(frozen=True, slots=True)
class Logps:
    """Log-probabilities in nats of chosen and rejected answers, and the answers' lengths."""

    chosen: Tensor  # (pairs,)
    rejected: Tensor  # (pairs,)
    chosen_tokens: Tensor  # (pairs,)
    rejected_tokens: Tensor  # (pairs,)

    @property
    def margin(self) -> Tensor:
        """How much likelier the chosen answer is: (pairs,)."""
        return self.chosen - self.rejected

    @property
    def mean_margin(self) -> Tensor:
        """The same of the mean log-probability of a token: (pairs,)."""
        return self.chosen / self.chosen_tokens - self.rejected / self.rejected_tokens


# From the policy's and the reference's log-probabilities, and beta.
PairLoss = Callable[[Logps, Logps, float], Tensor]


def dpo_loss(policy: Logps, reference: Logps, beta: float) -> Tensor:
    """How far the policy is from preferring the chosen answer, per pair: (pairs,).

    Rafailov et al. 2023 (arXiv 2305.18290), equation 7: -log sigmoid(beta * (policy margin -
    reference margin)). It is ln 2 where the policy is the reference.
    """
    return -F.logsigmoid(beta * (policy.margin - reference.margin))


def dpo_norm_loss(policy: Logps, reference: Logps, beta: float) -> Tensor:
    """DPO on mean log-probabilities of a token, so that length is no advantage: (pairs,).

    Lambert et al. 2024 (Tulu 3, arXiv 2411.15124), equation 6; they take beta 5.
    """
    return -F.logsigmoid(beta * (policy.mean_margin - reference.mean_margin))


def ipo_loss(policy: Logps, reference: Logps, beta: float) -> Tensor:
    """Squared distance of the margin's growth from 1 / (2 beta), per pair: (pairs,).

    Azar et al. 2023 (arXiv 2310.12036), equation 17, on summed log-probabilities.
    """
    return (policy.margin - reference.margin - 1 / (2 * beta)) ** 2


def simpo_loss(policy: Logps, reference: Logps, beta: float) -> Tensor:
    """Without a reference: the mean margin has to pass a target, per pair: (pairs,).

    Meng et al. 2024 (arXiv 2405.14734), equation 6; they take beta 2 to 10, and a target margin
    gamma of about half of beta, as here.
    """
    return -F.logsigmoid(beta * (policy.mean_margin - 0.5))


LOSSES: dict[str, PairLoss] = {
    "dpo": dpo_loss,
    "dpo_norm": dpo_norm_loss,
    "ipo": ipo_loss,
    "simpo": simpo_loss,
}
