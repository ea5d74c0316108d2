from __future__ import annotations

import numpy as np
import pytest
import scipy.linalg
import torch

from ibbook.metrics import frechet_distance


def test_the_frechet_distance_is_that_of_scipy_s_matrix_root():
    generator = np.random.default_rng(0)
    for n, m, d in ((50, 60, 3), (30, 400, 12)):
        one = generator.normal(size=(n, d)) @ generator.normal(size=(d, d))
        other = generator.normal(size=(m, d)) @ generator.normal(size=(d, d)) + 1
        c1, c2 = (np.cov(part.T, bias=True) for part in (one, other))
        root = scipy.linalg.sqrtm(c1 @ c2).real
        expected = ((one.mean(0) - other.mean(0)) ** 2).sum() + np.trace(c1 + c2 - 2 * root)
        assert frechet_distance(one, other).item() == pytest.approx(expected, rel=1e-8)


def test_it_is_the_square_of_a_shift_and_knows_one_dimension():
    x = torch.randn(200, 4, dtype=torch.float64)
    shift = torch.tensor([1.0, -2.0, 0.0, 2.0])
    assert frechet_distance(x, x + shift).item() == pytest.approx(9)
    assert frechet_distance(x, x).item() == pytest.approx(0, abs=1e-10)
    column = x[:, :1]
    spread = column.std(correction=0).item()
    mean = column.mean().item()
    expected = (2 * spread) ** 2 + (2 * mean) ** 2
    assert frechet_distance(column, 3 * column).item() == pytest.approx(expected)


def test_a_feature_that_never_changes_is_no_obstacle():
    x = torch.randn(100, 3)
    x[:, 1] = 0.5
    assert frechet_distance(x, x.flip(0)).item() == pytest.approx(0, abs=1e-6)


def test_features_of_two_kinds_are_refused():
    with pytest.raises(ValueError, match=r"features and others must be \[n, d\] and \[m, d\]"):
        frechet_distance(torch.randn(5, 2), torch.randn(5, 3))
