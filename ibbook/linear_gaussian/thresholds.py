"""The betas above which a linear VAE falls silent, and what it says below them."""

from __future__ import annotations

import torch
from jaxtyping import Float, Float64
from numpy.typing import ArrayLike
from torch import Tensor

from ibbook._checks import real, symmetric
from ibbook._numbers import integer, number
from ibbook.linear_gaussian.checks import (
    Noise,
    check_l2,
    checked_noise,
    one_matrix,
    positive_definite,
)


def collapse_threshold(
    cov: Float[Tensor, "n n"] | ArrayLike, *, noise: Noise = "full", l2: float = 0.0
) -> Float64[Tensor, ""]:
    """The beta from which on a linear VAE does best to say nothing.

    It is the largest eigenvalue of cov^1/2 (R_0^-1 + 2 l2 I) cov^1/2, where R_0 is the noise that
    the silent decoder has: cov itself ("full", so that the answer at l2 = 0 is 1), its diagonal,
    its mean variance ("isotropic"), or the number given. Below it silence is no minimum; from it on
    it is the global one.

    >>> cov = [[1.0, 0.5], [0.5, 1.0]]
    >>> [round(collapse_threshold(cov, noise=k).item(), 4) for k in ("full", "diagonal", 0.5)]
    [1.0, 1.5, 3.0]
    """
    noise = checked_noise(noise)
    cov, l2 = positive_definite(cov, noise), real(l2, "l2")
    check_l2(l2)
    variances = cov.diagonal()
    if noise == "full":
        return 1 + 2 * l2 * torch.linalg.eigvalsh(cov)[-1]
    if noise == "isotropic":
        variances = variances.mean().expand_as(variances)
    elif noise != "diagonal":
        variances = torch.full_like(variances, noise)
    scale = (1 / variances + 2 * l2).sqrt()
    return torch.linalg.eigvalsh(cov * scale[:, None] * scale)[-1]


def collapse_thresholds(
    cov: Float[Tensor, "n n"] | ArrayLike, noise: Float[Tensor, "n"] | ArrayLike | float
) -> Float64[Tensor, "n"]:
    """The betas above which a latent does not pay, falling: eigenvalues of V^-1/2 cov V^-1/2.

    V = diag(noise) is the variance that the likelihood gives to each pixel of which the code says
    nothing. With one `noise` for all, latent j of the best linear VAE is silent from threshold j
    on. For a decoder of other form the first threshold says where silence becomes stable against
    small codes; with Bernoulli pixels, noise = mean (1 - mean). Pixels that never vary count 0.

    >>> collapse_thresholds([[4.0, 0.0], [0.0, 1.0]], 0.5).tolist()
    [8.0, 2.0]
    """
    cov = one_matrix(symmetric(cov, "cov"))
    noise = real(noise, "noise")
    if noise.shape not in ((), cov.shape[:1]):
        raise ValueError(
            f"noise must be a number or {len(cov)} of them, got shape {tuple(noise.shape)}"
        )
    if (cov.diagonal() < 0).any():
        raise ValueError(f"cov has a negative variance, {cov.diagonal().min().item():g}")
    noise = noise.to(cov).expand(len(cov))
    varies = cov.diagonal() > 0
    if not ((noise > 0) & noise.isfinite())[varies].all():
        raise ValueError(f"noise must be positive and finite where a pixel varies, got {noise}")
    scale = torch.where(varies, noise, 1.0).rsqrt()
    white = cov * scale[:, None] * scale
    return torch.linalg.eigvalsh(white).flip(0).clamp(min=0)


def linear_vae_rates(
    cov: Float[Tensor, "n n"] | ArrayLike,
    noise: float,
    betas: Float[Tensor, "k"] | ArrayLike,
    *,
    latents: int,
) -> Float64[Tensor, "k latents"]:
    """The rate of each latent in the best linear VAE: reverse water-filling at level beta noise.

    R_j = ln+(d_j / (beta noise)) / 2 for the largest eigenvalues d_j of the covariance, as many as
    there are latents (Tipping and Bishop, 1999, for beta = 1; Lucas et al., 2019).

    >>> rates = linear_vae_rates([[4.0, 0.0], [0.0, 1.0]], 0.5, [1.0, 4.0], latents=2)
    >>> rates.div(torch.tensor(2.0).log()).tolist()  # bits
    [[1.5, 0.5], [0.5, 0.0]]
    """
    thresholds = collapse_thresholds(cov, number(noise, "noise"))
    betas = real(betas, "betas")
    if betas.ndim != 1:
        raise ValueError(f"betas must be a vector, got shape {tuple(betas.shape)}")
    if not ((betas > 0) & betas.isfinite()).all():
        raise ValueError(f"betas must be positive and finite, got {betas.tolist()}")
    latents = integer(latents, "latents", 1, len(thresholds))
    ratio = thresholds[:latents] / betas[:, None]
    return ratio.clamp(min=1).log() / 2
