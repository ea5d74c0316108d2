from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from ibbook._checks import covariance, distribution, real, slopes


@given(
    hnp.arrays(np.float64, hnp.array_shapes(min_dims=2, max_dims=3), elements=st.floats(0.01, 1))
)
def test_a_distribution_comes_back_normalised_over_its_last_axis(mass):
    p = mass / mass.sum(-1, keepdims=True)
    out = distribution(p, "p")
    assert out.dtype == torch.float64
    np.testing.assert_allclose(out.numpy(), p, rtol=1e-12)
    np.testing.assert_allclose(out.sum(-1).numpy(), 1, rtol=1e-12)


def test_float32_input_passes_and_is_renormalised_in_float64():
    p = torch.full((1000,), 1e-3, dtype=torch.float32)
    assert abs(distribution(p, "p").sum().item() - 1) < 1e-12


@pytest.mark.parametrize("view", [lambda a: a[::-1], lambda a: a.T, lambda a: a[:, ::2]])
def test_views_of_arrays_are_taken_as_they_are(view):
    array = np.arange(12.0).reshape(3, 4)
    np.testing.assert_array_equal(real(view(array), "p").numpy(), view(array))
    assert real(np.float64(2.0), "p").shape == ()


@pytest.mark.parametrize(
    ("value", "axes", "message"),
    [
        ([0.5, -0.1, 0.6], 1, "p has negative mass -0.1"),
        ([0.5, 0.6], 1, "p sums to 1.1, not 1; divide it"),
        ([0.5, float("nan")], 1, "p must be finite, got nan"),
        ([[0.5, 0.5]], 3, r"p must have at least 3 axes, got shape \(1, 2\)"),
        (1.0, 1, r"p must have at least 1 axes, got shape \(\)"),
        ([], 1, "p must not be empty"),
        (["a"], 1, "p must be an array of real numbers"),
        (torch.tensor([1j]), 1, "p must be real, got dtype torch.complex64"),
    ],
)
def test_bad_distributions_are_named(value, axes, message):
    with pytest.raises(ValueError, match=message):
        distribution(value, "p", axes=axes)


def test_axes_zero_means_all_axes():
    assert distribution(np.full((2, 2, 2), 0.125), "p", axes=0).shape == (2, 2, 2)
    with pytest.raises(ValueError, match="p sums to 4"):
        distribution(np.full((2, 2, 2), 0.5), "p", axes=0)


@pytest.mark.parametrize(
    ("beta", "message"),
    [
        (-1, "beta must be >= 0, got -1"),
        ([1, float("inf")], "beta must be finite, got inf"),
        ([[1.0]], r"beta must be a scalar or a vector, got shape \(1, 1\)"),
        ([], "beta must not be empty"),
    ],
)
def test_bad_slopes_are_named(beta, message):
    with pytest.raises(ValueError, match=message):
        slopes(beta)


@pytest.mark.parametrize(
    ("cov", "message"),
    [
        ([[1.0, 0.0]], r"cov must be square over its last two axes, got shape \(1, 2\)"),
        ([[1.0, 0.5], [0.0, 1.0]], "cov must be symmetric"),
        ([[1.0, 1.0], [1.0, 1.0]], "cov must be positive definite"),
        ([[1.0, float("nan")], [0.0, 1.0]], "cov must be finite"),
    ],
)
def test_bad_covariances_are_named(cov, message):
    with pytest.raises(ValueError, match=message):
        covariance(cov, "cov")


def test_real_keeps_the_values_of_any_array_like():
    for value in ([1, 2], np.array([1, 2], np.int8), torch.tensor([1.0, 2.0])):
        assert real(value, "x").tolist() == [1.0, 2.0]


def test_arrays_that_may_not_be_written_are_read_without_a_word():
    frozen = np.diag([[0.25, 1.0], [1.0, 0.75]])
    assert not frozen.flags.writeable
    assert distribution(frozen, "p").tolist() == [0.25, 0.75]
    assert distribution(pd.DataFrame({"a": [0.5], "b": [0.5]}), "p").tolist() == [[0.5, 0.5]]
