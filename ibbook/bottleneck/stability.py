"""When a cluster splits: the second-order test, and the betas where branches bifurcate."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float64
from numpy.typing import ArrayLike
from torch import Tensor

from ibbook import _checks
from ibbook.contraction import maximal_correlation

INDEPENDENT = 1e-14  # squared correlation that is none, but for rounding


def critical_beta(
    pxy: Float64[Tensor, "*batch x y"] | ArrayLike,
) -> Float64[Tensor, "*batch"]:
    """The beta above which the trivial solution is unstable, its first bifurcation: 1/rho^2.

    rho is the `maximal_correlation` of X and Y; inf for independent X and Y. Above it the trivial
    solution is never optimal. Below, it is stable to splitting; see `information_bottleneck` for
    when the lowest one.

    >>> round(float(critical_beta([[0.45, 0.05], [0.05, 0.45]])), 4)
    1.5625
    """
    pxy = _checks.distribution(pxy, "pxy", axes=2)
    square = maximal_correlation(pxy) ** 2
    return torch.where(square > INDEPENDENT, 1 / square, math.inf)


def splitting_betas(
    pxy: Float64[Tensor, "x y"] | ArrayLike,
    encoder: Float64[Tensor, "*batch x t"] | ArrayLike,
) -> Float64[Tensor, "*batch t"]:
    """The beta above which each cluster is unstable to splitting in two: 1/lambda_2(C_t).

    C_t(x, x') = sum_y p(y|x) p(y|x') p(x'|t) / p(y|t) has the largest eigenvalue 1. Two copies of
    cluster t drift apart under the self-consistent equations if and only if
    beta lambda_2(C_t) > 1 (Rose, Gurewitz and Fox 1990 for clustering). A solution at beta is
    stable if all its splitting betas are above beta; a branch of solutions bifurcates where it
    meets one of its own. inf for a cluster without mass or with a single decoder in it.

    Here two pairs of rows, one cluster each; then all four rows in one:

    >>> pxy = torch.tensor([[8, 2, 0, 0], [2, 8, 0, 0], [0, 0, 7, 3], [0, 0, 3, 7]]) / 40
    >>> pairs = torch.tensor([[1, 0], [1, 0], [0, 1], [0, 1]])
    >>> splitting_betas(pxy, pairs)
    tensor([2.7778, 6.2500], dtype=torch.float64)
    >>> splitting_betas(pxy, torch.ones(4, 1))
    tensor([1.], dtype=torch.float64)
    """
    pxy = _checks.distribution(pxy, "pxy", axes=2)
    encoder = _checks.distribution(encoder, "encoder").to(pxy.device)
    if encoder.ndim < 2 or encoder.shape[-2] != pxy.shape[-2]:
        raise ValueError(
            f"encoder must have one row for each of the {pxy.shape[-2]} values of x, "
            f"got shape {tuple(encoder.shape)}"
        )
    p_x = pxy.sum(-1)
    rows = torch.where(p_x[..., None] > 0, pxy / p_x[..., None].clamp_min(1e-300), 0.0)
    second, _ = second_order(p_x, rows, encoder)
    return 1 / second


def second_order(p_x: Tensor, rows: Tensor, encoder: Tensor) -> tuple[Tensor, Tensor]:
    """lambda_2 of C_t for every cluster, and its direction as a relative change of p(x|t)."""
    joint = (p_x[..., None] * encoder).mT  # t x
    mass = joint.sum(-1, keepdim=True)
    r = torch.where(mass > 0, joint / mass.clamp_min(1e-300), 0.0)
    q = r @ rows
    root = torch.where(q > 0, 1 / q.clamp_min(1e-300).sqrt(), 0.0)
    scaled = r.sqrt()[..., None] * rows[..., None, :, :] * root[..., None, :]
    scaled = scaled - r.sqrt()[..., None] * q.sqrt()[..., None, :]  # takes out lambda_1 = 1
    left, value, _ = torch.linalg.svd(scaled, full_matrices=False)
    second = value[..., 0] ** 2
    second = torch.where(second > INDEPENDENT, second, 0.0)
    direction = torch.where(r > 0, left[..., 0] / r.clamp_min(1e-300).sqrt(), 0.0)
    return second, direction
