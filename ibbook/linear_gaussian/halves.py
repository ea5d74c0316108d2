"""The two half-steps: the best decoder of a code, and the best encoder for a decoder."""

from __future__ import annotations

import torch
from jaxtyping import Float64
from torch import Tensor

from ibbook.linear_gaussian.checks import Noise, check_code_noise, checked_noise


def best_decoder(
    cov: Float64[Tensor, "n n"],
    encoder: Float64[Tensor, "*b m n"],
    code_cov: Float64[Tensor, "*b m m"],
    noise: Noise = "full",
) -> tuple[Float64[Tensor, "*b n m"], Float64[Tensor, "*b n n"]]:
    """The decoder and noise_cov of least loss for a code, at any beta and l2.

    D = cov E' (E cov E' + S)^-1, the regression of Y on X, and R = C, its diagonal, its mean
    variance, or what is fixed (Vu, Wan and Wei 2026, lemmas 3.1 and 4.2, for a full R).

    >>> eye = torch.eye(1, dtype=torch.float64)
    >>> best_decoder(eye, eye, eye)  # half of the variance is explained
    (tensor([[0.5000]], dtype=torch.float64), tensor([[0.5000]], dtype=torch.float64))
    """
    noise = checked_noise(noise)
    across = cov @ encoder.mT
    total = encoder @ across + code_cov
    decoder = torch.linalg.solve(total, across.mT).mT
    error = cov - decoder @ across.mT
    return decoder, kept(error, noise)


def kept(error: Float64[Tensor, "*b n n"], noise: Noise) -> Float64[Tensor, "*b n n"]:
    """The covariance of the decoder's noise that suits this covariance of the error best."""
    if noise == "full":
        return (error + error.mT) / 2
    variances = error.diagonal(dim1=-2, dim2=-1)
    if noise == "isotropic":
        variances = variances.mean(-1, keepdim=True).expand_as(variances)
    elif noise != "diagonal":
        variances = torch.full_like(variances, noise)
    return torch.diag_embed(variances)


def best_encoder(
    decoder: Float64[Tensor, "*b n m"],
    noise_cov: Float64[Tensor, "*b n n"],
    beta: Float64[Tensor, "*b"] | float,
    l2: Float64[Tensor, "*b"] | float = 0.0,
    code_noise: str = "full",
) -> tuple[Float64[Tensor, "*b m n"], Float64[Tensor, "*b m m"]]:
    """The encoder and code_cov of least loss for a decoder, whatever the data.

    With P = R^-1 + 2 l2 I: E = (beta I + D'PD)^-1 D'P and S = (I + D'PD / beta)^-1, of which a
    diagonal S keeps the inverse of the diagonal (lemmas 3.1 and 4.2, for a full S).

    >>> eye = torch.eye(1, dtype=torch.float64)
    >>> best_encoder(eye, eye, beta=1.0)
    (tensor([[0.5000]], dtype=torch.float64), tensor([[0.5000]], dtype=torch.float64))
    """
    check_code_noise(code_noise)
    l2 = torch.as_tensor(l2, dtype=decoder.dtype)[..., None, None]
    weighed = torch.linalg.solve(noise_cov, decoder) + 2 * l2 * decoder  # P D
    return encode_for(weighed.mT, decoder, beta, code_noise)


def encode_for(
    weighed: Float64[Tensor, "*b m n"],
    decoder: Float64[Tensor, "*b n m"],
    beta: Float64[Tensor, "*b"] | float,
    code_noise: str,
) -> tuple[Float64[Tensor, "*b m n"], Float64[Tensor, "*b m m"]]:
    """The encoder and code_cov, given D'P and D."""
    beta = torch.as_tensor(beta, dtype=decoder.dtype)[..., None, None]
    eye = torch.eye(decoder.shape[-1], dtype=decoder.dtype, device=decoder.device)
    inner = eye + weighed @ decoder / beta
    encoder = torch.linalg.solve(inner, weighed) / beta
    if code_noise == "diagonal":
        return encoder, torch.diag_embed(1 / inner.diagonal(dim1=-2, dim2=-1))
    inverse = torch.linalg.inv(inner)
    return encoder, (inverse + inverse.mT) / 2
