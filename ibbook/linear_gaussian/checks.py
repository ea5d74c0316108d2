"""What the linear models refuse, by name, value and remedy."""

from __future__ import annotations

from typing import Any, Literal

import torch
from jaxtyping import Float64
from torch import Tensor

from ibbook._checks import covariance, real
from ibbook._numbers import integer, number

Noise = Literal["full", "diagonal", "isotropic"] | float
LEARNED = ("full", "diagonal", "isotropic")


def checked(
    cov: Any, beta: Any, l2: Any, latents: Any, noise: Any
) -> tuple[Float64[Tensor, "n n"], Float64[Tensor, "*b"], Float64[Tensor, "*b"], int, Noise]:
    """The same as the solvers need them, beta and l2 broadcast, of a model that has a best one."""
    noise = checked_noise(noise)
    cov = positive_definite(cov, noise)
    beta, l2 = weights(beta, l2, noise)
    return cov, beta.to(cov), l2.to(cov), integer(latents, "latents", 1, len(cov)), noise


def checked_noise(noise: Any) -> Noise:
    """One of the learned kinds, or a positive variance."""
    if not isinstance(noise, str):
        wanted = "one of 'full', 'diagonal', 'isotropic', or a positive variance"
        return number(noise, "noise", wanted, lambda variance: variance > 0)
    if noise not in LEARNED:
        raise ValueError(
            f"noise must be 'full', 'diagonal', 'isotropic' or a variance, got {noise!r}"
        )
    return noise


def check_code_noise(code_noise: str) -> None:
    if code_noise not in ("full", "diagonal"):
        raise ValueError(f"code_noise must be 'full' or 'diagonal', got {code_noise!r}")


def positive_definite(cov: Any, noise: Noise) -> Float64[Tensor, "n n"]:
    """One covariance; where the decoder learns its noise, a singular one has no best model."""
    try:
        cov = covariance(cov, "cov")
    except ValueError as error:
        if isinstance(noise, str) and "positive definite" in str(error):
            raise ValueError(
                f"{error}. A decoder that learns its noise finds a direction without any, and its "
                "likelihood is unbounded: give the observations noise, or fix the decoder's"
            ) from None
        raise
    return one_matrix(cov)


def one_matrix(cov: Tensor) -> Float64[Tensor, "n n"]:
    if cov.ndim != 2:
        raise ValueError(f"cov must be one matrix, got shape {tuple(cov.shape)}")
    return cov


def weights(beta: Any, l2: Any, noise: Noise) -> tuple[Tensor, Tensor]:
    """Beta and l2, broadcast; refused where no model is the best."""
    beta, l2 = real(beta, "beta"), real(l2, "l2")
    if (beta <= 0).any():
        raise ValueError(f"beta must be positive, got {beta.min().item():g}")
    check_l2(l2)
    beta, l2 = torch.broadcast_tensors(beta, l2.to(beta.device))
    if noise == "full":
        if (beta < 1).any():
            raise ValueError(
                f"beta must be at least 1 where noise is 'full', got {beta.min().item():g}: below "
                "it the loss falls without limit as the code says more, and no model is the best"
            )
        if ((beta == 1) & (l2 > 0)).any():
            raise ValueError(
                "beta must be above 1 where noise is 'full' and l2 > 0: at 1 the loss falls "
                "without end as the code says more, and no model is the best"
            )
    return beta, l2


def check_l2(l2: Tensor) -> None:
    if (l2 < 0).any():
        raise ValueError(f"l2 must be >= 0, got {l2.min().item():g}")
