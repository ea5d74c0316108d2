"""Scores of the codes alone, for which no factors need to be known."""

from __future__ import annotations

import torch
from jaxtyping import Float, Float64, Int64
from numpy.typing import ArrayLike
from torch import Tensor

from ibbook.information import gaussian_total_correlation
from ibbook.metrics._inputs import cleared, read_codes, standardised

SINGULAR = 1e-12  # smallest eigenvalue of a correlation matrix that is 0 but for rounding


def active_units(
    mean: Float[Tensor, "*members n latents"] | ArrayLike, *, threshold: float = 0.01
) -> Int64[Tensor, "*members"]:
    """How many latents have Var_x(E[z_j | x]) > threshold.

    Source: Burda, Grosse and Salakhutdinov (2016), section 5, with the threshold 0.01. Pass the
    means of the encoder p(z|x): samples of a collapsed latent have the variance of the prior, 1.

    From 0 (constant codes) to the number of latents (random codes of variance 1).

    >>> active_units([[0.0, 1.0], [0.001, -1.0]]).item()
    1
    """
    if not threshold >= 0:
        raise ValueError(f"threshold must be >= 0, got {threshold!r}")
    return (read_codes(mean, "mean").var(-2) > threshold).sum(-1)


def code_total_correlation(
    codes: Float[Tensor, "*members n latents"] | ArrayLike,
) -> Float64[Tensor, "*members"]:
    """TC(z) = -ln det(correlation matrix) / 2 in nats, of a Gaussian with the codes' covariance.

    Dependence beyond correlation is not seen. Source: Watanabe (1960); as a score of
    disentanglement, Locatello et al. (2019).

    Range [0, infinity]; infinite for codes that depend on each other linearly. Constant codes add
    0. Random codes score about latents (latents - 1) / 4n.

    >>> square = [[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]]
    >>> f"{code_total_correlation(square):.3f}"
    '0.000'
    """
    codes = read_codes(codes)
    z = standardised(codes)
    correlation = z.mT @ z / codes.shape[-2]
    correlation.diagonal(dim1=-2, dim2=-1).fill_(1.0)
    dependent = torch.linalg.eigvalsh(correlation)[..., 0] <= SINGULAR
    eye = torch.eye(z.shape[-1], dtype=z.dtype, device=z.device)
    regular = torch.where(dependent[..., None, None], eye, correlation)
    return cleared(gaussian_total_correlation(regular)).masked_fill(dependent, torch.inf)
