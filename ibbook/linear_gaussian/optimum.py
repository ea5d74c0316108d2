"""The best linear VAE in closed form: reverse water-filling, at a level that the decoder sets."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float64
from numpy.typing import ArrayLike
from torch import Tensor

from ibbook.linear_gaussian.checks import Noise, checked


@dataclass(frozen=True)
class Optimum:
    """The best code of each beta and l2; see `optimum`."""

    level: Float64[Tensor, "*b"]  # the error left in every direction that the code tells of
    rates: Float64[Tensor, "*b m"]  # of each principal component, falling; their sum is I(X;Y)
    nll: Float64[Tensor, "*b"]
    error: Float64[Tensor, "*b"]
    encoder: Float64[Tensor, "*b m n"]
    code_cov: Float64[Tensor, "*b m m"]


def optimum(
    cov: Float64[Tensor, "n n"] | ArrayLike,
    beta: Float64[Tensor, "*b"] | ArrayLike | float,
    l2: Float64[Tensor, "*b"] | ArrayLike | float = 0.0,
    *,
    latents: int,
    noise: Noise = "full",
) -> Optimum:
    """Components d_j above the level, `latents` at most, are told until their error is the level.

    Then R_j = ln(d_j / level) / 2, with the level

        fixed variance v:     beta v / (1 + 2 l2 v)
        isotropic, learned:   beta r / (1 + 2 l2 r), where r = error / n
        full, learned:        (beta - 1) / (2 l2), infinite at l2 = 0: silence

    The code returned lies along the components; with full encoder noise every rotation of it is as
    good. A learned diagonal noise has no such closed form.

    >>> best = optimum([[4.0, 0.0], [0.0, 1.0]], [3.0, 9.0], 1.0, latents=2)
    >>> best.level.tolist(), best.rates.sum(-1)  # ln(4 / 1) / 2, and silence
    ([1.0, 4.0], tensor([0.6931, 0.0000], dtype=torch.float64))
    """
    if isinstance(noise, str) and noise == "diagonal":
        raise ValueError("noise 'diagonal' has no closed form; use fixed_point")
    cov, beta, l2, latents, noise = checked(cov, beta, l2, latents, noise)
    if noise == "full" and (beta == 1).any():
        raise ValueError(
            "beta must be above 1 where noise is 'full': at 1 every encoder whose codes follow "
            "the marginal N(0, I) is as good as every other"
        )
    values, vectors = torch.linalg.eigh(cov)
    values, vectors = values.flip(0), vectors.flip(1)
    n = len(values)
    if noise == "full":
        level = (beta - 1) / (2 * l2)
    elif noise == "isotropic":
        if latents == n and (beta < 1).any():
            raise ValueError(
                f"beta must be at least 1 where {latents} latents tell of all {n} directions and "
                f"the noise is learned, got {beta.min().item():g}: the loss falls without limit"
            )
        level = _learned_level(values, beta, l2, latents)
    else:
        level = beta * noise / (1 + 2 * l2 * noise)
    level = torch.minimum(level, values[0])
    told = values[:latents]
    left = torch.minimum(told, level[..., None])
    error = left.sum(-1) + values[latents:].sum()
    rates = (told / left).log() / 2
    if noise == "full":
        nll = (left.log().sum(-1) + values[latents:].log().sum() + n) / 2
    else:
        variance = error / n if noise == "isotropic" else torch.full_like(error, noise)
        nll = (n * variance.log() + error / variance) / 2
    gain = (1 - left / told).clamp(min=0).sqrt() / told.sqrt()
    return Optimum(
        level=level,
        rates=rates,
        nll=nll + n * math.log(2 * math.pi) / 2,
        error=error,
        encoder=gain[..., None] * vectors[:, :latents].T,
        code_cov=torch.diag_embed(left / told),
    )


def _learned_level(
    values: Float64[Tensor, "n"], beta: Tensor, l2: Tensor, latents: int
) -> Float64[Tensor, "*b"]:
    """beta r / (1 + 2 l2 r) at the r that is the error of that level over n.

    n r less the error is convex in r, not above 0 at r = 0, and positive once r exceeds the mean
    variance, so it has one positive root: bisection.
    """
    n, rest = len(values), values[latents:].sum()
    low, high = torch.zeros_like(beta), values.mean().expand_as(beta)
    for _ in range(200):
        r = (low + high) / 2
        level = beta * r / (1 + 2 * l2 * r)
        left = torch.minimum(values[:latents], level[..., None]).sum(-1) + rest
        above = n * r >= left
        low, high = torch.where(above, low, r), torch.where(above, r, high)
    return beta * high / (1 + 2 * l2 * high)
