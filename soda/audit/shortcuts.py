"""Whether a student could tell chosen from rejected without reading: by length, or by style."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from soda.statistics.logistic import fit_logistic

__all__ = ["Shortcut", "auc_within_pairs", "audit_shortcuts", "length_balanced"]

Array = NDArray[Any]
Answers = Sequence[tuple[str, str]]  # chosen, rejected
_WARN = 0.8
_FOLDS = 5
_AT_MOST = 5_000  # pairs are looked at: the AUC is then known within 0.012
_BIN = 0.25  # of |log length ratio|, in which lengths are balanced

# Surface style: how often something stands in an answer, a character or a line of it.
_PER_CHARACTER = (r"[!]", r"[?]", r"[,;]", r":", r"[\"'`]", r"\d", r"[A-Z]", r"[^\x00-\x7f]", r"\s")
_PER_LINE = (r"^\s*[-*•]\s", r"^\s*\d+[.)]\s", r"^#", r"^\s*$", r"\*\*", r"^```", r"[.!?]\s*$")
_ONCE = (
    r"\A\s*(?:sure|certainly|of course|great|absolutely|yes|no)\b",
    r"\A\s*(?:i|as an ai)\b",
    r"[.!?)`*]\s*\Z",
    r"\?\s*\Z",
)
_BY_CHARACTER = [re.compile(pattern) for pattern in _PER_CHARACTER]
_BY_LINE = [re.compile(pattern, re.MULTILINE) for pattern in _PER_LINE]
_BY_ANSWER = [re.compile(pattern, re.IGNORECASE) for pattern in _ONCE]


@dataclass(frozen=True, slots=True)
class Shortcut:
    """How well one surface feature tells chosen from rejected."""

    feature: Literal["length", "style"]
    auc: float  # 0.5: not at all; 1: always; 0 (length): the chosen answer is always the shorter
    pairs: int

    @property
    def warn(self) -> bool:
        """Whether the student is likely to learn the feature in place of the difference."""
        return max(self.auc, 1 - self.auc) > _WARN


def auc_within_pairs(differences: Sequence[float] | Array) -> float:
    """Return how often the chosen answer has more of a feature than its own rejected one.

    It is the AUC with each pair as its own group, ties half: DPO compares answers to one prompt,
    and never those of different prompts, which a pooled AUC would mix in.
    """
    values = np.asarray(differences, float)
    return float(np.mean(values > 0) + np.mean(values == 0) / 2)


def audit_shortcuts(answers: Answers, seed: int = 0) -> list[Shortcut]:
    """Return the AUC of length alone, and of surface style alone.

    Style is a logistic regression on differences of punctuation, layout and set phrases, each
    pair scored by a fit that has not seen it.
    """
    places = np.random.default_rng(seed).permutation(len(answers))[:_AT_MOST]
    chosen = [answers[place] for place in places]
    if len(chosen) < 2 * _FOLDS:
        return []
    lengths = np.array([len(one) - len(other) for one, other in chosen])
    styles = np.array([_style(one) - _style(other) for one, other in chosen])
    return [
        Shortcut("length", auc_within_pairs(lengths), len(chosen)),
        Shortcut("style", auc_within_pairs(_held_out_scores(styles)), len(chosen)),
    ]


def _style(text: str) -> Array:
    lines = text.count("\n") + 1
    found = [len(pattern.findall(text)) / (len(text) or 1) for pattern in _BY_CHARACTER]
    found += [len(pattern.findall(text)) / lines for pattern in _BY_LINE]
    found += [float(pattern.search(text) is not None) for pattern in _BY_ANSWER]
    return np.array(found)


def _held_out_scores(differences: Array) -> Array:
    """Return how much each pair's chosen answer looks like one, by the other folds' fit."""
    scale = np.sqrt(np.mean(differences**2, axis=0))
    scaled = differences / np.where(scale > 0, scale, 1)
    fold = np.arange(len(scaled)) % _FOLDS
    scores = np.zeros(len(scaled))
    for held_out in range(_FOLDS):
        others = scaled[fold != held_out]
        fit = fit_logistic(others, np.ones(len(others)))[0]  # no intercept: sides are symmetric
        scores[fold == held_out] = scaled[fold == held_out] @ fit
    return scores


def length_balanced(lengths: Sequence[tuple[int, int]], seed: int = 0) -> list[int]:
    """Return the places of the pairs to keep, so that the chosen answer is as often the shorter.

    Within each band of length ratios as many pairs are kept with the chosen answer longer as with
    it shorter, at random. What is lost is the imbalance: if nine of ten chosen answers are the
    longer, a fifth of the pairs is left.

    Args:
        lengths: of the chosen and the rejected answer, in characters.
    """
    ratios = np.array([np.log((chosen + 1) / (rejected + 1)) for chosen, rejected in lengths])
    band = np.floor(np.abs(ratios) / _BIN).astype(int)
    draw = np.random.default_rng(seed)
    kept = list(np.flatnonzero(ratios == 0))
    for number in np.unique(band):
        sides = [np.flatnonzero((band == number) & (np.sign(ratios) == sign)) for sign in (-1, 1)]
        few = min(map(len, sides))
        for side in sides:
            kept += list(draw.permutation(side)[:few])
    return sorted(int(place) for place in kept)
