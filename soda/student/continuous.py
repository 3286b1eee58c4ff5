"""Continuous batching: rows whose answer has ended leave, and waiting prompts take their places.

A batch of `generate` runs until its longest answer has ended, and every row pays for it. Here a
step costs what its unfinished rows cost. On a CPU, where a step's time grows with its rows, that is
the difference; transformers' own continuous batching, made for GPUs, is slower there than
`generate` (bench/RESULTS.md).

An answer's random numbers are its own, from its seed: they do not depend on its neighbours.

Dimensions: R rows, T places, V vocabulary.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Draws", "continuous", "left_padded"]

_ROOM = 64  # places


@dataclass(frozen=True, slots=True)
class Draws:
    """How tokens are drawn. Temperature 0 is greedy."""

    temperature: float
    top_p: float
    most: int  # tokens an answer

    def uniforms(self, seed: Sequence[int]) -> Any:
        """Return the random numbers of one answer, between 0 and 1: one a token."""
        import numpy as np

        return np.random.default_rng(seed).random(self.most)

    def draw(self, logits_RV: "Tensor", uniform_R: "Tensor") -> "Tensor":
        """Return a token a row: (R,), by where its random number falls in the distribution."""
        if self.temperature == 0:
            return logits_RV.argmax(-1)
        probabilities_RV = (logits_RV.double() / self.temperature).softmax(-1)
        if self.top_p == 1:
            return _where(probabilities_RV, uniform_R)
        sorted_RV, token_RV = probabilities_RV.sort(-1, descending=True)
        sorted_RV[sorted_RV.cumsum(-1) - sorted_RV >= self.top_p] = 0
        return token_RV.gather(1, _where(sorted_RV, uniform_R)[:, None])[:, 0]


def _where(weight_RV: "Tensor", uniform_R: "Tensor") -> "Tensor":
    sum_RV = weight_RV.cumsum(-1)
    mark_R1 = (uniform_R * sum_RV[:, -1])[:, None]
    return (sum_RV <= mark_R1).sum(-1).clamp(max=weight_RV.shape[1] - 1)


def continuous(
    model: Any,
    prompts: Sequence[list[int]],
    draws: Draws,
    seeds: Sequence[Sequence[int]],
    stops: Sequence[int],
    rows: int,
    interrupted: Callable[[], bool] = lambda: False,
    over: Callable[[list[int]], bool] = lambda ids: False,
) -> Iterator[tuple[int, list[int]]]:
    """Yield each prompt's place and its answer's ids, in the order in which answers end.

    Args:
        seeds: of each prompt's answer.
        stops: the ids that end an answer; the one that did is part of it.
        rows: how many answers are under way at once.
        interrupted: asked after every token; True ends it.
        over: asked after every token of an answer; True ends that answer.
    """
    stop = set(stops)
    waiting = sorted(range(len(prompts)), key=lambda place: (len(prompts[place]), place))
    batch = _Batch(model, draws)
    while (waiting or batch.rows) and not interrupted():
        free = rows - len(batch.rows)
        if waiting and free >= min(max(1, rows // 4), len(waiting)):
            joining, waiting = waiting[:free], waiting[free:]
            batch.join(joining, [prompts[n] for n in joining], [seeds[n] for n in joining])
        else:
            batch.step()
        keep = []
        for r, row in enumerate(batch.rows):
            if row.ids[-1] in stop or len(row.ids) == draws.most or over(row.ids):
                yield row.place, row.ids
            else:
                keep.append(r)
        if len(keep) < len(batch.rows):
            batch.keep(keep)


def left_padded(prompts: Sequence[list[int]], padding: int, device: Any) -> Any:
    """Return prompts as rows of ids, and their mask: (R, T) each."""
    import torch

    width = max(map(len, prompts))
    ids = [[padding] * (width - len(row)) + row for row in prompts]
    mask = [[0] * (width - len(row)) + [1] * len(row) for row in prompts]
    return torch.tensor(ids, device=device), torch.tensor(mask, device=device)


def _cache() -> Any:
    """Return a cache with free places behind its keys and values: a token copies only its own."""
    from transformers.cache_utils import Cache, DynamicLayer

    class Roomy(DynamicLayer):  # type: ignore[misc]
        keys: Any
        values: Any

        def update(self, key: "Tensor", value: "Tensor", *_: Any, **__: Any) -> Any:
            if not self.is_initialized:
                self.lazy_initialization(key, value)
                self.put(key[:, :, :0], value[:, :, :0], key.shape[2] + _ROOM)
            start, end = self.keys.shape[2], self.keys.shape[2] + key.shape[2]
            if end > self.room[0].shape[2]:
                self.put(self.keys, self.values, end + _ROOM)
            for room, new in zip(self.room, (key, value), strict=True):
                room[:, :, start:end] = new
            self.keys, self.values = (room[:, :, :end] for room in self.room)
            return self.keys, self.values

        def put(self, keys: "Tensor", values: "Tensor", places: int) -> None:
            """Hold keys and values, with room for so many places."""
            length = keys.shape[2]
            self.room = []
            for old in (keys, values):
                room = old.new_empty(*old.shape[:2], places, old.shape[3])
                room[:, :, :length] = old
                self.room.append(room)
            self.keys, self.values = (room[:, :, :length] for room in self.room)

    return Cache(layer_class_to_replicate=Roomy)


@dataclass(slots=True)
class _Row:
    place: int
    ids: list[int]
    uniforms: Any


class _Batch:
    """The rows under way, padded on the left, and their keys and values."""

    def __init__(self, model: Any, draws: Draws):
        self.rows: list[_Row] = []
        self.token_R: Any = None
        self._model = model
        self._draws = draws
        self._cache: Any = None
        self._mask_RT: Any = None

    def join(self, places: list[int], prompts: list[list[int]], seeds: Sequence[Any]) -> None:
        """Take prompts in, and draw their first tokens."""
        import torch

        ids, mask = left_padded(prompts, 0, self._model.device)
        cache = _cache()
        fresh = [
            _Row(place, [], self._draws.uniforms(seed))
            for place, seed in zip(places, seeds, strict=True)
        ]
        token_R = self._forward(ids, mask, cache, fresh)
        if self.rows:
            self._merge(cache, mask)
            self.token_R = torch.cat([self.token_R, token_R])
        else:
            self._cache, self._mask_RT, self.token_R = cache, mask, token_R
        self.rows += fresh

    def step(self) -> None:
        """Draw every row's next token."""
        import torch

        self._mask_RT = torch.nn.functional.pad(self._mask_RT, (0, 1), value=1)
        self.token_R = self._forward(self.token_R[:, None], self._mask_RT, self._cache, self.rows)

    def _forward(self, ids: "Tensor", mask_RT: "Tensor", cache: Any, rows: list[_Row]) -> "Tensor":
        import torch

        position = (mask_RT.cumsum(-1) - 1).clamp(min=0)[:, -ids.shape[1] :]
        uniform = [row.uniforms[len(row.ids)] for row in rows]
        with torch.inference_mode():
            logits_RV = self._model(
                ids,
                attention_mask=mask_RT,
                position_ids=position,
                cache=cache,
                use_cache=True,
                logits_to_keep=1,
            ).logits[:, -1]
            token_R = self._draws.draw(logits_RV, torch.tensor(uniform, device=ids.device))
        for row, token in zip(rows, token_R.tolist(), strict=True):
            row.ids.append(token)
        return token_R

    def keep(self, kept: list[int]) -> None:
        """Let the other rows go, and the places that only they needed."""
        import torch

        self.rows = [self.rows[r] for r in kept]
        if not kept:
            self._cache = None
            return
        with torch.inference_mode():
            index = torch.tensor(kept, device=self._mask_RT.device)
            self.token_R = self.token_R[index]
            self._mask_RT = self._mask_RT[index]
            start = int(self._mask_RT.any(0).int().argmax())
            self._mask_RT = self._mask_RT[:, start:]
            for layer in self._cache.layers:
                keys, values = (x[index, :, start:] for x in (layer.keys, layer.values))
                layer.put(keys, values, keys.shape[2] + _ROOM)

    def _merge(self, cache: Any, mask: "Tensor") -> None:
        import torch
        from torch.nn.functional import pad

        width = max(self._mask_RT.shape[1], mask.shape[1])

        def both(one: "Tensor", other: "Tensor", after: tuple[int, ...]) -> "Tensor":
            axis = -1 - len(after) // 2
            parts = [pad(x, (*after, width - x.shape[axis], 0)) for x in (one, other)]
            return torch.cat(parts)

        with torch.inference_mode():
            for old, new in zip(self._cache.layers, cache.layers, strict=True):
                keys = both(old.keys, new.keys, (0, 0))
                old.put(keys, both(old.values, new.values, (0, 0)), width + _ROOM)
        self._mask_RT = both(self._mask_RT, mask, ())
