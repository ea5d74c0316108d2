"""Validation shared by the solvers: every error names the argument, the value and the remedy."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from jaxtyping import Float64
from torch import Tensor

MASS_TOLERANCE = 1e-6


def real(
    value: Any, name: str, *, grad: bool = False, infinite: bool = False
) -> Float64[Tensor, "..."]:
    """Any array-like of finite real numbers, as a float64 tensor on the device it came from.

    `grad` keeps the gradients of a tensor; `infinite` lets an entry be infinity.
    """
    value = tensor(value, name)
    value = (value if grad else value.detach()).to(torch.float64)
    wrong = value.isnan() | value.isneginf() if infinite else ~value.isfinite()
    if wrong.any():
        bad = value[wrong].flatten()[0].item()
        raise ValueError(f"{name} must be finite, got {bad}; drop or repair those entries")
    return value


def tensor(value: Any, name: str) -> Tensor:
    """Any array-like of real numbers, whole or not, as a tensor; nothing of it is dropped.

    >>> tensor(np.array([1, 2], ">i8")[::-1], "x")
    tensor([2, 1])
    """
    if isinstance(value, Tensor):
        if value.is_complex():
            raise ValueError(f"{name} must be real, got dtype {value.dtype}")
        if value.layout is not torch.strided:
            raise ValueError(f"{name} must be dense, got {value.layout}; use .to_dense()")
        return value
    try:
        if _masked(value):
            raise ValueError("some of its entries are masked; fill them or leave them out")
        array = np.asarray(value)
        if array.dtype.kind not in "biufO":
            raise ValueError(f"its dtype is {array.dtype}")
        # what torch has no kind for: long doubles, and objects such as fractions
        kind = np.float64 if array.dtype.char in "gO" else array.dtype.newbyteorder("=")
        return torch.from_numpy(np.array(array, kind, order="C", subok=False))
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(f"{name} must be an array of real numbers: {error}") from None


def _masked(value: Any) -> bool:
    return any(map(_masked, value)) if isinstance(value, list | tuple) else np.ma.is_masked(value)


def distribution(
    value: Any, name: str, *, axes: int = 1, grad: bool = False
) -> Float64[Tensor, "..."]:
    """Probabilities over the last `axes` axes (all of them for 0); leading axes are batches.

    They may be off by what arithmetic in their own precision leaves, which grows with their number.
    """
    p = real(value, name, grad=grad)
    eps = _rounding(value)
    axes = axes or p.ndim
    if p.ndim < max(axes, 1):
        raise ValueError(
            f"{name} must have at least {max(axes, 1)} axes, got shape {tuple(p.shape)}"
        )
    over = tuple(range(-axes, 0))
    if 0 in p.shape:
        raise ValueError(f"{name} must not be empty, got shape {tuple(p.shape)}")
    if (p < -8 * eps).any():
        raise ValueError(f"{name} has negative mass {p.min().item():g}; probabilities are >= 0")
    p = p.clamp(min=0)
    mass = p.sum(over)
    worst = mass.flatten()[(mass - 1).abs().argmax()].item()
    outcomes = math.prod(p.shape[axis] for axis in over)
    if abs(worst - 1) > MASS_TOLERANCE + eps * outcomes**0.5:
        raise ValueError(
            f"{name} sums to {worst:.10g}, not 1; divide it by its sum over the last {axes} axes"
        )
    return p / p.sum(over, keepdim=True)


def _rounding(value: Any) -> float:
    """The spacing of numbers near 1 in the precision that values came in."""
    kind = getattr(value, "dtype", None)
    if isinstance(kind, torch.dtype):
        return torch.finfo(kind if kind.is_floating_point else torch.float64).eps
    floating = isinstance(kind, np.dtype) and np.issubdtype(kind, np.floating)
    return float(np.finfo(kind if floating else np.float64).eps)


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


def symmetric(value: Any, name: str, *, grad: bool = False) -> Float64[Tensor, "*batch n n"]:
    """Symmetric matrices over the last two axes, but for rounding in their own precision."""
    c = real(value, name, grad=grad)
    if c.ndim < 2 or c.shape[-1] != c.shape[-2] or c.shape[-1] == 0:
        raise ValueError(
            f"{name} must be square over its last two axes, got shape {tuple(c.shape)}"
        )
    scale = c.abs().amax((-2, -1), keepdim=True)
    asymmetry = (c - c.mT).abs()
    if (asymmetry > max(1e-8, 16 * _rounding(value)) * scale).any():
        raise ValueError(
            f"{name} must be symmetric, it differs from its transpose by {asymmetry.max():g}"
        )
    return (c + c.mT) / 2


def covariance(value: Any, name: str, *, grad: bool = False) -> Float64[Tensor, "*batch n n"]:
    """Symmetric positive definite matrices over the last two axes."""
    c = symmetric(value, name, grad=grad)
    smallest = torch.linalg.eigvalsh(c)[..., 0].min().item()
    if smallest <= 0:
        raise ValueError(
            f"{name} must be positive definite, its smallest eigenvalue is {smallest:g}; "
            "drop redundant coordinates or add a little noise to the diagonal"
        )
    return c
