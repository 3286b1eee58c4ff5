"""What is measured of answers, one number a prompt, and how sure we are of the mean."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from soda.rows import normalized

__all__ = ["CHANGES", "METRICS", "MODELS", "Metric", "holds_expected", "intervals", "rouge_l"]


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

# The models that are measured, by their keys in the figures.
MODELS = {"before": "base", "warmed": "warmed up", "after": "student"}
# From which model's figures to which: what all trainings changed, the warm-up, and what came after.
CHANGES = {
    "change": ("before", "after"),
    "change_by_warm_up": ("before", "warmed"),
    "change_since_warm_up": ("warmed", "after"),
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


def intervals(
    measured: Mapping[str, Sequence[float]],
    changes: Mapping[str, tuple[str, str]],
    *,
    samples: int,
    seed: int,
) -> dict[str, dict[str, float]]:
    """Return the mean of every model's figures, and of every paired change, with a 95 % interval.

    Percentile bootstrap over prompts (Efron 1979): the same prompts are drawn for all.

    Args:
        measured: a model's figures by its name, prompt by prompt.
        changes: from which model to which, by the name of the change.
    """
    import numpy as np

    series = {name: np.array(values, dtype=float) for name, values in measured.items()}
    series |= {name: series[after] - series[before] for name, (before, after) in changes.items()}
    values = np.stack(list(series.values()))
    draws = np.random.default_rng(seed).integers(values.shape[1], size=(samples, values.shape[1]))
    means = values[:, draws].mean(axis=2)
    lows, highs = np.percentile(means, [2.5, 97.5], axis=1)
    return {
        name: {"mean": float(mean), "low": float(low), "high": float(high)}
        for name, mean, low, high in zip(series, values.mean(axis=1), lows, highs, strict=True)
    }
