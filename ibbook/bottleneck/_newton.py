"""Newton's method on the functional, for the betas next to a bifurcation where iteration crawls."""

from __future__ import annotations

import torch
from torch import Tensor

from ibbook.bottleneck._problem import Problem, iterate

STEPS = 60
CUTS = 12
FARTHEST = 0.9  # share of any p(t, y) that one step may take away
ABSENT = 1e-200  # p(t, y) that is held where it is


def newton(problem: Problem, joint: Tensor) -> Tensor:
    """Clusters p(t, y) of one beta, moved to a minimum of -E ln Z.

    Over m = p(t, y) that is the minimum of -sum_s p(s) ln Z(s) + sum_ty m, whose gradient by ln m,

        m - sum_s p(s) p(t|s) k(s),    k(s) = (1 - beta) p(y|t) + beta p(y|s),

    vanishes where the self-consistent equations hold. A step divides it by the Hessian without the
    signs of its eigenvalues, so that it leaves a saddle (Dauphin et al. 2014), and is cut until
    the functional falls. Steps and slopes are measured in sqrt(m) d ln m, where distances are those
    of information geometry. It ends where both equations hold to a thousandth of `tol`.
    """
    p, rows, beta = problem.p, problem.rows, problem.beta[0]
    mass = joint[0]
    value, error = _height(problem, mass)
    for _ in range(min(STEPS, problem.max_iterations)):
        if error <= problem.tol / 1000:
            break
        mass = mass[mass.sum(-1) > problem.dust]
        free = mass > ABSENT
        encoder = iterate(problem, mass[None])[1][0]
        source = encoder * p[:, None]  # p(s, t)
        weights, root = mass.sum(-1, keepdim=True), torch.where(free, mass, 1.0).sqrt()
        k = (1 - beta) * mass / weights + beta * rows[:, None]
        k = torch.where(free, k / root, 0.0)  # s t y
        slope = torch.where(free, root, 0.0) - torch.einsum("st,sty->ty", source, k)
        share = (1 - beta) * source.sum(0)[:, None] / weights
        apart = (source.sqrt()[..., None] * k).transpose(0, 1)  # t s y
        direction = torch.where(free, root / weights.sqrt(), 0.0)
        blocks = (1 - share)[..., None] * torch.eye(rows.shape[1]).to(mass)
        blocks = blocks + share[..., None] * direction[:, :, None] * direction[:, None]
        hessian = torch.block_diag(*(blocks - apart.mT @ apart))
        together = ((encoder * p.sqrt()[:, None])[..., None] * k).flatten(1)
        hessian = (hessian + together.mT @ together)[free.flatten()][:, free.flatten()]
        hessian.diagonal().sub_(slope[free] / root[free])
        curvature, axes = torch.linalg.eigh(hessian)
        curvature = curvature.abs().clamp_min(1e-14)
        step = torch.zeros_like(mass)
        step[free] = -(axes @ (axes.mT @ slope[free] / curvature)) / root[free]
        step *= (FARTHEST / (-step).max().clamp_min(FARTHEST)).item()
        for _ in range(CUTS):
            ahead = mass * (1 + step)
            ahead = ahead / ahead.sum()
            there = _height(problem, ahead)
            if there[0] < value or (there[0] <= value + 1e-15 and there[1] < error):
                break
            step = step / 4
        else:
            break
        mass, (value, error) = ahead, there
    return mass[None]


def _height(problem: Problem, mass: Tensor) -> tuple[float, float]:
    """-E ln Z, and how far the equations for the encoder and for ln p(t) are from holding."""
    log_partition, encoder, after = iterate(problem, mass[None])
    again = iterate(problem, after)[1]
    residual = (again - encoder).abs().sum(-1).max()
    starved = (after.sum(-1) / mass.sum(-1)).log().abs().max()
    return -(log_partition @ problem.p).item(), torch.maximum(residual, starved).item()
