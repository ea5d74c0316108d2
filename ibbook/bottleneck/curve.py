"""The information curve: the largest I(T;Y) at every I(X;T)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float64
from numpy.typing import ArrayLike
from torch import Tensor

from ibbook import _checks
from ibbook.bottleneck._problem import information, sufficient
from ibbook.bottleneck.discrete import information_bottleneck


@dataclass(frozen=True)
class InformationCurve:
    """The information curve as a concave polygon; see `information_curve`."""

    beta: Float64[Tensor, "points"]  # 0 at the first point, inf at the last
    complexity: Float64[Tensor, "points"]  # I(X;T), ascending
    relevance: Float64[Tensor, "points"]  # I(T;Y), ascending

    def at(self, complexity: Float64[Tensor, "..."] | ArrayLike | float) -> Float64[Tensor, "..."]:
        """I(T;Y) on the polygon where I(X;T) is `complexity`, and constant beyond its end.

        >>> curve = information_curve([[0.5, 0.0], [0.0, 0.5]], [2.0])
        >>> curve.at([0.0, 0.25, 9.0])
        tensor([0.0000, 0.2500, 0.6931], dtype=torch.float64)
        """
        wanted = _checks.real(complexity, "complexity").to(self.complexity.device)
        if (wanted < 0).any():
            raise ValueError(f"complexity must be >= 0, got {wanted.min().item():g}")
        if len(self.complexity) == 1:
            return torch.zeros_like(wanted)
        right = torch.searchsorted(self.complexity, wanted.contiguous())
        right = right.clamp(1, len(self.complexity) - 1)
        (x0, x1), (y0, y1) = (
            (axis[right - 1], axis[right]) for axis in (self.complexity, self.relevance)
        )
        return y0 + ((wanted - x0) / (x1 - x0)).clamp(0, 1) * (y1 - y0)


def information_curve(
    pxy: Float64[Tensor, "x y"] | ArrayLike,
    betas: Float64[Tensor, "k"] | ArrayLike,
    *,
    clusters: int | None = None,
) -> InformationCurve:
    """The largest I(T;Y) at every I(X;T), as the polygon through the solutions at `betas`.

    The solutions are those of the "global" method. To them come the two ends that need no
    solver: (0, 0), and the minimal sufficient statistic S at (H(S), I(X;Y)). The points on the
    upper concave hull are returned. Every point of the polygon can be attained, by saying in T
    which of two codes is in use, so the polygon lies nowhere above the true curve; and it lies
    below by less than the distance to the tangents of slope 1/beta through its corners.

    >>> curve = information_curve([[0.45, 0.05], [0.05, 0.45]], [2.0, 3.0, 5.0])
    >>> curve.relevance.numpy().round(4)
    array([0.    , 0.2823, 0.3581, 0.3678, 0.3681])
    """
    pxy = _checks.distribution(pxy, "pxy", axes=0)
    if pxy.ndim != 2:
        raise ValueError(f"pxy must have two axes, got shape {tuple(pxy.shape)}")
    betas = _checks.slopes(betas, "betas").reshape(-1)
    points = information_bottleneck(pxy, betas, clusters=clusters, method="global")
    p, rows, _ = sufficient(pxy)
    ends = pxy.new_tensor(
        [[0, 0, 0], [math.inf, torch.special.entr(p).sum(), information(p, rows)]]
    )
    beta, complexity, relevance = torch.cat(
        [ends, torch.stack([points.beta, points.complexity, points.relevance], 1)]
    ).T
    keep = _hull(complexity.tolist(), relevance.tolist())
    return InformationCurve(beta[keep], complexity[keep], relevance[keep])


def _hull(x: list[float], y: list[float]) -> list[int]:
    """Indices of the points of the concave, increasing upper hull, from left to right."""
    keep: list[int] = []
    for i in sorted(range(len(x)), key=lambda i: (x[i], y[i])):
        while keep and y[keep[-1]] <= y[i] and x[i] - x[keep[-1]] <= 1e-12:
            keep.pop()
        if keep and y[i] <= y[keep[-1]]:
            continue
        while len(keep) > 1 and (y[keep[-1]] - y[keep[-2]]) * (x[i] - x[keep[-1]]) <= (
            y[i] - y[keep[-1]]
        ) * (x[keep[-1]] - x[keep[-2]]):
            keep.pop()
        keep.append(i)
    return keep
