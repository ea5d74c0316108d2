"""Scores made of the mutual information between single codes and single factors.

Codes have shape [*members, n, latents], factors [n, k]; a score has one entry for each member. A
factor whose values are all whole numbers is a class; any other is continuous and is binned as the
codes are. Whether a score is of means or of samples depends on what is passed as codes: for a mean,
all of the noise of q(z|x) is missing. Information is in nats.

A histogram of n points is biased: codes that know nothing of a factor still show about
(bins - 1)(classes - 1) / 2n nats (Miller 1955). Compare scores at the same n.
"""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Float, Float64, Int64
from numpy.typing import ArrayLike
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from ibbook.information import entropy_from_counts, mutual_information_from_counts
from ibbook.metrics._inputs import (
    gap,
    is_dead,
    is_whole,
    read_codes,
    read_factors,
    squared_correlations,
)

Binning = Literal["width", "quantile"]

LINEAR = 1e-12  # 1 - rho^2 at which a code is a linear function of a factor, but for rounding


def mig(
    codes: Float[Tensor, "*members n latents"] | ArrayLike,
    factors: Tensor | ArrayLike,
    *,
    bins: int = 20,
    binning: Binning = "width",
) -> Float64[Tensor, "*members"]:
    """Mutual information gap: mean over factors of [I(z_a; v) - I(z_b; v)] / H(v).

    z_a and z_b are the codes with the most and second most information on the factor v. Source:
    Chen et al. (2018), equation 6, who take samples of q(z|x); Locatello et al. (2019) take means
    and 20 bins of equal width, the defaults here. One outlier stretches such bins until most are
    empty; binning="quantile" has bins of equal mass, which depend on the order of values only.

    Range [0, 1], no unit. Constant codes score 0. Random codes score nearly 0, since both
    informations have the same bias. A duplicated code scores 0 on its factor. The second best of
    a single code is 0.

    >>> factors = torch.cartesian_prod(torch.arange(4), torch.arange(3))
    >>> mig(factors, factors).item()
    1.0
    >>> mig(factors[:, :1], factors).item()
    0.5
    """
    codes = read_codes(codes)
    factors = read_factors(factors, codes)
    counts = _contingency(codes, factors, bins, binning)
    entropies = torch.stack([entropy_from_counts(table[0, 0].sum(0)) for table in counts])
    return (gap(_information(codes, counts)) / entropies).mean(-1)


def i_m(
    codes: Float[Tensor, "*members n latents"] | ArrayLike,
    factors: Tensor | ArrayLike,
    *,
    estimator: Literal["gaussian", "histogram"] = "gaussian",
    bins: int = 20,
    binning: Binning = "width",
) -> Float64[Tensor, "*members"]:
    """Matched information: the largest sum_j I(z_pi(j); v_j) over one-to-one matchings pi.

    "gaussian" takes I = -ln(1 - rho^2) / 2 from the correlation rho, exact for Gaussian codes and
    factors and a lower bound on I for a Gaussian code or factor; "histogram" takes the information
    of binned values. Source: Vu, Wan and Wei (2026), who use the first for linear models and the
    second, with 20 bins of equal width and means as codes, for deep ones.

    In nats, from 0 to infinity for "gaussian" (a code that is a linear function of its factor), to
    sum_j H(v_j) for "histogram". Constant codes score 0. Random codes score about 1 / 2n nats for
    each matched pair ("gaussian") or the bias of the histogram, a little more for the choice of
    the best matching. With fewer codes than factors the rest of the factors add nothing.

    >>> factors = torch.cartesian_prod(torch.arange(2), torch.arange(2))
    >>> round(i_m(factors, factors, estimator="histogram").item(), 4)  # 2 ln 2
    1.3863
    """
    codes = read_codes(codes)
    factors = read_factors(factors, codes)
    if estimator == "gaussian":
        unexplained = 1 - squared_correlations(codes, factors)
        information = -unexplained.log() / 2
        information = torch.where(unexplained <= LINEAR, torch.inf, information)
    elif estimator == "histogram":
        information = _information(codes, _contingency(codes, factors, bins, binning))
    else:
        raise ValueError(f"estimator must be 'gaussian' or 'histogram', got {estimator!r}")
    shape = codes.shape[:-2]
    best = [_matched(pairs) for pairs in information.reshape(-1, *information.shape[-2:])]
    return torch.stack(best).reshape(shape)


def _matched(information: Float64[Tensor, "latents k"]) -> Float64[Tensor, ""]:
    weights = information.clamp(max=1e6).cpu().numpy()  # a matching needs finite weights
    rows, columns = (torch.as_tensor(i) for i in linear_sum_assignment(weights, maximize=True))
    return information[rows, columns].sum()


def _information(
    codes: Tensor, counts: list[Float64[Tensor, "members latents bins classes"]]
) -> Float64[Tensor, "*members latents k"]:
    information = torch.stack([mutual_information_from_counts(table) for table in counts], -1)
    information = information.clamp(min=0).reshape(*codes.shape[:-2], *information.shape[-2:])
    return information.masked_fill(is_dead(codes)[..., None], 0.0)


def _contingency(
    codes: Float64[Tensor, "*members n latents"],
    factors: Float64[Tensor, "n k"],
    bins: int,
    binning: Binning,
) -> list[Float64[Tensor, "members latents bins classes"]]:
    """For each factor, how often each bin of each code meets each class."""
    if not isinstance(bins, int) or bins < 2:
        raise ValueError(f"bins must be a whole number of at least 2, got {bins!r}")
    z = codes.reshape(-1, *codes.shape[-2:]).mT.contiguous()
    members, latents, _ = z.shape
    binned = _binned(z, bins, binning)
    cell = torch.arange(members * latents, device=z.device).reshape(members, latents, 1)
    cell = cell * bins + binned
    tables = []
    for column in factors.T:
        if is_whole(column):
            classes = column.unique(return_inverse=True)[1]
        else:
            classes = _binned(column[None], bins, binning)[0]
        size = int(classes.max()) + 1
        table = (
            (cell * size + classes).flatten().bincount(minlength=members * latents * bins * size)
        )
        tables.append(table.reshape(members, latents, bins, size).double())
    return tables


def _binned(
    values: Float64[Tensor, "*rows n"], bins: int, binning: Binning
) -> Int64[Tensor, "..."]:
    """The bin, 0 to bins - 1, of each value among the n of its row."""
    if binning == "width":
        low, high = values.amin(-1, keepdim=True), values.amax(-1, keepdim=True)
        inner = torch.arange(1, bins, device=values.device).to(values)
        return torch.searchsorted(inner * ((high - low) / bins) + low, values, right=True)
    if binning == "quantile":
        order = values.sort(-1).values
        ranks = [torch.searchsorted(order, values, right=right) for right in (False, True)]
        return bins * (ranks[0] + ranks[1]) // (2 * values.shape[-1])  # ties share their mean rank
    raise ValueError(f"binning must be 'width' or 'quantile', got {binning!r}")
