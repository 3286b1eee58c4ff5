"""The language-model head, fused with log-probability and loss, a few answers at a time.

All logits of a batch, in float32, would be the largest tensor of a training step. Here a chunk's
logits are made, turned into log-probabilities, a loss and, at once, into their own gradient, and
let go. So the head costs three matrix products instead of the four of a recomputation, and only
answer tokens are ever scored.

Dimensions: N answer tokens, A answers, E width of the model, V vocabulary.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from soda.training.model.compiled import compiled
from soda.training.model.examples import Example
from soda.training.model.micro_batch import MicroBatch

__all__ = ["Objective", "Sums", "answer_logps", "fused_logps", "fused_loss", "token_logps"]

# From examples, the log-probability of each answer token, and the answers' lengths: these examples'
# share of a step's loss, and sums over them of what is worth watching.
Sums = dict[str, Tensor]
Objective = Callable[[Sequence[Example], Tensor, Tensor], tuple[Tensor, Sums]]

_CHUNK_BYTES = {"cpu": 2**26, "cuda": 2**31}  # of float32 logits


def answer_logps(logps_N: Tensor, lengths_A: Tensor) -> Tensor:
    """Sum the log-probabilities of each answer's tokens: (A,), in nats."""
    lengths_A = lengths_A.to(logps_N.device)
    return torch.segment_reduce(logps_N, "sum", lengths=lengths_A, unsafe=True, initial=0)


def token_logps(logits_NV: Tensor, target_N: Tensor) -> Tensor:
    """Return the log-probability of each target, from float32 logits.

    bf16 logits cost 0.35 to 0.86 nats per 512-token answer. The whole log-softmax would be a second
    copy of the logits.
    """
    return logits_NV.gather(1, target_N[:, None])[:, 0] - _norms(logits_NV)


def fused_logps(hidden_NE: Tensor, weight_VE: Tensor, batch: MicroBatch) -> Tensor:
    """Return the log-probability of each answer token: (N,), without gradients."""
    with torch.no_grad():
        found = [
            token_logps(_logits(hidden_NE[tokens], weight_VE, batch), batch.target_N[tokens])
            for _, tokens, _ in _chunks(batch, weight_VE)
        ]
        return torch.cat(found)


def fused_loss(
    hidden_NE: Tensor, weight_VE: Tensor, batch: MicroBatch, objective: Objective
) -> tuple[Tensor, Sums]:
    """Return a batch's loss, to run backward once, and the sums that the objective watches."""
    sums: Sums = {}
    loss: Tensor = _FusedLoss.apply(hidden_NE, weight_VE, batch, objective, sums)  # type: ignore[no-untyped-call]
    return loss, sums


class _FusedLoss(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden_NE: Tensor,
        weight_VE: Tensor,
        batch: MicroBatch,
        objective: Objective,
        sums: Sums,
    ) -> Tensor:
        grad_hidden_NE = torch.empty_like(hidden_NE)
        grad_weight_VE = None
        if weight_VE.requires_grad:
            grad_weight_VE = torch.zeros_like(weight_VE, dtype=torch.float32)
        total = torch.zeros((), device=hidden_NE.device)
        for examples, tokens, answers in _chunks(batch, weight_VE):
            chunk_NE, target_N = hidden_NE[tokens], batch.target_N[tokens]
            logits_NV = _logits(chunk_NE, weight_VE, batch)
            norm_N = _norms(logits_NV)
            logps_N = logits_NV.gather(1, target_N[:, None])[:, 0] - norm_N
            with torch.enable_grad():
                leaf_N = logps_N.requires_grad_()
                loss, found = objective(batch.examples[examples], leaf_N, batch.lengths_A[answers])
            slope_N = torch.autograd.grad(loss, leaf_N)[0] / batch.temperature
            grad_NV = _logits_gradient(logits_NV, norm_N, target_N, slope_N, hidden_NE.dtype)
            del logits_NV
            torch.mm(grad_NV, weight_VE, out=grad_hidden_NE[tokens])
            if grad_weight_VE is not None:
                _add_product(grad_weight_VE, grad_NV.t(), chunk_NE)
            total += loss.detach()
            for key, value in found.items():
                sums[key] = sums.get(key, 0) + value.detach()
        ctx.gradients = grad_hidden_NE, grad_weight_VE
        return total

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        grad_hidden_NE, grad_weight_VE = ctx.gradients
        del ctx.gradients
        if grad_weight_VE is not None:
            grad_weight_VE *= grad
        return grad_hidden_NE * grad, grad_weight_VE, None, None, None


def _chunks(batch: MicroBatch, weight_VE: Tensor) -> Iterator[tuple[slice, slice, slice]]:
    """Yield slices of examples, with their answer tokens and answers: whole examples, small."""
    most = _CHUNK_BYTES[weight_VE.device.type] // (4 * len(weight_VE))
    first = token = answer = 0
    tokens = answers = 0
    for place, example in enumerate(batch.examples):
        if tokens and tokens + example.answer_tokens > most:
            yield slice(first, place), slice(token, token + tokens), slice(answer, answer + answers)
            first, token, answer = place, token + tokens, answer + answers
            tokens = answers = 0
        tokens += example.answer_tokens
        answers += len(example.answers)
    yield (
        slice(first, len(batch.examples)),
        slice(token, token + tokens),
        slice(answer, answer + answers),
    )


def _logits(hidden_NE: Tensor, weight_VE: Tensor, batch: MicroBatch) -> Tensor:
    """Return float32 logits, whatever the weights are, over the batch's temperature."""
    if hidden_NE.is_cuda and hidden_NE.dtype != torch.float32:
        logits_NV = torch.mm(hidden_NE, weight_VE.t(), out_dtype=torch.float32)
    else:
        logits_NV = hidden_NE.float() @ weight_VE.t().float()
    return logits_NV if batch.temperature == 1 else logits_NV.div_(batch.temperature)


def _norms(logits_NV: Tensor) -> Tensor:
    """Return the logarithm of each softmax's denominator; on a GPU in one pass over the logits."""
    if logits_NV.is_cuda and not logits_NV.requires_grad:
        norm_N: Tensor = compiled(_logsumexp)(logits_NV)
        return norm_N
    return logits_NV.logsumexp(-1)


def _logsumexp(logits_NV: Tensor) -> Tensor:
    return logits_NV.logsumexp(-1)


def _logits_gradient(
    logits_NV: Tensor, norm_N: Tensor, target_N: Tensor, slope_N: Tensor, dtype: torch.dtype
) -> Tensor:
    """Return the loss's gradient by the logits, which are overwritten where dtypes allow it."""
    if logits_NV.is_cuda:
        grad_NV: Tensor = compiled(_gradient_anew)(logits_NV, norm_N, target_N, slope_N, dtype)
        return grad_NV
    grad_NV = logits_NV.sub_(norm_N[:, None]).exp_().mul_(-slope_N[:, None])
    grad_NV.scatter_add_(1, target_N[:, None], slope_N[:, None])
    return grad_NV.to(dtype)


def _gradient_anew(
    logits_NV: Tensor, norm_N: Tensor, target_N: Tensor, slope_N: Tensor, dtype: torch.dtype
) -> Tensor:
    place_V = torch.arange(logits_NV.shape[1], device=logits_NV.device)
    hit_NV = (place_V == target_N[:, None]).float()
    return (slope_N[:, None] * (hit_NV - (logits_NV - norm_N[:, None]).exp())).to(dtype)


def _add_product(total: Tensor, one: Tensor, other: Tensor) -> None:
    """Add a matrix product to a float32 total."""
    if one.is_cuda and one.dtype != torch.float32:
        torch.addmm(total, one, other, out_dtype=torch.float32, out=total)
    else:
        total.addmm_(one.float(), other.float())
