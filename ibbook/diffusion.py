"""Diffusion as a chain of bottlenecks: what each step lets through, exactly.

    x_t = sqrt(a_t) x_0 + sqrt(1 - a_t) e,    e ~ N(0, I),    SNR_t = a_t / (1 - a_t)

A schedule is the array a_1 > a_2 > ... > a_T of `alpha_bar` (Ho, Jain and Abbeel, 2020). Here p is
the noising and what follows from it, q the model that undoes it and r(x_T) = N(0, I); papers swap p
and q. The bound on -ln q(x_0) is L_0 + sum_t L_{t-1} + L_T, with a divergence for t = 2..T:

    L_{t-1} = E D_KL[p(x_{t-1} | x_t, x_0) || q(x_{t-1} | x_t)]                  (their equation 5)

With the exact reverse conditional, q = p(x_{t-1} | x_t), it is I(x_{t-1}; x_0) - I(x_t; x_0), the
information that the step releases. Everything is in nats, and exact: closed forms for Gaussian
data, integrals over a fine grid for a mixture on the line.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from jaxtyping import Float, Float64
from numpy.typing import ArrayLike
from torch import Tensor

from ibbook._checks import distribution, real
from ibbook._numbers import integer

MOST = 0.999  # of the variance that one step may replace (Nichol and Dhariwal, 2021)
GRID = torch.linspace(-10, 10, 801, dtype=torch.float64)  # in deviations of a component


def linear_alpha_bar(steps: int) -> Float64[Tensor, "steps"]:
    """beta_t from 1e-4 to 0.02 over 1,000 steps (Ho et al., 2020), times 1,000 / steps for others.

    >>> linear_alpha_bar(1000)[[0, -1]]
    tensor([9.9990e-01, 4.0358e-05], dtype=torch.float64)
    """
    steps = _steps(steps)
    return _from_betas(torch.linspace(1e-4, 0.02, steps, dtype=torch.float64) * 1000 / steps)


def cosine_alpha_bar(steps: int) -> Float64[Tensor, "steps"]:
    """A squared cosine of t (Nichol and Dhariwal, 2021, equation 17).

    >>> cosine_alpha_bar(4)
    tensor([8.4701e-01, 4.9384e-01, 1.4427e-01, 1.4427e-04], dtype=torch.float64)
    """
    curve = ((_times(steps) + 0.008) / 1.008 * math.pi / 2).cos().square()
    return _from_curve(curve / math.cos(0.008 / 1.008 * math.pi / 2) ** 2)


def sqrt_alpha_bar(steps: int) -> Float64[Tensor, "steps"]:
    """1 - sqrt(t / T + 1e-4) (Li et al., 2022, appendix A).

    >>> sqrt_alpha_bar(4)
    tensor([4.9990e-01, 2.9282e-01, 1.3392e-01, 1.3392e-04], dtype=torch.float64)
    """
    return _from_curve(1 - (_times(steps) + 1e-4).sqrt())


def _times(steps: int) -> Float64[Tensor, "steps"]:
    """t / T for t = 1..T."""
    steps = _steps(steps)
    return torch.arange(1, steps + 1, dtype=torch.float64) / steps


def _from_curve(levels: Float64[Tensor, "steps"]) -> Float64[Tensor, "steps"]:
    before = torch.cat([levels.new_ones(1), levels[:-1]])
    return _from_betas(1 - levels / before)


def _from_betas(betas: Float64[Tensor, "steps"]) -> Float64[Tensor, "steps"]:
    return (1 - betas.clamp(max=MOST)).cumprod(0)


def _steps(steps: int) -> int:
    return integer(steps, "steps", 1)


def signal_to_noise(
    alpha_bar: Float[Tensor, "steps"] | ArrayLike,
) -> Float64[Tensor, "steps"]:
    """SNR_t = a_t / (1 - a_t), falling; a schedule that does not close step by step is refused.

    >>> signal_to_noise([0.8, 0.5])
    tensor([4., 1.], dtype=torch.float64)
    """
    levels = real(alpha_bar, "alpha_bar")
    if levels.ndim != 1 or not len(levels):
        raise ValueError(
            "alpha_bar must be a vector of at least one step, "
            f"got shape {tuple(levels.shape)}; cosine_alpha_bar(100) makes one"
        )
    outside = (levels <= 0) | (levels > 1)
    if outside.any():
        raise ValueError(
            f"alpha_bar must lie in (0, 1], got {levels[outside][0].item():g}; "
            "it is the share of the variance of x_t that comes from x_0"
        )
    rises = (levels.diff() >= 0).nonzero()
    if len(rises):
        t = int(rises[0]) + 1
        raise ValueError(
            f"alpha_bar must decrease, but goes from {levels[t - 1].item():g} to "
            f"{levels[t].item():g} at index {t}; every step must add noise"
        )
    return levels / (1 - levels)


def gaussian_information(
    snr: Float[Tensor, "*k"] | ArrayLike | float, variances: Float[Tensor, "d"] | ArrayLike
) -> Float64[Tensor, "*k"]:
    """I(x_t; x_0) of Gaussian data, sum_i ln(1 + SNR d_i) / 2, with eigenvalues d_i.

    >>> gaussian_information([0.0, 3.0], [1.0]).div(math.log(2))  # bits
    tensor([0., 1.], dtype=torch.float64)
    """
    snr, variances = _snr(snr), _variances(variances)
    return (snr[..., None] * variances).log1p().sum(-1) / 2


def gaussian_mmse(
    snr: Float[Tensor, "*k"] | ArrayLike | float, variances: Float[Tensor, "d"] | ArrayLike
) -> Float64[Tensor, "*k"]:
    """The least mean squared error of x_0 given x_t: sum_i d_i / (1 + SNR d_i).

    For other data with these eigenvalues it is the error of the best linear guess, a bound.

    >>> gaussian_mmse([0.0, 3.0], [1.0])
    tensor([1.0000, 0.2500], dtype=torch.float64)
    """
    snr, variances = _snr(snr), _variances(variances)
    return (variances / (1 + snr[..., None] * variances)).sum(-1)


class Bound(NamedTuple):
    """The parts of the variational bound on E[-ln q(x_0)], in nats."""

    reconstruction: Float64[Tensor, ""]  # L_0 = E[-ln p(x_0 | x_1)]
    steps: Float64[Tensor, "steps-1"]  # L_1 .. L_{T-1}
    prior: Float64[Tensor, ""]  # L_T = E D_KL[p(x_T | x_0) || N(0, I)]

    @property
    def total(self) -> Float64[Tensor, ""]:
        return self.reconstruction + self.steps.sum() + self.prior


def reverse_variances(
    alpha_bar: Float[Tensor, "steps"] | ArrayLike, variances: Float[Tensor, "d"] | ArrayLike
) -> tuple[Float64[Tensor, "steps-1"], Float64[Tensor, "steps-1 d"]]:
    """Variance of x_{t-1} given x_t and x_0, and given x_t alone, for t = 2..T.

    The first is DDPM's fixed variance, (1 - a_{t-1}) / (1 - a_t) beta_t, with
    beta_t = 1 - a_t / a_{t-1} (Ho et al., 2020, equation 7). The second adds to it what Gaussian
    data with eigenvalues `variances` leave open of x_0.

    >>> both = reverse_variances([0.8, 0.5], [1.0])
    >>> [v.flatten().tolist() for v in both]
    [[0.15], [0.375]]
    """
    signal_to_noise(alpha_bar)
    levels, variances = real(alpha_bar, "alpha_bar"), _variances(variances)
    before, after = levels[:-1], levels[1:]
    beta = 1 - after / before
    given_both = (1 - before) / (1 - after) * beta
    spread = 1 + levels[:, None] * (variances - 1)  # of x_t, in each direction
    return given_both, spread[:-1] * beta[:, None] / spread[1:]


def gaussian_bound(
    alpha_bar: Float[Tensor, "steps"] | ArrayLike,
    variances: Float[Tensor, "d"] | ArrayLike,
    *,
    reverse: str = "exact",
) -> Bound:
    """The bound for Gaussian data of mean 0, its reverse steps with the best mean.

    reverse:  "exact", the variance of p(x_{t-1} | x_t); the total is then h(x_0) plus
              D_KL[p(x_T) || N(0, I)] for every schedule. Or "fixed", that of
              p(x_{t-1} | x_t, x_0), as in DDPM; L_{t-1} = (SNR_{t-1} - SNR_t) mmse_t / 2.

    >>> bound = gaussian_bound(cosine_alpha_bar(10), [4.0, 1.0])
    >>> round(bound.total.item(), 4), round(math.log(2 * math.pi * math.e) + math.log(4) / 2, 4)
    (3.531, 3.531)
    """
    snr, variances = signal_to_noise(alpha_bar), _variances(variances)
    levels = real(alpha_bar, "alpha_bar")
    if levels[0] == 1:
        raise ValueError("alpha_bar must start below 1 in a bound; its first step adds no noise")
    if reverse not in ("exact", "fixed"):
        raise ValueError(f"reverse must be 'exact' or 'fixed', got {reverse!r}")
    given_both, given_one = reverse_variances(levels, variances)
    ratio = given_one / given_both[:, None]
    steps = ratio.log() if reverse == "exact" else ratio - 1
    left = variances / (1 + snr[0] * variances)  # variance of x_0 given x_1
    last = levels[-1]
    prior = last * (variances - 1) - (-last).log1p()
    return Bound((2 * math.pi * math.e * left).log().sum() / 2, steps.sum(-1) / 2, prior.sum() / 2)


class Mixture(NamedTuple):
    """A mixture of Gaussians on the line: component c has weight p(c), a mean and a deviation."""

    weights: Float64[Tensor, "c"]
    means: Float64[Tensor, "c"]
    deviations: Float64[Tensor, "c"]


def mixture(
    weights: Float[Tensor, "c"] | ArrayLike,
    means: Float[Tensor, "c"] | ArrayLike,
    deviations: Float[Tensor, "c"] | ArrayLike,
) -> Mixture:
    """A `Mixture`, checked; a deviation may be 0, for points.

    >>> mixture([0.5, 0.5], [-1, 1], [0, 0]).weights
    tensor([0.5000, 0.5000], dtype=torch.float64)
    """
    weights = distribution(weights, "weights")
    parts = [real(v, name) for name, v in (("means", means), ("deviations", deviations))]
    if any(part.shape != weights.shape for part in parts) or weights.ndim != 1:
        raise ValueError(
            "weights, means and deviations must be vectors of one length, got shapes "
            f"{[tuple(part.shape) for part in (weights, *parts)]}"
        )
    if (parts[1] < 0).any():
        raise ValueError(f"deviations must be >= 0, got {parts[1].min().item():g}")
    return Mixture(weights, *parts)


def mixture_information(
    snr: Float[Tensor, "*k"] | ArrayLike | float, data: Mixture
) -> Float64[Tensor, "*k"]:
    """I(x_t; x_0) of a mixture: h(y) - h(e), for y = sqrt(SNR) x_0 + e.

    >>> two = mixture([0.5, 0.5], [-1, 1], [0, 0])
    >>> mixture_information([0.1, 1.0, 100.0], two)  # up to ln 2
    tensor([0.0476, 0.3368, 0.6931], dtype=torch.float64)
    """
    seen = _look(_snr(snr), data)
    return -seen.mean(seen.log_p) - math.log(2 * math.pi * math.e) / 2


def class_information(
    snr: Float[Tensor, "*k"] | ArrayLike | float, data: Mixture
) -> Float64[Tensor, "*k"]:
    """I(x_t; c): what the noisy x_t tells of the component that x_0 comes from.

    >>> wide = mixture([0.5, 0.5], [-1, 1], [1, 1])
    >>> class_information([0.1, 1.0, 1e6], wide)  # never all of ln 2: the components overlap
    tensor([0.0435, 0.2013, 0.3368], dtype=torch.float64)
    """
    seen = _look(_snr(snr), data)
    entropy = -torch.xlogy(data.weights, data.weights).sum()
    return entropy + seen.mean(torch.xlogy(seen.share, seen.share).sum(-1))


def mixture_mmse(
    snr: Float[Tensor, "*k"] | ArrayLike | float, data: Mixture
) -> Float64[Tensor, "*k"]:
    """E[Var(x_0 | x_t)]: by the I-MMSE relation of Guo, Shamai and Verdu (2005), twice dI / dSNR.

    >>> mixture_mmse([0.0, 1.0], mixture([0.5, 0.5], [-1, 1], [0, 0]))
    tensor([1.0000, 0.4496], dtype=torch.float64)
    """
    snr = _snr(snr)
    seen = _look(snr, data)
    root, variance = snr.sqrt()[..., None, None, None], data.deviations.square()
    left = variance / (1 + root.square() * variance)
    guess = data.means + root * left * (seen.y[..., None] - root * data.means)
    mean = (seen.share * guess).sum(-1, keepdim=True)
    return seen.mean((seen.share * (left + (guess - mean).square())).sum(-1))


def information_from_mmse(
    snr: Float[Tensor, "k"] | ArrayLike, mmse: Float[Tensor, "*m k"] | ArrayLike
) -> Float64[Tensor, "*m k"]:
    """I at each SNR, half the integral of the error from 0 on (Guo, Shamai and Verdu, 2005).

    The trapezium rule in ln SNR; below the first SNR the error is taken to be constant, so let the
    grid begin where nothing is known yet. The error of a denoiser that is not the best gives a
    larger value.

    >>> snr = torch.logspace(-4, 2, 400, dtype=torch.float64)
    >>> information_from_mmse(snr, gaussian_mmse(snr, [1.0]))[-1]  # ln(101) / 2 = 2.3076
    tensor(2.3076, dtype=torch.float64)
    """
    snr, mmse = _snr(snr), real(mmse, "mmse")
    snr = snr.to(mmse.device)
    if snr.ndim != 1 or not len(snr) or not snr[0] > 0 or (snr.diff() <= 0).any():
        raise ValueError("snr must be a vector of positive numbers that ascend")
    if mmse.shape[-1:] != snr.shape:
        raise ValueError(f"mmse must have one value for each of {len(snr)} SNRs on its last axis")
    start = snr[:1] * mmse[..., :1] / 2
    grown = torch.cumulative_trapezoid(mmse * snr, snr.log()) / 2
    return torch.cat([start, start + grown], -1)


class _Look(NamedTuple):
    """y on a grid around each component, and what each y says; `mean` integrates over p(y)."""

    weights: Tensor  # of component and grid point
    y: Tensor  # [*k, c, grid]
    log_p: Tensor  # ln p(y)
    share: Tensor  # p(c' | y), c' on the last axis

    def mean(self, values: Tensor) -> Tensor:
        return (self.weights * values).sum((-2, -1))


def _look(snr: Float64[Tensor, "*k"], data: Mixture) -> _Look:
    root = snr.sqrt()[..., None]
    centre, spread = root * data.means, (1 + snr[..., None] * data.deviations.square()).sqrt()
    y = centre[..., None] + spread[..., None] * GRID
    far = (y[..., None] - centre[..., None, None, :]) / spread[..., None, None, :]
    log_each = data.weights.log() - far.square() / 2 - spread[..., None, None, :].log()
    log_p = log_each.logsumexp(-1)
    bell = (-GRID.square() / 2).exp()
    weights = data.weights[:, None] * bell / bell.sum()
    share = (log_each - log_p[..., None]).exp()
    return _Look(weights, y, log_p - math.log(2 * math.pi) / 2, share)


def _snr(snr: Tensor | ArrayLike | float) -> Float64[Tensor, "*k"]:
    """Finite numbers >= 0."""
    snr = real(snr, "snr")
    if (snr < 0).any():
        raise ValueError(f"snr must be >= 0, got {snr.min().item():g}")
    return snr


def _variances(variances: Tensor | ArrayLike) -> Float64[Tensor, "d"]:
    variances = real(variances, "variances")
    if variances.ndim != 1 or not len(variances) or (variances < 0).any():
        raise ValueError(f"variances must be a vector of numbers >= 0, got {variances.tolist()}")
    return variances
