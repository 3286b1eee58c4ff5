"""Attention within a packed row: an answer sees its prompt and itself.

On a GPU in half precision: FlashAttention-2 as PyTorch brings it, over sequences of any lengths.
A prompt's keys and values are copied for each of its answers, a few per cent of the work; the
prompt's queries run once. Elsewhere: the same through PyTorch's own attention, example by example.

Dimensions: T places, K places with copies, H heads, D their width, C copies.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - torch's own convention
from torch import Tensor

__all__ = ["ATTENTION", "Copies", "Packing", "register_attention"]

ATTENTION = "soda_packed"


@dataclass(frozen=True, slots=True)
class Copies:
    """Where the copies of keys and values come from, and the sequences that they make."""

    queries: Tensor  # where each sequence's queries begin and end: (sequences + 1,), int32
    keys: Tensor  # where its keys do, among the copies
    source_K: Tensor  # the place that each copy is of
    copies_TC: Tensor  # each place's copies; the first of them again where there are fewer
    counts_TC: Tensor  # 1, or 0 where it is such a repetition

    @classmethod
    def of(cls, layout: Sequence[tuple[int, list[int]]]) -> "Copies":
        """Lay them out: a prompt goes with its first answer, and once more with each other.

        A backward that gathers by `copies_TC` is deterministic; one that scatters is not.
        """
        places = sum(prompt + sum(answers) for prompt, answers in layout)
        most = max(1, *(len(answers) for _, answers in layout))
        copies, counts = np.zeros((places, most), np.int64), np.zeros((places, most), np.int64)
        queries, keys, source = [0], [0], []
        start = 0
        for prompt, answers in layout:
            place = start + prompt
            for number, answer in enumerate(answers or [0]):
                source += [np.arange(start, start + prompt), np.arange(place, place + answer)]
                copied, end = keys[-1] + np.arange(prompt), place + answer
                copies[start : start + prompt, number:] = copied[:, None]
                counts[start : start + prompt, number] = 1
                copies[place:end] = (keys[-1] + prompt + np.arange(answer))[:, None]
                counts[place:end, 0] = 1
                queries.append(end)
                keys.append(keys[-1] + prompt + answer)
                place = end
            start = place
        return cls(
            torch.tensor(queries, dtype=torch.int32),
            torch.tensor(keys, dtype=torch.int32),
            torch.from_numpy(np.concatenate(source)),
            torch.from_numpy(copies),
            torch.from_numpy(counts),
        )

    def to(self, device: Any) -> "Copies":
        """Return them on a GPU."""
        tensors = (self.queries, self.keys, self.source_K, self.copies_TC, self.counts_TC)
        return Copies(*(tensor.pin_memory().to(device, non_blocking=True) for tensor in tensors))


@dataclass(frozen=True, slots=True)
class Packing:
    """Which places of a row belong together."""

    layout: list[tuple[int, list[int]]]  # for each example: the prompt's length, the answers'
    longest: int  # of the sequences, or more: one value for a whole run spares recompiling
    copies: Copies | None = None

    def to(self, device: Any) -> "Packing":
        """Return it for another device; only a GPU's attention needs the copies."""
        if torch.device(device).type != "cuda":
            return self
        return Packing(self.layout, self.longest, Copies.of(self.layout).to(device))


def register_attention() -> None:
    """Make the attention known to transformers, under the name ATTENTION."""
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.masking_utils import sdpa_mask

    AttentionInterface.register(ATTENTION, _attention)
    AttentionMaskInterface.register(ATTENTION, sdpa_mask)  # for forwards that are not packed


def _attention(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    scaling: float | None = None,
    packing: Packing | None = None,
    **others: Any,
) -> tuple[Tensor, None]:
    """Attend within a packed row, or as usual if there is no packing, as in generation.

    Shapes: query (1, H, T, D), key and value (1, fewer H, T, D) -> (1, T, H, D).
    """
    if packing is None:
        from transformers.integrations.sdpa_attention import sdpa_attention_forward

        found, _ = sdpa_attention_forward(
            module, query, key, value, attention_mask, scaling=scaling, **others
        )
        return found, None
    if packing.copies is not None and query.dtype != torch.float32:
        return _flash(query, key, value, packing, scaling)[None], None
    return _by_example(query, key, value, packing.layout, scaling)[None], None


class _Copy(torch.autograd.Function):
    """Copy places; their gradients are gathered from the copies, without atomics."""

    @staticmethod
    def forward(ctx: Any, x_THD: Tensor, copies: Copies) -> Tensor:
        ctx.save_for_backward(copies.copies_TC, copies.counts_TC)
        return x_THD.index_select(0, copies.source_K)

    @staticmethod
    def backward(ctx: Any, grad_KHD: Tensor) -> tuple[Tensor, None]:
        copies_TC, counts_TC = ctx.saved_tensors
        grad_THD = grad_KHD.index_select(0, copies_TC[:, 0])
        for c in range(1, copies_TC.shape[1]):
            count_T11 = counts_TC[:, c, None, None].to(grad_KHD.dtype)
            grad_THD = grad_THD + count_T11 * grad_KHD.index_select(0, copies_TC[:, c])
        return grad_THD, None


def _flash(
    query: Tensor, key: Tensor, value: Tensor, packing: Packing, scaling: float | None
) -> Tensor:
    assert packing.copies is not None, "it is on a GPU"
    query_THD, key_THD, value_THD = (x[0].transpose(0, 1) for x in (query, key, value))
    # by position: the keywords differ between versions; True is causal, aligned at the end
    return torch.ops.aten._flash_attention_forward(  # type: ignore[no-any-return]
        query_THD,
        _Copy.apply(key_THD, packing.copies),  # type: ignore[no-untyped-call]
        _Copy.apply(value_THD, packing.copies),  # type: ignore[no-untyped-call]
        packing.copies.queries,
        packing.copies.keys,
        packing.longest,
        packing.longest,
        0.0,
        True,
        False,
        scale=scaling,
    )[0]


def _by_example(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    layout: Sequence[tuple[int, list[int]]],
    scaling: float | None,
) -> Tensor:
    gqa = query.shape[1] != key.shape[1]
    found = []
    start = 0
    for prompt, answers in layout:
        first, *others = answers or [0]
        end = start + prompt + first
        q, k, v = (x[:, :, start:end] for x in (query, key, value))
        found.append(
            F.scaled_dot_product_attention(q, k, v, is_causal=True, scale=scaling, enable_gqa=gqa)
        )
        for other in others:
            kept, own = slice(start, start + prompt), slice(end, end + other)
            seen = torch.ones(other, prompt + other, dtype=torch.bool, device=query.device)
            found.append(
                F.scaled_dot_product_attention(
                    query[:, :, own],
                    torch.cat([key[:, :, kept], key[:, :, own]], 2),
                    torch.cat([value[:, :, kept], value[:, :, own]], 2),
                    attn_mask=seen.tril(prompt),
                    scale=scaling,
                    enable_gqa=gqa,
                )
            )
            end += other
        start = end
    return torch.cat(found, 2)[0].transpose(0, 1)
