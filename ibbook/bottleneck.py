"""The information bottleneck: compress X into T and keep what T says about Y.

Minimise L = I(X;T) - beta I(T;Y) over the encoder p(t|x) (Tishby, Pereira and Bialek 1999). Every
stationary point solves the self-consistent equations

    p(t|x) = p(t) exp(-beta KL[p(y|x) || p(y|t)]) / Z(x),   p(t) = sum_x p(x) p(t|x),
    p(y|t) = sum_x p(y|x) p(x|t).

L has many stationary points. What makes it tractable is that, with the decoders p(y|t) free to sit
anywhere, L is a convex function of *where the mass p(t) sits*: it is the likelihood of a mixture,
and the mixture is optimal if and only if no decoder q, in use or not, has

    D(q) = sum_x p(x) exp(-beta KL[p(y|x) || q]) / Z(x)  >  1.

Close to a cluster this is the second-order test for its splitting; far from all clusters it finds
the ones that no gradual splitting finds. Information is in nats.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import torch
from jaxtyping import Float64, Int64
from torch import Tensor

from ibbook import _checks


@dataclass(frozen=True)
class Bottleneck:
    """Solutions of the bottleneck, one for each beta; a scalar beta has no `k` axis.

    Clusters come heaviest first; where one solution has fewer than the others its last
    columns have mass 0 and the decoder p(y).
    """

    beta: Float64[Tensor, "*batch k"]
    complexity: Float64[Tensor, "*batch k"]  # I(X;T)
    relevance: Float64[Tensor, "*batch k"]  # I(T;Y)
    encoder: Float64[Tensor, "*batch k x t"]  # p(t|x)
    marginal: Float64[Tensor, "*batch k t"]  # p(t)
    decoder: Float64[Tensor, "*batch k t y"]  # p(y|t)
    clusters: Int64[Tensor, "*batch k"]  # how many have mass
    residual: Float64[Tensor, "*batch k"]  # max over x of sum_t |p(t|x) - its right-hand side|
    converged: Any  # residual <= tol

    @property
    def functional(self) -> Float64[Tensor, "*batch k"]:
        """L = I(X;T) - beta I(T;Y), never above 0."""
        return self.complexity - self.beta * self.relevance


@dataclass(frozen=True)
class GaussianBottleneck:
    """The closed-form solution for jointly Gaussian X and Y, one for each beta."""

    beta: Float64[Tensor, "*batch k"]
    complexity: Float64[Tensor, "*batch k"]  # I(X;T)
    relevance: Float64[Tensor, "*batch k"]  # I(T;Y)
    critical_betas: Float64[Tensor, "*batch dim_x"]  # ascending; inf where a correlation is 0
    projection: Float64[Tensor, "*batch k dim_x dim_x"]  # T = projection @ X + N(0, I)


@dataclass(frozen=True)
class InformationCurve:
    """The concave upper hull of the solutions, from (0, 0) to (H(S), I(X;Y)).

    S is the minimal sufficient statistic: X with its identical rows p(y|x) made one.
    """

    beta: Float64[Tensor, "points"]  # 0 at the first point, inf at the last
    complexity: Float64[Tensor, "points"]  # ascending
    relevance: Float64[Tensor, "points"]

    def at(self, complexity: Any) -> Float64[Tensor, "..."]:
        """I(T;Y) at a given I(X;T), by straight lines, which switching between codes attains."""
        wanted = _checks.real(complexity, "complexity")
        if (wanted < 0).any():
            raise ValueError(f"complexity must be >= 0, got {wanted.min().item():g}")
        return _interpolate(wanted, self.complexity, self.relevance)


def information_bottleneck(
    pxy: Any,
    beta: Any,
    *,
    clusters: int | None = None,
    method: Literal["annealing", "global"] = "annealing",
    tol: float = 1e-8,
    max_iterations: int = 20_000,
) -> Bottleneck:
    """Minimise I(X;T) - beta I(T;Y) for the joint `pxy[..., x, y]` at every beta at once.

    >>> import torch
    >>> pxy = torch.tensor([[0.45, 0.05], [0.05, 0.45]])
    >>> solution = information_bottleneck(pxy, [1.5, 3.0])
    >>> solution.clusters.tolist()
    [1, 2]
    """
    pxy, beta = _checks.distribution(pxy, "pxy", axes=2), _checks.slopes(beta)
    _positive(clusters, "clusters", none=True)
    _positive(max_iterations, "max_iterations")
    if not tol > 0:
        raise ValueError(f"tol must be > 0, got {tol}")
    if method not in ("annealing", "global"):
        raise ValueError(f'method must be "annealing" or "global", got {method!r}')
    joints = pxy.reshape(-1, *pxy.shape[-2:])
    solved = [_solve(p, beta.reshape(-1), clusters, method, tol, max_iterations) for p in joints]
    most = max(s[1].shape[-1] for s in solved)
    weights = torch.stack([_pad(s[0], most) for s in solved])
    parts = {
        "complexity": torch.stack([s[2] for s in solved]),
        "relevance": torch.stack([s[3] for s in solved]),
        "encoder": torch.stack([_pad(s[1], most) for s in solved]),
        "marginal": weights,
        "clusters": (weights > 0).sum(-1),
        "residual": torch.stack([s[4] for s in solved]),
    }
    p_y = joints.sum(1)[:, None, None]
    mass = torch.einsum("bkxt,bxy->bkty", parts["encoder"], joints)
    parts["decoder"] = torch.where(
        weights[..., None] > 0, mass / weights[..., None].clamp_min(1e-300), p_y
    )
    parts["converged"] = parts["residual"] <= tol
    shape = pxy.shape[:-2] + beta.shape
    parts = {name: part.reshape(shape + part.shape[2:]) for name, part in parts.items()}
    return Bottleneck(beta=beta.expand(shape), **parts)


def information_curve(pxy: Any, betas: Any, *, clusters: int | None = None) -> InformationCurve:
    """The largest I(T;Y) at each I(X;T), from the solutions at `betas`.

    >>> curve = information_curve([[0.45, 0.05], [0.05, 0.45]], [2.0, 3.0, 5.0])
    >>> [round(float(v), 4) for v in curve.relevance]
    [0.0, 0.2823, 0.3581, 0.3678, 0.3681]
    """
    pxy = _checks.distribution(pxy, "pxy", axes=0)
    if pxy.ndim != 2:
        raise ValueError(f"pxy must have two axes, got shape {tuple(pxy.shape)}")
    betas = _checks.slopes(betas, "betas").reshape(-1)
    points = information_bottleneck(pxy, betas, clusters=clusters, method="global")
    p_s, rows, _ = _sufficient(pxy)
    corner = [float(-torch.xlogy(p_s, p_s).sum()), float(_information(p_s, rows))]
    x = torch.cat([points.complexity, torch.tensor([0.0, corner[0]], dtype=torch.float64)])
    y = torch.cat([points.relevance, torch.tensor([0.0, corner[1]], dtype=torch.float64)])
    slope = torch.cat([points.beta, torch.tensor([0.0, math.inf], dtype=torch.float64)])
    keep = _hull(x.tolist(), y.tolist())
    return InformationCurve(slope[keep], x[keep], y[keep])


def critical_beta(pxy: Any) -> Float64[Tensor, "*batch"]:
    """The beta at which the trivial solution becomes unstable: 1 / (maximal correlation)^2.

    >>> round(float(critical_beta([[0.45, 0.05], [0.05, 0.45]])), 4)
    1.5625
    """
    pxy = _checks.distribution(pxy, "pxy", axes=2)
    return splitting_betas(pxy, pxy.new_ones(*pxy.shape[:-1], 1))[..., 0]


def splitting_betas(pxy: Any, encoder: Any) -> Float64[Tensor, "*batch t"]:
    """The beta at which each cluster of `encoder[..., x, t]` becomes unstable and splits.

    >>> import torch
    >>> splitting_betas([[0.45, 0.05], [0.05, 0.45]], torch.eye(2))
    tensor([inf, inf], dtype=torch.float64)
    """
    pxy = _checks.distribution(pxy, "pxy", axes=2)
    encoder = _checks.distribution(encoder, "encoder").to(pxy.device)
    if encoder.ndim < 2 or encoder.shape[-2] != pxy.shape[-2]:
        raise ValueError(
            f"encoder must have one row for each of the {pxy.shape[-2]} values of x, "
            f"got shape {tuple(encoder.shape)}"
        )
    p_x = pxy.sum(-1)
    rows = torch.where(p_x[..., None] > 0, pxy / p_x[..., None].clamp_min(1e-300), 0.0)
    second, _ = _second_order(p_x, rows, encoder)
    return 1 / second


def gaussian_bottleneck(cov: Any, dim_x: int, beta: Any) -> GaussianBottleneck:
    """The bottleneck of jointly Gaussian (X, Y) with covariance `cov`, X its first `dim_x` axes.

    >>> import torch
    >>> solution = gaussian_bottleneck([[1.0, 0.8], [0.8, 1.0]], 1, [1.0, 4.0])
    >>> [round(float(v), 4) for v in solution.complexity]
    [0.0, 0.837]
    """
    cov, beta = _checks.covariance(cov, "cov"), _checks.slopes(beta)
    _positive(dim_x, "dim_x")
    if dim_x >= cov.shape[-1]:
        raise ValueError(
            f"dim_x must leave at least one axis for Y: below {cov.shape[-1]}, got {dim_x}"
        )
    beta = beta.to(cov.device)
    shape = cov.shape[:-2] + beta.shape
    half_x = torch.linalg.cholesky(cov[..., :dim_x, :dim_x])
    half_y = torch.linalg.cholesky(cov[..., dim_x:, dim_x:])
    white = torch.linalg.solve_triangular(half_x, cov[..., :dim_x, dim_x:], upper=False)
    white = torch.linalg.solve_triangular(half_y, white.mT, upper=False).mT
    left, rho, _ = torch.linalg.svd(white)
    square = cov.new_zeros(*cov.shape[:-2], dim_x)
    square[..., : rho.shape[-1]] = rho**2
    directions = torch.linalg.solve_triangular(half_x.mT, left, upper=True).mT  # v_i' cov_x v_i = 1
    b = beta.reshape(-1)[:, None]
    square, directions = square[..., None, :], directions[..., None, :, :]
    gain = ((b * square - 1) / (1 - square)).clamp_min(0)
    complexity = gain.log1p() / 2
    relevance = complexity - (gain * (1 - square)).log1p() / 2
    return GaussianBottleneck(
        beta=beta.expand(shape),
        complexity=complexity.sum(-1).reshape(shape),
        relevance=relevance.sum(-1).reshape(shape),
        critical_betas=1 / square[..., 0, :],
        projection=(gain.sqrt()[..., None] * directions).reshape(*shape, dim_x, dim_x),
    )


def _device(p: Tensor) -> torch.device:
    return p.device


def _positive(value: Any, name: str, *, none: bool = False) -> None:
    if value is None and none:
        return
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(f"{name} must be a whole number of at least 1, got {value!r}")


def _pad(part: Tensor, columns: int) -> Tensor:
    return torch.nn.functional.pad(part, (0, columns - part.shape[-1]))


def _information(weights: Tensor, rows: Tensor) -> Tensor:
    """I between a variable with probabilities `weights` and one with conditionals `rows`."""
    mean = (weights[..., None] * rows).sum(-2)
    entropies = torch.xlogy(rows, rows).sum(-1)
    return (weights * entropies).sum(-1) - torch.xlogy(mean, mean).sum(-1)


def _sufficient(pxy: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Probabilities and rows p(y|s) of the minimal sufficient statistic s(x), and s itself."""
    p_x, seen = pxy.sum(1), pxy.sum(0) > 0
    rows = pxy[:, seen] / p_x[:, None].clamp_min(1e-300)
    rows = torch.where(p_x[:, None] > 0, rows, rows[p_x.argmax()])
    _, label = torch.unique((rows * 1e12).round(), dim=0, return_inverse=True)
    joint = pxy.new_zeros(int(label.max()) + 1, rows.shape[1]).index_add_(0, label, pxy[:, seen])
    p_s = joint.sum(1)
    return p_s, joint / p_s[:, None], label


def _second_order(p_x: Tensor, rows: Tensor, encoder: Tensor) -> tuple[Tensor, Tensor]:
    """lambda_2 of C_t for every cluster, and its direction as a relative change of p(x|t)."""
    joint = (p_x[..., None] * encoder).mT  # t x
    mass = joint.sum(-1, keepdim=True)
    r = torch.where(mass > 0, joint / mass.clamp_min(1e-300), 0.0)
    q = r @ rows
    root = torch.where(q > 0, 1 / q.clamp_min(1e-300).sqrt(), 0.0)
    scaled = r.sqrt()[..., None] * rows[..., None, :, :] * root[..., None, :]
    scaled = scaled - r.sqrt()[..., None] * q.sqrt()[..., None, :]  # takes out lambda_1 = 1
    left, value, _ = torch.linalg.svd(scaled, full_matrices=False)
    second = value[..., 0] ** 2
    second = torch.where(second > 1e-14, second, 0.0)
    direction = torch.where(r > 0, left[..., 0] / r.clamp_min(1e-300).sqrt(), 0.0)
    return second, direction


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


def _interpolate(at: Tensor, x: Tensor, y: Tensor) -> Tensor:
    if len(x) == 1:
        return torch.zeros_like(at)
    right = torch.searchsorted(x, at.contiguous()).clamp(1, len(x) - 1)
    left = right - 1
    share = ((at - x[left]) / (x[right] - x[left])).clamp(0, 1)
    return y[left] + share * (y[right] - y[left])


def _solve(
    pxy: Tensor, beta: Tensor, clusters: int | None, method: str, tol: float, max_iterations: int
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Marginal, encoder, I(X;T), I(T;Y) and residual for one joint and a vector of betas."""
    p_s, rows, label = _sufficient(pxy)
    limit = min(clusters or len(p_s), len(p_s))
    best = _anneal(p_s, rows, beta, limit, tol, max_iterations)
    if method == "global" and limit == len(p_s):
        start = torch.eye(len(p_s), dtype=pxy.dtype, device=pxy.device).expand(len(beta), -1, -1)
        other = _merge(p_s, rows, _relax(p_s, rows, beta, start, tol, max_iterations))
        other = _relax(p_s, rows, beta, other, tol, max_iterations)
        best = _lower(p_s, rows, beta, best, other)
    best = _merge(p_s, rows, best)
    weights = torch.einsum("x,kxt->kt", p_s, best)
    order = weights.argsort(dim=-1, descending=True, stable=True)
    weights = weights.gather(-1, order)
    best = best.gather(-1, order[:, None].expand_as(best))
    used = max(1, int((weights > 0).sum(-1).max()))
    weights, best = weights[:, :used], best[..., :used]
    complexity, relevance = _plane(p_s, rows, best)
    residual = (_update(p_s, rows, beta, best) - best).abs().sum(-1).amax(-1)
    return weights, best[:, label], complexity, relevance, residual


def _update(p_x: Tensor, rows: Tensor, beta: Tensor, encoder: Tensor) -> Tensor:
    """The right-hand side of the self-consistent equations."""
    weights = torch.einsum("x,kxt->kt", p_x, encoder)
    joint = torch.einsum("kxt,xy->kty", encoder * p_x[:, None], rows)
    log_q = (joint / weights[..., None].clamp_min(1e-300)).clamp_min(1e-300).log()
    logits = torch.where(weights > 0, weights.clamp_min(1e-300).log(), -math.inf)[:, None]
    logits = logits + beta[:, None, None] * torch.einsum("xy,kty->kxt", rows, log_q)
    return torch.softmax(logits, -1)


def _relax(
    p_x: Tensor, rows: Tensor, beta: Tensor, encoder: Tensor, tol: float, most: int
) -> Tensor:
    for _ in range(most):
        before, encoder = encoder, _update(p_x, rows, beta, encoder)
        if (encoder - before).abs().sum(-1).max() <= tol / 10:
            break
    return encoder


def _anneal(p_x: Tensor, rows: Tensor, beta: Tensor, limit: int, tol: float, most: int) -> Tensor:
    """From one cluster, split whatever is unstable and relax, until nothing is."""
    encoder = p_x.new_ones(len(beta), len(p_x), 1)
    for _ in range(2 * limit):
        second, direction = _second_order(p_x, rows, encoder)
        used = torch.einsum("x,kxt->kt", p_x, encoder) > 0
        room = limit - used.sum(-1, keepdim=True)
        unstable = used & (beta[:, None] * second > 1 + 1e-9)
        unstable &= unstable.cumsum(-1) <= room
        if not unstable.any():
            break
        size = 0.5 / direction.abs().amax(-1, keepdim=True).clamp_min(1e-300)
        tilt = torch.where(unstable[..., None], size * direction, 0.0).mT
        second_half = torch.where(unstable[:, None], encoder * (1 - tilt) / 2, 0.0)
        encoder = torch.cat([encoder - second_half, second_half], -1)
        encoder = _merge(p_x, rows, _relax(p_x, rows, beta, encoder, tol, most))
        order = torch.einsum("x,kxt->kt", p_x, encoder).argsort(-1, descending=True)
        encoder = encoder.gather(-1, order[:, None].expand_as(encoder))
        keep = max(1, int((encoder.amax(1) > 0).sum(-1).max()))
        encoder = encoder[..., :keep]
    return encoder


def _merge(p_x: Tensor, rows: Tensor, encoder: Tensor) -> Tensor:
    """Join clusters with the same decoder, drop those without mass."""
    weights = torch.einsum("x,kxt->kt", p_x, encoder)
    q = torch.einsum("kxt,xy->kty", encoder * p_x[:, None], rows)
    q = q / weights[..., None].clamp_min(1e-300)
    twin = (q[:, :, None] - q[:, None]).abs().sum(-1) < 1e-5
    first = twin.to(torch.int8).argmax(-1)  # the first cluster with this decoder
    merged = torch.zeros_like(encoder).scatter_add_(-1, first[:, None].expand_as(encoder), encoder)
    weights = torch.einsum("x,kxt->kt", p_x, merged)
    merged = torch.where((weights > 1e-12)[:, None], merged, 0.0)
    return merged / merged.sum(-1, keepdim=True)


def _plane(p_x: Tensor, rows: Tensor, encoder: Tensor) -> tuple[Tensor, Tensor]:
    """I(X;T) and I(T;Y)."""
    weights = torch.einsum("x,kxt->kt", p_x, encoder)
    joint = torch.einsum("kxt,xy->kty", encoder * p_x[:, None], rows)
    q = joint / weights[..., None].clamp_min(1e-300)
    return (
        _information(p_x.expand(len(encoder), -1), encoder).clamp_min(0),
        _information(weights, q).clamp_min(0),
    )


def _lower(p_x: Tensor, rows: Tensor, beta: Tensor, one: Tensor, other: Tensor) -> Tensor:
    values = []
    for encoder in (one, other):
        complexity, relevance = _plane(p_x, rows, encoder)
        values.append(complexity - beta * relevance)
    most = max(one.shape[-1], other.shape[-1])
    better = values[1] < values[0] - 1e-12
    return torch.where(better[:, None, None], _pad(other, most), _pad(one, most))
