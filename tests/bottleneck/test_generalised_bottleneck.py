"""The generalised bottleneck against every partition, random encoders and its own equations."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from scipy.special import entr, rel_entr

from ibbook.bottleneck import information_bottleneck
from tests.bottleneck.joints import information, random_joint

BETAS = np.array([1.2, 2.0, 3.0, 5.0, 10.0, 40.0])


def partitions(size: int) -> Iterator[np.ndarray]:
    """Every way to share out `size` values, as hard encoders."""

    def labels(chosen: list[int]) -> Iterator[list[int]]:
        if len(chosen) == size:
            yield chosen
            return
        for label in range(max(chosen, default=-1) + 2):
            yield from labels([*chosen, label])

    for chosen in labels([]):
        yield np.eye(size)[chosen]


def cost(pxy: np.ndarray, encoder: np.ndarray, alpha: float, beta: np.ndarray) -> np.ndarray:
    """H(T) - alpha H(T|X) - beta I(T;Y), from the definitions."""
    p_x = pxy.sum(1)
    spread, hidden = entr(p_x @ encoder).sum(), (p_x @ entr(encoder)).sum()
    return spread - alpha * hidden - beta * information(encoder.T @ pxy)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("clusters", [None, 3])
def test_no_partition_is_better_than_the_deterministic_bottleneck(seed, clusters):
    pxy = random_joint(seed, 6, 5, 0.7)
    solution = information_bottleneck(pxy, BETAS, alpha=0, clusters=clusters)
    every = [e for e in partitions(6) if clusters is None or (e.sum(0) > 0).sum() <= clusters]
    best = np.min([cost(pxy, encoder, 0.0, BETAS) for encoder in every], axis=0)
    np.testing.assert_allclose(solution.functional, best, atol=1e-12)
    assert ((solution.encoder == 0) | (solution.encoder == 1)).all()
    assert solution.converged.all()
    assert solution.gap.isnan().all()


@pytest.mark.parametrize("alpha", [0.2, 0.5, 0.9])
def test_soft_solutions_obey_their_equations_and_no_random_encoder_is_better(alpha):
    pxy = random_joint(1, 6, 5, 0.7)
    solution = information_bottleneck(pxy, BETAS, alpha=alpha)
    assert solution.converged.all()
    p_x, rng = pxy.sum(1), np.random.default_rng(0)
    for k, beta in enumerate(BETAS):
        encoder = solution.encoder[k].numpy()
        encoder = encoder[:, encoder.sum(0) > 0]
        assert solution.functional[k].item() == pytest.approx(
            cost(pxy, encoder, alpha, beta), abs=1e-12
        )
        joint = encoder.T @ pxy
        weights = joint.sum(1)
        divergence = rel_entr((pxy / p_x[:, None])[:, None], joint / weights[:, None]).sum(-1)
        score = (np.log(weights) - beta * divergence) / alpha
        expected = np.exp(score - score.max(1, keepdims=True))
        expected /= expected.sum(1, keepdims=True)
        np.testing.assert_allclose(encoder, expected, atol=1e-7)
        for sharpness in (0.05, 0.5, 5.0):
            other = rng.dirichlet(np.full(6, sharpness), size=6)
            assert solution.functional[k].item() <= cost(pxy, other, alpha, beta) + 1e-9


def test_alpha_leads_from_the_hard_to_the_usual_bottleneck():
    pxy = random_joint(2, 7, 5, 0.7)
    alphas = [0.0, 0.25, 0.5, 0.75, 1.0]
    solutions = [information_bottleneck(pxy, BETAS, alpha=alpha) for alpha in alphas]
    usual = information_bottleneck(pxy, BETAS)
    torch.testing.assert_close(solutions[-1].functional, usual.functional)
    close = information_bottleneck(pxy, BETAS[-2:], alpha=1 - 1e-6)
    torch.testing.assert_close(close.functional, usual.functional[-2:], atol=1e-4, rtol=0)
    # for each encoder the cost falls with alpha, so the least cost does
    values = torch.stack([solution.functional for solution in solutions])
    assert (values.diff(dim=0) <= 1e-9).all()


@pytest.mark.parametrize("alpha", [-0.1, 1.5, np.nan, "hard", True])
def test_alpha_is_a_number_from_0_to_1(alpha):
    with pytest.raises(ValueError, match=r"alpha must be a number in \[0, 1\], got"):
        information_bottleneck([[0.5, 0.0], [0.0, 0.5]], 2.0, alpha=alpha)
