"""AdamW on the same loss: what a practitioner would run."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float64
from numpy.typing import ArrayLike
from torch import Tensor

from ibbook import _numbers
from ibbook._numbers import integer, number
from ibbook.linear_gaussian.checks import Noise, check_code_noise, checked


def descend(
    cov: Float64[Tensor, "n n"] | ArrayLike,
    beta: Float64[Tensor, "*b"] | ArrayLike | float,
    l2: Float64[Tensor, "*b"] | ArrayLike | float = 0.0,
    *,
    latents: int,
    noise: Noise = "full",
    code_noise: str = "full",
    seeds: Sequence[int] = (0,),
    steps: int = 4000,
    learning_rate: float = 0.02,
) -> tuple[Float64[Tensor, "*b starts m n"], Float64[Tensor, "*b starts m m"]]:
    """Encoders and code_covs after `steps` of AdamW on all four parts of each model at once.

    The noises are triangular factors, S = L L' and R^-1 = T T', with logarithms on the diagonal.
    Gradients are clipped, to norm 2 for the maps and 3 for the factors, and weights decay by 0.01,
    as in the release of Vu, Wan and Wei (2026); the learning rate falls along a half cosine, theirs
    is a constant 1e-3 for 50,000 steps. Every pair of `beta` and `l2` is run from every seed.

    >>> from ibbook.linear_gaussian.factors import code_information
    >>> cov = torch.diag(torch.tensor([4.0, 1.0])).double()
    >>> found = descend(cov, 1.5, noise=0.5, latents=1, steps=400, learning_rate=0.05)
    >>> round(code_information(cov, *found).item(), 2)  # ln(8 / 1.5) / 2
    0.84
    """
    check_code_noise(code_noise)
    cov, beta, l2, latents, noise = checked(cov, beta, l2, latents, noise)
    seeds, steps = _numbers.seeds(seeds), integer(steps, "steps", 1)
    learning_rate = number(learning_rate, "learning_rate", "positive", lambda rate: rate > 0)
    shape = (*beta.shape, len(seeds))
    beta, l2 = (part.reshape(-1).repeat_interleave(len(seeds)) for part in (beta, l2))
    n, models = len(cov), len(beta)

    def tiled(parts: list[Tensor]) -> Tensor:
        return torch.stack(parts).to(cov).repeat(models // len(seeds), 1, 1).requires_grad_()

    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    maps = [
        tiled([0.1 * torch.randn(*size, generator=g, dtype=torch.float64) for g in generators])
        for size in ((latents, n), (n, latents))
    ]
    sizes = {"full": (n, n), "diagonal": (n, 1), "isotropic": (1, 1)}
    factors = [tiled([torch.zeros(latents, latents)] * len(seeds))]
    if isinstance(noise, str):
        factors.append(tiled([torch.zeros(sizes[noise])] * len(seeds)))
    adam = torch.optim.AdamW([*maps, *factors], lr=learning_rate, weight_decay=0.01)
    root = torch.linalg.cholesky(cov)
    for step in range(steps):
        adam.param_groups[0]["lr"] = learning_rate * (1 + math.cos(math.pi * step / steps)) / 2
        loss = _loss(root, *maps, factors, beta, l2, noise, code_noise)
        adam.zero_grad()
        loss.sum().backward()
        for part, most in [*((p, 2.0) for p in maps), *((p, 3.0) for p in factors)]:
            norm = part.grad.norm(dim=(-2, -1), keepdim=True)
            part.grad.mul_((most / norm.clamp(min=1e-300)).clamp(max=1))
        adam.step()
    with torch.no_grad():
        half = _triangle(factors[0], code_noise)
        return maps[0].reshape(*shape, latents, n).detach(), (half @ half.mT).reshape(
            *shape, latents, latents
        )


def _triangle(factor: Tensor, kind: str) -> Tensor:
    """A lower triangular matrix with the exponentials of this one's diagonal."""
    diagonal = torch.diag_embed(factor.diagonal(dim1=-2, dim2=-1).exp())
    return diagonal if kind == "diagonal" else diagonal + factor.tril(-1)


def _loss(
    root: Tensor,
    encoder: Tensor,
    decoder: Tensor,
    factors: list[Tensor],
    beta: Tensor,
    l2: Tensor,
    noise: Noise,
    code_noise: str,
) -> Float64[Tensor, "models"]:
    """The loss up to n ln(2 pi) / 2 and beta m / 2, with cov = root root'."""
    half = _triangle(factors[0], code_noise)
    seen = encoder @ root
    error = torch.cat([root - decoder @ seen, decoder @ half], -1)  # C = error error'
    if noise == "full":
        weighed = _triangle(factors[1], "full").mT @ error
        log_det = -2 * factors[1].diagonal(dim1=-2, dim2=-1).sum(-1)
    elif isinstance(noise, str):
        weighed = error * factors[1].exp()
        log_det = -2 * factors[1].sum((-2, -1)) * (len(root) // factors[1].shape[-2])
    else:
        weighed = error / noise**0.5
        log_det = torch.zeros_like(beta)
    square = lambda part: part.square().sum((-2, -1))  # noqa: E731
    rate = square(seen) + square(half) - 2 * half.diagonal(dim1=-2, dim2=-1).log().sum(-1)
    return (log_det + square(weighed) + beta * rate) / 2 + l2 * square(error)
