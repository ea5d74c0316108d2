"""The information curve against embo and its own theory, and codes of a wanted complexity."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import settings as examples
from scipy.special import entr

from ibbook.bottleneck import (
    critical_beta,
    encoder_at,
    information_bottleneck,
    information_curve,
)
from tests.bottleneck.joints import binary, binary_entropy, information, joints, plane, random_joint


@pytest.mark.parametrize(("size", "low", "high"), [(8, 0.8, 4.0), (32, 0.5, 1.0)])
def test_the_curve_is_nowhere_below_embo(size, low, high):
    """At equal I(X;T), on our polygon. embo's beta times ln 2 is the one of its mixed units."""
    errors = np.geterr()
    embo = pytest.importorskip("embo")
    pxy = random_joint(7, size, size)
    betas = critical_beta(pxy).item() * np.linspace(low, high, 12)
    p_x, p_y = pxy.sum(1), pxy.sum(0)
    np.random.seed(0)  # noqa: NPY002, embo draws from the global generator
    theirs = np.array(
        [
            embo.InformationBottleneck.beta_iter(
                1, b * np.log(2), p_x, p_y, pxy.T / p_x, size, 1, 300, rtol=1e-8
            )
            for b in betas
        ]
    )
    np.seterr(**errors)
    x, y = np.log(2) * theirs[:, 0], np.log(2) * theirs[:, 1]
    curve = information_curve(pxy, critical_beta(pxy).item() * np.linspace(low, high, 60))
    place = torch.searchsorted(curve.complexity, torch.as_tensor(x)).clamp(1, len(curve.beta) - 1)
    ends = curve.beta.clamp(curve.beta[1] * 0.9, 2 * betas[-1]).tolist()
    fine = [torch.linspace(ends[i - 1], ends[i], 12) for i in set(place.tolist())]
    curve = information_curve(pxy, torch.cat([curve.beta[1:-1], *fine]))
    assert (curve.at(np.maximum(x, 0)).numpy() >= y - 1e-6).all()
    ours = information_bottleneck(pxy, betas, trivial="while-lowest")
    assert (ours.functional.numpy() <= x - betas * y + 1e-12).all()
    assert (y > 1e-3).any()  # the comparison is not of trivial solutions


@given(joints)
@examples(max_examples=15)
def test_the_curve_is_concave_and_increasing_with_slope_one_over_beta(pxy):
    betas = critical_beta(pxy).item() * np.geomspace(0.5, 6, 12)
    curve = information_curve(pxy, betas)
    dx, dy = curve.complexity.diff().numpy(), curve.relevance.diff().numpy()
    assert (dx > 0).all()
    assert (dy > 0).all()
    slope = dy / dx
    assert (np.diff(slope) < 1e-9).all()
    assert slope[0] <= 1 + 1e-9
    # between two corners the slope lies between theirs
    left, right = curve.beta[:-1].numpy(), curve.beta[1:].numpy()
    assert (slope[1:] <= 1 / left[1:] + 1e-6).all()
    assert (slope >= 1 / right - 1e-6).all()
    assert curve.relevance[-1].item() == pytest.approx(information(pxy), abs=1e-9)
    # and every single solution is on or under it
    solution = information_bottleneck(pxy, betas)
    assert (curve.at(solution.complexity) >= solution.relevance - 1e-9).all()


def attained(pxy: np.ndarray, code) -> tuple[np.ndarray, np.ndarray]:
    """I(X;T) and I(T;Y) of the codes, from the definitions."""
    points = [plane(pxy, encoder.numpy()) for encoder in code.encoder]
    return tuple(np.array(points).T)


@pytest.mark.parametrize("agree", [0.9, 0.7])
def test_a_wanted_complexity_of_a_noisy_bit_has_its_closed_form(agree):
    flips = np.array([0.4999, 0.45, 0.3, 0.1, 0.001])
    complexity = np.log(2) - binary_entropy(flips)
    code = encoder_at(binary(agree), complexity)
    errors = flips * agree + (1 - flips) * (1 - agree)
    np.testing.assert_allclose(code.relevance, np.log(2) - binary_entropy(errors), atol=1e-8)
    np.testing.assert_allclose(
        attained(binary(agree), code), [complexity, code.relevance], atol=1e-8
    )
    assert (code.gap <= 1e-8).all()


@pytest.mark.parametrize("seed", range(3))
def test_a_wanted_complexity_is_attained_and_lies_on_the_curve(seed):
    pxy = random_joint(seed, 9, 6, 0.5)
    most = entr(pxy.sum(1)).sum()
    wanted = most * np.array([1e-3, 0.1, 0.4, 0.7, 0.95])
    code = encoder_at(pxy, wanted)
    np.testing.assert_allclose(attained(pxy, code), [wanted, code.relevance], atol=1e-8)
    betas = critical_beta(pxy).item() * np.geomspace(0.5, 30, 60)
    curve = information_curve(pxy, betas)
    assert (code.relevance >= curve.at(wanted) - 1e-9).all()  # the polygon lies under the curve
    assert (code.gap <= 1e-8).all()
    tangent = information_bottleneck(pxy, code.beta, trivial="while-lowest").functional
    touched = code.complexity - code.beta * code.relevance
    torch.testing.assert_close(touched, tangent, atol=1e-7, rtol=1e-7)


def test_on_a_straight_piece_t_says_which_of_two_codes_is_used():
    pxy = np.repeat(np.eye(2), 4, 0) / 8  # Y is a function of X
    wanted = np.log(2) * np.array([0.0, 0.25, 0.5, 1.0])
    code = encoder_at(pxy, wanted)
    np.testing.assert_allclose(code.relevance, wanted, atol=1e-12)
    np.testing.assert_allclose(attained(pxy, code), [wanted, wanted], atol=1e-9)
    assert [(e.sum(0) > 0).sum().item() for e in code.encoder] == [1, 3, 3, 2]
    np.testing.assert_allclose(code.beta[1:3], 1.0)


def test_more_than_is_telling_is_not_kept():
    pxy = np.repeat(np.array([[3.0, 1], [1, 3]]), 2, 0) / 16
    code = encoder_at(pxy, [np.log(2), np.log(4), 9.0])
    np.testing.assert_allclose(code.complexity, np.log(2))
    np.testing.assert_allclose(code.relevance, information(pxy), atol=1e-12)


@pytest.mark.parametrize("pxy", [[[0.3, 0.7]], np.outer([0.2, 0.8], [0.5, 0.5])])
def test_where_x_says_nothing_no_complexity_is_spent(pxy):
    code = encoder_at(pxy, [0.0, 0.1])
    assert str(code.relevance.tolist()) == "[0.0, 0.0]"  # without a sign
    assert code.complexity.tolist() == code.gap.tolist() == [0, 0]
    assert code.encoder.shape == (2, len(pxy), 1)


def test_a_wanted_complexity_that_is_none_is_named():
    for bad in (-0.1, [0.1, -2.0]):
        with pytest.raises(ValueError, match="complexity must be >= 0, got -"):
            encoder_at(binary(0.9), bad)
    with pytest.raises(ValueError, match="pxy must have two axes"):
        encoder_at([0.5, 0.5], 0.1)
    assert encoder_at(binary(0.9), 0.1).relevance.shape == ()
