"""The win rate that would be left if both answers were equally long (AlpacaEval 2)."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from soda.statistics.bootstrap import resample
from soda.statistics.intervals import Estimate
from soda.statistics.logistic import fit_logistic

__all__ = ["length_controlled"]

Array = NDArray[Any]


def length_controlled(
    scores: Array, length_differences: Array, *, samples: int = 2000, seed: int = 0
) -> Estimate:
    """Return the length-controlled win rate and its 95 % interval, over prompts and seeds.

    Dubois et al. 2024 (arXiv 2404.04475, equation 2): log-odds of a win = theta +
    phi * tanh(difference / its standard deviation); the rate is sigmoid(theta). Their third term,
    a prompt's difficulty, is fitted over a whole leaderboard and left out here.

    Args:
        scores: seeds x prompts, 1 for a win, 0.5 for a tie, 0 for a loss.
        length_differences: seeds x prompts, the candidate's length minus the baseline's.
    """
    spread = float(np.std(length_differences)) or 1.0
    rows = np.stack([np.asarray(scores, float), np.tanh(length_differences / spread)], axis=2)
    return resample(rows, _rate_at_equal_length, samples=samples, seed=seed, within=(0, 1))


def _rate_at_equal_length(rows: Array, weights: Array) -> Array:
    seeds, prompts, _ = rows.shape
    flat = rows.reshape(seeds * prompts, 2)
    features = np.column_stack([np.ones(len(flat)), flat[:, 1]])
    theta = fit_logistic(features, flat[:, 0], np.tile(weights, seeds))[:, 0]
    found: Array = 0.5 + 0.5 * np.tanh(theta / 2)
    return found
