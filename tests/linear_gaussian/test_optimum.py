"""Optima: the published numbers, rate-distortion theory, and other codes."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ibbook.closed_forms import gaussian_rate
from ibbook.linear_gaussian import (
    best_decoder,
    collapse_threshold,
    collapse_thresholds,
    factor_problem,
    linear_vae_rates,
    optimum,
    scores,
    terms,
)
from tests.linear_gaussian.problems import covariance

# Figure 3 of Vu, Wan and Wei (2026) as in their release, fixed point: lambda by beta
PUBLISHED = [
    [-1.123, 0.996, 2.901, 4.716],
    [-2.855, -0.737, 1.168, 2.983],
    [-3.869, -1.751, 0.154, 1.969],
    [-4.588, -2.470, -0.565, 1.250],
]
BETAS, PENALTIES = torch.tensor([4.0, 8, 16, 32]).double(), torch.tensor([2.0, 4, 6, 8]).double()


@pytest.mark.parametrize("seed", range(3))
def test_every_instance_has_the_published_reconstruction_errors(seed):
    cov = factor_problem(seed=seed).covariance
    best = optimum(cov, BETAS, PENALTIES[:, None], latents=10)
    torch.testing.assert_close(best.nll, torch.tensor(PUBLISHED).double(), rtol=0, atol=0.0016)
    theta = (BETAS - 1) / (2 * PENALTIES[:, None])
    line = (100 * math.log(2 * math.pi * math.e) + 95 * math.log(0.05) + 5 * theta.log()) / 2
    torch.testing.assert_close(best.nll, line)


def test_the_information_on_the_factors_has_its_closed_form():
    problem = factor_problem(seed=1)
    best = optimum(problem.covariance, BETAS, PENALTIES[:, None], latents=10)
    told = scores(problem, best.encoder, best.code_cov)
    d = torch.linalg.eigvalsh(problem.covariance).flip(0)[:5]
    theta = ((BETAS - 1) / (2 * PENALTIES[:, None]))[..., None]
    left = (d - theta) * 0.05 / d**2 + theta / d
    torch.testing.assert_close(told.factor_information, -left.log().sum(-1) / 2)
    torch.testing.assert_close(told.information, best.rates.sum(-1))


@given(st.sampled_from(["full", "isotropic", 0.4]), st.floats(1.05, 6), st.floats(0.05, 3))
def test_the_optimum_lies_on_the_rate_distortion_function(noise, beta, l2):
    cov = covariance()
    best = optimum(cov, beta, l2, latents=6, noise=noise)
    bound = gaussian_rate(torch.linalg.eigvalsh(cov), best.error)
    torch.testing.assert_close(best.rates.sum(-1), bound, rtol=1e-8, atol=1e-9)
    halves = best_decoder(cov, best.encoder, best.code_cov, noise)
    parts = terms(cov, best.encoder, best.code_cov, *halves)
    for found, stated in zip(parts, (best.nll, best.rates.sum(-1), best.error), strict=True):
        torch.testing.assert_close(found, stated, rtol=1e-8, atol=1e-8)


@given(st.sampled_from(["full", "isotropic", 0.4]), st.floats(1.05, 6), st.floats(0, 3))
def test_no_code_is_better(noise, beta, l2):
    cov = covariance()
    best = optimum(cov, beta, l2, latents=2, noise=noise)
    least = best.nll + beta * best.rates.sum(-1) + l2 * best.error
    generator = torch.Generator().manual_seed(0)
    move = torch.randn(500, 2, 6, generator=generator, dtype=torch.float64)
    move *= torch.logspace(-3, 0.5, 500).double()[:, None, None]
    for encoders in (best.encoder + move, move):
        noises = best.code_cov.expand(500, 2, 2)
        parts = terms(cov, encoders, noises, *best_decoder(cov, encoders, noises, noise))
        assert (parts.loss(beta, l2) > least - 1e-9).all()


def test_components_switch_off_where_the_formula_says():
    """beta_k = n d_k / (k d_k + sum of the d below), with a learned isotropic noise."""
    cov = covariance()
    d = torch.linalg.eigvalsh(cov).flip(0)
    for k in range(1, 4):
        off = len(d) * d[k - 1] / (k * d[k - 1] + d[k:].sum())
        rates = optimum(cov, off * torch.tensor([0.99, 1.01]), latents=4, noise="isotropic").rates
        assert rates[0, k - 1] > 1e-3
        assert rates[1, k - 1] < 1e-9
    off = len(d) * d[0] / d.sum()
    torch.testing.assert_close(collapse_threshold(cov, noise="isotropic"), off)


def test_with_a_full_noise_a_component_survives_below_one_plus_its_share_of_the_penalty():
    cov, l2 = covariance(), 0.7
    d = torch.linalg.eigvalsh(cov).flip(0)
    for k in range(3):
        off = 1 + 2 * l2 * d[k]
        rates = optimum(cov, off * torch.tensor([0.99, 1.01]), l2, latents=3).rates
        assert rates[0, k] > 1e-4
        assert rates[1, k] < 1e-9
    torch.testing.assert_close(collapse_threshold(cov, l2=l2), 1 + 2 * l2 * d[0])


def test_a_fixed_variance_is_the_linear_vae_of_chapter_five():
    cov, betas = covariance(), torch.tensor([1.0, 2.0, 5.0]).double()
    best = optimum(cov, betas, latents=3, noise=0.2)
    torch.testing.assert_close(best.rates, linear_vae_rates(cov, 0.2, betas, latents=3))
    torch.testing.assert_close(collapse_threshold(cov, noise=0.2), collapse_thresholds(cov, 0.2)[0])


@given(st.integers(0, 200))
def test_the_thresholds_of_learned_noises_lie_in_order(seed):
    """The more a decoder can learn of the noise, the sooner it needs no code."""
    cov = covariance(seed=seed)
    full, diagonal, isotropic = (
        collapse_threshold(cov, noise=kind).item() for kind in ("full", "diagonal", "isotropic")
    )
    assert full == 1
    assert 1 - 1e-12 <= diagonal <= 6
    assert 1 - 1e-12 <= isotropic <= 6
    scale = cov.diagonal().rsqrt()
    correlation = collapse_threshold(scale[:, None] * cov * scale, noise="diagonal").item()
    assert diagonal == pytest.approx(correlation, rel=1e-9)
    independent = torch.diag(cov.diagonal())
    assert collapse_threshold(independent, noise="diagonal").item() == pytest.approx(1, abs=1e-12)
