"""The rate-distortion function, solved with a certificate; `closed_forms` has known ones.

R(D) is the least information I(X; X_hat) that an encoder p(x_hat|x) with expected distortion D
must keep (Shannon 1959). Rates are in nats. Lists and numpy arrays are accepted wherever a tensor
is; the arithmetic is float64 on the device of the first argument. A distortion may be +inf, for a
reproduction that must never stand for a symbol; every symbol needs one that is finite.

p(x_hat) is the marginal of an encoder, and q(x_hat) a distribution that stands in for it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from jaxtyping import Bool, Float64, Int64
from numpy.typing import ArrayLike
from torch import Tensor

from ibbook._checks import distribution, real, slopes
from ibbook._convex_curve import Points, read
from ibbook._interior_point import Problem, check_tolerance, interior_point, to_boundary
from ibbook._numbers import integer
from ibbook._threads import deal
from ibbook.closed_forms import binary_rate, gaussian_rate, water_level

__all__ = [
    "RateDistortion",
    "binary_rate",
    "blahut_arimoto",
    "gaussian_rate",
    "optimal_marginal",
    "rate_at",
    "rate_distortion",
    "water_level",
]

TOLERANCE = 1e-9  # nats
SLACK = 1e-12  # relative; by no more than this, a target below D_min is D_min, rounded
TINY = 1e-300

Solver = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]  # source, kernel -> q, iterations


@dataclass(frozen=True)
class RateDistortion:
    """Points of a rate-distortion curve, one for each slope or target; see `rate_distortion`."""

    rate: Float64[Tensor, "*k"]
    distortion: Float64[Tensor, "*k"]
    encoder: Float64[Tensor, "*k x xhat"]
    marginal: Float64[Tensor, "*k xhat"]
    gap: Float64[Tensor, "*k"]
    iterations: Int64[Tensor, "*k"]
    converged: Bool[Tensor, "*k"]


def rate_distortion(
    p: Float64[Tensor, "*batch x"] | ArrayLike,
    distortion: Float64[Tensor, "x xhat"] | ArrayLike,
    beta: Float64[Tensor, "*k"] | ArrayLike | float,
    *,
    tol: float = TOLERANCE,
    max_iterations: int = 100,
) -> RateDistortion:
    """The points of R(D) where its slope is -beta, each with a certified error.

    Minimises I(X; X_hat) + beta E[d(X, X_hat)] over encoders p(x_hat|x) for every beta at once.
    A scalar beta gives results without the axis k; leading axes of p come before it.

    What the result holds, whether or not it converged:

    - `encoder` and `marginal`, a matching pair: marginal = p @ encoder;
    - `rate` and `distortion`, the mutual information and expected distortion of that encoder;
    - `gap`, Blahut's upper minus lower bound: rate - gap <= R(distortion) <= rate, and no encoder
      has rate + beta distortion lower by more than gap (up to rounding, some 1e-14);
    - `converged`, which is true exactly where gap <= tol.

    The problem is that of Blahut (1972), whose iteration is a fixed point in q(x_hat) alone:
    minimise -sum_x p(x) ln sum_j q_j exp(-beta d(x, j)). It crawls wherever some q_j tends to zero
    (`blahut_arimoto` takes its steps), so this function takes a primal-dual interior-point method
    to the same problem, with the predictor and corrector of Mehrotra (1992); `iterations` counts
    Newton steps. The bounds are theorem 6 of Blahut. Optimal encoders need not be unique; among
    them this is an interior one.

    >>> result = rate_distortion([0.5, 0.5], [[0.0, 1.0], [1.0, 0.0]], beta=2.0)
    >>> print(f"R({result.distortion:.4f}) = {result.rate:.4f}, gap below 1e-9: {result.converged}")
    R(0.1192) = 0.3278, gap below 1e-9: True
    """
    p, distortion = _problem(p, distortion)
    tol = check_tolerance(tol)
    max_iterations = integer(max_iterations, "max_iterations", 0)
    newton = partial(optimal_marginal, tol=tol, max_iterations=max_iterations)
    return _at_slopes(p, distortion, slopes(beta), newton, tol)


def blahut_arimoto(
    p: Float64[Tensor, "*batch x"] | ArrayLike,
    distortion: Float64[Tensor, "x xhat"] | ArrayLike,
    beta: Float64[Tensor, "*k"] | ArrayLike | float,
    *,
    iterations: int,
) -> RateDistortion:
    """Where the iteration of Blahut (1972) and Arimoto (1972) stands after `iterations` steps.

    A step takes the two conditions for an optimum in turn: from q(x_hat) the best encoder, which is
    proportional to q(x_hat) exp(-beta d(x, x_hat)), and from the encoder its marginal, the next q.
    The first q is uniform. The result is as in `rate_distortion`, for the last encoder, with
    `converged` where its gap is at most 1e-9; to get there, that function is much faster.

    >>> hamming = [[0.0, 1.0], [1.0, 0.0]]
    >>> for steps in (1, 2, 10):
    ...     point = blahut_arimoto([0.7, 0.3], hamming, 2.0, iterations=steps)
    ...     print(f"p(1) = {point.marginal[1]:.4f}, gap {point.gap:.4f}")
    p(1) = 0.3477, gap 0.2188
    p(1) = 0.2863, gap 0.0813
    p(1) = 0.2376, gap 0.0002
    """
    p, distortion = _problem(p, distortion)
    iterations = integer(iterations, "iterations", 1)

    def alternate(p: Tensor, kernel: Tensor) -> tuple[Tensor, Tensor]:
        q = torch.full_like(kernel[:, 0], 1 / kernel.shape[-1])
        for _ in range(iterations - 1):
            _, ratio, _ = _certificate(p, kernel, q)
            q = (q * ratio).clamp(min=TINY)
        return q, torch.full((len(q),), iterations, device=q.device)

    return _at_slopes(p, distortion, slopes(beta), alternate, TOLERANCE)


def rate_at(
    p: Float64[Tensor, "*batch x"] | ArrayLike,
    distortion: Float64[Tensor, "x xhat"] | ArrayLike,
    targets: Float64[Tensor, "*k"] | ArrayLike | float,
    *,
    tol: float = TOLERANCE,
) -> RateDistortion:
    """R(D) at each distortion D in `targets`, with a certified error.

    The result is as in `rate_distortion`, with rate - gap <= R(target) <= rate for its gap. The
    encoder has the target for its distortion, up to rounding. The least target is D_min =
    sum_x p(x) min_j d(x, j), and a ValueError names one below it. From D_max on, where one
    reproduction serves all symbols, the rate is 0 and the distortion stays D_max.

    With F(beta) the least I + beta E[d], every line F(beta) - beta D lies below R(D), and the
    highest touches it. From above, R(D) is bounded by any encoder of distortion D, and we mix one
    from two: as I is convex in the encoder, the mixture lies on the chord between them or below.
    We start with both ends of the curve, of slope 0 and infinite, and solve for further slopes
    until line and chord meet. `iterations` counts the Newton steps for a target's slopes.

    >>> hamming = [[0.0, 1.0], [1.0, 0.0]]
    >>> rate_at([0.5, 0.5], hamming, [0.0, 0.1, 0.6]).rate.numpy().round(4)
    array([0.6931, 0.3681, 0.    ])
    """
    p, distortion = _problem(p, distortion)
    tol = check_tolerance(tol)
    targets = real(targets, "targets").to(p.device)
    if not targets.numel():
        raise ValueError("targets must not be empty")
    shape, p = p.shape[:-1] + targets.shape, p.reshape(-1, p.shape[-1])
    spread, floor, slack = _above_least(p, distortion)
    above = targets.reshape(-1) - floor[:, None]
    if (above < -slack[:, None]).any():
        raise ValueError(
            f"targets must be at least D_min = {floor[above.amin(1).argmin()].item():g}, the least "
            f"distortion of any encoder, got {targets.min().item():g}"
        )
    newton = partial(optimal_marginal, tol=tol / 8, max_iterations=100)

    def solve(source: Tensor, beta: Tensor) -> tuple[Points, Tensor]:
        point, q = _solve(p[source], beta, spread, newton, tol / 8)
        return Points(beta, point.distortion, point.rate, point.gap, q), point.iterations

    every = torch.arange(len(p), device=p.device)
    lossless, _ = solve(every, torch.full_like(floor, math.inf))
    silent = _silent(p, spread) or solve(every, torch.zeros_like(floor))[0]
    ends = Points(*(torch.stack(pair, 1) for pair in zip(lossless, silent, strict=True)))
    found = read(ends, solve, above.clamp(min=0).minimum(silent.x[:, None]), tol)

    p, floor = (each.repeat_interleave(above.shape[1], 0) for each in (p, floor))
    near, far = (
        _encoder(p, _kernel(end.beta.reshape(-1), spread), end.q.reshape(len(p), -1))[0]
        for end in (found.near, found.far)
    )
    encoder = torch.lerp(near, far, found.share.reshape(-1, 1, 1))
    rate, distortion, marginal = _described(p, encoder, spread)
    rate = rate.minimum(found.upper.reshape(-1))
    gap = (rate - found.lower.reshape(-1)).clamp(min=0)
    steps = found.iterations.reshape(-1)
    point = RateDistortion(rate, distortion, encoder, marginal, gap, steps, gap <= tol)
    return _shaped(point, floor, shape)


def optimal_marginal(
    p: Float64[Tensor, "b x"], kernel: Float64[Tensor, "b x j"], tol: float, max_iterations: int
) -> tuple[Float64[Tensor, "b j"], Int64[Tensor, "b"]]:
    """Distributions q that minimise -sum_x p_x ln sum_j q_j kernel_xj, and the steps it took.

    This is rate-distortion with kernel_xj = exp(-beta d_xj), each row up to a factor, or the
    likelihood of a mixture with weights q (Kim et al. 2020 solve that by quadratic programming).
    What is minimised over q >= 0 has sum_j q_j added, which takes the place of the constraint
    sum_j q_j = 1: every minimum meets it. It ends where the certified gap is at most `tol`.

    >>> kernel = torch.tensor([[[1.0, 0.1], [0.1, 1.0]]], dtype=torch.float64)
    >>> q, _ = optimal_marginal(torch.tensor([[0.75, 0.25]]).double(), kernel, 1e-12, 100)
    >>> q.numpy().round(4)
    array([[0.8056, 0.1944]])
    """

    uniform = torch.full_like(kernel[:, 0], 1 / kernel.shape[-1])
    partition, ratio, _ = _certificate(p, kernel, uniform)
    scale = 2 * ratio.amax(-1, keepdim=True)  # which halves what the constraints ratio <= 1 allow
    ones = torch.ones_like(uniform)
    y = -p / (scale * partition)
    return interior_point(MIXTURE, kernel, p, scale * uniform, y, ones, tol, max_iterations)


def _link(z: Tensor, y: Tensor, p: Tensor, bend: Tensor | float) -> tuple[Tensor, Tensor]:
    """The derivative of -p ln z is y = -p / z, written as y z = -p."""
    return -y / z, -(p + y * z + bend) / z


MIXTURE = Problem(
    gap=lambda q, kernel, p: _certificate(p, kernel, q)[2],
    link=_link,
    room=lambda y, dy: to_boundary(-y, -dy),
)


def _certificate(
    p: Float64[Tensor, "b x"], kernel: Float64[Tensor, "b x j"], q: Float64[Tensor, "b j"]
) -> tuple[Float64[Tensor, "b x"], Float64[Tensor, "b j"], Float64[Tensor, "b"]]:
    """Partition sums Z_x, the ratios c_j of one Blahut-Arimoto step, and the gap it certifies.

    gap = ln max_j c_j - sum_j q_j c_j ln c_j (Blahut 1972, theorem 6), zero only at an optimum.
    """
    partition = (kernel @ q[..., None])[..., 0]
    ratio = (kernel.mT @ (p / partition)[..., None])[..., 0]
    gap = ratio.amax(-1).log() - (q * torch.xlogy(ratio, ratio)).sum(-1)
    return partition, ratio, gap.clamp(min=0) + 0.0


def _kernel(beta: Float64[Tensor, "b"], spread: Float64[Tensor, "x j"]) -> Float64[Tensor, "b x j"]:
    """exp(-beta spread), where spread is the distortion above the least of its row.

    The scale of a row does not matter, and its maximum is 1, as in log-sum-exp: with q > 0 no sum
    over a row can vanish, and what underflows is too small to count. The limits at beta = 0 and
    infinity keep the pairs of finite distortion and those of the least.
    """
    return torch.exp(-beta.clamp(TINY, 1 / TINY)[:, None, None] * spread)


def _encoder(
    p: Float64[Tensor, "b x"], kernel: Float64[Tensor, "b x j"], q: Float64[Tensor, "b j"]
) -> tuple[Float64[Tensor, "b x j"], Float64[Tensor, "b"]]:
    """The best encoder for q, made in place of the kernel, and its certified gap."""
    partition, _, gap = _certificate(p, kernel, q)
    return kernel.mul_(q[:, None, :]).div_(partition[..., None]), gap


def _described(
    p: Float64[Tensor, "b x"], encoder: Float64[Tensor, "b x j"], spread: Float64[Tensor, "x j"]
) -> tuple[Float64[Tensor, "b"], Float64[Tensor, "b"], Float64[Tensor, "b j"]]:
    """The rate, the distortion above the least, and the marginal of an encoder."""
    joint = p[..., None] * encoder
    marginal = joint.sum(1)
    rate = torch.xlogy(joint, encoder).sum((1, 2)) - torch.xlogy(marginal, marginal).sum(1)
    distortion = torch.einsum("bxj,xj->b", joint, spread.nan_to_num(posinf=0.0))
    return rate.clamp(min=0) + 0.0, distortion, marginal


def _solve(
    p: Float64[Tensor, "b x"],
    beta: Float64[Tensor, "b"],
    spread: Float64[Tensor, "x j"],
    solver: Solver,
    tol: float,
) -> tuple[RateDistortion, Float64[Tensor, "b j"]]:
    """The encoder for each source and slope, and the q that the solver gives it."""

    def part(some: slice) -> tuple[Tensor, ...]:
        mine, kernel = p[some], _kernel(beta[some], spread)
        q, iterations = solver(mine, kernel)
        encoder, gap = _encoder(mine, kernel, q)
        rate, distortion, marginal = _described(mine, encoder, spread)
        return rate, distortion, encoder, marginal, gap, iterations, gap <= tol, q

    *point, q = deal(part, len(p), spread.numel(), p.device)
    return RateDistortion(*point), q


def _at_slopes(
    p: Float64[Tensor, "*batch x"],
    distortion: Float64[Tensor, "x j"],
    beta: Float64[Tensor, "*k"],
    solver: Solver,
    tol: float,
) -> RateDistortion:
    shape, beta = p.shape[:-1] + beta.shape, beta.to(p.device)
    p = p.reshape(p.shape[:-1] + (1,) * beta.ndim + p.shape[-1:])
    p = p.expand(*shape, -1).reshape(-1, p.shape[-1])
    spread, floor, _ = _above_least(p, distortion)
    point, _ = _solve(p, beta.expand(shape).reshape(-1), spread, solver, tol)
    return _shaped(point, floor, shape)


def _shaped(
    point: RateDistortion, floor: Float64[Tensor, "b"], shape: torch.Size
) -> RateDistortion:
    """With the least distortion added, and the axes of the arguments."""
    parts = vars(point) | {"distortion": point.distortion + floor + 0.0}
    return RateDistortion(**{k: v.reshape(shape + v.shape[1:]) for k, v in parts.items()})


def _above_least(
    p: Float64[Tensor, "b x"], distortion: Float64[Tensor, "x j"]
) -> tuple[Float64[Tensor, "x j"], Float64[Tensor, "b"], Float64[Tensor, "b"]]:
    """Distortions above the least of their row; the expected least, and how exact that is."""
    least = distortion.amin(1)
    return distortion - least[:, None], p @ least, SLACK * (p @ least.abs())


def _silent(p: Float64[Tensor, "b x"], spread: Float64[Tensor, "x j"]) -> Points | None:
    """The best encoder that says nothing, if one reproduction is allowed for every symbol."""
    means = (p @ spread.nan_to_num(posinf=0.0)).masked_fill(spread.isinf().any(0), math.inf)
    distortion, at = means.min(1)
    if distortion.isinf().any():
        return None
    q = torch.nn.functional.one_hot(at, spread.shape[1]).to(p.dtype)
    zero = torch.zeros_like(distortion)
    return Points(zero, distortion, zero, zero, q)


def _problem(p: Any, distortion: Any) -> tuple[Tensor, Tensor]:
    p = distribution(p, "p")
    distortion = real(distortion, "distortion", infinite=True)
    never = distortion == math.inf
    if distortion.ndim != 2 or distortion.shape[0] != p.shape[-1] or not distortion.shape[1]:
        raise ValueError(
            f"distortion must have one row for each of the {p.shape[-1]} symbols of p and a column "
            f"for each reproduction, got shape {tuple(distortion.shape)}"
        )
    if never.all(1).any():
        raise ValueError(
            f"distortion must be finite for some reproduction of each symbol, but row "
            f"{never.all(1).nonzero()[0].item()} is all inf; allow one, or drop the symbol from p"
        )
    return p, distortion.to(p.device)
