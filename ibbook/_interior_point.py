"""Newton's method for a convex function of weights that must not be negative, in batches.

Rate-distortion, the weights of a mixture and the capacity of a channel are such problems. Each
gives the gradient of its function, the Hessian as a product, and a bound on its own error.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float64, Int64
from torch import Tensor

STEP_TO_BOUNDARY = 0.999
RIDGE = 1e-13  # relative; keeps the Newton matrix of tied symbols positive definite

Evaluation = tuple[Float64[Tensor, "b"], Float64[Tensor, "b j"], Float64[Tensor, "b i"]]


def interior_point(
    evaluate: Callable[[Tensor, Tensor, Tensor], Evaluation],
    start: Float64[Tensor, "b j"],
    matrix: Float64[Tensor, "b i j"],
    data: Float64[Tensor, "b n"],
    tol: float,
    max_iterations: int,
) -> tuple[Float64[Tensor, "b j"], Int64[Tensor, "b"]]:
    """Weights q >= 0 that minimise a convex function, divided by their sum, and the steps taken.

    `evaluate(q, matrix, data)` gives, for each problem, the certified gap of q divided by its sum,
    the gradient, and the root w of a diagonal: the Hessian is (w matrix)^T (w matrix). With s_j
    the multiplier of q_j >= 0, the optimum is s = gradient(q) and q s = 0. Newton's steps aim at
    q s = sigma mu for a falling mu, with a predictor and a corrector (Mehrotra 1992). Two things
    keep them from going in circles: q and s have steps of their own, and the corrector counts only
    for the part of its predictor that stays positive (Cartis 2009 shows what can happen without).
    A problem ends where its gap is at most `tol`.
    """
    count, size = start.shape
    best = torch.full_like(start, 1 / size)
    best_gap = start.new_full((count,), torch.inf)
    iterations = torch.zeros(count, dtype=torch.int64, device=start.device)
    index = torch.arange(count, device=start.device)
    q, s = start, None
    for iteration in range(max_iterations + 1):
        gap, gradient, weight = evaluate(q, matrix, data)
        better = gap < best_gap[index]
        best[index[better]] = (q / q.sum(-1, keepdim=True))[better]
        best_gap[index[better]] = gap[better]
        iterations[index] = iteration
        live = gap > tol
        if iteration == max_iterations or not live.any():
            break
        if s is None:
            s = gradient.clamp(min=0) + 0.1
        if not live.all():
            index, matrix, data, q, s, gradient, weight = (
                part[live] for part in (index, matrix, data, q, s, gradient, weight)
            )
        root = matrix * weight[..., None]
        hessian = root.mT @ root
        diagonal = hessian.diagonal(dim1=-2, dim2=-1)
        diagonal.add_(s / q).mul_(1 + RIDGE)
        factor = torch.linalg.cholesky_ex(hessian).L

        def step(target, factor=factor, q=q, s=s, gradient=gradient):
            right = target / q - gradient
            dq = torch.cholesky_solve(right[..., None], factor)[..., 0]
            ds = (target - s * dq) / q - s
            return dq, ds, _to_boundary(q, dq), _to_boundary(s, ds)

        dq, ds, far, high = step(torch.zeros_like(q))
        far, high = far.clamp(max=1), high.clamp(max=1)
        mu = (q * s).mean(-1, keepdim=True)
        reached = ((q + far * dq) * (s + high * ds)).mean(-1, keepdim=True)
        dq, ds, far, high = step((reached / mu) ** 3 * mu - far * high * dq * ds)
        q = q + (STEP_TO_BOUNDARY * far).clamp(max=1) * dq
        s = s + (STEP_TO_BOUNDARY * high).clamp(max=1) * ds
    return best, iterations


def _to_boundary(value: Float64[Tensor, "b j"], change: Float64[Tensor, "b j"]) -> Tensor:
    """The longest step along `change` that keeps `value` non-negative."""
    return torch.where(change < 0, -value / change, torch.inf).amin(-1, keepdim=True)


def check_tolerance(tol: Any) -> None:
    if not isinstance(tol, int | float) or not 0 < tol < math.inf:
        raise ValueError(f"tol must be a positive number of nats, got {tol!r}; 1e-9 is usual")
