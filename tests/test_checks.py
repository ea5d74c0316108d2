from __future__ import annotations

from fractions import Fraction

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from ibbook import metrics
from ibbook._checks import covariance, distribution, real, slopes
from ibbook._numbers import integer, number
from ibbook.bottleneck import information_bottleneck
from ibbook.information import entropy, mutual_information
from ibbook.rate_distortion import rate_distortion


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
        ([0.5, 0.500002], 1, "p sums to 1.000002, not 1; divide it"),
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


def test_numbers_of_numpy_and_torch_are_numbers():
    for value in (3, np.int64(3), np.uint8(3), np.array(3), torch.tensor(3)):
        assert type(integer(value, "n", 1, 5)) is int
        assert type(number(value, "x")) is int
    for value in (0.5, np.float32(0.5), np.array(0.5), torch.tensor(0.5), Fraction(1, 2)):
        assert type(number(value, "x")) is float
        assert number(value, "x") == 0.5
    assert number(torch.tensor(0.5, requires_grad=True), "x") == 0.5


@pytest.mark.parametrize(
    "value",
    [
        True,
        np.True_,
        torch.tensor(True),
        "3",
        b"3",
        np.ma.masked,
        np.ma.array(3, mask=True),
        None,
        [3],
        np.array([3]),
        1j,
        float("nan"),
        10**400,
    ],
)
def test_what_is_no_number_is_refused(value):
    with pytest.raises(ValueError, match="x must be a finite number, got"):
        number(value, "x")
    with pytest.raises(ValueError, match="n must be a whole number from 1 to 5, got"):
        integer(value, "n", 1, 5)


@pytest.mark.parametrize("value", [0, 6, 2.0, np.float64(2.0), torch.tensor(2.0), float("inf")])
def test_what_is_no_whole_number_within_limits_is_refused(value):
    with pytest.raises(ValueError, match="n must be a whole number from 1 to 5, got"):
        integer(value, "n", 1, 5)


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("outcomes", [3, 1000, 100_000])
def test_what_a_softmax_leaves_is_a_distribution_in_any_precision(kind, outcomes):
    random = torch.Generator().manual_seed(0)
    p = torch.randn(outcomes, generator=random).mul(3).to(kind).softmax(0)
    assert distribution(p, "p").sum().item() == pytest.approx(1, abs=1e-12)
    if kind in (torch.float32, torch.float64):
        with pytest.raises(ValueError, match=r"p sums to 1\.0009\d*, not 1"):
            distribution(p * 1.00095, "p")


def test_a_difference_that_is_rounding_is_no_negative_mass():
    assert distribution([0.9, 0.1, 1 - 0.9 - 0.1], "p").min() == 0
    with pytest.raises(ValueError, match="p has negative mass -1e-12"):
        distribution([1.0, -1e-12], "p")


def test_no_part_of_an_array_is_dropped_without_a_word():
    for value in (np.array([0.5 + 1j, 0.5]), [0.5 + 1j, 0.5], torch.tensor([0.5 + 1j, 0.5])):
        with pytest.raises(ValueError, match=r"p must be .*(complex|real)"):
            real(value, "p")
    with pytest.raises(ValueError, match="some of its entries are masked"):
        real(np.ma.array([0.5, 0.5, 0.5], mask=[0, 0, 1]), "p")
    with pytest.raises(ValueError, match="some of its entries are masked"):
        real([np.ma.array([0.5, 0.5], mask=[0, 1]), [0.0, 0.0]], "p")
    assert real(np.ma.array([0.5, 0.5]), "p").tolist() == [0.5, 0.5]


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (torch.tensor([0.5, 0.5]).to_sparse(), "p must be dense, got torch.sparse_coo"),
        ([torch.tensor(0.5, requires_grad=True), 0.5], "p must be an array of real numbers"),
        (np.array(["2026"], "M8[Y]"), "p must be an array of real numbers: its dtype is dat"),
        (["0.5", "0.5"], "p must be an array of real numbers: its dtype is <U3"),
    ],
)
def test_what_is_no_plain_array_of_numbers_is_named(value, words):
    with pytest.raises(ValueError, match=words):
        real(value, "p")


@pytest.mark.parametrize("kind", [">f8", ">f4", ">i4", "f2", "g", "u8", "O"])
def test_numbers_of_any_kind_and_byte_order_keep_their_values(kind):
    assert real(np.array([0, 1, 2], kind)[::-1], "x").tolist() == [2.0, 1.0, 0.0]


def test_a_covariance_may_be_off_by_what_its_own_precision_leaves():
    x = torch.randn(1000, 50, generator=torch.Generator().manual_seed(0))
    rounded = (x.T / 7) @ (7 * x) / 1000
    assert not torch.equal(rounded, rounded.T)
    assert covariance(rounded, "cov").shape == (50, 50)
    with pytest.raises(ValueError, match="cov must be symmetric"):
        covariance(rounded.double(), "cov")


def test_arrays_of_any_layout_are_read_without_a_warning(recwarn):
    x = np.arange(6.0)
    assert real(x[::-1], "x").tolist() == x[::-1].tolist()
    frame = pd.DataFrame({"a": [0.5, 0.1], "b": [0.2, 0.2]})
    for value in (frame, frame.T, frame.to_numpy()[::-1], np.broadcast_to([0.25] * 2, (2, 2))):
        assert real(value, "x").shape == (2, 2)
        assert mutual_information(value).item() >= 0
    for turned in (pd.DataFrame(1 - np.eye(2)), (1 - np.eye(2))[::-1, ::-1]):
        assert rate_distortion([0.5, 0.5], turned, 2.0).converged
    assert not recwarn.list


def test_gradients_stop_at_solvers_and_scores_and_pass_through_measures():
    random = torch.Generator().manual_seed(0)
    codes = torch.randn(60, 3, generator=random).requires_grad_()
    factors = torch.randint(0, 3, (60, 2), generator=random)
    for score in (metrics.mig, metrics.sap, metrics.dci, metrics.i_m, metrics.explicitness,
                  metrics.modularity, metrics.axis_r2):  # fmt: skip
        found = score(codes, factors)
        assert not getattr(found, "disentanglement", found).requires_grad
    for score in (metrics.beta_vae_score, metrics.factor_vae_score):
        assert not score(codes, factors, train=50, test=50).requires_grad
    joint = torch.tensor([[0.3, 0.2], [0.1, 0.4]], requires_grad=True)
    assert not information_bottleneck(joint, 2.0).encoder.requires_grad
    assert not rate_distortion(joint.sum(1), 1 - torch.eye(2), 2.0).rate.requires_grad
    logits = torch.tensor([0.0, 0.0, -2000.0], requires_grad=True)
    entropy(logits.softmax(0)).backward()
    assert logits.grad.isfinite().all()


@pytest.mark.parametrize("score", [metrics.sap, metrics.mig, metrics.dci])
def test_codes_beyond_what_can_be_squared_are_refused_rather_than_worked_at_for_ever(score):
    codes, factors = torch.randn(60, 2).double() * 1e100, torch.arange(120).reshape(60, 2) % 3
    with pytest.raises(ValueError, match=r"codes must lie within 1e\+50 of 0"):
        score(codes, factors)
    if score is metrics.sap:
        with pytest.raises(ValueError, match=r"codes must lie within 1e\+50 of 0"):
            score(codes, factors, estimator="classifier")


def test_numbers_of_numpy_reach_the_solvers():
    joint, half = [[0.4, 0.1], [0.1, 0.4]], np.float32(0.5)
    solved = information_bottleneck(
        joint,
        2.0,
        clusters=np.int64(2),
        alpha=half,
        tol=np.float32(1e-8),
        max_iterations=np.int64(99),
    )
    assert solved.alpha == 0.5
    assert rate_distortion([0.5, 0.5], 1 - np.eye(2), 2.0, tol=np.float32(1e-7)).converged
    assert entropy([0.5, 0.5], base=np.float32(2)).item() == pytest.approx(1)
