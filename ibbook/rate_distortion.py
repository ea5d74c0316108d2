"""The rate-distortion function: solved with a certificate, and in closed form where there is one.

R(D) is the least information I(X; X_hat) that an encoder p(x_hat | x) with expected distortion D
must keep (Shannon 1959). Rates are in nats. Lists and numpy arrays are accepted wherever a tensor
is; the arithmetic is float64 on the device of the first argument.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float64, Int64
from numpy.typing import ArrayLike
from torch import Tensor

from ibbook._checks import distribution, real, slopes

STEP_TO_BOUNDARY = 0.999
RIDGE = 1e-13  # relative; keeps the Newton matrix of tied symbols positive definite


@dataclass(frozen=True)
class RateDistortion:
    """Points of a rate-distortion curve, one for each slope; see `rate_distortion`."""

    rate: Float64[Tensor, "*slopes"]
    distortion: Float64[Tensor, "*slopes"]
    encoder: Float64[Tensor, "*slopes x xhat"]
    marginal: Float64[Tensor, "*slopes xhat"]
    gap: Float64[Tensor, "*slopes"]
    iterations: Int64[Tensor, "*slopes"]
    converged: Bool[Tensor, "*slopes"]


def rate_distortion(
    p: Float64[Tensor, "*batch x"] | ArrayLike,
    distortion: Float64[Tensor, "x xhat"] | ArrayLike,
    beta: Float64[Tensor, "*k"] | ArrayLike | float,
    *,
    tol: float = 1e-9,
    max_iterations: int = 100,
) -> RateDistortion:
    """The points of R(D) where its slope is -beta, each with a certified error.

    Minimises I(X; X_hat) + beta E[d(X, X_hat)] over encoders p(x_hat | x) for every beta at once.
    A scalar beta gives results without the axis k; leading axes of p come before it.

    What the result holds, whether or not it converged:

    - `encoder` and `marginal`, a matching pair: marginal = p @ encoder;
    - `rate` and `distortion`, the mutual information and expected distortion of that encoder;
    - `gap`, Blahut's upper minus lower bound: rate - gap <= R(distortion) <= rate, and no encoder
      has rate + beta distortion lower by more than gap (up to rounding, some 1e-14);
    - `converged`, which is true exactly where gap <= tol.

    The problem is that of Blahut (1972), whose iteration is a fixed point in the marginal q alone:
    minimise -sum_x p(x) ln sum_j q_j exp(-beta d(x, j)). It crawls wherever some q_j tends to zero,
    so this function takes a primal-dual interior-point method to the same problem, with the
    predictor and corrector of Mehrotra (1992); `iterations` counts Newton steps. The bounds are
    theorem 6 of Blahut. Optimal encoders need not be unique; among them this is an interior one.

    >>> result = rate_distortion([0.5, 0.5], [[0.0, 1.0], [1.0, 0.0]], beta=2.0)
    >>> print(f"R({result.distortion:.4f}) = {result.rate:.4f}, gap below 1e-9: {result.converged}")
    R(0.1192) = 0.3278, gap below 1e-9: True
    """
    p = distribution(p, "p")
    distortion = real(distortion, "distortion").to(p.device)
    beta = slopes(beta).to(p.device)
    if distortion.ndim != 2 or distortion.shape[0] != p.shape[-1] or not distortion.shape[1]:
        raise ValueError(
            f"distortion must have one row for each of the {p.shape[-1]} symbols of p and a column "
            f"for each reproduction, got shape {tuple(distortion.shape)}"
        )
    if not isinstance(tol, int | float) or not 0 < tol < float("inf"):
        raise ValueError(f"tol must be a positive number of nats, got {tol!r}; 1e-9 is usual")
    if (
        not isinstance(max_iterations, int)
        or isinstance(max_iterations, bool)
        or max_iterations < 0
    ):
        raise ValueError(f"max_iterations must be a whole number >= 0, got {max_iterations!r}")

    shape = p.shape[:-1] + beta.shape
    p = p.reshape(p.shape[:-1] + (1,) * beta.ndim + p.shape[-1:])
    p = p.expand(*shape, -1).reshape(-1, p.shape[-1])
    beta = beta.expand(shape).reshape(-1)

    # Every row of the kernel is scaled to the maximum 1, as in log-sum-exp. With q > 0 no sum over
    # it can vanish, and the entries that underflow are too small to count.
    spread = distortion - distortion.amin(1, keepdim=True)
    kernel = torch.exp(-beta[:, None, None] * spread)
    q, iterations = optimal_marginal(p, kernel, tol, max_iterations)

    partition, ratio, gap = _certificate(p, kernel, q)
    encoder = kernel.mul_(q[:, None, :]).div_(partition[..., None])
    marginal = q * ratio
    joint = p[..., None] * encoder
    information = torch.xlogy(joint, encoder).sum((1, 2)) - torch.xlogy(marginal, marginal).sum(1)
    return RateDistortion(
        rate=information.clamp(min=0).reshape(shape),
        distortion=torch.einsum("bxj,xj->b", joint, distortion).reshape(shape),
        encoder=encoder.reshape(*shape, *distortion.shape),
        marginal=marginal.reshape(*shape, -1),
        gap=gap.reshape(shape),
        iterations=iterations.reshape(shape),
        converged=(gap <= tol).reshape(shape),
    )


def binary_rate(
    p: Float64[Tensor, "*batch"] | ArrayLike | float,
    distortion: Float64[Tensor, "*batch"] | ArrayLike | float,
) -> Float64[Tensor, "*batch"]:
    """R(D) = H(p) - H(D) of a Bernoulli(p) source with Hamming distortion, 0 from min(p, 1-p) on.

    Source: Cover and Thomas (2006), theorem 10.3.1. The arguments broadcast.

    >>> round(binary_rate(0.5, 0.1).item(), 4)
    0.3681
    """
    p = real(p, "p")
    if ((p < 0) | (p > 1)).any():
        bad = p[(p < 0) | (p > 1)].flatten()[0].item()
        raise ValueError(f"p must be a probability in [0, 1], got {bad:g}")
    distortion = _non_negative(distortion, "distortion").to(p.device)
    distortion = torch.minimum(distortion, torch.minimum(p, 1 - p))
    return (_binary_entropy(p) - _binary_entropy(distortion)).clamp(min=0)


def gaussian_rate(
    variances: Float64[Tensor, "n"] | ArrayLike | float,
    distortion: Float64[Tensor, "*k"] | ArrayLike | float,
) -> Float64[Tensor, "*k"]:
    """R(D) = sum_i max(0, ln(var_i / level)) / 2 of independent Gaussians, D their total error.

    D is the squared error summed over the coordinates, and the level that of reverse
    water-filling, `water_level` (Cover and Thomas 2006, theorem 10.3.3). For a dependent Gaussian
    vector pass the eigenvalues of its covariance. R(0) = inf.

    >>> gaussian_rate([4.0, 1.0], [5.0, 2.0, 1.0]).numpy().round(4)
    array([0.    , 0.6931, 1.3863])
    """
    level = water_level(variances, distortion)[..., None]
    variances = real(variances, "variances").reshape(-1)
    excess = (variances / level).log() / 2
    return torch.where(variances > level, excess, 0.0).sum(-1)


def water_level(
    variances: Float64[Tensor, "n"] | ArrayLike | float,
    distortion: Float64[Tensor, "*k"] | ArrayLike | float,
) -> Float64[Tensor, "*k"]:
    """The level with sum_i min(level, var_i) = distortion, at most the largest variance.

    Exact: the sum is piecewise linear in the level, with one corner at each variance.

    >>> water_level([4.0, 1.0], [5.0, 2.0, 1.0])
    tensor([4.0000, 1.0000, 0.5000], dtype=torch.float64)
    """
    variances = _non_negative(variances, "variances")
    if variances.ndim > 1 or variances.numel() == 0:
        raise ValueError(
            f"variances must be a scalar or a vector, got shape {tuple(variances.shape)}"
        )
    distortion = _non_negative(distortion, "distortion").to(variances.device)
    ascending = variances.reshape(-1).sort().values
    below = ascending.cumsum(0)
    above = torch.arange(len(ascending) - 1, -1, -1, device=variances.device)
    corners = below + above * ascending
    drowned = torch.searchsorted(corners, distortion.contiguous(), right=True)
    left = (distortion - torch.nn.functional.pad(below, (1, 0))[drowned]).clamp(min=0)
    level = left / (len(ascending) - drowned)
    return torch.where(drowned < len(ascending), level, ascending[-1])


def _certificate(
    p: Float64[Tensor, "b x"], kernel: Float64[Tensor, "b x j"], q: Float64[Tensor, "b j"]
) -> tuple[Float64[Tensor, "b x"], Float64[Tensor, "b j"], Float64[Tensor, "b"]]:
    """Partition sums Z_x, the ratios c_j of one Blahut-Arimoto step, and the gap it certifies.

    gap = ln max_j c_j - sum_j q_j c_j ln c_j (Blahut 1972, theorem 6), zero only at an optimum.
    """
    partition = (kernel @ q[..., None])[..., 0]
    ratio = (kernel.mT @ (p / partition)[..., None])[..., 0]
    gap = ratio.amax(-1).log() - (q * torch.xlogy(ratio, ratio)).sum(-1)
    return partition, ratio, gap.clamp(min=0)


def optimal_marginal(
    p: Float64[Tensor, "b x"], kernel: Float64[Tensor, "b x j"], tol: float, max_iterations: int
) -> tuple[Float64[Tensor, "b j"], Int64[Tensor, "b"]]:
    """Marginals q that minimise -sum_x p_x ln sum_j q_j kernel_xj, and how many steps that took.

    This is rate-distortion with kernel_xj = exp(-beta d_xj), each row up to a factor, or the
    likelihood of a mixture with weights q. What is minimised over q >= 0 has sum_j q_j added.
    Adding sum_j q_j takes the place of the constraint sum_j q_j = 1, which every minimum meets.
    With s_j the multiplier of q_j >= 0, the optimum is s = 1 - c(q) and q s = 0. Newton's steps
    aim at q s = sigma mu for a falling mu (Mehrotra 1992; Kim et al. 2020 solve this problem by
    quadratic programming). It ends where the certified gap is at most `tol`.

    >>> kernel = torch.tensor([[[1.0, 0.1], [0.1, 1.0]]], dtype=torch.float64)
    >>> q, _ = optimal_marginal(torch.tensor([[0.75, 0.25]]).double(), kernel, 1e-12, 100)
    >>> q.numpy().round(4)
    array([[0.8056, 0.1944]])
    """
    count, _, size = kernel.shape
    best = torch.full((count, size), 1 / size, dtype=p.dtype, device=p.device)
    best_gap = torch.full((count,), torch.inf, dtype=p.dtype, device=p.device)
    iterations = torch.zeros(count, dtype=torch.int64, device=p.device)
    index = torch.arange(count, device=p.device)
    q = best * (1 + _certificate(p, kernel, best)[1]) / 2
    s = None
    for iteration in range(max_iterations + 1):
        total = q.sum(-1, keepdim=True)
        partition, ratio, gap = _certificate(p, kernel, q / total)
        better = gap < best_gap[index]
        best[index[better]], best_gap[index[better]] = (q / total)[better], gap[better]
        iterations[index] = iteration
        live = gap > tol
        if iteration == max_iterations or not live.any():
            break
        gradient = 1 - ratio / total
        if s is None:
            s = gradient.clamp(min=0) + 0.1
        if not live.all():
            index, p, kernel, q, s, total, partition, gradient = (
                part[live] for part in (index, p, kernel, q, s, total, partition, gradient)
            )
        root = kernel * (p.sqrt() / (partition * total))[..., None]
        hessian = root.mT @ root
        diagonal = hessian.diagonal(dim1=-2, dim2=-1)
        diagonal.add_(s / q).mul_(1 + RIDGE)
        factor = torch.linalg.cholesky_ex(hessian).L

        def step(target, factor=factor, q=q, s=s, gradient=gradient):
            right = target / q - gradient
            dq = torch.cholesky_solve(right[..., None], factor)[..., 0]
            ds = (target - s * dq) / q - s
            return dq, ds, torch.minimum(_to_boundary(q, dq), _to_boundary(s, ds))

        dq, ds, length = step(torch.zeros_like(q))
        length = length.clamp(max=1)
        mu = (q * s).mean(-1, keepdim=True)
        reached = ((q + length * dq) * (s + length * ds)).mean(-1, keepdim=True)
        dq, ds, length = step((reached / mu) ** 3 * mu - dq * ds)
        length = (STEP_TO_BOUNDARY * length).clamp(max=1)
        q, s = q + length * dq, s + length * ds
    return best, iterations


def _to_boundary(value: Float64[Tensor, "b j"], change: Float64[Tensor, "b j"]) -> Tensor:
    """The longest step along `change` that keeps `value` non-negative."""
    return torch.where(change < 0, -value / change, torch.inf).amin(-1, keepdim=True)


def _binary_entropy(p: Float64[Tensor, "*batch"]) -> Float64[Tensor, "*batch"]:
    return torch.special.entr(p) + torch.special.entr(1 - p)


def _non_negative(value: Any, name: str) -> Float64[Tensor, "..."]:
    value = real(value, name)
    if (value < 0).any():
        raise ValueError(f"{name} must be >= 0, got {value.min().item():g}")
    return value
