"""Linear VAEs of data with a known covariance: what they say, and when they fall silent.

The decoder is q(x|z) = N(Wz + b, noise), the encoder linear with constant diagonal variances, the
marginal r(z) = N(0, I), and D + beta R is minimised. Everything is in nats.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float, Float64
from numpy.typing import ArrayLike
from torch import Tensor

from ibbook._checks import real


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
    cov = _covariance(cov)
    noise = real(noise, "noise").expand(len(cov))
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
    >>> rates.div(math.log(2)).tolist()  # bits
    [[1.5, 0.5], [0.5, 0.0]]
    """
    thresholds = collapse_thresholds(cov, float(noise))
    betas = real(betas, "betas")
    if not ((betas > 0) & betas.isfinite()).all():
        raise ValueError(f"betas must be positive and finite, got {betas.tolist()}")
    if not 1 <= latents <= len(thresholds):
        raise ValueError(f"latents must lie in 1..{len(thresholds)}, got {latents}")
    ratio = thresholds[:latents] / betas[:, None]
    return ratio.clamp(min=1).log() / 2


def _covariance(cov: Tensor | ArrayLike) -> Float64[Tensor, "n n"]:
    cov = real(cov, "cov")
    if cov.ndim != 2 or cov.shape[0] != cov.shape[1] or not len(cov):
        raise ValueError(f"cov must be a square matrix, got shape {tuple(cov.shape)}")
    scale = cov.diagonal().abs().max()
    if not math.isfinite(scale) or (cov - cov.T).abs().max() > 1e-9 * scale:
        raise ValueError("cov must be finite and symmetric; give (cov + cov.T) / 2")
    return cov
