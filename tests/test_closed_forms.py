from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

from ibbook.information import entropy
from ibbook.rate_distortion import binary_rate, gaussian_rate, water_level

quick = settings(deadline=None, max_examples=40)


@pytest.mark.parametrize(
    ("function", "arguments", "says"),
    [
        (binary_rate, (1.2, 0.1), r"p must be a probability in \[0, 1\], got 1.2"),
        (binary_rate, (math.nan, 0.1), "p must be finite"),
        (binary_rate, (0.5, -0.1), "distortion must be >= 0, got -0.1"),
        (gaussian_rate, ([1.0, -2.0], 0.1), "variances must be >= 0, got -2"),
        (gaussian_rate, ([[1.0]], 0.1), "variances must be a scalar or a vector"),
        (gaussian_rate, ([], 0.1), "variances must be a scalar or a vector"),
        (gaussian_rate, (1.0, -1.0), "distortion must be >= 0, got -1"),
        (water_level, ([[1.0]], 0.1), "variances must be a scalar or a vector"),
        (water_level, (1.0, -1.0), "distortion must be >= 0, got -1"),
    ],
)
def test_bad_input_of_the_closed_forms_is_named(function, arguments, says):
    with pytest.raises(ValueError, match=says):
        function(*arguments)


def test_binary_rate_at_its_ends():
    assert binary_rate(0.3, 0.0) == pytest.approx(entropy([0.3, 0.7]).item())
    assert (binary_rate([0.3, 0.7, 0.0, 1.0], [0.3, 2.0, 0.0, 0.0]) == 0).all()
    assert binary_rate([0.1, 0.5], [[0.05], [0.2], [0.3]]).shape == (3, 2)


def test_gaussian_rate_at_its_ends():
    assert gaussian_rate(4.0, 1.0) == pytest.approx(math.log(2))
    assert gaussian_rate([1.0, 0.0], 0.0).item() == math.inf
    assert (gaussian_rate([0.0, 0.0], [0.0, 1.0]) == 0).all()
    assert (gaussian_rate([2.0, 1.0], [3.0, 9.0]) == 0).all()
    every_other = np.array([[2.0, 0.5], [1.0, 0.1]])[:, 0]
    assert gaussian_rate(2.0, every_other).tolist() == pytest.approx([0, math.log(2) / 2])


@quick
@given(
    st.lists(
        st.one_of(st.just(0.0), st.sampled_from([1.0, 2.0]), st.floats(1e-3, 1e3)), min_size=1
    ),
    st.floats(1e-6, 1),
)
def test_water_level_spends_exactly_the_distortion(variances, fraction):
    total = math.fsum(variances)
    level = water_level(variances, [fraction * total, 2 * total + 1])
    spent = torch.minimum(level[:, None], torch.tensor(variances, dtype=torch.float64)).sum(1)
    assert spent.tolist() == pytest.approx([fraction * total, total], rel=1e-9)
    assert level[1].item() == max(variances)


def test_reverse_water_filling_beats_every_other_allocation():
    variances = np.array([4.0, 1.0, 0.3, 0.05])
    for total in (0.1, 0.6, 2.0):
        found = minimize(
            lambda e: 0.5 * np.log(variances / e).sum(),
            np.minimum(variances, total / 4) * 0.9,
            bounds=[(1e-9, v) for v in variances],
            constraints={"type": "ineq", "fun": lambda e, total=total: total - e.sum()},
            method="SLSQP",
            options={"ftol": 1e-14, "maxiter": 500},
        )
        assert gaussian_rate(variances, total).item() == pytest.approx(found.fun, abs=1e-6)


def test_no_zero_has_a_sign():
    for zero in (
        binary_rate([0.0, 1.0, 0.5, -0.0], [0.0, 0.0, 0.5, -0.0]),
        gaussian_rate([1.0, -0.0], [1.0, 2.0]),
        gaussian_rate(-0.0, [-0.0, 1.0]),
        water_level([1.0, -0.0], -0.0),
        water_level(-0.0, [0.0, 1.0]),
    ):
        assert (zero == 0).all()
        assert not zero.signbit().any()
