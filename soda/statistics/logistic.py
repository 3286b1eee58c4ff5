"""Logistic regression by Newton's method: many weightings of the same rows at once."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["fit_logistic"]

Array = NDArray[Any]
_RIDGE = 1e-2  # a normal prior of standard deviation 10: it only matters where classes separate


def fit_logistic(features: Array, targets: Array, weights: Array | None = None) -> Array:
    """Return the coefficients, fits x columns.

    Args:
        features: rows x columns; a column of ones for an intercept.
        targets: rows, between 0 and 1; a tie is 0.5.
        weights: fits x rows; all ones, once, if left out.
    """
    features, targets = np.asarray(features, float), np.asarray(targets, float)
    weights = np.ones((1, len(targets))) if weights is None else weights
    found = np.zeros((len(weights), features.shape[1]))
    ridge = _RIDGE * np.eye(features.shape[1])
    products = (features[:, :, None] * features[:, None, :]).reshape(len(features), -1)
    for _ in range(25):
        chance = 0.5 + 0.5 * np.tanh(0.5 * found @ features.T)  # the logistic, without overflow
        slope = (weights * (targets - chance)) @ features - _RIDGE * found
        curvature = (weights * chance * (1 - chance)) @ products
        curvature = curvature.reshape(len(found), *ridge.shape) + ridge
        step = np.linalg.solve(curvature, slope[:, :, None])[:, :, 0]
        found = found + np.clip(step, -4, 4)
        if np.abs(step).max() < 1e-6:
            break
    return found
