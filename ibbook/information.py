"""Measures of information: exact for a known distribution, corrected for a sample.

A distribution is an array whose last axis sums to 1; of a joint distribution the last axes do, one
for each variable. Leading axes are batches. Lists and numpy arrays are accepted wherever a tensor
is, the arithmetic is float64 on the device of the first argument, and results are float64 tensors.
Information is in nats unless `base` says otherwise: `base=2` gives bits, which are exact where all
probabilities are powers of two. No result is -0.0.
"""

from __future__ import annotations

import math
from typing import Any, Literal

import torch
from jaxtyping import Float64
from numpy.typing import ArrayLike
from torch import Tensor

from ibbook._checks import covariance, distribution, real
from ibbook._numbers import integer, number

Correction = Literal["miller-madow", "zhang"] | None


def entropy(
    p: Float64[Tensor, "*batch x"] | ArrayLike, *, base: float = math.e
) -> Float64[Tensor, "*batch"]:
    """H(X) = -sum_x p(x) ln p(x), with 0 ln 0 = 0 (Shannon 1948, section 6).

    For the entropy of several variables together, flatten their axes into one.

    >>> entropy([0.5, 0.25, 0.25], base=2).item()
    1.5
    """
    return _entropy(distribution(p, "p", grad=True), base)


def cross_entropy(
    p: Float64[Tensor, "*batch x"] | ArrayLike,
    q: Float64[Tensor, "*batch x"] | ArrayLike,
    *,
    base: float = math.e,
) -> Float64[Tensor, "*batch"]:
    """H(p, q) = -sum_x p(x) ln q(x): the cost of coding p with a code made for q.

    Infinite where q(x) = 0 and p(x) > 0.

    >>> cross_entropy([0.5, 0.5, 0.0], [0.5, 0.25, 0.25], base=2).item()
    1.5
    """
    p, q = _pair(p, q)
    return _at_least_zero(-_xlog(p, q, base).sum(-1))


def kl_divergence(
    p: Float64[Tensor, "*batch x"] | ArrayLike,
    q: Float64[Tensor, "*batch x"] | ArrayLike,
    *,
    base: float = math.e,
) -> Float64[Tensor, "*batch"]:
    """D_KL[p || q] = sum_x p(x) ln[p(x) / q(x)] >= 0 (Kullback and Leibler 1951).

    Infinite where q(x) = 0 and p(x) > 0; outcomes with p(x) = 0 add nothing.

    >>> kl_divergence([0.5, 0.5, 0.0], [0.5, 0.25, 0.25], base=2).item()
    0.5
    >>> kl_divergence([0.5, 0.5], [1.0, 0.0]).item()
    inf
    """
    p, q = _pair(p, q)
    return _at_least_zero((_xlog(p, p, base) - _xlog(p, q, base)).sum(-1))


def conditional_entropy(
    pxy: Float64[Tensor, "*batch x y"] | ArrayLike, *, base: float = math.e
) -> Float64[Tensor, "*batch"]:
    """H(Y|X) = -sum_xy p(x, y) ln p(y|x); transpose the last two axes for H(X|Y).

    >>> conditional_entropy([[0.5, 0.0], [0.25, 0.25]], base=2).item()
    0.5
    """
    pxy = distribution(pxy, "pxy", axes=2, grad=True)
    px = pxy.sum(-1, keepdim=True)
    return _at_least_zero((_xlog(pxy, px, base) - _xlog(pxy, pxy, base)).sum((-2, -1)))


def mutual_information(
    pxy: Float64[Tensor, "*batch x y"] | ArrayLike, *, base: float = math.e
) -> Float64[Tensor, "*batch"]:
    """I(X;Y) = D_KL[p(x, y) || p(x) p(y)] >= 0, which is 0 only for independent X and Y.

    >>> mutual_information([[0.5, 0.0], [0.0, 0.5]], base=2).item()
    1.0
    """
    return _total_correlation(distribution(pxy, "pxy", axes=2, grad=True), 2, base)


def conditional_mutual_information(
    pxyz: Float64[Tensor, "*batch x y z"] | ArrayLike, *, base: float = math.e
) -> Float64[Tensor, "*batch"]:
    """I(X;Y|Z) = sum_z p(z) I(X;Y|Z=z) >= 0, which is 0 only if Z explains all that X and Y share.

    Source: Cover and Thomas (2006), section 2.5.

    >>> parity = torch.tensor([[[0.25, 0.0], [0.0, 0.25]], [[0.0, 0.25], [0.25, 0.0]]])
    >>> conditional_mutual_information(parity, base=2).item()
    1.0
    """
    return _total_correlation(distribution(pxyz, "pxyz", axes=3, grad=True), 2, base, given=True)


def total_correlation(
    p: Float64[Tensor, "..."] | ArrayLike, *, variables: int | None = None, base: float = math.e
) -> Float64[Tensor, "*batch"]:
    """TC(X_1, ..., X_n) = D_KL[p(x_1, ..., x_n) || prod_i p(x_i)] (Watanabe 1960).

    The last `variables` axes of `p` are the variables, by default all of them.

    >>> copies = torch.zeros(2, 2, 2)
    >>> copies[0, 0, 0] = copies[1, 1, 1] = 0.5
    >>> total_correlation(copies, base=2).item()
    2.0
    """
    variables = real(p, "p").ndim if variables is None else integer(variables, "variables", 1)
    return _total_correlation(distribution(p, "p", axes=variables, grad=True), variables, base)


def conditional_total_correlation(
    p: Float64[Tensor, "..."] | ArrayLike, *, variables: int | None = None, base: float = math.e
) -> Float64[Tensor, "*batch"]:
    """TC(X_1, ..., X_n | Z) = sum_z p(z) TC(X_1, ..., X_n | Z=z); Z is the last axis of `p`.

    The `variables` axes before it are the X_i, by default all the others. It is 0 only if Z
    explains all that the X_i share; what it explains is TC(X) - TC(X|Z) (Ver Steeg and Galstyan
    2014).

    >>> copies = torch.zeros(2, 2, 2, 2)
    >>> copies[0, 0, 0, 0] = copies[1, 1, 1, 1] = 0.5
    >>> conditional_total_correlation(copies, base=2).item()
    0.0
    >>> conditional_total_correlation(copies.sum(-1, keepdim=True), base=2).item()
    2.0
    """
    variables = real(p, "p").ndim - 1 if variables is None else integer(variables, "variables", 1)
    p = distribution(p, "p", axes=max(variables, 1) + 1, grad=True)
    return _total_correlation(p, variables, base, given=True)


def o_information(
    p: Float64[Tensor, "..."] | ArrayLike, *, base: float = math.e
) -> Float64[Tensor, ""]:
    """TC(X_1, ..., X_n) minus their dual total correlation H(X) - sum_i H(X_i | all others).

    Above 0 the variables mostly repeat one another, below 0 they mostly tell something only
    together (Rosas et al. 2019, equation 3). `p` has one axis for each variable.

    >>> copies, parity = torch.zeros(2, 2, 2), torch.zeros(2, 2, 2)
    >>> copies[0, 0, 0] = copies[1, 1, 1] = 1 / 2
    >>> parity[0, 0, 0] = parity[0, 1, 1] = parity[1, 0, 1] = parity[1, 1, 0] = 1 / 4
    >>> o_information(copies, base=2).item(), o_information(parity, base=2).item()
    (1.0, -1.0)
    """
    p = distribution(p, "p", axes=0, grad=True)
    whole = entropy(p.flatten(), base=base)
    without = sum(entropy(p.sum(axis).flatten(), base=base) for axis in range(p.ndim))
    dual = without - (p.ndim - 1) * whole
    return total_correlation(p, base=base) - dual


def gaussian_entropy(
    cov: Float64[Tensor, "*batch n n"] | ArrayLike,
) -> Float64[Tensor, "*batch"]:
    """h(X) = ln det(2 pi e cov) / 2 of a Gaussian vector, in nats; it may be negative.

    Source: Cover and Thomas (2006), theorem 8.4.1.

    >>> round(gaussian_entropy([[1.0]]).item(), 4)
    1.4189
    """
    cov = covariance(cov, "cov", grad=True)
    return (cov.shape[-1] * math.log(2 * math.pi * math.e) + torch.logdet(cov)) / 2


def gaussian_mutual_information(
    cov: Float64[Tensor, "*batch n n"] | ArrayLike, dim_x: int
) -> Float64[Tensor, "*batch"]:
    """I(X;Y) in nats of a Gaussian vector whose first `dim_x` coordinates are X and the rest Y.

    It is -sum_i ln(1 - rho_i^2) / 2 over the canonical correlations rho_i of X and Y, the
    singular values of cov_x^(-1/2) cov_xy cov_y^(-1/2).

    >>> round(gaussian_mutual_information([[1.0, 0.6], [0.6, 1.0]], dim_x=1).item(), 4)
    0.2231
    """
    cov = covariance(cov, "cov", grad=True)
    if cov.shape[-1] < 2:
        raise ValueError("cov must have a coordinate for X and one for Y, got a single one")
    k = integer(dim_x, "dim_x", 1, cov.shape[-1] - 1)
    left, right = torch.linalg.cholesky(cov[..., :k, :k]), torch.linalg.cholesky(cov[..., k:, k:])
    whitened = torch.linalg.solve_triangular(left, cov[..., :k, k:], upper=False)
    whitened = torch.linalg.solve_triangular(right.mT, whitened, upper=True, left=False)
    rho = torch.linalg.svdvals(whitened).clamp(max=1)
    return _at_least_zero(-torch.log1p(-(rho**2)).sum(-1) / 2)


def gaussian_total_correlation(
    cov: Float64[Tensor, "*batch n n"] | ArrayLike,
) -> Float64[Tensor, "*batch"]:
    """TC(X_1, ..., X_n) = -ln det(correlation matrix) / 2 of a Gaussian vector, in nats.

    >>> round(gaussian_total_correlation([[4.0, 1.2], [1.2, 1.0]]).item(), 4)
    0.2231
    """
    cov = covariance(cov, "cov", grad=True)
    scale = cov.diagonal(dim1=-2, dim2=-1).rsqrt()
    return _at_least_zero(-torch.logdet(scale[..., None] * cov * scale[..., None, :]) / 2)


def gaussian_kl_divergence(
    mean_p: Float64[Tensor, "*batch n"] | ArrayLike,
    cov_p: Float64[Tensor, "*batch n n"] | ArrayLike,
    mean_q: Float64[Tensor, "*batch n"] | ArrayLike,
    cov_q: Float64[Tensor, "*batch n n"] | ArrayLike,
) -> Float64[Tensor, "*batch"]:
    """D_KL[p || q] of two Gaussian vectors in nats; leading axes broadcast.

    It is [tr(cov_q^-1 cov_p) - n - ln det(cov_q^-1 cov_p) + d^T cov_q^-1 d] / 2 with the
    difference d of the means (Kullback 1959, chapter 9).

    >>> round(gaussian_kl_divergence([0.0], [[1.0]], [1.0], [[2.0]]).item(), 4)  # ln(2) / 2
    0.3466
    """
    cov_p = covariance(cov_p, "cov_p", grad=True)
    cov_q = covariance(cov_q, "cov_q", grad=True).to(cov_p.device)
    mean_p, mean_q = (
        real(mean, name, grad=True).to(cov_p.device)
        for mean, name in [(mean_p, "mean_p"), (mean_q, "mean_q")]
    )
    _fit_together(mean_p=mean_p, cov_p=cov_p, mean_q=mean_q, cov_q=cov_q)
    root = torch.linalg.cholesky(cov_q)
    ratio = torch.linalg.solve_triangular(root, torch.linalg.cholesky(cov_p), upper=False)
    shift = torch.linalg.solve_triangular(root, (mean_q - mean_p)[..., None], upper=False)
    log_det = 2 * ratio.diagonal(dim1=-2, dim2=-1).log().sum(-1)
    squares = ratio.square().sum((-2, -1)) + shift.square().sum((-2, -1))
    return _at_least_zero((squares - cov_q.shape[-1] - log_det) / 2)


def entropy_from_counts(
    counts: Float64[Tensor, "*batch x"] | ArrayLike,
    *,
    correction: Correction = None,
    base: float = math.e,
) -> Float64[Tensor, "*batch"]:
    """Estimate H(X) from how often each outcome was seen in a sample of N.

    The plug-in estimate (`correction=None`) takes n_x / N for p(x) and is too small on average.
    "miller-madow" adds (seen outcomes - 1) / 2N, the first term of its bias (Miller 1955).
    "zhang" is sum_x (n_x / N) [psi(N) - psi(n_x)] with the digamma function psi. Its bias,
    -sum_x p(x) sum_(k >= N) (1 - p(x))^k / k, falls exponentially with N (Zhang 2012; in this
    form Schürmann 2015).

    >>> round(entropy_from_counts([3, 1], correction="miller-madow").item(), 4)
    0.6873
    """
    return _entropy_from_counts(_counts(counts, "counts", 1), correction, base)


def mutual_information_from_counts(
    counts: Float64[Tensor, "*batch x y"] | ArrayLike,
    *,
    correction: Correction = None,
    base: float = math.e,
) -> Float64[Tensor, "*batch"]:
    """Estimate I(X;Y) = H(X) + H(Y) - H(X, Y) from a contingency table of counts.

    Each entropy is estimated as in `entropy_from_counts`. Where every pair can occur, the plug-in
    estimate is too large on average once N is large; a corrected one may be negative.

    >>> round(mutual_information_from_counts([[3, 1], [1, 3]]).item(), 4)
    0.1308
    """
    counts = _counts(counts, "counts", 2)
    if correction is None:  # one divergence loses fewer digits than a difference of entropies
        return _total_correlation(counts / counts.sum((-2, -1), keepdim=True), 2, base)
    parts = counts.sum(-1), counts.sum(-2), counts.flatten(-2)
    h_x, h_y, h_xy = (_entropy_from_counts(part, correction, base) for part in parts)
    return h_x + h_y - h_xy


def _xlog(p: Tensor, q: Tensor, base: float) -> Tensor:
    """p log q, and 0 where p is 0."""
    base = _base(base)
    q = q.where(p > 0, 1.0)
    # the binary logarithm is exact at powers of two
    return p * (q.log() if base == math.e else q.log2() / math.log2(base))


def _at_least_zero(measure: Tensor) -> Tensor:
    return measure.clamp(min=0) + 0.0  # + 0.0 turns -0.0 into 0.0


def _entropy(p: Float64[Tensor, "*batch x"], base: float) -> Float64[Tensor, "*batch"]:
    return _at_least_zero(-_xlog(p, p, base).sum(-1))


def _total_correlation(p: Tensor, variables: int, base: float, *, given: bool = False) -> Tensor:
    """Of the last `variables` axes, or of those before the last one, which is the condition."""
    axes = tuple(range(-variables - given, 0))
    each = axes[:variables]
    excess = _xlog(p, p, base)
    for axis in each:
        others = [other for other in each if other != axis]
        marginal = p.sum(others, keepdim=True) if others else p
        excess = excess - _xlog(p, marginal, base)
    if given:
        excess = excess + (variables - 1) * _xlog(p, p.sum(each, keepdim=True), base)
    return _at_least_zero(excess.sum(axes))


def _entropy_from_counts(counts: Tensor, correction: Correction, base: float) -> Tensor:
    total = counts.sum(-1, keepdim=True)
    if correction == "zhang":
        missing = torch.digamma(total) - torch.digamma(counts.clamp(min=1))  # 1 for unseen outcomes
        return _at_least_zero((counts / total * missing).sum(-1) / _ln(base))
    plug_in = _entropy(counts / total, base)
    if correction is None:
        return plug_in
    if correction == "miller-madow":
        return plug_in + ((counts > 0).sum(-1) - 1) / (2 * total[..., 0] * _ln(base))
    raise ValueError(f"correction must be None, 'miller-madow' or 'zhang', got {correction!r}")


def _pair(p: Any, q: Any) -> tuple[Tensor, Tensor]:
    p = distribution(p, "p", grad=True)
    q = distribution(q, "q", grad=True).to(p.device)
    try:
        if p.shape[-1] == q.shape[-1]:
            return torch.broadcast_tensors(p, q)
    except RuntimeError:
        pass
    raise ValueError(
        f"q must match p in its last axis and broadcast in the others, got shape "
        f"{tuple(q.shape)} against {tuple(p.shape)}"
    )


def _fit_together(**parts: Tensor) -> None:
    """Means with an axis, covariances with two, all of one size and with batches that broadcast."""
    shapes = {name: tuple(part.shape) for name, part in parts.items()}
    try:
        batches = [shape[: -1 if name.startswith("mean") else -2] for name, shape in shapes.items()]
        torch.broadcast_shapes(*batches)
        fit = len({shape[-1:] for shape in shapes.values()}) == 1
    except RuntimeError:
        fit = False
    if not fit:
        got = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
        raise ValueError(
            "means need a coordinate for each row of the covariances, and leading axes must "
            f"broadcast, got shapes {got}"
        )


def _base(base: Any) -> float:
    bits = "; use base=2 for bits"
    return number(base, "base", "a finite number above 1", lambda b: b > 1, bits)


def _ln(base: Any) -> float:
    return math.log(_base(base))


def _counts(value: Any, name: str, axes: int) -> Float64[Tensor, "..."]:
    n = real(value, name)
    if n.ndim < axes or n.numel() == 0:
        raise ValueError(
            f"{name} must have at least {axes} axes and an entry, got shape {tuple(n.shape)}"
        )
    if (n < 0).any() or (n != n.round()).any():
        bad = n[(n < 0) | (n != n.round())].flatten()[0].item()
        raise ValueError(f"{name} must be whole numbers >= 0, got {bad:g}; pass raw counts")
    if (n.sum(tuple(range(-axes, 0))) == 0).any():
        raise ValueError(f"{name} must add up to at least 1, got an empty sample of 0")
    return n
