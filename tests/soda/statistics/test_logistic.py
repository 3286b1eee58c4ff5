import numpy as np
import pytest

from soda.statistics.logistic import fit_logistic


def test_it_finds_what_made_the_data():
    draw = np.random.default_rng(0)
    features = np.column_stack([np.ones(20_000), draw.normal(size=(20_000, 2))])
    truth = np.array([0.5, -1.0, 2.0])
    targets = draw.random(20_000) < 1 / (1 + np.exp(-features @ truth))
    assert fit_logistic(features, targets)[0] == pytest.approx(truth, abs=0.08)


def test_a_weight_of_two_is_the_row_twice():
    draw = np.random.default_rng(1)
    features, targets = draw.normal(size=(40, 2)), draw.random(40)
    weights = draw.integers(1, 3, size=(3, 40))
    found = fit_logistic(features, targets, weights)
    for fit, repeat in zip(found, weights, strict=True):
        alone = fit_logistic(np.repeat(features, repeat, axis=0), np.repeat(targets, repeat))
        assert fit == pytest.approx(alone[0])


def test_classes_that_separate_have_finite_coefficients():
    found = fit_logistic(np.array([[-1.0], [-2.0], [1.0], [3.0]]), np.array([0, 0, 1, 1]))
    assert 1 < found[0, 0] < 20
