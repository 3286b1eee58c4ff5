"""The preference losses: what each computes of a pair, its parameters, and where it is from.

A new loss is a class here and its name in `Loss`; config, help and model card are made from these.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args

from pydantic import BeforeValidator, Field

from soda.config import Group, suggest

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["LOSSES", "Dpo", "DpoNorm", "Ipo", "Logps", "Loss", "PairLoss", "SimPo"]


@dataclass(frozen=True, slots=True)
class Logps:
    """Log-probabilities in nats of chosen and rejected answers, and the answers' lengths."""

    chosen: "Tensor"  # (pairs,)
    rejected: "Tensor"  # (pairs,)
    chosen_tokens: "Tensor"  # (pairs,)
    rejected_tokens: "Tensor"  # (pairs,)

    @property
    def margin(self) -> "Tensor":
        """How much likelier the chosen answer is: (pairs,)."""
        return self.chosen - self.rejected

    @property
    def mean_margin(self) -> "Tensor":
        """The same of the mean log-probability of a token: (pairs,)."""
        return self.chosen / self.chosen_tokens - self.rejected / self.rejected_tokens


class PairLoss(Group):
    """A preference loss: called with the policy's log-probabilities and the reference's.

    The first line of a loss's docstring says what it is and where it is from.
    """

    name: str
    beta: float

    def __call__(self, policy: Logps, reference: Logps) -> "Tensor":
        """Return the loss of every pair: (pairs,)."""
        raise NotImplementedError

    def rewards(self, policy: Logps, reference: Logps) -> "tuple[Tensor, Tensor]":
        """Return the implicit rewards of chosen and rejected answers: (pairs,) each.

        beta * (policy - reference), Rafailov et al. 2023 (arXiv 2305.18290), equation 5.
        """
        chosen = self.beta * (policy.chosen - reference.chosen)
        return chosen, self.beta * (policy.rejected - reference.rejected)


class Dpo(PairLoss):
    """DPO, Rafailov et al. 2023 (arXiv 2305.18290), equation 7.

    -log sigmoid(beta * (policy margin - reference margin)); ln 2 where the policy is the reference.
    """

    name: Literal["dpo"] = "dpo"
    beta: float = Field(
        default=0.1, gt=0, description="how strongly the policy is held to the reference"
    )

    def __call__(self, policy: Logps, reference: Logps) -> "Tensor":
        """Return the loss of every pair: (pairs,)."""
        return _minus_log_sigmoid(self.beta * (policy.margin - reference.margin))


class DpoNorm(PairLoss):
    """DPO on mean log-probabilities of a token, Lambert et al. 2024 (arXiv 2411.15124), equation 6.

    Length is no advantage then. Its beta is theirs, too.
    """

    name: Literal["dpo_norm"] = "dpo_norm"
    beta: float = Field(default=5.0, gt=0, description="as for dpo, but of means over tokens")

    def __call__(self, policy: Logps, reference: Logps) -> "Tensor":
        """Return the loss of every pair: (pairs,)."""
        return _minus_log_sigmoid(self.beta * (policy.mean_margin - reference.mean_margin))

    def rewards(self, policy: Logps, reference: Logps) -> "tuple[Tensor, Tensor]":
        """Return the implicit rewards, of means over tokens: (pairs,) each."""
        return _mean_rewards(self.beta, policy, reference)


class Ipo(PairLoss):
    """IPO, Azar et al. 2023 (arXiv 2310.12036), equation 17, on summed log-probabilities.

    The squared distance of the margin's growth from 1 / (2 beta).
    """

    name: Literal["ipo"] = "ipo"
    beta: float = Field(
        default=0.1, gt=0, description="half the inverse of the growth that is aimed at"
    )

    def __call__(self, policy: Logps, reference: Logps) -> "Tensor":
        """Return the loss of every pair: (pairs,)."""
        return (policy.margin - reference.margin - 1 / (2 * self.beta)) ** 2


class SimPo(PairLoss):
    """SimPO, Meng et al. 2024 (arXiv 2405.14734), equation 6: no reference, but a target margin.

    They take beta 2 to 10, and a gamma of about half of beta.
    """

    name: Literal["simpo"] = "simpo"
    beta: float = Field(default=2.0, gt=0, description="of the mean margin of a token")
    gamma: float = Field(default=1.0, ge=0, description="the margin, times beta, that is aimed at")

    def __call__(self, policy: Logps, reference: Logps) -> "Tensor":
        """Return the loss of every pair: (pairs,)."""
        return _minus_log_sigmoid(self.beta * policy.mean_margin - self.gamma)

    def rewards(self, policy: Logps, reference: Logps) -> "tuple[Tensor, Tensor]":
        """Return what the mean log-probabilities gained, times beta: (pairs,) each."""
        return _mean_rewards(self.beta, policy, reference)


def _minus_log_sigmoid(value: "Tensor") -> "Tensor":
    from torch.nn.functional import logsigmoid

    return -logsigmoid(value)


def _mean_rewards(beta: float, policy: Logps, reference: Logps) -> "tuple[Tensor, Tensor]":
    chosen = (policy.chosen - reference.chosen) / policy.chosen_tokens
    rejected = (policy.rejected - reference.rejected) / policy.rejected_tokens
    return beta * chosen, beta * rejected


_All = Dpo | DpoNorm | Ipo | SimPo
LOSSES: dict[str, type[PairLoss]] = {
    each.model_fields["name"].default: each for each in get_args(_All)
}


def _by_name(value: Any) -> Any:
    """Accept a loss's name alone; without a name it is dpo."""
    if isinstance(value, str):
        value = {"name": value}
    if isinstance(value, dict):
        value = {"name": "dpo", **value}
        if value["name"] not in LOSSES:
            name = str(value["name"])
            raise ValueError(f"unknown loss '{name}'; {suggest(name, LOSSES)}")
    return value


Loss = Annotated[_All, Field(discriminator="name"), BeforeValidator(_by_name)]
