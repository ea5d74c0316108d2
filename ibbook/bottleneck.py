"""The information bottleneck: compress X into T and keep what T says about Y.

Minimise L = I(X;T) - beta I(T;Y) over encoders p(t|x) (Tishby, Pereira and Bialek 1999). Every
stationary point solves the self-consistent equations

    p(t|x) = p(t) exp(-beta KL[p(y|x) || p(y|t)]) / Z(x),    p(y|t) = sum_x p(y|x) p(x|t).

They have many solutions, since L is not convex in the encoder. But with the decoders p(y|t) fixed,
L is convex in their weights p(t): it is rate-distortion with the distortion KL. Let the decoders
be *all* distributions q on Y, and the problem is convex as a whole: a mixture of infinitely many
components, of which few have mass (Witsenhausen and Wyner 1975; for mixtures, Kiefer and Wolfowitz
1956, Lindsay 1983). It is solved if and only if no q, with mass or without, has

    D(q) = sum_x p(x) exp(-beta KL[p(y|x) || q]) / Z(x)  >  1,

and L is never lower by more than ln max D. Close to a cluster, D > 1 is the second-order test that
it splits; far from all clusters it finds the ones that no gradual splitting finds.

Information is in nats. Lists and numpy arrays are accepted wherever a tensor is; the arithmetic is
float64 on the device of the first argument.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from jaxtyping import Bool, Float64, Int64
from numpy.typing import ArrayLike
from torch import Tensor

from ibbook import _checks
from ibbook._threads import threads
from ibbook.rate_distortion import optimal_marginal

TINY, LOG_TINY = 1e-300, -690.0
BLUR, TRACE = 0.05, 1e-6  # shares of p(y) mixed into starting decoders
SMALL = 128 * 128  # entries of a joint
MEMORY = 6  # steps that Anderson's acceleration looks back on
PATIENCE = 56  # iterations before weights are found by the convex solver
CLIMBS, LEAP = 6, 30.0  # accelerated mean-shift steps in the search for a missing cluster
POWERS, UNSTABLE = 24, 1 + 1e-7  # steps and threshold of the search for a cluster that splits
EXTRA = 8  # missing clusters added at a time
LONGEST = 64  # iterations between two looks at what has settled
GAP = 1e-10  # ln D above which a cluster is missing
FAINT = 1e-6  # mass below which a cluster is left to starve; a rarer x keeps its own
MERGE = 4e-6  # beta chi^2 between decoders below which clusters are one
ENVELOPE_ROUNDS = 3


@dataclass(frozen=True)
class Bottleneck:
    """Encoders for every beta, and where they lie in the information plane.

    `batch` are the leading axes of the joint, `k` the axis of beta, which a scalar beta does not
    have. Clusters come heaviest first. A solution with fewer than t clusters has mass 0 in its last
    columns, and there the decoder is p(y).
    """

    beta: Float64[Tensor, "*batch k"]
    complexity: Float64[Tensor, "*batch k"]  # I(X;T)
    relevance: Float64[Tensor, "*batch k"]  # I(T;Y)
    encoder: Float64[Tensor, "*batch k x t"]  # p(t|x)
    marginal: Float64[Tensor, "*batch k t"]  # p(t)
    decoder: Float64[Tensor, "*batch k t y"]  # p(y|t)
    clusters: Int64[Tensor, "*batch k"]  # how many have mass
    residual: Float64[Tensor, "*batch k"]  # max over x of sum_t |p(t|x) - its right-hand side|
    gap: Float64[Tensor, "*batch k"]  # ln of the largest D(q) that a search finds
    converged: Bool[Tensor, "*batch k"]  # residual <= tol

    @property
    def functional(self) -> Float64[Tensor, "*batch k"]:
        """L = I(X;T) - beta I(T;Y)."""
        return self.complexity - self.beta * self.relevance


@dataclass(frozen=True)
class GaussianBottleneck:
    """The bottleneck of jointly Gaussian X and Y for every beta; see `gaussian_bottleneck`."""

    beta: Float64[Tensor, "*batch k"]
    complexity: Float64[Tensor, "*batch k"]  # I(X;T)
    relevance: Float64[Tensor, "*batch k"]  # I(T;Y)
    critical_betas: Float64[Tensor, "*batch dim_x"]  # ascending; inf where a correlation is 0
    projection: Float64[Tensor, "*batch k dim_x dim_x"]  # T = projection X + N(0, 1)


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


def information_bottleneck(
    pxy: Float64[Tensor, "*batch x y"] | ArrayLike,
    beta: Float64[Tensor, "k"] | ArrayLike | float,
    *,
    clusters: int | None = None,
    method: Literal["annealing", "global"] = "annealing",
    tol: float = 1e-8,
    max_iterations: int = 1000,
) -> Bottleneck:
    """Encoders p(t|x) that minimise I(X;T) - beta I(T;Y), for every beta at once.

    Every beta starts from clusters of all sizes, those that the agglomerative bottleneck forms from
    single x (values of x with the same p(y|x) are one). They get their weights from a convex
    solver, move by the self-consistent equations and merge where their decoders coincide. A cluster
    that is unstable is split, and new ones join as long as a search finds a decoder with D > 1.
    Last, an encoder found at one beta is tried at the others.

    `clusters` bounds their number: then those are joined that cost least, and the result is a local
    minimum. Without a bound, a `gap` near 0 says that the search found nothing better. That is
    strong evidence but no proof, since the search is finite.

    The two methods differ only in when they leave the trivial solution, T independent of X:

    - "annealing" (Rose 1998) stays as long as it is stable, that is up to and including
      `critical_beta`, and never above. Up to there the result is exactly trivial.
    - "global" leaves it as soon as something is lower. This is at beta = 1/eta, where
      eta = sup KL(r(y) || p(y)) / KL(r(x) || p(x)) is the contraction coefficient of the channel
      (Anantharam et al. 2013), and eta >= rho^2. For a symmetric binary channel both
      agree. For a joint without symmetry 1/eta is smaller: a rare but telling x is then worth a
      cluster of its own before any small change is worth its cost. In between the trivial
      solution is stable to splitting but not optimal, and its `gap` is above 0.

    Where Y = f(X), the curve is the straight line I(T;Y) = I(X;T) up to H(Y) and flat beyond, so
    no beta has an inner point of it as its only solution: for beta > 1 every solution
    is the corner T = f(X), for beta < 1 it is trivial, and at beta = 1, the critical beta, every
    point is optimal and the trivial one is returned (Kolchinsky, Tracey and Van Kuyk 2019). Inner
    points come from `information_curve(...).at`, which mixes codes.

    Rows of mass 0 get the encoder of the heaviest row. `converged` is true where the
    self-consistent equations hold to `tol`. Where decoders lie close on a curve, as for a finely
    discretised Gaussian, the number of clusters is ill-conditioned: then L is right to `gap` long
    before the encoder is.

    >>> solution = information_bottleneck([[0.45, 0.05], [0.05, 0.45]], [1.5, 3.0])
    >>> solution.clusters.tolist()
    [1, 2]
    >>> solution.encoder[1].numpy().round(3)
    array([[0.994, 0.006],
           [0.006, 0.994]])
    """
    pxy = _checks.distribution(pxy, "pxy", axes=2)
    beta = _checks.slopes(beta).to(pxy.device)
    _positive(clusters, "clusters", none=True)
    _positive(max_iterations, "max_iterations")
    if not isinstance(tol, int | float) or not 0 < tol < math.inf:
        raise ValueError(f"tol must be a positive number, got {tol!r}; 1e-8 is usual")
    if method not in ("annealing", "global"):
        raise ValueError(f'method must be "annealing" or "global", got {method!r}')
    joints = pxy.reshape(-1, *pxy.shape[-2:])
    # several threads wait for each other longer than they work on a small joint
    with threads(1 if joints[0].numel() <= SMALL else torch.get_num_threads()):
        solved = [
            _solve(p, beta.reshape(-1), clusters, method, tol, max_iterations) for p in joints
        ]
    most = max(encoder.shape[-1] for encoder, _, _ in solved)
    encoder = torch.stack([_pad(encoder, most) for encoder, _, _ in solved])
    weights = torch.einsum("bx,bkxt->bkt", joints.sum(-1), encoder)
    mass = torch.einsum("bkxt,bxy->bkty", encoder, joints)
    decoder = torch.where(
        weights[..., None] > 0,
        mass / weights[..., None].clamp_min(TINY),
        joints.sum(1)[:, None, None],
    )
    nontrivial = (weights > 0).sum(-1) > 1
    complexity = _information(joints.sum(-1)[:, None], encoder).clamp_min(0)
    relevance = _information(weights, decoder).clamp_min(0)
    residual = torch.stack([residual for _, residual, _ in solved])
    parts = {
        "complexity": torch.where(nontrivial, complexity, 0.0),
        "relevance": torch.where(nontrivial, relevance, 0.0),
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
    p, rows, _ = _sufficient(pxy)
    ends = pxy.new_tensor(
        [[0, 0, 0], [math.inf, torch.special.entr(p).sum(), _information(p, rows)]]
    )
    beta, complexity, relevance = torch.cat(
        [ends, torch.stack([points.beta, points.complexity, points.relevance], 1)]
    ).T
    keep = _hull(complexity.tolist(), relevance.tolist())
    return InformationCurve(beta[keep], complexity[keep], relevance[keep])


def critical_beta(
    pxy: Float64[Tensor, "*batch x y"] | ArrayLike,
) -> Float64[Tensor, "*batch"]:
    """The beta above which the trivial solution is unstable, its first bifurcation: 1/rho^2.

    rho is the maximal correlation of X and Y, the second singular value of
    p(x,y) / sqrt(p(x) p(y)); inf for independent X and Y. Above it the trivial solution is never
    optimal. Below, it is stable to splitting; see `information_bottleneck` for when the global one.

    >>> round(float(critical_beta([[0.45, 0.05], [0.05, 0.45]])), 4)
    1.5625
    """
    pxy = _checks.distribution(pxy, "pxy", axes=2)
    return splitting_betas(pxy, pxy.new_ones(*pxy.shape[:-1], 1))[..., 0]


def splitting_betas(
    pxy: Float64[Tensor, "x y"] | ArrayLike,
    encoder: Float64[Tensor, "*batch x t"] | ArrayLike,
) -> Float64[Tensor, "*batch t"]:
    """The beta above which each cluster is unstable to splitting in two: 1/lambda_2(C_t).

    C_t(x, x') = sum_y p(y|x) p(y|x') p(x'|t) / p(y|t) has the largest eigenvalue 1. Two copies of
    cluster t drift apart under the self-consistent equations if and only if
    beta lambda_2(C_t) > 1 (Rose, Gurewitz and Fox 1990 for clustering). A solution at beta is
    stable if all its splitting betas are above beta; a branch of solutions bifurcates where it
    meets one of its own. inf for a cluster without mass or with a single decoder in it.

    Here two pairs of rows, one cluster each; then all four rows in one:

    >>> pxy = torch.tensor([[8, 2, 0, 0], [2, 8, 0, 0], [0, 0, 7, 3], [0, 0, 3, 7]]) / 40
    >>> pairs = torch.tensor([[1, 0], [1, 0], [0, 1], [0, 1]])
    >>> splitting_betas(pxy, pairs)
    tensor([2.7778, 6.2500], dtype=torch.float64)
    >>> splitting_betas(pxy, torch.ones(4, 1))
    tensor([1.], dtype=torch.float64)
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


def gaussian_bottleneck(
    cov: Float64[Tensor, "*batch n n"] | ArrayLike,
    dim_x: int,
    beta: Float64[Tensor, "k"] | ArrayLike | float,
) -> GaussianBottleneck:
    """The bottleneck of jointly Gaussian (X, Y), in closed form; X are the first `dim_x` axes.

    With rho_i the canonical correlations, direction i is used where beta > 1/rho_i^2. There

        I(X;T) = sum_i ln[(beta - 1) rho_i^2 / (1 - rho_i^2)] / 2,
        I(T;Y) = I(X;T) - sum_i ln[beta rho_i^2] / 2,

    and row i of the projection is sqrt((beta rho_i^2 - 1) / (1 - rho_i^2)) v_i', with v_i the
    canonical direction of unit variance (Chechik, Globerson, Tishby and Weiss 2005, with
    lambda_i = 1 - rho_i^2 in theorem 3.1).

    >>> solution = gaussian_bottleneck([[1.0, 0.8], [0.8, 1.0]], 1, [1.0, 4.0])
    >>> solution.critical_betas, solution.complexity
    (tensor([1.5625], dtype=torch.float64), tensor([0.0000, 0.8370], dtype=torch.float64))
    """
    cov = _checks.covariance(cov, "cov")
    beta = _checks.slopes(beta).to(cov.device)
    _positive(dim_x, "dim_x")
    if dim_x >= cov.shape[-1]:
        raise ValueError(
            f"dim_x must leave at least one axis for Y: below {cov.shape[-1]}, got {dim_x}"
        )
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


@dataclass(frozen=True)
class _Problem:
    """One source, reduced to its sufficient statistic s, at many betas."""

    p: Float64[Tensor, "s"]
    rows: Float64[Tensor, "s y"]  # p(y|s)
    beta: Float64[Tensor, "k"]
    starts: Float64[Tensor, "n y"]  # decoders at every scale, none with a zero
    tol: float
    max_iterations: int

    def at(self, chosen: Tensor) -> _Problem:
        return replace(self, beta=self.beta[chosen])


def _solve(
    pxy: Tensor, beta: Tensor, clusters: int | None, method: str, tol: float, max_iterations: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Encoders, residuals and gaps of one joint for a vector of betas, heaviest clusters first."""
    p, rows, label = _sufficient(pxy)
    problem = _Problem(p, rows, beta, _tree(p, rows), tol, max_iterations)
    limit = min(clusters or len(p), len(p))
    encoder = _trivial(problem)
    second, direction = _second_order(p, rows, encoder[0, :, :1])
    unstable = beta * second > 1 + 1e-12
    search = unstable if method == "annealing" else beta > 1  # up to 1, L >= 0 by data processing
    if limit > 1 and search.any():
        part = problem.at(search)
        encoder[search] = _lowest(part, limit, direction[0], unstable[search])
    weights = _weights(problem, encoder)
    p_x = pxy.sum(1)
    place = p_x * torch.arange(len(p_x), device=p.device) / len(p_x)
    middle = torch.einsum("x,kxt->kt", place, encoder[:, label]) / weights.clamp_min(TINY)
    rank = middle - (1e6 * weights).round()  # heaviest first; of ties, the one of lower x
    order = torch.where(weights > 0, rank, math.inf).argsort(dim=-1)
    order = order[:, : int((weights > 0).sum(-1).max())]
    encoder = encoder.gather(-1, order[:, None].expand(-1, len(p), -1))
    log_partition, update, _ = _step(problem, _joint(problem, encoder))
    residual = (update - encoder).abs().sum(-1).amax(-1)
    gap = _search(problem, log_partition)[0].amax(-1).clamp_min(0)
    return encoder[:, label], residual, gap


def _lowest(problem: _Problem, limit: int, direction: Tensor, unstable: Tensor) -> Tensor:
    """The encoder with the lowest functional found, for every beta."""
    p, rows, beta = problem.p, problem.rows, problem.beta
    start = (problem.starts / len(problem.starts)).expand(len(beta), -1, -1)
    encoder = _descend(problem, _reweight(problem, start, 1e-4), limit)
    stuck = unstable & ((_weights(problem, encoder) > 0).sum(-1) == 1)
    if stuck.any():  # just above the critical beta: start along the unstable direction
        atoms = (_tilted(p, direction) @ rows / 8).expand(int(stuck.sum()), -1, -1)
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
    return _without_faint(problem, encoder)


def _without_faint(problem: _Problem, encoder: Tensor) -> Tensor:
    """The same solutions, settled again without the clusters that have next to no mass."""
    weights = _weights(problem, encoder)
    faint = (weights > 0) & (weights < min(FAINT, problem.p.min().item() / 2))
    redo = faint.any(-1)
    if redo.any():
        part = problem.at(redo)
        kept = torch.where(faint[redo][:, None], 0.0, encoder[redo])
        joint = _compact(_joint(part, kept / kept.sum(-1, keepdim=True)))
        size = encoder.shape[-1]
        settled = _step(part, _settle(part, joint, search=False))[1]
        encoder[redo] = _pad(settled, size)[..., :size]
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
    settled = joint.new_zeros(len(joint), 2 * len(problem.p) + 2 * EXTRA, joint.shape[-1])
    index = torch.arange(len(joint), device=joint.device)
    steps, spent = 8, 0
    while True:
        joint = _merge(problem, _relax(problem, joint, steps))
        spent += steps
        log_partition, encoder, after = _step(problem, joint)
        residual = (_step(problem, after)[1] - encoder).abs().sum(-1).amax(-1)
        done = residual <= problem.tol / 2
        room = search & ((joint.sum(-1) > 0).sum(-1) <= len(problem.p))
        added = joint.new_zeros(len(joint), 2 * EXTRA, joint.shape[-1])
        if (look := done & room).any():
            level, found = _search(problem.at(look), log_partition[look])
            level, best = level.topk(min(EXTRA, level.shape[-1]), dim=-1)
            found = found.gather(1, best[..., None].expand(-1, -1, found.shape[-1]))
            added[look, : found.shape[1]] = torch.where((level > GAP)[..., None], found, 0.0)
        if (look := (done | (spent >= PATIENCE)) & room).any():
            added[look, EXTRA:] = _splits(problem.at(look), encoder[look])
        added *= 1e-3
        done &= (added == 0).flatten(1).all(-1)
        settled[index, : joint.shape[1]] = joint
        settled[index, joint.shape[1] :] = 0
        if done.all() or spent >= problem.max_iterations:
            return _compact(settled)
        index, problem, joint = index[~done], problem.at(~done), joint[~done]
        added = added[~done]
        if spent >= PATIENCE or added.any():
            joint = _reweight(problem, torch.cat([joint, added], 1))
        joint = _compact(joint)
        steps = min(steps + steps // 2, LONGEST)


def _step(problem: _Problem, joint: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """ln Z(s) up to a constant in s, the encoder of the clusters p(t, y), and their update."""
    weights = joint.sum(-1)
    log_weights = weights.log()
    log_decoder = joint.clamp_min(TINY).log_().sub_(log_weights.clamp_min(LOG_TINY)[..., None])
    log_decoder *= problem.beta[:, None, None]
    logits = (problem.rows @ log_decoder.mT).add_(log_weights[:, None])
    top = logits.amax(-1, keepdim=True)
    encoder = logits.sub_(top).exp_()
    partition = encoder.sum(-1, keepdim=True)
    encoder /= partition
    return (top + partition.log())[..., 0], encoder, _joint(problem, encoder)


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


def _tree(p: Tensor, rows: Tensor) -> Tensor:
    """Decoders of all clusters that the agglomerative bottleneck (Slonim and Tishby 1999) forms.

    From one cluster for each s, it joins the pair that loses least of I(T;Y), down to one. All are
    blurred a little: no iteration ever leaves a zero.
    """
    joint = p[:, None] * rows
    nodes = [rows]
    own = _surplus(joint)
    cost = torch.stack([own + own[i] - _surplus(joint + joint[i]) for i in range(len(p))])
    cost.fill_diagonal_(math.inf)
    for _ in range(len(p) - 1):
        pair = int(cost.argmin())
        into, gone = pair // len(p), pair % len(p)
        joint[into] += joint[gone]
        own[into] = _surplus(joint[into])
        cost[gone], cost[:, gone] = math.inf, math.inf
        fresh = own + own[into] - _surplus(joint + joint[into])
        fresh = torch.where(cost[into].isinf(), math.inf, fresh)
        cost[into], cost[:, into] = fresh, fresh
        nodes.append(joint[into, None] / joint[into].sum())
    return (1 - BLUR) * torch.cat(nodes) + BLUR * (p @ rows)


def _relax(problem: _Problem, joint: Tensor, steps: int) -> Tensor:
    """Anderson's acceleration of the self-consistent equations, never uphill.

    It works on sqrt p(t, y), where distances are those of information geometry. The bound
    -E ln Z falls at every plain step; where the accelerated one raises it, the plain one is taken.
    Near a saddle the acceleration points back to it, against the plain step. There the plain step
    is stretched instead, twice as far each time that this goes well.
    """
    shape, memory = joint.shape, min(MEMORY, steps)
    moves = joint.new_zeros(len(joint), memory, shape[1] * shape[2])
    changes = torch.zeros_like(moves)
    gram = joint.new_zeros(len(joint), memory, memory)
    ridge = 1e-10 * torch.eye(memory, dtype=joint.dtype, device=joint.device)
    lowest = joint.new_full((len(joint),), math.inf)
    plain, fresh = joint, torch.ones(len(joint), dtype=torch.bool, device=joint.device)
    last_image = last_change = joint.flatten(1)
    stretch = joint.new_ones(len(joint), 1)
    stretched = torch.zeros_like(stretch, dtype=torch.bool)
    for step in range(steps):
        log_partition, _, after = _step(problem, joint)
        value = -(log_partition @ problem.p)
        uphill = value > lowest + 1e-13 * (1 + value.abs())
        image = after.sqrt().flatten(1)
        change = image - joint.sqrt().flatten(1)
        slot = step % memory
        torch.sub(image, last_image, out=moves[:, slot])
        torch.sub(change, last_change, out=changes[:, slot])
        if (fresh := fresh | uphill).any():
            moves[fresh, slot], changes[fresh, slot] = 0, 0
            changes[uphill], gram[uphill] = 0, 0
        row = (changes @ changes[:, slot, :, None])[..., 0]
        gram[:, slot], gram[:, :, slot] = row, row
        scale = gram.diagonal(dim1=-2, dim2=-1)
        scale = torch.where(scale > 0, scale.clamp_min(TINY).rsqrt(), 0.0)
        normal = gram * scale[:, :, None] * scale[:, None] + ridge
        normal = normal + torch.diag_embed((scale == 0).to(gram))
        right = (changes @ change[..., None])[..., 0] * scale
        blend = torch.linalg.solve(normal, right[..., None])[..., 0] * scale
        shift = change - (blend[:, None] @ moves)[:, 0]
        stretch = torch.where(stretched & uphill[:, None], (stretch / 8).clamp_min(1), stretch)
        stretch = torch.where(stretched & ~uphill[:, None], 2 * stretch, stretch)
        backward = (shift * change).sum(-1, keepdim=True) <= 0
        stretched = backward & ~stretched  # every other step is plain, which smooths
        if backward.any():
            farther = torch.where(stretched, 1 + stretch, 1.0) * change
            shift = torch.where(backward, farther, shift)
        ahead = torch.maximum(shift.add_(image).sub_(change), 0.1 * image).square_()
        ahead /= ahead.sum(-1, keepdim=True)
        ahead = ahead.reshape(shape)
        if uphill.any():
            after = torch.where(uphill[:, None, None], plain, after)
            ahead = torch.where(uphill[:, None, None], plain, ahead)
        plain, joint, lowest = after, ahead, torch.minimum(lowest, value)
        last_image, last_change, fresh = image, change, uphill
    return plain


def _search(problem: _Problem, log_partition: Tensor) -> tuple[Tensor, Tensor]:
    """ln D(q) and q, climbed from every start by mean shift; above 0, a cluster is missing."""
    p, rows, beta = problem.p, problem.rows, problem.beta[:, None, None]
    offset = (p.log() - log_partition)[..., None]
    decoder = problem.starts.expand(len(beta), -1, -1)
    level = decoder.new_full(decoder.shape[:-1], -math.inf)
    best = decoder

    def climb(decoder: Tensor) -> Tensor:
        nonlocal level, best
        logits = offset + beta * (rows @ decoder.clamp_min(TINY).log().mT)
        height = logits.logsumexp(1)
        higher = height > level
        level = torch.where(higher, height, level)
        best = torch.where(higher[..., None], decoder, best)
        return (logits - height[:, None]).exp_().mT @ rows

    for _ in range(CLIMBS):  # squared extrapolation of Varadhan and Roland (2008)
        once = climb(decoder)
        twice = climb(once)
        move, bend = once - decoder, twice - 2 * once + decoder
        length = move.norm(dim=-1, keepdim=True) / bend.norm(dim=-1, keepdim=True).clamp_min(TINY)
        length = length.clamp(1, LEAP)
        ahead = decoder + 2 * length * move + length**2 * bend
        ahead = torch.maximum(ahead, 0.1 * twice)
        decoder = ahead / ahead.sum(-1, keepdim=True)
    climb(decoder)
    return level, best


def _splits(problem: _Problem, encoder: Tensor) -> Tensor:
    """Decoders on both sides of the most unstable cluster; all 0 where every cluster is stable.

    beta C_t is what one step of the self-consistent equations does to a small difference between
    two copies of cluster t. Its largest eigenvalue, apart from the 1 of lambda_1, by iteration.
    """
    p, rows = problem.p, problem.rows
    source = (encoder * p[:, None]).mT
    source = source / source.sum(-1, keepdim=True).clamp_min(TINY)  # p(s|t)
    decoder = source @ rows
    share = torch.where(decoder > 0, 1 / decoder.clamp_min(TINY), 0.0)
    tilt = (2.4 * torch.arange(len(p), device=p.device)).cos().to(p).expand_as(source)
    for _ in range(POWERS):
        tilt = tilt - (source * tilt).sum(-1, keepdim=True)
        tilt = tilt / tilt.norm(dim=-1, keepdim=True).clamp_min(TINY)
        before, tilt = tilt, ((source * tilt @ rows) * share) @ rows.mT
    strength = (source * before * tilt).sum(-1) / (source * before**2).sum(-1).clamp_min(TINY)
    strength, worst = (problem.beta[:, None] * strength).max(-1)
    worst = worst[:, None, None].expand(-1, 1, len(p))
    source, tilt = source.gather(1, worst), tilt.gather(1, worst)
    return torch.where((strength > UNSTABLE)[:, None, None], _tilted(source, tilt) @ rows, 0.0)


def _tilted(source: Tensor, tilt: Tensor) -> Tensor:
    """p(s|t) pushed to both sides along a direction, by more and by less."""
    size = 0.9 / tilt.abs().amax(-1, keepdim=True).clamp_min(TINY)
    push = tilt.new_tensor([1, 0.3, 0.1, 0.03])[:, None]
    return source * (1 + torch.cat([push, -push]) * size * tilt)


def _reweight(problem: _Problem, joint: Tensor, tol: float = 1e-10) -> Tensor:
    """The same decoders with their optimal weights."""
    weights = joint.sum(-1)
    log_decoder = joint.clamp_min(TINY).log() - weights.clamp_min(TINY).log()[..., None]
    logits = problem.rows @ (problem.beta[:, None, None] * log_decoder).mT
    logits = torch.where(weights[:, None] > 0, logits, -math.inf)
    kernel = (logits - logits.amax(-1, keepdim=True)).exp()
    best, _ = optimal_marginal(problem.p.expand(len(joint), -1), kernel, tol, 50)
    best = torch.where((weights > 0) & (best > tol), best, 0.0)
    joint = joint * (best / weights.clamp_min(TINY))[..., None]
    return _compact(joint / joint.sum((-2, -1), keepdim=True))


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
