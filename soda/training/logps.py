"""The log-probability of an answer, given its prompt.

Dimensions: R rows, K kept places, A answer tokens, V vocabulary.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from soda.training.batch import Batch, Layout, Row, TokenPair, collate

__all__ = ["Logps", "answer_logps", "pair_logps"]


@dataclass(frozen=True, slots=True)
class Logps:
    """Log-probabilities in nats of chosen and rejected answers, one of each a pair."""

    chosen: Tensor  # (pairs,)
    rejected: Tensor  # (pairs,)

    @property
    def margin(self) -> Tensor:
        """How much likelier the chosen answer is: (pairs,)."""
        return self.chosen - self.rejected


def answer_logps(model: Any, batch: Batch) -> Tensor:
    """Return the summed log-probability of every answer's tokens: (R, answers), float32.

    Logits are made for the places of answers only, and in float32: bf16 logits cost 0.35 to 0.86
    nats per 512-token answer.
    """
    logits_RKV = model(
        input_ids=batch.ids_RT,
        attention_mask=batch.mask,
        position_ids=batch.position_RT,
        logits_to_keep=batch.keep,
        use_cache=False,
    ).logits.float()
    # log-softmax of the targets alone: the whole one would be a second copy of the logits
    norm_RK = logits_RKV.logsumexp(-1)
    row_R1 = torch.arange(len(batch.ids_RT), device=logits_RKV.device)[:, None]
    logps_RA = logits_RKV[row_R1, batch.predictor_RA, batch.target_RA]
    logps_RA = logps_RA - norm_RK.gather(1, batch.predictor_RA)
    return torch.stack(
        [(logps_RA * (batch.answer_RA == number)).sum(-1) for number in range(batch.answers)], -1
    )


def pair_logps(model: Any, pairs: Sequence[TokenPair], layout: Layout) -> Logps:
    """Return the log-probabilities of both answers of each pair, from one forward."""
    if layout.share:
        rows = [Row(pair.prompt, (pair.chosen, pair.rejected)) for pair in pairs]
        logps = answer_logps(model, collate(rows, layout))
        return Logps(logps[:, 0], logps[:, 1])
    rows = [Row(pair.prompt, (pair.chosen,)) for pair in pairs]
    rows += [Row(pair.prompt, (pair.rejected,)) for pair in pairs]
    logps = answer_logps(model, collate(rows, layout))
    return Logps(logps[: len(pairs), 0], logps[len(pairs) :, 0])
