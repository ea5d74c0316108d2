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
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from jaxtyping import Bool, Float64, Int64
from torch import Tensor

from ibbook import _checks
from ibbook.rate_distortion import _minimise

TINY, LOG_TINY = 1e-300, -690.0
BLUR, TRACE = 0.05, 1e-6  # shares of p(y) mixed into starting decoders
MEMORY = 6  # steps that Anderson's acceleration looks back on
PATIENCE = 56  # iterations before weights are found by the convex solver
CLIMB = 12  # mean-shift steps in the search for a missing cluster
EXTRA = 8  # missing clusters added at a time
LONGEST = 64  # iterations between two looks at what has settled
GAP = 1e-10  # ln D above which a cluster is missing
MERGE = 4e-6  # beta chi^2 between decoders below which clusters are one
ENVELOPE_ROUNDS = 3


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
    gap: Float64[Tensor, "*batch k"]  # no cluster found by searching lowers L by more
    converged: Bool[Tensor, "*batch k"]  # residual <= tol

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
    max_iterations: int = 1000,
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
    most = max(encoder.shape[-1] for encoder, _, _ in solved)
    encoder = torch.stack([_pad(encoder, most) for encoder, _, _ in solved])
    weights = torch.einsum("bx,bkxt->bkt", joints.sum(-1), encoder)
    mass = torch.einsum("bkxt,bxy->bkty", encoder, joints)
    used = weights[..., None] > 0
    decoder = torch.where(
        used, mass / weights[..., None].clamp_min(TINY), joints.sum(1)[:, None, None]
    )
    residual = torch.stack([residual for _, residual, _ in solved])
    parts = {
        "complexity": _information(joints.sum(-1)[:, None], encoder).clamp_min(0),
        "relevance": _information(weights, decoder).clamp_min(0),
        "encoder": encoder,
        "marginal": weights,
        "decoder": decoder,
        "clusters": (weights > 0).sum(-1),
        "residual": residual,
        "gap": torch.stack([gap for _, _, gap in solved]),
        "converged": residual <= tol,
    }
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


@dataclass(frozen=True)
class _Problem:
    """One source, reduced to its sufficient statistic s, at many betas."""

    p: Float64[Tensor, "s"]
    rows: Float64[Tensor, "s y"]  # p(y|s)
    beta: Float64[Tensor, "k"]
    tol: float
    max_iterations: int

    def at(self, chosen: Tensor) -> _Problem:
        return replace(self, beta=self.beta[chosen])


def _solve(
    pxy: Tensor, beta: Tensor, clusters: int | None, method: str, tol: float, max_iterations: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Encoders, residuals and gaps of one joint for a vector of betas, heaviest clusters first."""
    p, rows, label = _sufficient(pxy)
    problem = _Problem(p, rows, beta, tol, max_iterations)
    limit = min(clusters or len(p), len(p))
    encoder = _trivial(problem)
    second, direction = _second_order(p, rows, encoder[0, :, :1])
    unstable = beta * second > 1
    search = unstable if method == "annealing" else beta > 1  # up to 1, L >= 0 by data processing
    if limit > 1 and search.any():
        part = problem.at(search)
        encoder[search] = _lowest(part, limit, direction[0], unstable[search])
    weights = _weights(problem, encoder)
    order = weights.argsort(dim=-1, descending=True, stable=True)
    order = order[:, : int((weights > 0).sum(-1).max())]
    encoder = encoder.gather(-1, order[:, None].expand(-1, len(p), -1))
    log_partition, update, _ = _step(problem, _joint(problem, encoder))
    residual = (update - encoder).abs().sum(-1).amax(-1)
    gap = _search(problem, log_partition)[0].amax(-1).clamp_min(0)
    return encoder[:, label], residual, gap


def _lowest(problem: _Problem, limit: int, direction: Tensor, unstable: Tensor) -> Tensor:
    """The encoder with the lowest functional found, for every beta."""
    p, rows, beta = problem.p, problem.rows, problem.beta
    encoder = _descend(problem, _blurred(problem).expand(len(beta), -1, -1), limit)
    stuck = unstable & ((_weights(problem, encoder) > 0).sum(-1) == 1)
    if stuck.any():  # just above the critical beta: start along the unstable direction
        size = 0.9 / direction.abs().max() * p.new_tensor([1, 0.3, 0.1, 0.03, 0.01, 0.003])
        tilted = 1 + torch.cat([size, -size])[:, None] * direction
        atoms = (p * tilted @ rows / len(tilted)).expand(int(stuck.sum()), -1, -1)
        part = problem.at(stuck)
        encoder[stuck] = _descend(part, _reweight(part, atoms), limit)
    known = [_trivial(problem)[:1]]
    if limit == len(p):
        known.append(torch.eye(len(p), dtype=p.dtype, device=p.device)[None])
    for _ in range(ENVELOPE_ROUNDS):  # what was found at one beta may be better at another
        choices = torch.cat([encoder, *known])
        complexity, relevance = _plane(problem, choices)
        value = complexity - beta[:, None] * relevance
        lowest, which = value.min(-1)
        improve = lowest < value.diagonal() - 10 * GAP * (1 + lowest.abs())
        if not improve.any():
            break
        part, start = problem.at(improve), choices[which[improve]]
        joint = _joint(part, start)
        joint = (1 - TRACE) * joint + TRACE * joint.sum(-1, keepdim=True) * (p @ rows)
        encoder[improve] = _lower(part, start, _descend(part, joint, limit))
    return encoder


def _descend(problem: _Problem, joint: Tensor, limit: int) -> Tensor:
    """The encoder reached from p(t, y), with as many clusters as help, or at most `limit`."""
    size = len(problem.p)
    joint = _settle(problem, joint, search=True)
    if joint.shape[1] > limit:
        joint = _settle(problem, _agglomerate(problem, joint, limit), search=False)
    return _pad(_step(problem, joint)[1], size)[..., :size]


def _settle(problem: _Problem, joint: Tensor, search: bool) -> Tensor:
    """Relax, merge, look for missing clusters, weigh them; until nothing moves and none is missing.

    The weighing is a convex problem, rate-distortion with the decoders as reproductions, so it
    removes the superfluous clusters that plain iteration takes forever to starve.
    """
    settled = joint.new_zeros(len(joint), len(problem.p) + EXTRA, joint.shape[-1])
    index = torch.arange(len(joint), device=joint.device)
    steps, spent = 8, 0
    while True:
        joint = _merge(problem, _relax(problem, joint, steps))
        spent += steps
        log_partition, encoder, after = _step(problem, joint)
        residual = (_step(problem, after)[1] - encoder).abs().sum(-1).amax(-1)
        done = residual <= problem.tol / 2
        added = None
        if search and done.any():
            level, found = _search(problem.at(done), log_partition[done])
            level, best = level.topk(min(EXTRA, level.shape[-1]), dim=-1)
            found = found.gather(1, best[..., None].expand(-1, -1, found.shape[-1]))
            missing = level > GAP
            added = joint.new_zeros(len(joint), *found.shape[1:])
            added[done] = torch.where(missing[..., None], 1e-3 * found, 0.0)
            done[done.clone()] = ~missing.any(-1)
        settled[index, : joint.shape[1]] = joint
        settled[index, joint.shape[1] :] = 0
        if done.all() or spent >= problem.max_iterations:
            return _compact(settled)
        index, problem, joint = index[~done], problem.at(~done), joint[~done]
        if added is not None:
            joint = torch.cat([joint, added[~done]], 1)
        if added is not None or spent >= PATIENCE:
            joint = _reweight(problem, joint)
        joint = _compact(joint)
        steps = min(2 * steps, LONGEST)


def _step(problem: _Problem, joint: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """ln Z(s) up to a constant in s, the encoder of the clusters p(t, y), and their update."""
    weights = joint.sum(-1)
    log_weights = weights.log()
    log_decoder = joint.clamp_min(TINY).log() - log_weights.clamp_min(LOG_TINY)[..., None]
    logits = problem.rows @ (problem.beta[:, None, None] * log_decoder).mT + log_weights[:, None]
    log_partition = logits.logsumexp(-1)
    encoder = (logits - log_partition[..., None]).exp_()
    return log_partition, encoder, _joint(problem, encoder)


def _joint(problem: _Problem, encoder: Tensor) -> Tensor:
    """p(t, y)."""
    return (encoder * problem.p[:, None]).mT @ problem.rows


def _weights(problem: _Problem, encoder: Tensor) -> Tensor:
    """p(t)."""
    return torch.einsum("s,kst->kt", problem.p, encoder)


def _trivial(problem: _Problem) -> Tensor:
    """Everything in the first of as many clusters as there can be."""
    size = len(problem.p)
    encoder = problem.p.new_zeros(len(problem.beta), size, size)
    encoder[..., 0] = 1
    return encoder


def _blurred(problem: _Problem) -> Tensor:
    """p(t, y) with one cluster for each s, slightly blurred: no iteration ever leaves a zero."""
    p, rows = problem.p, problem.rows
    return p[:, None] * ((1 - BLUR) * rows + BLUR * (p @ rows))


def _relax(problem: _Problem, joint: Tensor, steps: int) -> Tensor:
    """Anderson's acceleration of the self-consistent equations, never uphill.

    It works on sqrt p(t, y), where distances are those of information geometry. The bound
    -E ln Z falls at every plain step; where the accelerated one raises it, the plain one is taken.
    """
    shape, memory = joint.shape, min(MEMORY, steps)
    moves = joint.new_zeros(len(joint), memory, shape[1] * shape[2])
    changes = torch.zeros_like(moves)
    gram = joint.new_zeros(len(joint), memory, memory)
    ridge = 1e-10 * torch.eye(memory, dtype=joint.dtype, device=joint.device)
    lowest = joint.new_full((len(joint),), math.inf)
    plain, fresh = joint, torch.ones(len(joint), dtype=torch.bool, device=joint.device)
    last_image = last_change = joint.flatten(1)
    for step in range(steps):
        log_partition, _, after = _step(problem, joint)
        value = -(log_partition @ problem.p)
        uphill = value > lowest + 1e-13 * (1 + value.abs())
        image = after.sqrt().flatten(1)
        change = image - joint.sqrt().flatten(1)
        slot, usable = step % memory, ~(uphill | fresh)[:, None]
        moves[:, slot] = torch.where(usable, image - last_image, 0.0)
        changes[:, slot] = torch.where(usable, change - last_change, 0.0)
        if uphill.any():
            changes[uphill] = 0
            gram[uphill] = 0
        row = (changes @ changes[:, slot, :, None])[..., 0]
        gram[:, slot], gram[:, :, slot] = row, row
        scale = gram.diagonal(dim1=-2, dim2=-1)
        scale = torch.where(scale > 0, scale.clamp_min(TINY).rsqrt(), 0.0)
        normal = gram * scale[:, :, None] * scale[:, None] + ridge
        normal = normal + torch.diag_embed((scale == 0).to(gram))
        right = (changes @ change[..., None])[..., 0] * scale
        blend = torch.linalg.solve(normal, right[..., None])[..., 0] * scale
        ahead = image - (blend[:, None] @ moves)[:, 0]
        ahead = torch.maximum(ahead, 0.1 * image).square_()
        ahead = (ahead / ahead.sum(-1, keepdim=True)).reshape(shape)
        plain = torch.where(uphill[:, None, None], plain, after)
        lowest = torch.minimum(lowest, value)
        joint = torch.where(uphill[:, None, None], plain, ahead)
        last_image, last_change, fresh = image, change, uphill
    return plain


def _search(problem: _Problem, log_partition: Tensor) -> tuple[Tensor, Tensor]:
    """ln D(q) and q, climbed from every row p(y|s) by mean shift; above 0, a cluster is missing."""
    p, rows, beta = problem.p, problem.rows, problem.beta[:, None, None]
    offset = (p.log() - log_partition)[..., None]
    decoder = (_blurred(problem) / p[:, None]).expand(len(beta), -1, -1)
    for _ in range(CLIMB):
        logits = offset + beta * (rows @ decoder.clamp_min(TINY).log().mT)
        decoder = logits.softmax(1).mT @ rows
    logits = offset + beta * (rows @ decoder.clamp_min(TINY).log().mT)
    return logits.logsumexp(1), decoder


def _reweight(problem: _Problem, joint: Tensor) -> Tensor:
    """The same decoders with their optimal weights."""
    weights = joint.sum(-1)
    log_decoder = joint.clamp_min(TINY).log() - weights.clamp_min(TINY).log()[..., None]
    logits = problem.rows @ (problem.beta[:, None, None] * log_decoder).mT
    logits = torch.where(weights[:, None] > 0, logits, -math.inf)
    kernel = (logits - logits.amax(-1, keepdim=True)).exp()
    best, _ = _minimise(problem.p.expand(len(joint), -1), kernel, 1e-10, 50)
    best = torch.where((weights > 0) & (best > 1e-8), best, 0.0)
    joint = joint * (best / weights.clamp_min(TINY))[..., None]
    return joint / joint.sum((-2, -1), keepdim=True)


def _merge(problem: _Problem, joint: Tensor) -> Tensor:
    """Join the clusters whose decoders no x can tell apart, drop those without mass."""
    weights = joint.sum(-1)
    root = (joint / weights.clamp_min(TINY)[..., None]).sqrt()
    apart = problem.beta[:, None, None] * 8 * (1 - root @ root.mT)  # beta chi^2
    used = weights > 0
    twin = (apart < MERGE) & used[:, :, None] & used[:, None]
    own = torch.arange(joint.shape[1], device=joint.device)
    first = torch.where(used, twin.to(torch.int8).argmax(-1), own)
    joint = torch.zeros_like(joint).scatter_add_(1, first[..., None].expand_as(joint), joint)
    joint = torch.where(joint.sum(-1, keepdim=True) > 1e-10, joint, 0.0)
    return _compact(joint / joint.sum((-2, -1), keepdim=True))


def _agglomerate(problem: _Problem, joint: Tensor, limit: int) -> Tensor:
    """Join the pair of clusters that costs L least, until `limit` are left."""
    _, encoder, joint = _step(problem, joint)
    sources = (encoder * problem.p[:, None]).mT  # p(t, s)
    beta = problem.beta[:, None]
    own = torch.arange(joint.shape[1], device=joint.device)
    batch = torch.arange(len(joint), device=joint.device)

    def price(i: Tensor) -> Tensor:
        with_s, with_y = sources[batch, i, None], joint[batch, i, None]
        cost = _surplus(sources + with_s) - _surplus(sources) - _surplus(with_s)
        cost = cost - beta * (_surplus(joint + with_y) - _surplus(joint) - _surplus(with_y))
        out = (own == i[:, None]) | (joint.sum(-1) == 0) | (with_y.sum(-1) == 0)
        return torch.where(out, math.inf, cost)

    cost = torch.stack([price(own[i].expand(len(joint))) for i in own.tolist()], 1)
    while True:
        many = (joint.sum(-1) > 0).sum(-1) > limit
        if not many.any():
            return _compact(joint)
        pair = cost.flatten(1).argmin(-1)
        into, gone = pair // len(own), pair % len(own)
        for part in (sources, joint):
            moved = torch.where(many[:, None], part[batch, gone], 0.0)
            part[batch, into] += moved
            part[batch, gone] -= moved
        fresh, empty = price(into), torch.where(many[:, None], math.inf, cost[batch, gone])
        cost[batch, into], cost[batch, :, into] = fresh, fresh
        cost[batch, gone], cost[batch, :, gone] = empty, empty


def _surplus(mass: Tensor) -> Tensor:
    """sum_i m_i ln(m_i / sum_j m_j) of unnormalised masses."""
    return torch.xlogy(mass, mass).sum(-1) - torch.xlogy(mass.sum(-1), mass.sum(-1))


def _compact(joint: Tensor) -> Tensor:
    """The clusters with mass first, and no more columns than the largest solution needs."""
    used = joint.sum(-1) > 0
    order = used.to(torch.int8).argsort(dim=1, descending=True, stable=True)
    order = order[:, : int(used.sum(-1).max())]
    return joint.gather(1, order[..., None].expand(-1, -1, joint.shape[-1]))


def _plane(problem: _Problem, encoder: Tensor) -> tuple[Tensor, Tensor]:
    """I(X;T) and I(T;Y)."""
    weights = _weights(problem, encoder)
    decoder = _joint(problem, encoder) / weights.clamp_min(TINY)[..., None]
    complexity = _information(problem.p.expand(len(encoder), -1), encoder)
    return complexity.clamp_min(0), _information(weights, decoder).clamp_min(0)


def _lower(problem: _Problem, one: Tensor, other: Tensor) -> Tensor:
    """Of two encoders for every beta, the one with the lower functional."""
    values = [x - problem.beta * y for x, y in (_plane(problem, e) for e in (one, other))]
    return torch.where((values[1] <= values[0])[:, None, None], other, one)
