"""What is measured of answers, one number a prompt, and how sure we are of the mean."""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Literal

import numpy as np

from soda.rows import Expected
from soda.words import holds, numbers, words

__all__ = ["METRICS", "Metric", "compare", "is_right", "rouge_l"]

_CLOSE = Decimal("1e-9")  # numbers are the same where they differ by less, relatively


@dataclass(frozen=True, slots=True)
class Metric:
    """A metric's name for people, and which way is better."""

    label: str
    better: Literal["higher", "lower", "none"]


METRICS = {
    "rouge_l": Metric("ROUGE-L to the teacher", "higher"),
    "teacher_logp": Metric("log-likelihood of teacher answers, nats a token", "higher"),
    "preference_accuracy": Metric("pairs whose chosen answer is likelier a token", "higher"),
    "exact_match": Metric("checkable prompts answered right", "higher"),
    "length_ratio": Metric("length beside the teacher's", "none"),
    "stopped": Metric("share of answers that stop", "higher"),
    "repetitive": Metric("share of answers that repeat", "lower"),
}


def rouge_l(teacher: Sequence[str], answers: Sequence[str]) -> list[float]:
    """Return each answer's ROUGE-L F1 (Lin 2004) to the teacher's, 0 to 1.

    Words are those of `soda.words`, in every script; in plain English they are rouge_score's.
    """
    pairs = zip(teacher, answers, strict=True)
    return [_overlap(words(theirs), words(mine)) for theirs, mine in pairs]


def _overlap(one: list[str], other: list[str]) -> float:
    """Return F1 of the longest common subsequence, a row of its table in one number of many bits.

    Hyyrö 2004, "Bit-parallel LCS-length computation revisited". Rows of a list take a second for
    two answers in Chinese, where every character is a word.
    """
    if one == other:
        return 1.0
    places: dict[str, int] = {}
    for place, word in enumerate(one):
        places[word] = places.get(word, 0) | 1 << place
    everywhere = (1 << len(one)) - 1
    row = everywhere
    for word in other:
        found = row & places.get(word, 0)
        row = (row + found | row - found) & everywhere
    common = len(one) - row.bit_count()
    return 2 * common / (len(one) + len(other))


def is_right(expected: Expected, answer: str) -> bool:
    """Say whether an answer holds what is expected, or one of several alternatives.

    Text has to be there as whole words, whatever the case; a number as a number, however it is
    written: 1000 is in "1,000 m".
    """
    if isinstance(expected, list):
        return any(is_right(one, answer) for one in expected)
    if isinstance(expected, str):
        return holds(answer, expected)
    wanted = Decimal(str(expected))
    return any(abs(found - wanted) <= _CLOSE * abs(wanted) for found in numbers(answer))


def compare(
    before: Sequence[float], after: Sequence[float], *, samples: int, seed: int
) -> dict[str, dict[str, float]]:
    """Return the means before and after, and of the paired change, with 95 % intervals.

    Percentile bootstrap over prompts (Efron 1979): the same prompts are drawn for all three.
    """
    values = np.array([before, after, np.subtract(after, before)], dtype=float)
    draws = np.random.default_rng(seed).integers(values.shape[1], size=(samples, values.shape[1]))
    means = values[:, draws].mean(axis=2)
    lows, highs = np.percentile(means, [2.5, 97.5], axis=1)
    return {
        name: {"mean": float(mean), "low": float(low), "high": float(high)}
        for name, mean, low, high in zip(
            ("before", "after", "change"), values.mean(axis=1), lows, highs, strict=True
        )
    }
