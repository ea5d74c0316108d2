"""The bottleneck of jointly Gaussian variables, in closed form."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float64
from numpy.typing import ArrayLike
from torch import Tensor

from ibbook import _checks
from ibbook._numbers import integer


@dataclass(frozen=True)
class GaussianBottleneck:
    """The bottleneck of jointly Gaussian X and Y for every beta; see `gaussian_bottleneck`."""

    beta: Float64[Tensor, "*batch k"]
    complexity: Float64[Tensor, "*batch k"]  # I(X;T)
    relevance: Float64[Tensor, "*batch k"]  # I(T;Y)
    critical_betas: Float64[Tensor, "*batch dim_x"]  # ascending; inf where a correlation is 0
    projection: Float64[Tensor, "*batch k dim_x dim_x"]  # T = projection X + N(0, 1)


def gaussian_bottleneck(
    cov: Float64[Tensor, "*batch n n"] | ArrayLike,
    dim_x: int,
    beta: Float64[Tensor, "k"] | ArrayLike | float,
) -> GaussianBottleneck:
    """The bottleneck of jointly Gaussian (X, Y), in closed form; X are the first `dim_x` axes.

    With rho_i the canonical correlations, direction i is used where beta > 1/rho_i^2. There

        I(X;T) = sum_i ln[(beta - 1) rho_i^2 / (1 - rho_i^2)] / 2,
        I(T;Y) = I(X;T) - sum_i ln[beta rho_i^2] / 2,

    and row i of the projection is sqrt((beta rho_i^2 - 1) / (1 - rho_i^2)) v_i', with v_i the
    canonical direction of unit variance (Chechik, Globerson, Tishby and Weiss 2005, with
    lambda_i = 1 - rho_i^2 in theorem 3.1).

    >>> solution = gaussian_bottleneck([[1.0, 0.8], [0.8, 1.0]], 1, [1.0, 4.0])
    >>> solution.critical_betas, solution.complexity
    (tensor([1.5625], dtype=torch.float64), tensor([0.0000, 0.8370], dtype=torch.float64))
    """
    cov = _checks.covariance(cov, "cov")
    beta = _checks.slopes(beta).to(cov.device)
    dim_x = integer(dim_x, "dim_x", 1)
    if dim_x >= cov.shape[-1]:
        raise ValueError(
            f"dim_x must leave at least one axis for Y: below {cov.shape[-1]}, got {dim_x}"
        )
    shape = cov.shape[:-2] + beta.shape
    half_x = torch.linalg.cholesky(cov[..., :dim_x, :dim_x])
    half_y = torch.linalg.cholesky(cov[..., dim_x:, dim_x:])
    white = torch.linalg.solve_triangular(half_x, cov[..., :dim_x, dim_x:], upper=False)
    white = torch.linalg.solve_triangular(half_y, white.mT, upper=False).mT
    left, rho, _ = torch.linalg.svd(white)
    square = cov.new_zeros(*cov.shape[:-2], dim_x)
    square[..., : rho.shape[-1]] = rho**2
    directions = torch.linalg.solve_triangular(half_x.mT, left, upper=True).mT  # v_i' cov_x v_i = 1
    b = beta.reshape(-1)[:, None]
    square, directions = square[..., None, :], directions[..., None, :, :]
    gain = ((b * square - 1) / (1 - square)).clamp_min(0)
    complexity = gain.log1p() / 2
    relevance = complexity - (gain * (1 - square)).log1p() / 2
    return GaussianBottleneck(
        beta=beta.expand(shape),
        complexity=complexity.sum(-1).reshape(shape),
        relevance=relevance.sum(-1).reshape(shape),
        critical_betas=1 / square[..., 0, :],
        projection=(gain.sqrt()[..., None] * directions).reshape(*shape, dim_x, dim_x),
    )
