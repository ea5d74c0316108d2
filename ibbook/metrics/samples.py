"""How far samples are from data: the Frechet distance, on features that somebody has chosen."""

from __future__ import annotations

import torch
from jaxtyping import Float, Float64
from numpy.typing import ArrayLike
from torch import Tensor

from ibbook.metrics._inputs import cleared, read_codes


def frechet_distance(
    features: Float[Tensor, "n d"] | ArrayLike, others: Float[Tensor, "m d"] | ArrayLike
) -> Float64[Tensor, ""]:
    """The squared Wasserstein distance of two Gaussians with the means and covariances of these.

        |mu_1 - mu_2|^2 + tr(C_1 + C_2 - 2 (C_1^(1/2) C_2 C_1^(1/2))^(1/2))

    Dowson and Landau (1982); on features of a classifier, Heusel et al. (2017). Of two sets it sees
    the first two moments only, and of those only what the features show.

    >>> square = torch.tensor([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]])
    >>> frechet_distance(square, 2 * square + 3).item()  # 2 (2 - 1)^2 + 2 * 3^2
    20.0
    """
    one, other = read_codes(features, "features"), read_codes(others, "others")
    if one.ndim != 2 or other.ndim != 2 or one.shape[1] != other.shape[1]:
        raise ValueError(
            "features and others must be [n, d] and [m, d], got "
            f"{tuple(one.shape)} and {tuple(other.shape)}"
        )
    shift = (one.mean(0) - other.mean(0)).square().sum()
    c1, c2 = (torch.atleast_2d(torch.cov(part.T, correction=0)) for part in (one, other))
    half = _root(c1)
    between = torch.linalg.eigvalsh(half @ c2 @ half).clamp(min=0).sqrt().sum()
    return cleared(shift + c1.trace() + c2.trace() - 2 * between)


def _root(covariance: Float64[Tensor, "d d"]) -> Float64[Tensor, "d d"]:
    """Its square root; eigenvalues that rounding made negative count as 0."""
    values, vectors = torch.linalg.eigh(covariance)
    return vectors * values.clamp(min=0).sqrt() @ vectors.mT
