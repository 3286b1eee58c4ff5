"""Where a metric fell although the mean of all prompts may not say so: figures by slice."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from soda.evaluation.metrics import METRICS
from soda.statistics.bootstrap import resample

__all__ = ["find_regressions"]

_LEAST = 10  # prompts of a slice


def find_regressions(
    before: Mapping[str, Mapping[str, float]],
    after: Mapping[str, Mapping[str, float]],
    slices: Mapping[str, Mapping[str, str]],
    *,
    samples: int,
    seed: int,
) -> list[dict[str, Any]]:
    """Return the metrics that got worse in a slice, its whole 95 % interval beyond zero.

    Args:
        before: metric -> prompt -> figure, of the base.
        after: the same of the student.
        slices: prompt -> the slices that it belongs to.
    """
    found = []
    for name, metric in METRICS.items():
        groups: dict[str, list[float]] = {}
        for key, figure in before[name].items():
            for kind, value in slices.get(key, {}).items():
                groups.setdefault(f"{kind}: {value}", []).append(after[name][key] - figure)
        for group, changes in sorted(groups.items()):
            if len(changes) < _LEAST or metric.better == "none":
                continue
            change = resample(np.array([changes]), samples=samples, seed=seed)
            worse = change.high < 0 if metric.better == "higher" else change.low > 0
            if worse:
                found.append(
                    {
                        "metric": name,
                        "label": metric.label,
                        "slice": group,
                        "count": len(changes),
                        "change": {"mean": change.mean, "low": change.low, "high": change.high},
                    }
                )
    return found
