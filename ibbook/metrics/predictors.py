"""Scores of how well simple predictors read the factors from the codes."""

from __future__ import annotations

from jaxtyping import Float, Float64
from numpy.typing import ArrayLike
from torch import Tensor

from ibbook.metrics._inputs import gap, read_codes, read_factors, squared_correlations


def sap(
    codes: Float[Tensor, "*members n latents"] | ArrayLike, factors: Tensor | ArrayLike
) -> Float64[Tensor, "*members"]:
    """Separated attribute predictability: mean over factors of the gap between two best codes.

    The score of a code for a factor is R^2 of the regression line, their squared correlation.
    Source: Kumar, Sattigeri and Balakrishnan (2018), section 3, for continuous factors.

    Range [0, 1], no unit. Constant codes score 0, random ones about 1 / n.

    >>> import torch
    >>> factors = torch.cartesian_prod(torch.arange(4), torch.arange(3))
    >>> round(sap(factors, factors).item(), 4)
    1.0
    """
    codes = read_codes(codes)
    return gap(squared_correlations(codes, read_factors(factors, codes))).mean(-1)
