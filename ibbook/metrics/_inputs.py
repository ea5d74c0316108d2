"""What every score checks first, and when a code counts as dead."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Bool, Float64, Int64
from torch import Tensor

from ibbook._checks import real
from ibbook.datasets._grid import seeded

ROUNDING = 1e-6  # spread, relative to max(1, |mean|), of a code that is constant but for rounding

NOTHING = 1e-12  # nats, or share of a variance or of a range, that is 0 but for rounding

LARGEST = 1e50  # of codes and factors

FEWEST = 10  # points that can be split into some to learn from and some to test on


def read_codes(value: Any, name: str = "codes") -> Float64[Tensor, "*members n latents"]:
    """Codes of at least two points, finite, as float64 on their own device; dead ones set to 0."""
    codes = _bounded(value, name)
    if codes.ndim < 2 or 0 in codes.shape:
        raise ValueError(
            f"{name} must have shape [*members, n, latents], none of them 0, got "
            f"{tuple(codes.shape)}"
        )
    if codes.shape[-2] < 2:
        raise ValueError(f"{name} must hold at least 2 points, got {codes.shape[-2]}")
    mean, spread = codes.mean(-2, keepdim=True), codes.std(-2, keepdim=True, correction=0)
    return codes.masked_fill(spread <= ROUNDING * mean.abs().clamp(min=1), 0.0)


def _bounded(value: Any, name: str) -> Float64[Tensor, "..."]:
    numbers = real(value, name)
    if (numbers.abs() > LARGEST).any():
        raise ValueError(
            f"{name} must lie within {LARGEST:g} of 0, where squares can be summed, got "
            f"{numbers.abs().max().item():g}; divide them by their largest"
        )
    return numbers


def alive(codes: Float64[Tensor, "*members n latents"]) -> Bool[Tensor, "*members latents"]:
    """Which codes from `read_codes` are not dead."""
    return (codes != 0).any(-2)


def read_factors(value: Any, codes: Tensor) -> Float64[Tensor, "n k"]:
    """Factors of the same points as `codes`, none of them constant, on the device of `codes`."""
    factors = _bounded(value, "factors").to(codes.device)
    if factors.ndim != 2 or factors.shape[1] == 0:
        raise ValueError(f"factors must have shape [n, k], got {tuple(factors.shape)}")
    if len(factors) != codes.shape[-2]:
        raise ValueError(
            f"factors has {len(factors)} rows, but codes has {codes.shape[-2]} points; "
            "row i of both must describe the same picture"
        )
    for j, column in enumerate(factors.T):
        if (column == column[0]).all():
            raise ValueError(
                f"factors[:, {j}] is constant ({column[0].item():g}); leave that factor out"
            )
    return factors


def read_classes(value: Any, codes: Tensor) -> list[Int64[Tensor, "n"]]:
    """Factors that must be classes, numbered by `as_classes`."""
    columns = list(read_factors(value, codes).T)
    for j, column in enumerate(columns):
        if not is_whole(column):
            bad = column[column != column.round()][0].item()
            raise ValueError(
                f"factors[:, {j}] holds {bad:g}, but classes are whole numbers; "
                "number its values 0, 1, ... or sort them into intervals first"
            )
    return [as_classes(column) for column in columns]


def is_whole(column: Float64[Tensor, "n"]) -> bool:
    return bool((column == column.round()).all())


def as_classes(column: Float64[Tensor, "n"]) -> Int64[Tensor, "n"]:
    """The values of a factor numbered 0, 1, ... in their order."""
    return column.unique(return_inverse=True)[1]


def standardised(values: Float64[Tensor, "*batch n d"]) -> Float64[Tensor, "*batch n d"]:
    """Mean 0 and variance 1 in each column; a dead code stays 0."""
    centred = values - values.mean(-2, keepdim=True)
    spread = centred.square().mean(-2, keepdim=True).sqrt()
    return centred / spread.clamp(min=torch.finfo(values.dtype).tiny)


def split(
    codes: Float64[Tensor, "*members n latents"], seed: int
) -> tuple[Int64[Tensor, "a"], Int64[Tensor, "b"]]:
    """Rows to learn from, two thirds of all, and rows to test on."""
    n = codes.shape[-2]
    if n < FEWEST:
        raise ValueError(f"codes must hold at least {FEWEST} points for this score, got {n}")
    order = torch.randperm(n, generator=seeded(seed))
    return order[: 2 * n // 3], order[2 * n // 3 :]


def cleared(values: Float64[Tensor, "*batch"]) -> Float64[Tensor, "*batch"]:
    """Values, those that are 0 but for rounding set to 0: none is -0, nor a tiny negative."""
    return values.masked_fill(values.abs() <= NOTHING, 0.0)


def with_rival(codes: Float64[Tensor, "*members n latents"]) -> Float64[Tensor, "*members n l"]:
    """Codes; beside a single one, a constant code that it is compared with."""
    if codes.shape[-1] > 1:
        return codes
    return torch.cat([codes, torch.zeros_like(codes)], -1)


def gap(scores: Float64[Tensor, "*members latents k"]) -> Float64[Tensor, "*members k"]:
    """The best latent's score less the second best's, for each factor."""
    best = scores.topk(2, dim=-2).values
    return best[..., 0, :] - best[..., 1, :]
