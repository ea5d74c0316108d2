"""A falling convex curve y(x) of which a solver finds the point of a given slope, read at given x.

The line of slope -beta through a point lies nowhere above the curve by more than the point's gap,
and the chord between two points lies nowhere below it. Between the two, y(x) is known.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float64, Int64
from torch import Tensor

ROUNDS = 60  # of slopes; some ten are needed


class Points(NamedTuple):
    """Points of one curve or more: y - gap is at most what the curve's line of slope -beta has."""

    beta: Float64[Tensor, "b k"]
    x: Float64[Tensor, "b k"]
    y: Float64[Tensor, "b k"]
    gap: Float64[Tensor, "b k"]
    q: Float64[Tensor, "b k j"]  # what the solver knows the point by

    def line(self, x: Float64[Tensor, "b k"]) -> Float64[Tensor, "b k"]:
        """What the line through each point, lowered by its gap, is at x; beta may be infinite."""
        rise = torch.where(self.x == x, 0.0, self.beta * (self.x - x))
        return self.y - self.gap + rise

    def take(self, index: Int64[Tensor, "b n"]) -> Points:
        return Points(
            *(part.take_along_dim(index, 1) for part in self[:-1]),
            self.q.take_along_dim(index[..., None], 1),
        )


class Read(NamedTuple):
    """lower <= y(x) <= upper, where upper is the chord from `near` to `far` at its part `share`."""

    near: Points
    far: Points
    share: Float64[Tensor, "b n"]
    upper: Float64[Tensor, "b n"]
    lower: Float64[Tensor, "b n"]
    iterations: Int64[Tensor, "b n"]


def read(
    points: Points,
    solve: Callable[[Tensor, Tensor], tuple[Points, Tensor]],
    x: Float64[Tensor, "b n"],
    tol: float,
) -> Read:
    """y at every x between the ends of each curve, to `tol`.

    `points` has both ends of each curve. `solve(curve, beta)` gives a point of each of those curves
    at the slope, with a gap well below `tol`, and the iterations that it took. A slope is asked for
    at every x where line and chord are apart: in turn that of the chord, which is the last one that
    a straight piece needs, and that at x of the cubic through both points with both their slopes.
    Every point serves all x of its curve.
    """
    iterations = torch.zeros_like(x, dtype=torch.int64)
    for turn in range(ROUNDS + 1):
        near, far = _around(points, x)
        share = torch.where(near.x > x, (near.x - x) / (near.x - far.x), 0.0)
        upper = torch.lerp(near.y, far.y, share)
        lower = torch.maximum(near.line(x), far.line(x))
        beta, sound = _slope(near, far, share, straight=turn % 2 == 0)
        apart = sound & (upper - lower > tol)
        if turn == ROUNDS or not apart.any():
            break
        asked = torch.stack([apart.nonzero()[:, 0].to(beta.dtype), beta[apart]])
        (curve, beta), which = asked.unique(dim=1, return_inverse=True)
        found, steps = solve(curve.long(), beta)
        iterations[apart] += steps[which]
        more = near  # again, where nothing was asked
        for old, new in zip(more, found, strict=True):
            old[apart] = new[which]
        points = Points(*(torch.cat(pair, 1) for pair in zip(points, more, strict=True)))
    return Read(near, far, share, upper, lower, iterations)


def _around(points: Points, x: Float64[Tensor, "b n"]) -> tuple[Points, Points]:
    """The points next to x: one at x or beyond it, one before it (at an end, the end twice)."""
    order = points.x.argsort(dim=1, stable=True)
    points = points.take(order)
    at = torch.searchsorted(points.x, x)
    return points.take(at), points.take((at - 1).clamp(min=0))


def _slope(
    near: Points, far: Points, share: Float64[Tensor, "b n"], *, straight: bool
) -> tuple[Float64[Tensor, "b n"], Bool[Tensor, "b n"]]:
    """The slope to ask for, and whether the chord's lies between its ends': if not, they are equal
    but for rounding."""
    chord = (far.y - near.y) / (near.x - far.x)
    sound = (near.beta < chord) & (chord < far.beta)
    if straight:
        return chord, sound
    s = share
    cubic = 6 * s * (1 - s) * chord + s * (3 * s - 2) * far.beta + (1 - s) * (1 - 3 * s) * near.beta
    cubic = torch.where(far.beta.isinf(), 2 * near.beta, cubic)
    inside = (near.beta < cubic) & (cubic < far.beta)
    return torch.where(inside, cubic, chord), sound
