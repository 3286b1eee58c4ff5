"""What is measured of answers, one number a prompt, and how sure we are of the mean."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from soda.words import words

__all__ = [
    "CHANGES",
    "METRICS",
    "MODELS",
    "OF_WORDS",
    "SET_METRICS",
    "Metric",
    "intervals",
    "rouge_l",
]


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

# Of a task set, whose prompts the teacher was not asked.
SET_METRICS = {
    "reference_rouge_l": Metric("ROUGE-L to the set's reference", "higher"),
    "tokens": Metric("tokens of an answer", "none"),
    **{name: METRICS[name] for name in ("exact_match", "stopped", "repetitive")},
}

# Metrics of an answer's words, which are also shown by the script that prompts are written in.
OF_WORDS = ("rouge_l", "exact_match", "repetitive")

# The models that are measured, by their keys in the figures.
MODELS = {"before": "base", "warmed": "warmed up", "after": "student"}
# From which model's figures to which: what all trainings changed, the warm-up, and what came after.
CHANGES = {
    "change": ("before", "after"),
    "change_by_warm_up": ("before", "warmed"),
    "change_since_warm_up": ("warmed", "after"),
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

    from soda.statistics.bootstrap import resample

    series = {name: np.array(values, dtype=float) for name, values in measured.items()}
    series |= {name: series[after] - series[before] for name, (before, after) in changes.items()}
    found = {
        name: resample(values[None, :], samples=samples, seed=seed)
        for name, values in series.items()
    }
    return {name: dataclasses.asdict(estimate) for name, estimate in found.items()}
