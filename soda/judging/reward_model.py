"""A judge that is a reward model: it scores each answer alone, so no order can sway it."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from soda.judging.verdicts import Matchup, Reading, Verdict
from soda.rows import Message
from soda.student.chat import ChatFormat
from soda.student.weights import load_scorer

__all__ = ["RewardModel"]

_BATCH_TOKENS = 4096  # padded tokens scored at once


class RewardModel:
    """A sequence-classification model with one output, in safetensors, from a local folder.

    Raises:
        ModelError: there is no such model in the folder.
    """

    def __init__(self, folder: Path, name: str = ""):
        import torch

        self.name = name or folder.name
        self._chat = ChatFormat.load(folder)
        model = load_scorer(folder, torch.float32)
        self._longest = getattr(model.config, "max_position_embeddings", None)
        self._pad = model.config.pad_token_id  # transformers reads the score before the padding
        self._model = model.to("cuda" if torch.cuda.is_available() else "cpu")

    def judge(self, matchups: Iterable[Matchup]) -> Iterator[Verdict]:
        """Return one verdict a matchup: who has the higher reward, both rewards beside it."""
        held = list(matchups)
        rewards = self.rewards(
            [(one.prompt, text) for one in held for text in (one.candidate, one.baseline)]
        )
        for place, matchup in enumerate(held):
            ours, theirs = rewards[2 * place : 2 * place + 2]
            if ours is None or theirs is None:
                reading = Reading("candidate", None, f"longer than {self._longest} tokens")
            else:
                preference = 0.5 if ours == theirs else float(ours > theirs)
                reading = Reading("candidate", preference, f"{ours:.6g} {theirs:.6g}")
            yield Verdict.of(matchup, self.name, "reward", [reading])

    def rewards(self, answered: list[tuple[list[Message], str]]) -> list[float | None]:
        """Return each answer's reward; None where prompt and answer are too long to be read."""
        rows = [self._ids(prompt, text) for prompt, text in answered]
        found: list[float | None] = [None] * len(rows)
        fits = [
            place
            for place, ids in enumerate(rows)
            if not self._longest or len(ids) <= self._longest
        ]
        fits.sort(key=lambda place: len(rows[place]))
        most = _BATCH_TOKENS if self._pad is not None else 0  # without padding, one by one
        for batch in _batches(fits, rows, most):
            for place, reward in zip(batch, self._score([rows[one] for one in batch]), strict=True):
                found[place] = reward
        return found

    def _ids(self, prompt: list[Message], text: str) -> list[int]:
        ids, [answer] = self._chat.pair_ids(prompt, [(text.strip(), True)])
        return ids + answer

    def _score(self, rows: list[list[int]]) -> list[float]:
        import torch

        longest = max(map(len, rows))
        ids = torch.full((len(rows), longest), self._pad or 0)
        mask = torch.zeros_like(ids)
        for row, one in enumerate(rows):
            ids[row, : len(one)] = torch.tensor(one)
            mask[row, : len(one)] = 1
        device = self._model.device
        with torch.inference_mode():
            logits: Any = self._model(ids.to(device), attention_mask=mask.to(device)).logits
        return [float(value) for value in logits[:, 0].float().cpu()]


def _batches(places: list[int], rows: list[list[int]], most: int) -> Iterator[list[int]]:
    """Return places in batches of like lengths; all rows of a batch are padded to its longest."""
    batch: list[int] = []
    for place in places:  # shortest first
        if batch and (len(batch) + 1) * len(rows[place]) > most:
            yield batch
            batch = []
        batch.append(place)
    if batch:
        yield batch
