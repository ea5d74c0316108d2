"""What every score checks first, and when a code counts as dead."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Bool, Float64, Int64
from torch import Tensor

from ibbook._checks import real

ROUNDING = 1e-6  # spread, relative to max(1, |mean|), below which a code is rounding noise


def read_codes(value: Any, name: str = "codes") -> Float64[Tensor, "*members n latents"]:
    """Codes of at least two points, finite, as float64 on their own device."""
    codes = real(value, name)
    if codes.ndim < 2 or 0 in codes.shape:
        raise ValueError(
            f"{name} must have shape [*members, n, latents], none of them 0, got "
            f"{tuple(codes.shape)}"
        )
    if codes.shape[-2] < 2:
        raise ValueError(f"{name} must hold at least 2 points, got {codes.shape[-2]}")
    return codes


def read_factors(value: Any, codes: Tensor) -> Float64[Tensor, "n k"]:
    """Factors of the same points as `codes`, none of them constant, on the device of `codes`."""
    factors = real(value, "factors").to(codes.device)
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
    """Factors that are classes, each numbered 0, 1, ... in the order of its values."""
    columns = []
    for j, column in enumerate(read_factors(value, codes).T):
        if not is_whole(column):
            bad = column[column != column.round()][0].item()
            raise ValueError(
                f"factors[:, {j}] holds {bad:g}, but classes are whole numbers; "
                "number its values 0, 1, ... or sort them into intervals first"
            )
        columns.append(column.unique(return_inverse=True)[1])
    return columns


def is_whole(column: Float64[Tensor, "n"]) -> bool:
    return bool((column == column.round()).all())


def is_dead(codes: Float64[Tensor, "*members n latents"]) -> Bool[Tensor, "*members latents"]:
    """Codes that are constant but for rounding: their spread is at most 1e-6 max(1, |mean|)."""
    spread = codes.std(-2, correction=0)
    return spread <= ROUNDING * codes.mean(-2).abs().clamp(min=1)


def squared_correlations(
    codes: Float64[Tensor, "*members n latents"], factors: Float64[Tensor, "n k"]
) -> Float64[Tensor, "*members latents k"]:
    """Squared correlation of each code with each factor; 0 for a dead code."""
    z, v = codes - codes.mean(-2, keepdim=True), factors - factors.mean(0)
    z = z / z.norm(dim=-2, keepdim=True).clamp(min=torch.finfo(z.dtype).tiny)
    r2 = (z.mT @ (v / v.norm(dim=0))).square().clamp(max=1)
    return r2.masked_fill(is_dead(codes)[..., None], 0.0)


def gap(scores: Float64[Tensor, "*members latents k"]) -> Float64[Tensor, "*members k"]:
    """The best latent's score less the second best's, for each factor; 0 is second to one."""
    if scores.shape[-2] == 1:
        return scores[..., 0, :]
    best = scores.topk(2, dim=-2).values
    return best[..., 0, :] - best[..., 1, :]
