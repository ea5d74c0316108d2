"""Validation shared by the solvers: every error names the argument, the value and the remedy."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from jaxtyping import Float64
from torch import Tensor

MASS_TOLERANCE = 1e-6


def real(value: Any, name: str) -> Float64[Tensor, "..."]:
    """Any array-like of finite real numbers, as a float64 tensor on the device it came from."""
    if not isinstance(value, Tensor):
        try:
            value = torch.as_tensor(np.require(value, np.float64, ["C", "W"]))
        except (TypeError, ValueError) as error:
            raise ValueError(f"{name} must be an array of real numbers: {error}") from None
    if value.is_complex():
        raise ValueError(f"{name} must be real, got dtype {value.dtype}")
    value = value.to(torch.float64)
    if not torch.isfinite(value).all():
        bad = value[~torch.isfinite(value)].flatten()[0].item()
        raise ValueError(f"{name} must be finite, got {bad}; drop or repair those entries")
    return value


def distribution(value: Any, name: str, *, axes: int = 1) -> Float64[Tensor, "..."]:
    """Probabilities over the last `axes` axes (all of them for 0); leading axes are batches."""
    p = real(value, name)
    axes = axes or p.ndim
    if p.ndim < max(axes, 1):
        raise ValueError(
            f"{name} must have at least {max(axes, 1)} axes, got shape {tuple(p.shape)}"
        )
    over = tuple(range(-axes, 0))
    if 0 in p.shape:
        raise ValueError(f"{name} must not be empty, got shape {tuple(p.shape)}")
    if (p < 0).any():
        raise ValueError(f"{name} has negative mass {p.min().item():g}; probabilities are >= 0")
    mass = p.sum(over)
    worst = mass.flatten()[(mass - 1).abs().argmax()].item()
    if abs(worst - 1) > MASS_TOLERANCE:
        raise ValueError(
            f"{name} sums to {worst:g}, not 1; divide it by its sum over the last {axes} axes"
        )
    return p / p.sum(over, keepdim=True)


def slopes(beta: Any, name: str = "beta") -> Float64[Tensor, "..."]:
    """A trade-off parameter: a non-negative scalar or vector."""
    b = real(beta, name)
    if b.ndim > 1:
        raise ValueError(f"{name} must be a scalar or a vector, got shape {tuple(b.shape)}")
    if b.numel() == 0:
        raise ValueError(f"{name} must not be empty")
    if (b < 0).any():
        raise ValueError(f"{name} must be >= 0, got {b.min().item():g}")
    return b


def covariance(value: Any, name: str) -> Float64[Tensor, "*batch n n"]:
    """Symmetric positive definite matrices over the last two axes."""
    c = real(value, name)
    if c.ndim < 2 or c.shape[-1] != c.shape[-2] or c.shape[-1] == 0:
        raise ValueError(
            f"{name} must be square over its last two axes, got shape {tuple(c.shape)}"
        )
    scale = c.abs().amax((-2, -1), keepdim=True)
    asymmetry = (c - c.mT).abs()
    if (asymmetry > 1e-8 * scale).any():
        raise ValueError(
            f"{name} must be symmetric, it differs from its transpose by {asymmetry.max():g}"
        )
    c = (c + c.mT) / 2
    smallest = torch.linalg.eigvalsh(c)[..., 0].min().item()
    if smallest <= 0:
        raise ValueError(
            f"{name} must be positive definite, its smallest eigenvalue is {smallest:g}; "
            "drop redundant coordinates or add a little noise to the diagonal"
        )
    return c
