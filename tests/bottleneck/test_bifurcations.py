"""Next to bifurcations, where iteration crawls and small residuals deceive."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ibbook.bottleneck import critical_beta, information_bottleneck, splitting_betas
from tests.bottleneck.joints import binary, noisy_copy, random_joint

NEAR = np.array([-1e-3, -1e-5, -1e-6, 0, 1e-6, 1e-5, 1e-3])


def later_critical_beta(pxy: np.ndarray, beta: float) -> float:
    """The next beta at which a cluster of the solution at `beta` splits, found along the branch."""
    for _ in range(6):
        solution = information_bottleneck(pxy, beta, trivial="while-lowest")
        splits = splitting_betas(pxy, solution.encoder)
        beta = splits[splits > beta * (1 + 1e-9)].min().item() * (1 - 1e-7)
    return beta


@pytest.mark.parametrize("trivial", ["while-stable", "while-lowest"])
@pytest.mark.parametrize("sizes", [(2, 2), (2, 6), (3, 3), (5, 4), (8, 12), (14, 9)])
@pytest.mark.parametrize("concentration", [0.05, 0.2, 1.0])
def test_the_equations_hold_next_to_the_first_bifurcation(trivial, sizes, concentration):
    for seed in range(3):
        pxy = random_joint(seed, *sizes, concentration)
        beta = critical_beta(pxy).item() * (1 + NEAR)
        solution = information_bottleneck(pxy, beta, trivial=trivial)
        assert (solution.residual <= 1e-8).all()
        assert solution.converged.all()
        sought = slice(None) if trivial == "while-lowest" else slice(4, None)
        assert (solution.gap[sought] <= 1e-9).all()


def test_the_equations_hold_where_two_of_two_clusters_are_nearly_one():
    """A joint whose solution at 0.99999 of its critical beta had a residual of 4e-8."""
    pxy = random_joint(2, 2, 6, 0.2)
    beta = critical_beta(pxy).item() * np.array([0.9999, 0.99999, 1, 1.00001])
    solution = information_bottleneck(pxy, beta, trivial="while-lowest")
    assert (solution.residual <= 1e-8).all()
    assert (solution.gap <= 1e-9).all()
    # a minimum: no encoder beside it is lower, to second order of a small change
    p_x = pxy.sum(1)
    for k, b in enumerate(beta):
        encoder = solution.encoder[k].numpy()
        value = solution.functional[k].item()
        for step in (1e-2, 1e-3):
            for change in np.random.default_rng(0).normal(size=(50, *encoder.shape)):
                other = encoder * np.exp(step * change)
                other /= other.sum(1, keepdims=True)
                joint = other.T @ pxy
                complexity = (p_x @ (other * np.log(other / joint.sum(1)))).sum()
                ratio = joint / (joint.sum(1, keepdims=True) * pxy.sum(0))
                assert complexity - b * (joint * np.log(ratio)).sum() >= value - 1e-12


@pytest.mark.parametrize("seed", range(4))
def test_the_equations_hold_next_to_a_later_bifurcation(seed):
    pxy = random_joint(seed, 7, 6, 0.5)
    later = later_critical_beta(pxy, 1.3 * critical_beta(pxy).item())
    solution = information_bottleneck(pxy, later * (1 + NEAR), trivial="while-lowest")
    assert (solution.residual <= 1e-8).all()
    assert (solution.gap <= 1e-9).all()


@pytest.mark.parametrize("above", [1e-6, 1e-5, 1e-4, 1e-3])
def test_a_pitchfork_has_its_closed_form_as_soon_as_it_opens(above):
    beta = (1 + above) / 0.8**2
    solution = information_bottleneck(binary(0.9), beta)
    complexity, relevance = noisy_copy(0.9, beta)
    assert complexity > above / 10
    assert solution.complexity.item() == pytest.approx(complexity, rel=1e-4)
    assert solution.relevance.item() == pytest.approx(relevance, rel=1e-4)


def test_newtons_method_is_for_small_joints_only_and_large_ones_say_what_they_are():
    pxy = random_joint(0, 40, 40)
    beta = critical_beta(pxy).item() * torch.tensor([0.6, 1.2])
    solution = information_bottleneck(pxy, beta, trivial="while-lowest")
    assert torch.equal(solution.converged, solution.residual <= 1e-8)
