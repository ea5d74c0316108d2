"""The half-steps: exact minimisers, the identities that they lead to, and the contraction."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ibbook.information import gaussian_entropy, gaussian_kl_divergence
from ibbook.linear_gaussian import best_decoder, best_encoder, code_information, terms
from tests.linear_gaussian.problems import NOISES, code, covariance, trace

noises = st.sampled_from(NOISES)


def loss(cov, encoder, code_cov, decoder, noise_cov, beta, l2):
    return terms(cov, encoder, code_cov, decoder, noise_cov).loss(beta, l2)


def test_terms_agree_with_sampling():
    """The definitions, averaged over draws of Y and X."""
    cov, (encoder, code_cov) = covariance(), code()
    decoder, noise_cov = best_decoder(cov, *code(seed=4), "full")
    normal = torch.distributions.MultivariateNormal
    torch.manual_seed(0)
    y = normal(torch.zeros(6).double(), cov).sample((200_000,))
    p = normal(y @ encoder.T, code_cov)
    x = p.sample()
    found = terms(cov, encoder, code_cov, decoder, noise_cov)
    prior = normal(torch.zeros(3).double(), torch.eye(3).double())
    means = x @ decoder.T
    nll = -normal(means, noise_cov).log_prob(y).mean()
    assert found.nll.item() == pytest.approx(nll.item(), rel=0.01)
    rate = (p.log_prob(x) - prior.log_prob(x)).mean()
    assert found.rate.item() == pytest.approx(rate.item(), rel=0.01)
    assert found.error.item() == pytest.approx((y - means).square().sum(1).mean().item(), rel=0.01)


@given(noises, st.sampled_from(["full", "diagonal"]), st.floats(1, 20), st.floats(0, 5))
def test_no_half_step_raises_the_loss(noise, code_noise, beta, l2):
    cov, (encoder, code_cov) = covariance(), code()
    if code_noise == "diagonal":
        code_cov = torch.diag(code_cov.diagonal())
    decoder, noise_cov = best_decoder(cov, encoder, code_cov, noise)
    before = loss(cov, encoder, code_cov, decoder, noise_cov, beta, l2)
    for _ in range(4):
        encoder, code_cov = best_encoder(decoder, noise_cov, beta, l2, code_noise)
        between = loss(cov, encoder, code_cov, decoder, noise_cov, beta, l2)
        decoder, noise_cov = best_decoder(cov, encoder, code_cov, noise)
        after = loss(cov, encoder, code_cov, decoder, noise_cov, beta, l2)
        slack = 1e-9 * (1 + before.abs())
        assert between <= before + slack
        assert after <= between + slack
        before = after


@pytest.mark.parametrize("noise", NOISES)
@pytest.mark.parametrize("code_noise", ["full", "diagonal"])
def test_each_half_step_ends_where_its_gradient_is_zero(noise, code_noise):
    cov, (encoder, code_cov), beta, l2 = covariance(), code(), 1.7, 0.6
    decoder, noise_cov = best_decoder(cov, encoder, code_cov, noise)
    parts = [t.clone().requires_grad_() for t in (decoder, noise_cov)]
    loss(cov, encoder, code_cov, *parts, beta, l2).backward()
    assert parts[0].grad.abs().max() < 1e-9
    free = {"full": parts[1].grad, "diagonal": parts[1].grad.diagonal()}
    free["isotropic"] = parts[1].grad.diagonal().sum()
    if isinstance(noise, str):
        assert free[noise].abs().max() < 1e-9

    encoder, code_cov = best_encoder(decoder, noise_cov, beta, l2, code_noise)
    parts = [t.clone().requires_grad_() for t in (encoder, code_cov)]
    loss(cov, *parts, decoder, noise_cov, beta, l2).backward()
    slope = parts[1].grad if code_noise == "full" else parts[1].grad.diagonal()
    assert parts[0].grad.abs().max() < 1e-9
    assert slope.abs().max() < 1e-9


@given(st.floats(0.3, 20), st.floats(0, 5), st.integers(0, 100))
def test_with_full_noise_the_loss_is_entropy_information_and_error(beta, l2, seed):
    """J = h(Y) + (beta - 1) I(X;Y) + beta KL(p(x) || N(0, I)) + l2 MMSE, for any encoder."""
    cov, (encoder, code_cov) = covariance(), code(seed=seed)
    decoder, noise_cov = best_decoder(cov, encoder, code_cov, "full")
    total, zero = encoder @ cov @ encoder.T + code_cov, torch.zeros(3)
    misfit = gaussian_kl_divergence(zero, total, zero, torch.eye(3))
    information = code_information(cov, encoder, code_cov)
    expected = gaussian_entropy(cov) + (beta - 1) * information + beta * misfit
    expected = expected + l2 * trace(noise_cov)
    found = loss(cov, encoder, code_cov, decoder, noise_cov, beta, l2)
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("beta", [0.8, 1.0, 1.05, 4.0])
def test_the_gain_contracts_by_exactly_one_over_beta(beta):
    cov, (encoder, code_cov) = covariance(), code()
    first = torch.linalg.solve(code_cov, encoder)
    bound = trace(first @ cov @ first.T) / 2
    for k in range(1, 13):
        decoder, noise_cov = best_decoder(cov, encoder, code_cov, "full")
        encoder, code_cov = best_encoder(decoder, noise_cov, beta)
        gain = torch.linalg.solve(code_cov, encoder)
        torch.testing.assert_close(gain, first / beta**k, rtol=1e-8, atol=1e-10)
        assert code_information(cov, encoder, code_cov) <= bound / beta ** (2 * k) + 1e-12


def test_at_beta_one_the_limit_is_set_by_the_start():
    cov, (encoder, code_cov) = covariance(), code()
    first = torch.linalg.solve(code_cov, encoder)
    kappa = torch.linalg.eigvalsh(first @ cov @ first.T)
    for _ in range(400):
        halves = best_decoder(cov, encoder, code_cov, "full")
        encoder, code_cov = best_encoder(*halves, 1.0)
    s = (-1 / kappa + (1 / kappa**2 + 4 / kappa).sqrt()) / 2
    information = code_information(cov, encoder, code_cov)
    assert information.item() == pytest.approx(-s.log().sum().item() / 2, rel=1e-9)


def test_a_penalty_weighed_by_the_learned_noise_still_collapses():
    """l2 E(y - Dx)' R^-1 (y - Dx) makes R = (1 + 2 l2) C, so that P = C^-1: nothing is gained."""
    cov, (encoder, code_cov), beta, l2 = covariance(), code(), 4.0, 2.0
    gain = torch.linalg.solve(code_cov, encoder)
    for _ in range(10):
        decoder, error = best_decoder(cov, encoder, code_cov, "full")
        noise_cov = (1 + 2 * l2) * error
        weighed = noise_cov / (1 + 2 * l2)  # P = (1 + 2 l2) R^-1
        encoder, code_cov = best_encoder(decoder, weighed, beta)
        after = torch.linalg.solve(code_cov, encoder)
        torch.testing.assert_close(after, gain / beta, rtol=1e-8, atol=1e-10)
        gain = after
    assert code_information(cov, encoder, code_cov) < 1e-9
    r = noise_cov.clone().requires_grad_()
    nll = torch.logdet(r) + (1 + 2 * l2) * trace(torch.linalg.solve(r, error))
    nll.backward()
    assert r.grad.abs().max() < 1e-9  # that R is the best one


@given(noises, st.floats(1, 9), st.floats(0, 3), st.floats(-math.pi, math.pi))
def test_a_rotation_of_the_code_changes_no_term(noise, beta, l2, angle):
    cov, (encoder, code_cov) = covariance(), code()
    decoder, noise_cov = best_decoder(cov, encoder, code_cov, noise)
    q = torch.eye(3, dtype=torch.float64)
    q[:2, :2] = torch.tensor(
        [[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]]
    )
    turned = terms(cov, q @ encoder, q @ code_cov @ q.T, decoder @ q.T, noise_cov)
    torch.testing.assert_close(turned, terms(cov, encoder, code_cov, decoder, noise_cov))
