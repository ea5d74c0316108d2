"""The batched half-steps: against the plain ones, the optima, and the thresholds."""

from __future__ import annotations

import pytest
import torch

from ibbook.linear_gaussian import (
    best_decoder,
    best_encoder,
    code_information,
    collapse_threshold,
    descend,
    fixed_point,
    optimum,
    terms,
)
from tests.linear_gaussian.problems import NOISES, covariance


@pytest.mark.parametrize("noise", NOISES)
@pytest.mark.parametrize("code_noise", ["full", "diagonal"])
def test_many_at_once_take_the_steps_of_each_alone(noise, code_noise):
    cov, betas, l2 = covariance(), torch.tensor([1.2, 2.5]).double(), torch.tensor([[0.0], [0.3]])
    if noise == "full":
        betas = betas + 0.3
    how = {"latents": 3, "noise": noise, "code_noise": code_noise, "seeds": (0, 5), "tol": 0.0}
    some = fixed_point(cov, betas, l2, sweeps=7, **how)
    assert some.encoder.shape == (2, 2, 2, 3, 6)
    start = fixed_point(cov, betas, l2, sweeps=1, **how)
    for place in torch.cartesian_prod(*[torch.arange(2)] * 3).tolist():
        i, j, _ = place
        encoder, code_cov = start.encoder[*place], start.code_cov[*place]
        for _ in range(6):
            halves = best_decoder(cov, encoder, code_cov, noise)
            encoder, code_cov = best_encoder(*halves, betas[j], l2[i, 0], code_noise)
        torch.testing.assert_close(some.encoder[*place], encoder, rtol=1e-7, atol=1e-9)
        torch.testing.assert_close(some.code_cov[*place], code_cov, rtol=1e-7, atol=1e-9)


def reached(cov, found, noise, beta, l2):
    halves = best_decoder(cov, found.encoder, found.code_cov, noise)
    parts = terms(cov, found.encoder, found.code_cov, *halves)
    return parts, parts.loss(torch.as_tensor(beta)[..., None], torch.as_tensor(l2)[..., None])


@pytest.mark.parametrize("noise", ["full", "isotropic", 0.4])
def test_it_ends_at_the_optimum_from_every_start(noise):
    cov, l2 = covariance(), torch.tensor([0.3, 1.5]).double()
    beta = 1 + 0.4 * torch.arange(1, 4).double()[:, None]
    best = optimum(cov, beta, l2, latents=3, noise=noise)
    found = fixed_point(cov, beta, l2, latents=3, noise=noise, seeds=range(3), tol=1e-13)
    parts, loss = reached(cov, found, noise, beta.expand(3, 2), l2.expand(3, 2))
    least = best.nll + beta * best.rates.sum(-1) + l2 * best.error
    assert found.converged.all()
    torch.testing.assert_close(loss, least[..., None].expand_as(loss), rtol=1e-8, atol=1e-8)
    torch.testing.assert_close(parts.nll, best.nll[..., None].expand_as(loss), rtol=0, atol=1e-4)


@pytest.mark.parametrize("noise", NOISES)
@pytest.mark.parametrize("code_noise", ["full", "diagonal"])
@pytest.mark.parametrize("l2", [0.0, 0.5])
def test_silence_begins_at_the_threshold_in_each_class(noise, code_noise, l2):
    cov = covariance(n=5, seed=3)
    critical = collapse_threshold(cov, noise=noise, l2=l2).item()
    if noise == "full" and l2 == 0:
        assert critical == 1  # below it there is no minimiser: see the tests of bad input
        beta = torch.tensor([1.02]).double()
    else:
        beta = critical * torch.tensor([0.95, 1.03]).double()
    found = fixed_point(cov, beta, l2, latents=3, noise=noise, code_noise=code_noise, tol=1e-9)
    information = code_information(cov, found.encoder, found.code_cov).flatten()
    assert information[-1] < 1e-5
    if len(beta) > 1:
        assert information[0] > 0.01


@pytest.mark.parametrize("noise", NOISES)
@pytest.mark.parametrize("l2", [0.0, 0.3])
def test_at_the_threshold_no_code_beats_silence_and_below_it_a_faint_one_does(noise, l2):
    """Any encoder, not only those that the half-steps visit."""
    cov = covariance(n=5, seed=3)
    critical = collapse_threshold(cov, noise=noise, l2=l2)
    generator = torch.Generator().manual_seed(0)
    encoders = torch.randn(4000, 2, 5, generator=generator, dtype=torch.float64)
    encoders *= torch.logspace(-2, 1, 4000).double()[:, None, None]
    silent = torch.zeros(1, 2, 5).double()
    eye = torch.eye(2, dtype=torch.float64)

    def losses(codes, beta):
        noises = eye.expand(len(codes), 2, 2)
        return terms(cov, codes, noises, *best_decoder(cov, codes, noises, noise)).loss(beta, l2)

    assert (losses(encoders, critical) > losses(silent, critical) - 1e-9).all()
    if noise == "full":
        scale = torch.full((5,), 2 * l2).double()
        weight = torch.linalg.inv(cov) + torch.diag(scale)
    else:
        kept = best_decoder(cov, silent[0], eye, noise)[1].diagonal()
        weight = torch.diag(1 / kept + 2 * l2)
    root = torch.linalg.cholesky(cov)
    top = torch.linalg.eigh(root.T @ weight @ root).eigenvectors[:, -1]
    faint = torch.zeros(1, 2, 5).double()
    faint[0, 0] = 0.02 * torch.linalg.solve(root.T, top)
    below = 0.99 * critical
    if not (noise == "full" and l2 == 0):
        assert losses(faint, below) < losses(silent, below)


def test_with_a_fixed_variance_the_penalty_is_another_beta():
    cov, variance, beta, l2 = covariance(), 0.4, 1.5, 0.9
    other = beta / (1 + 2 * l2 * variance)
    one = optimum(cov, beta, l2, latents=3, noise=variance)
    two = optimum(cov, other, 0.0, latents=3, noise=variance)
    torch.testing.assert_close(one.rates, two.rates)
    found = [
        fixed_point(cov, *pair, latents=3, noise=variance, tol=1e-13)
        for pair in ((beta, l2), (other, 0.0))
    ]
    told = [code_information(cov, f.encoder, f.code_cov).item() for f in found]
    assert told[0] == pytest.approx(told[1], abs=1e-8)


def test_diagonal_encoder_noise_ends_in_the_principal_components():
    cov = torch.diag(torch.tensor([5.0, 3.0, 1.5, 0.2, 0.2])).double()
    found = fixed_point(cov, 2.0, 1.0, latents=3, code_noise="diagonal", seeds=range(3), tol=1e-13)
    share = found.encoder.square() / found.encoder.square().sum(-1, keepdim=True).clamp(min=1e-20)
    speaking = found.encoder.square().sum(-1) > 1e-6
    assert (share.amax(-1)[speaking] > 0.999).all()
    assert (speaking.sum(-1) == 3).all()


@pytest.mark.parametrize(
    ("noise", "code_noise"), [*((noise, "full") for noise in NOISES), ("diagonal", "diagonal")]
)
def test_adamw_comes_to_the_same_loss(noise, code_noise):
    cov, beta, l2 = covariance(n=4), torch.tensor([1.3, 2.0]).double(), 0.4
    encoder, code_cov = descend(
        cov, beta, l2, latents=2, noise=noise, code_noise=code_noise, steps=500, seeds=(0, 1)
    )
    found = fixed_point(cov, beta, l2, latents=2, noise=noise, code_noise=code_noise, tol=1e-12)
    _, least = reached(cov, found, noise, beta, [l2, l2])
    halves = best_decoder(cov, encoder, code_cov, noise)
    loss = terms(cov, encoder, code_cov, *halves).loss(beta[:, None], l2)
    assert (loss > least - 1e-6).all()
    assert (loss < least + 0.01).all()
