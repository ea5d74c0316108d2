"""Linear VAEs: against numerical minimisation, and the properties of the thresholds."""

from __future__ import annotations

import math

import pytest
import torch

from ibbook.linear_gaussian import collapse_thresholds, linear_vae_rates


def covariance(n=5, seed=0):
    root = torch.randn(n, n, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return root @ root.T


def loss(encoder, log_variance, cov, noise, beta):
    """D + beta R of a linear VAE with the best decoder, less a constant."""
    variance = log_variance.exp()
    cov_z = encoder @ cov @ encoder.T + torch.diag(variance)
    left = cov - cov @ encoder.T @ torch.linalg.solve(cov_z, encoder @ cov)
    rate = (cov_z.diagonal() - 1 - log_variance).sum() / 2
    return left.trace() / (2 * noise) + beta * rate


@pytest.mark.parametrize(("beta", "latents"), [(1.0, 2), (2.0, 4), (9.0, 5)])
def test_no_linear_vae_is_better_and_descent_comes_to_the_least_loss(beta, latents):
    cov, noise = covariance(), 0.4
    rates = linear_vae_rates(cov, noise, [beta], latents=latents)[0]
    eigenvalues = torch.linalg.eigvalsh(cov).flip(0)
    left = eigenvalues.clone()
    left[:latents] *= (-2 * rates).exp()
    least = left.sum() / (2 * noise) + beta * rates.sum()

    generator = torch.Generator().manual_seed(1)
    encoder = 0.3 * torch.randn(latents, 5, generator=generator, dtype=torch.float64)
    weights = [encoder.requires_grad_(), torch.zeros(latents).double().requires_grad_()]
    descent = torch.optim.LBFGS(weights, max_iter=500, line_search_fn="strong_wolfe")

    def closure():
        descent.zero_grad()
        value = loss(*weights, cov, noise, beta)
        value.backward()
        return value

    descent.step(closure)
    found = loss(*weights, cov, noise, beta).item()
    assert found > least - 1e-9
    assert found == pytest.approx(least.item(), abs=1e-4)


def test_thresholds_are_eigenvalues_over_the_noise_and_end_the_rates():
    cov = covariance()
    thresholds = collapse_thresholds(cov, 0.5)
    torch.testing.assert_close(thresholds, torch.linalg.eigvalsh(cov).flip(0) / 0.5)
    for j, threshold in enumerate(thresholds):
        beside = threshold * torch.tensor([0.99, 1.01]).double()
        below, above = linear_vae_rates(cov, 0.5, beside, latents=5)
        assert below[j] == pytest.approx(-math.log(0.99) / 2, abs=1e-6)
        assert above[j] == 0


def test_noise_of_each_pixel_enters_as_a_rescaling_and_constant_pixels_do_not_count():
    cov, noise = covariance(), torch.tensor([0.1, 0.4, 1.0, 2.0, 3.0]).double()
    scaled = cov / (noise[:, None] * noise).sqrt()
    expected = torch.linalg.eigvalsh(scaled).flip(0)
    torch.testing.assert_close(collapse_thresholds(cov, noise), expected)
    padded = torch.zeros(6, 6).double()
    padded[:5, :5] = cov
    with_constant = collapse_thresholds(padded, torch.cat([noise, torch.zeros(1).double()]))
    torch.testing.assert_close(with_constant[:5], expected)
    assert with_constant[5].abs() < 1e-12


@pytest.mark.parametrize(
    ("call", "what"),
    [
        (lambda: collapse_thresholds(torch.ones(2, 3), 1.0), "cov must be square"),
        (lambda: collapse_thresholds([[1.0, 0.5], [0.0, 1.0]], 1.0), "symmetric"),
        (lambda: collapse_thresholds(torch.ones(1, 2, 2), 1.0), "cov must be one matrix"),
        (lambda: collapse_thresholds([[-1.0]], 1.0), "cov has a negative variance, -1"),
        (lambda: collapse_thresholds([[1.0]], [1.0, 2.0]), "noise must be a number or 1 of them"),
        (lambda: linear_vae_rates([[1.0]], 1.0, 2.0, latents=1), "betas must be a vector"),
        (lambda: collapse_thresholds(torch.eye(2), 0.0), "noise must be positive"),
        (lambda: linear_vae_rates(torch.eye(2), 1.0, [0.0], latents=1), "betas must be positive"),
        (
            lambda: linear_vae_rates(torch.eye(2), 1.0, [1.0], latents=3),
            r"latents must be a whole number from 1 to 2",
        ),
    ],
)
def test_bad_input_is_named(call, what):
    with pytest.raises(ValueError, match=what):
        call()
