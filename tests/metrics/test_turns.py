"""The price of a turn: closed forms, Hadamard's inequality, and the loss that it stands for."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.distributions import MultivariateNormal, kl_divergence

from ibbook.metrics import plane_turn, price_of_turn, turned_precision


def precisions(n=4, seed=0):
    root = torch.randn(n, 2, 2, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return root @ root.mT + torch.eye(2).double()


@given(st.floats(0.05, 20), st.floats(0.05, 20), st.floats(0.1, 30))
def test_a_turn_by_45_degrees_costs_ln_cosh_of_half_the_log_ratio(a, b, beta):
    price = price_of_turn(torch.diag(torch.tensor([a, b]))[None], plane_turn(45), beta)
    expected = beta * math.log(math.cosh(math.log(a / b) / 2))
    assert price.item() == pytest.approx(expected, abs=1e-5 * max(1.0, beta))


@given(st.floats(0, 360), st.integers(0, 50))
def test_the_price_is_never_negative_and_has_period_90(degrees, seed):
    P = precisions(seed=seed)
    price = price_of_turn(P, plane_turn(degrees), 3.0)
    assert price > -1e-9
    quarter = price_of_turn(P, plane_turn(degrees + 90), 3.0)
    torch.testing.assert_close(price, quarter, atol=1e-9, rtol=0)


def test_it_is_beta_times_the_divergence_between_the_two_codes():
    P, turn = precisions(), plane_turn(30)
    stated = torch.diag_embed(1 / turned_precision(P, turn))
    best = turn @ torch.linalg.inv(P) @ turn.T
    mean = torch.zeros(4, 2).double()
    divergence = kl_divergence(MultivariateNormal(mean, stated), MultivariateNormal(mean, best))
    torch.testing.assert_close(price_of_turn(P, turn, 5.0), 5 * divergence.mean())


def test_no_diagonal_code_along_the_turned_axes_has_less_of_the_loss():
    """The loss of a covariance where D is quadratic: (tr H C + beta (tr C - ln det C)) / 2."""
    P, beta, turn = precisions(n=1), 2.0, plane_turn(20)
    H = beta * (P[0] - torch.eye(2).double())

    def loss(variances):
        C = turn.T @ torch.diag(variances) @ turn
        return ((H @ C).trace() + beta * (C.trace() - C.logdet())) / 2

    best = 1 / turned_precision(P, turn)[0]
    least = beta / 2 * (2 + P[0].logdet()) + price_of_turn(P, turn, beta)
    torch.testing.assert_close(loss(best), least)
    for scale in ([1.05, 1.0], [1.0, 0.95], [0.9, 1.1]):
        assert loss(best * torch.tensor(scale).double()) > loss(best)
