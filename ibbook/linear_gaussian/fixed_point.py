"""Alternating half-steps, for many betas, penalties and starts at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float64, Int64
from numpy.typing import ArrayLike
from torch import Tensor

from ibbook import _numbers
from ibbook._numbers import integer, number
from ibbook.linear_gaussian.checks import Noise, check_code_noise, checked
from ibbook.linear_gaussian.halves import encode_for


@dataclass(frozen=True)
class FixedPoint:
    """Where the half-steps came to rest; see `fixed_point`."""

    encoder: Float64[Tensor, "*b starts m n"]
    code_cov: Float64[Tensor, "*b starts m m"]
    sweeps: Int64[Tensor, "*b starts"]
    converged: Bool[Tensor, "*b starts"]


def fixed_point(
    cov: Float64[Tensor, "n n"] | ArrayLike,
    beta: Float64[Tensor, "*b"] | ArrayLike | float,
    l2: Float64[Tensor, "*b"] | ArrayLike | float = 0.0,
    *,
    latents: int,
    noise: Noise = "full",
    code_noise: str = "full",
    seeds: Sequence[int] = (0,),
    tol: float = 1e-10,
    sweeps: int = 20_000,
) -> FixedPoint:
    """Best decoder, best encoder, in turn, until no entry of a code moves by more than `tol`.

    Each half-step is exact, so the loss never rises. `beta` and `l2` broadcast, and every pair of
    them is run from the start of every seed: E uniform in [0, 1], S a random positive definite
    matrix, as in the release of Vu, Wan and Wei (2026). At beta = 1 with full noise and l2 = 0 the
    start decides the end, and near a threshold progress is slow: see `converged`.

    The decoder is never formed. With full noise R^-1 D = (S^-1 E)', with the others P is diagonal,
    so a sweep costs m^2 n for each model, and in the eigenbasis of cov no product with cov.

    >>> from ibbook.linear_gaussian.factors import code_information
    >>> found = fixed_point([[4.0, 0.0], [0.0, 1.0]], [1.5, 9.0], noise=0.5, latents=1)
    >>> code_information(torch.diag(torch.tensor([4.0, 1.0])).double(), found.encoder,
    ...                  found.code_cov).flatten()  # ln(8 / 1.5) / 2, and silence
    tensor([0.8370, 0.0000], dtype=torch.float64)
    """
    check_code_noise(code_noise)
    cov, beta, l2, latents, noise = checked(cov, beta, l2, latents, noise)
    tol = number(tol, "tol", "finite and >= 0", lambda tol: tol >= 0)
    sweeps = integer(sweeps, "sweeps", 1)
    starts = [_start(latents, len(cov), seed) for seed in _numbers.seeds(seeds)]
    basis = None
    spread: Tensor = cov
    if noise != "diagonal":
        spread, basis = torch.linalg.eigh(cov)
        starts = [(encoder @ basis, code_cov) for encoder, code_cov in starts]
    shape = (*beta.shape, len(starts))
    pairs = beta.numel()
    encoder, code_cov = (
        torch.stack(part).to(cov).repeat(pairs, 1, 1) for part in zip(*starts, strict=True)
    )
    beta, l2 = (part.reshape(-1).repeat_interleave(len(starts)) for part in (beta, l2))
    moving = torch.arange(len(beta), device=cov.device)
    count = torch.full_like(moving, sweeps)
    now = encoder.clone(), code_cov.clone()
    for done in range(1, sweeps + 1):
        after = _sweep(spread, *now, beta[moving], l2[moving], noise, code_noise)
        moved = torch.stack(
            [(a - b).abs().amax((-2, -1)) for a, b in zip(after, now, strict=True)]
        ).amax(0)
        now, still = after, moved <= tol
        if still.any():
            rest = moving[still]
            encoder[rest], code_cov[rest] = now[0][still], now[1][still]
            count[rest] = done
            now, moving = (now[0][~still], now[1][~still]), moving[~still]
        if not len(moving):
            break
    encoder[moving], code_cov[moving] = now
    converged = torch.ones(len(beta), dtype=torch.bool, device=cov.device)
    converged[moving] = False
    if basis is not None:
        encoder = encoder @ basis.T
    return FixedPoint(
        encoder.reshape(*shape, latents, len(cov)),
        code_cov.reshape(*shape, latents, latents),
        count.reshape(shape),
        converged.reshape(shape),
    )


def _start(latents: int, n: int, seed: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    encoder = torch.rand(latents, n, generator=generator, dtype=torch.float64)
    root = torch.rand(latents, latents, generator=generator, dtype=torch.float64)
    return encoder, root @ root.T / latents + 0.1 * torch.eye(latents, dtype=torch.float64)


def _sweep(
    spread: Tensor,
    encoder: Float64[Tensor, "b m n"],
    code_cov: Float64[Tensor, "b m m"],
    beta: Float64[Tensor, "b"],
    l2: Float64[Tensor, "b"],
    noise: Noise,
    code_noise: str,
) -> tuple[Tensor, Tensor]:
    """Both half-steps; `spread` is cov, or its eigenvalues in their basis."""
    across = encoder * spread if spread.ndim == 1 else encoder @ spread  # E cov
    decoder = torch.linalg.solve(across @ encoder.mT + code_cov, across)  # D'
    penalty = 2 * l2[:, None, None] * decoder
    if noise == "full":
        weighed = torch.linalg.solve(code_cov, encoder) + penalty
    else:
        total = spread if spread.ndim == 1 else spread.diagonal()
        variances = total - (decoder * across).sum(-2)  # the diagonal of C
        if noise == "isotropic":
            variances = variances.mean(-1, keepdim=True)
        elif noise != "diagonal":
            variances = torch.full_like(variances, noise)
        weighed = decoder / variances[:, None] + penalty
    return encode_for(weighed, decoder.mT, beta, code_noise)
