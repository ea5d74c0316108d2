"""An interior-point method for convex functions of weights that must not be negative, in batches.

Rate-distortion, the weights of a mixture and the capacity of a channel are such problems:

    minimise  sum_i g_i(z_i) + sum_j a_j q_j  over q >= 0,  where z = K q and every g_i is convex.

At the optimum y_i = g_i'(z_i), s = a + K^T y >= 0, and q s = 0. Newton's steps aim at q s =
sigma mu for a falling mu, with a predictor and a corrector (Mehrotra 1992). Three things keep them
from going in circles where optima are close to one another: y is an unknown of its own, and each
problem writes its equation in the form that is nearest to a straight line; q has one step length, y
and s another; and the corrector counts only for the part of its predictor that stays positive
(Cartis 2009 shows what can happen without). Of a million random problems one or two still went in
circles, until it took shorter steps after the first 20.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from jaxtyping import Float64, Int64
from torch import Tensor

from ibbook._numbers import number

BOLD, CAREFUL = 0.999, 0.9  # parts of the way to the boundary that a step may go
PATIENCE = 20  # bold steps; a dozen are usual
RIDGE = 1e-13  # relative; keeps the Newton matrix of tied weights positive definite


class Problem(NamedTuple):
    """What tells one kind of problem from another; `data` is what each problem knows of itself."""

    gap: Callable[[Tensor, Tensor, Tensor], Tensor]
    """(q, K, data): a bound on the error of weights q that sum to 1."""
    link: Callable[[Tensor, Tensor, Tensor, Tensor | float], tuple[Tensor, Tensor]]
    """(z, y, data, bend): w and r such that dy = w dz + r is y = g'(z) to first order, with `bend`
    the product dz dy where the equation has one."""
    room: Callable[[Tensor, Tensor], Tensor]
    """(y, dy): the longest step that keeps y where it has a meaning."""


def interior_point(
    problem: Problem,
    matrix: Float64[Tensor, "b i j"],
    data: Float64[Tensor, "b n"],
    q: Float64[Tensor, "b j"],
    y: Float64[Tensor, "b i"],
    cost: Float64[Tensor, "b j"],
    tol: float,
    max_iterations: int,
) -> tuple[Float64[Tensor, "b j"], Int64[Tensor, "b"]]:
    """The weights q, divided by their sum, and the steps taken.

    `matrix` is K and `cost` is a. The start, q > 0 and y, must have s > 0. A problem ends where its
    gap is at most `tol`, and the q of the least gap is returned.
    """
    count, size = q.shape
    best = torch.full_like(q, 1 / size)
    best_gap = q.new_full((count,), math.inf)
    iterations = torch.zeros(count, dtype=torch.int64, device=q.device)
    index = torch.arange(count, device=q.device)
    s = cost + _product(matrix.mT, y)
    for iteration in range(max_iterations + 1):
        share = q / q.sum(-1, keepdim=True)
        gap = problem.gap(share, matrix, data)
        better = gap < best_gap[index]
        best[index[better]], best_gap[index[better]] = share[better], gap[better]
        iterations[index] = iteration
        live = gap > tol
        if iteration == max_iterations or not live.any():
            break
        if not live.all():
            index, matrix, data, q, y, cost, s = (
                part[live] for part in (index, matrix, data, q, y, cost, s)
            )
        z, drift = _product(matrix, q), cost + _product(matrix.mT, y) - s
        weight, rest = problem.link(z, y, data, 0.0)
        root = matrix * weight.sqrt()[..., None]
        hessian = root.mT @ root
        diagonal = hessian.diagonal(dim1=-2, dim2=-1)
        diagonal.add_(s / q).mul_(1 + RIDGE)
        factor = torch.linalg.cholesky_ex(hessian).L

        def step(
            target, rest, factor=factor, matrix=matrix, weight=weight, q=q, y=y, s=s, drift=drift
        ):
            right = target / q - s - drift - _product(matrix.mT, rest)
            dq = torch.cholesky_solve(right[..., None], factor)[..., 0]
            dz = _product(matrix, dq)
            dy, ds = weight * dz + rest, (target - s * dq) / q - s
            up = torch.minimum(to_boundary(s, ds), problem.room(y, dy))
            return dq, ds, dz, dy, to_boundary(q, dq), up

        dq, ds, dz, dy, far, up = step(torch.zeros_like(q), rest)
        far, up = far.clamp(max=1), up.clamp(max=1)
        mu = (q * s).mean(-1, keepdim=True)
        sigma = (((q + far * dq) * (s + up * ds)).mean(-1, keepdim=True) / mu) ** 3
        _, rest = problem.link(z, y, data, far * up * dz * dy)
        dq, ds, dz, dy, far, up = step(sigma * mu - far * up * dq * ds, rest)
        reach = BOLD if iteration < PATIENCE else CAREFUL
        far, up = ((reach * length).clamp(max=1) for length in (far, up))
        q, s, y = q + far * dq, s + up * ds, y + up * dy
    return best, iterations


def to_boundary(
    value: Float64[Tensor, "b j"], change: Float64[Tensor, "b j"]
) -> Float64[Tensor, "b 1"]:
    """The longest step along `change` that keeps `value` from changing its sign, if positive."""
    return torch.where(change < 0, -value / change, torch.inf).amin(-1, keepdim=True)


def check_tolerance(tol: Any) -> float:
    usual = "; 1e-9 is usual"
    return number(tol, "tol", "a positive number of nats", lambda nats: nats > 0, usual)


def _product(matrix: Float64[Tensor, "b i j"], vector: Float64[Tensor, "b j"]) -> Tensor:
    return (matrix @ vector[..., None])[..., 0]
