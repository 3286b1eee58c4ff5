"""Supervised fine-tuning on the teacher's answers: SeqKD, and the warm-up of other methods."""

from collections.abc import Sequence

from torch import Tensor

from soda.training.model.examples import Example
from soda.training.model.head import Objective, Sums, answer_logps
from soda.training.run.phase import Phase, Setup, Start, Turn, TurnOf

__all__ = ["sft", "sft_phase"]


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


def sft_phase(
    setup: Setup, learning_rate: float, epochs: int, *, keeps_best: bool = False
) -> Phase:
    """Return the phase that trains the policy on each example's first answer, the teacher's."""

    def begin(start: Start) -> TurnOf:
        def turn(step: int, examples: Sequence[Example]) -> Turn:
            firsts = [example.first() for example in examples]
            return Turn(firsts, sft(firsts))

        return turn

    return Phase(
        "sft",
        epochs,
        modules={"policy": setup.policy},
        rates={"policy": learning_rate},
        begin=begin,
        largest=Example.first,
        keeps_best=keeps_best,
    )
