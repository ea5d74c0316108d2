"""Rate-distortion functions that have a closed form. Rates are in nats."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float64
from numpy.typing import ArrayLike
from torch import Tensor

from ibbook._checks import real


def binary_rate(
    p: Float64[Tensor, "*batch"] | ArrayLike | float,
    distortion: Float64[Tensor, "*batch"] | ArrayLike | float,
) -> Float64[Tensor, "*batch"]:
    """R(D) = H(p) - H(D) of a Bernoulli(p) source with Hamming distortion, 0 from min(p, 1-p) on.

    Source: Cover and Thomas (2006), theorem 10.3.1. The arguments broadcast.

    >>> round(binary_rate(0.5, 0.1).item(), 4)
    0.3681
    """
    p = real(p, "p")
    if ((p < 0) | (p > 1)).any():
        bad = p[(p < 0) | (p > 1)].flatten()[0].item()
        raise ValueError(f"p must be a probability in [0, 1], got {bad:g}")
    distortion = _non_negative(distortion, "distortion").to(p.device)
    distortion = torch.minimum(distortion, torch.minimum(p, 1 - p))
    return (_binary_entropy(p) - _binary_entropy(distortion)).clamp(min=0)


def gaussian_rate(
    variances: Float64[Tensor, "n"] | ArrayLike | float,
    distortion: Float64[Tensor, "*k"] | ArrayLike | float,
) -> Float64[Tensor, "*k"]:
    """R(D) = sum_i max(0, ln(var_i / level)) / 2 of independent Gaussians, D their total error.

    D is the squared error summed over the coordinates, and the level that of reverse
    water-filling, `water_level` (Cover and Thomas 2006, theorem 10.3.3). For a dependent Gaussian
    vector pass the eigenvalues of its covariance. R(0) = inf.

    >>> gaussian_rate([4.0, 1.0], [5.0, 2.0, 1.0]).numpy().round(4)
    array([0.    , 0.6931, 1.3863])
    """
    level = water_level(variances, distortion)[..., None]
    variances = real(variances, "variances").reshape(-1)
    excess = (variances / level).log() / 2
    return torch.where(variances > level, excess, 0.0).sum(-1)


def water_level(
    variances: Float64[Tensor, "n"] | ArrayLike | float,
    distortion: Float64[Tensor, "*k"] | ArrayLike | float,
) -> Float64[Tensor, "*k"]:
    """The level with sum_i min(level, var_i) = distortion, at most the largest variance.

    Exact: the sum is piecewise linear in the level, with one corner at each variance.

    >>> water_level([4.0, 1.0], [5.0, 2.0, 1.0])
    tensor([4.0000, 1.0000, 0.5000], dtype=torch.float64)
    """
    variances = _non_negative(variances, "variances")
    if variances.ndim > 1 or variances.numel() == 0:
        raise ValueError(
            f"variances must be a scalar or a vector, got shape {tuple(variances.shape)}"
        )
    distortion = _non_negative(distortion, "distortion").to(variances.device)
    ascending = variances.reshape(-1).sort().values
    below = ascending.cumsum(0)
    above = torch.arange(len(ascending) - 1, -1, -1, device=variances.device)
    corners = below + above * ascending
    drowned = torch.searchsorted(corners, distortion.contiguous(), right=True)
    left = (distortion - torch.nn.functional.pad(below, (1, 0))[drowned]).clamp(min=0)
    level = left / (len(ascending) - drowned)
    return torch.where(drowned < len(ascending), level, ascending[-1])


def _binary_entropy(p: Float64[Tensor, "*batch"]) -> Float64[Tensor, "*batch"]:
    return torch.special.entr(p) + torch.special.entr(1 - p)


def _non_negative(value: Any, name: str) -> Float64[Tensor, "..."]:
    value = real(value, name)
    if (value < 0).any():
        raise ValueError(f"{name} must be >= 0, got {value.min().item():g}")
    return value.abs()  # of -0.0 too
