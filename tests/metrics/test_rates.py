"""Bounds and estimates of information, against Gaussian channels whose information is known."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.distributions import Categorical, Independent, MixtureSameFamily, Normal

from ibbook.information import entropy, gaussian_mutual_information
from ibbook.metrics.rates import (
    STREAM,
    aggregate_information,
    bernoulli_floor,
    label_information,
    latent_information,
    rate,
)
from ibbook.noise import normal


def gaussian_channel(n, gains, seed=0):
    """z_j = gain_j x_j + noise: (mean, log variance) of n pictures, with standard normal x and z.

    The aggregate posterior is N(0, I), and I(x_j; z_j) = ln(1 + gain_j^2) / 2.
    """
    gains = torch.as_tensor(gains, dtype=torch.float64)
    x = torch.randn(n, len(gains), generator=torch.Generator().manual_seed(seed)).double()
    total = 1 + gains.square()
    return x * gains / total.sqrt(), -total.log().expand(n, -1)


def test_rate_is_the_divergence_of_torch():
    mean, log_variance = torch.randn(2, 3, 50, 4)
    q = Normal(mean, (log_variance / 2).exp())
    expected = torch.distributions.kl_divergence(q, Normal(0.0, 1.0)).mean(-2)
    torch.testing.assert_close(rate(mean, log_variance).float(), expected)


def test_rate_is_tight_where_the_codes_follow_the_prior():
    found = rate(*gaussian_channel(200_000, [0.5, 2.0, 0.0]))
    exact = torch.tensor([0.5, 2.0, 0.0]).square().log1p() / 2
    torch.testing.assert_close(found.float(), exact, atol=5e-3, rtol=0)


def test_rate_exceeds_the_information_by_the_distance_to_the_prior():
    mean, log_variance = gaussian_channel(4000, [1.0])
    moved = rate(mean + 2, log_variance)  # D_KL[N(2, 1) || N(0, 1)] = 2
    assert moved.item() == pytest.approx(math.log(2) / 2 + 2, abs=0.1)
    same = aggregate_information(mean + 2, log_variance)
    assert same.lower.item() == pytest.approx(
        aggregate_information(mean, log_variance).lower.item(), abs=1e-9
    )


@pytest.mark.parametrize("gains", [[1.0], [0.3, 2.0], [1.0, 1.0, 1.0, 0.0]])
def test_aggregate_information_brackets_a_gaussian_channel(gains):
    # the draws of x and z move both estimates together, by about 1 / sqrt(n)
    exact = sum(math.log(1 + g * g) / 2 for g in gains)
    lower, upper = aggregate_information(*gaussian_channel(6000, gains))
    assert lower < upper
    assert lower.item() == pytest.approx(exact, abs=0.05)
    assert upper.item() == pytest.approx(exact, abs=0.05)


def test_aggregate_information_is_biased_to_the_stated_sides_with_few_pictures():
    gains = [2.0, 2.0, 2.0]
    exact = 3 * math.log(5) / 2
    runs = [
        aggregate_information(*gaussian_channel(10, gains, seed), seed=seed) for seed in range(300)
    ]
    lower, upper = (torch.stack(side) for side in zip(*runs, strict=True))
    error = 3 * max(lower.std(), upper.std()) / 300**0.5
    assert lower.mean() + error < exact < upper.mean() - error
    assert lower.max() <= math.log(10)


def test_aggregate_information_of_full_covariance_after_a_rotation():
    """Correlated means give the information of their joint covariance, not the sum over latents."""
    mean, log_variance = gaussian_channel(6000, [2.0, 0.0])
    turn = torch.tensor([[1.0, 1.0], [1.0, -1.0]], dtype=torch.float64) / 2**0.5
    mean, log_variance = mean @ turn, torch.zeros_like(log_variance) + math.log(0.2)
    x_part = torch.diag(torch.tensor([0.8, 0.0], dtype=torch.float64))
    noise = 0.2 * torch.eye(2, dtype=torch.float64)
    cov = torch.cat(
        [torch.cat([x_part + 1e-12 * noise, x_part], 1), torch.cat([x_part, x_part + noise], 1)]
    )
    exact = gaussian_mutual_information(cov, 2).item()
    assert exact == pytest.approx(math.log(5) / 2, abs=1e-6)
    assert aggregate_information(mean, log_variance).lower.item() == pytest.approx(exact, abs=0.04)
    assert latent_information(mean, log_variance).sum().item() == pytest.approx(
        2 * math.log(1 + 0.4 / 0.2) / 2, abs=0.06
    )


def test_aggregate_information_equals_the_mixture_density_of_torch():
    """The same draws, with q(z) from torch.distributions and no product of matrices."""
    mean, log_variance = torch.randn(2, 40, 3, generator=torch.Generator().manual_seed(1)).double()
    spread = (log_variance / 2).exp()
    noise = normal(torch.tensor([7]), range(1), (40, 3), stream=STREAM)[0, 0].double()
    z = mean + spread * noise
    own = Independent(Normal(mean, spread), 1).log_prob(z)
    mixture = MixtureSameFamily(
        Categorical(torch.ones(40).double()), Independent(Normal(mean, spread), 1)
    )
    expected = (own - mixture.log_prob(z)).mean()
    assert aggregate_information(mean, log_variance, seed=7).lower.item() == pytest.approx(
        expected.item(), abs=1e-10
    )


@settings(max_examples=30, deadline=None)
@given(st.integers(2, 30), st.integers(1, 4), st.integers(0, 1000))
def test_aggregate_information_is_at_most_ln_n_and_free_of_the_latents_units(n, latents, seed):
    mean, log_variance = torch.randn(
        2, n, latents, generator=torch.Generator().manual_seed(seed)
    ).double()
    lower, upper = aggregate_information(mean, log_variance, seed=seed)
    assert lower <= math.log(n) + 1e-9
    scaled = aggregate_information(3 * mean - 1, log_variance + 2 * math.log(3), seed=seed)
    assert scaled.lower.item() == pytest.approx(lower.item(), abs=1e-9)
    assert scaled.upper.item() == pytest.approx(upper.item(), abs=1e-9)


def test_far_codes_tell_pictures_apart_and_equal_codes_tell_nothing():
    far = 1000 * torch.eye(8)
    assert aggregate_information(far, torch.zeros(8, 8)).lower.item() == pytest.approx(math.log(8))
    flat = torch.zeros(8, 3)
    for found in (*aggregate_information(flat, flat), *latent_information(flat, flat)):
        assert found.item() == 0
        assert not found.signbit()


@pytest.mark.parametrize("place", [0.0, 0.3, -5.0])
@pytest.mark.parametrize("log_variance", [-18.0, -0.7, 0.0, 1e-9])
def test_what_is_zero_but_for_rounding_is_zero_without_a_sign(place, log_variance):
    """Narrow codes in one place far off: their terms of 1e9 must cancel."""
    mean = torch.full((7, 3), place, dtype=torch.float64)
    spread = torch.full_like(mean, log_variance)
    found = [*aggregate_information(mean, spread), *latent_information(mean, spread)]
    labels = torch.tensor([0, 0, 1, 2, 2, 2])
    told = -(labels.bincount().double() / 6).log()[labels].mean()
    found += [label_information(told + 1e-15, labels), rate(0 * mean, 0 * spread).sum()]
    for value in found:
        assert value == 0
        assert not value.signbit()


def test_members_are_estimated_one_by_one():
    codes = [gaussian_channel(300, [g, 0.5], seed) for seed, g in enumerate([0.0, 1.0, 3.0])]
    mean, log_variance = (torch.stack(part) for part in zip(*codes, strict=True))
    together = aggregate_information(mean, log_variance)
    assert together.lower.shape == (3,)
    for member, code in enumerate(codes):
        assert together.lower[member] == aggregate_information(*code).lower
        torch.testing.assert_close(
            latent_information(mean, log_variance)[member], latent_information(*code)
        )


def test_narrow_codes_keep_their_precision():
    """Means of size 5 and deviations of 1e-4: products of 1e10 must still cancel."""
    mean = torch.linspace(-5, 5, 64)[:, None]
    found = aggregate_information(mean, torch.full_like(mean, 2 * math.log(1e-4)))
    assert found.lower.item() == pytest.approx(math.log(64), abs=1e-6)


def test_label_information_is_exact_for_the_true_posterior():
    labels = torch.tensor([0, 0, 0, 1])
    h_y = -(0.75 * math.log(0.75) + 0.25 * math.log(0.25))
    assert label_information(torch.tensor(0.2), labels).item() == pytest.approx(h_y - 0.2)
    bits = label_information(torch.tensor([0.2, 1.0]), labels, base=2)
    assert bits.tolist() == pytest.approx([(h_y - 0.2) / math.log(2), (h_y - 1.0) / math.log(2)])
    assert bits[1] < 0


def test_label_information_is_below_the_information_of_a_binary_channel():
    """Y is a fair bit, Z is Y flipped with probability 0.1; any decoder but 0.9 falls short."""
    labels = torch.arange(10) % 2
    exact = math.log(2) + 0.9 * math.log(0.9) + 0.1 * math.log(0.1)
    for told in (0.6, 0.9, 0.99):
        distortion = -(0.9 * math.log(told) + 0.1 * math.log(1 - told))
        found = label_information(torch.tensor(distortion).double(), labels).item()
        assert found <= exact + 1e-6
        assert (abs(found - exact) < 1e-6) == (told == 0.9)


@pytest.mark.parametrize("function", [rate, aggregate_information, latent_information])
@pytest.mark.parametrize(
    ("mean", "log_variance", "message"),
    [
        (torch.zeros(4, 2), torch.zeros(4, 3), "got \\(4, 2\\) and \\(4, 3\\)"),
        (torch.zeros(4), torch.zeros(4), "n >= 2"),
        (torch.zeros(1, 2), torch.zeros(1, 2), "n >= 2"),
        (torch.full((4, 2), math.nan), torch.zeros(4, 2), "mean must be finite"),
        (torch.zeros(4, 2), torch.full((4, 2), math.inf), "log_variance must be finite"),
    ],
)
def test_bad_codes_are_refused(function, mean, log_variance, message):
    with pytest.raises(ValueError, match=message):
        function(mean, log_variance)


def test_bad_labels_and_distortions_are_refused():
    with pytest.raises(ValueError, match="labels must be a vector"):
        label_information(torch.tensor(0.1), torch.zeros(2, 2, dtype=torch.int64))
    with pytest.raises(ValueError, match="distortion must be finite"):
        label_information(torch.tensor([0.1, math.nan]), torch.tensor([0, 1]))


def test_bernoulli_floor_is_the_entropy_of_all_black_and_white_pictures():
    chances = torch.tensor([[0.9, 0.2, 0.5], [0.1, 0.7, 1.0]]).double()
    pictures = torch.cartesian_prod(*[torch.tensor([0.0, 1.0]).double()] * 3)
    each = (chances[:, None] * pictures + (1 - chances[:, None]) * (1 - pictures)).prod(-1)
    exact = entropy(each.mean(0))
    assert bernoulli_floor(chances, draws=20_000).item() == pytest.approx(exact.item(), abs=0.01)


def test_arrays_of_any_layout_and_tables_are_read_and_what_is_no_number_is_named():
    x = np.linspace(0.1, 0.9, 12).reshape(4, 3)
    labels = np.array([0, 1, 1, 0])
    for array in (x, labels):
        array.flags.writeable = False
    plain = torch.tensor(x.tolist(), dtype=torch.float64)
    for array in (x, np.ascontiguousarray(x[::-1])[::-1], pd.DataFrame(x)):
        assert torch.equal(rate(array, array), rate(plain, plain))
        assert torch.equal(bernoulli_floor(array), bernoulli_floor(plain))
    found = label_information(np.float32(0.5), labels[::-1])
    assert found == label_information(0.5, [0, 1, 1, 0])
    for wrong in (np.ma.array(x, mask=x > 0.5), x + 1j):
        for name, call in {
            "mean": lambda v: rate(v, x),
            "log_variance": lambda v: rate(x, v),
            "chances": bernoulli_floor,
            "distortion": lambda v: label_information(v, labels),
            "labels": lambda v: label_information(0.5, v[:, 0]),
        }.items():
            with pytest.raises(ValueError, match=f"{name} must be an array of real numbers"):
                call(wrong)


def test_bernoulli_floor_refuses_what_is_no_chance():
    with pytest.raises(ValueError, match="chances must be"):
        bernoulli_floor(torch.full((2, 3), 1.5))
