"""What is measured of answers, one number a prompt, and how sure we are of the mean."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from soda.rows import normalized

__all__ = ["METRICS", "Metric", "holds_expected", "paired_bootstrap", "repeats", "rouge_l"]


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
    """Return each answer's ROUGE-L F1 (Lin 2004) to the teacher's, 0 to 1."""
    from rouge_score.rouge_scorer import RougeScorer

    scorer = RougeScorer(["rougeL"], use_stemmer=False)
    pairs = zip(teacher, answers, strict=True)
    return [float(scorer.score(theirs, mine)["rougeL"].fmeasure) for theirs, mine in pairs]


def holds_expected(expected: str, answer: str) -> bool:
    """Say whether an answer holds the expected string as whole words, whatever the case."""
    wanted = re.escape(normalized(expected))
    return re.search(rf"(?<!\w){wanted}(?!\w)", normalized(answer)) is not None


def repeats(answer: str) -> bool:
    """Say whether an answer goes in circles: some run of four words stands in it three times."""
    words = normalized(answer).split()
    runs = Counter(zip(words, words[1:], words[2:], words[3:], strict=False))
    return bool(runs) and max(runs.values()) >= 3


def paired_bootstrap(
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
