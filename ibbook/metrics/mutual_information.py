"""Scores made of the mutual information between single codes and single factors.

Codes have shape [*members, n, latents], factors [n, k]; a score has one entry for each member. A
factor whose values are all whole numbers is a class; any other is continuous and is binned as the
codes are. Values that differ by rounding alone share a bin. Whether a score is of means or of
samples is a matter of which codes are passed; means lack the noise of the encoder p(z|x) and score
higher. Information is in nats.

A histogram is biased: codes that know nothing of a factor still show, on average, about
(bins - 1)(classes - 1) / 2n nats (Miller 1955). Compare scores at the same n.
"""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Float, Float64, Int64
from numpy.typing import ArrayLike
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from ibbook._numbers import integer
from ibbook.information import entropy_from_counts, mutual_information_from_counts
from ibbook.metrics._inputs import (
    NOTHING,
    as_classes,
    cleared,
    gap,
    is_whole,
    read_codes,
    read_factors,
    standardised,
    with_rival,
)

Binning = Literal["width", "quantile"]


def mig(
    codes: Float[Tensor, "*members n latents"] | ArrayLike,
    factors: Tensor | ArrayLike,
    *,
    bins: int = 20,
    binning: Binning = "width",
) -> Float64[Tensor, "*members"]:
    """Mutual information gap: mean over factors of [I(z_a; v) - I(z_b; v)] / H(v).

    z_a and z_b are the codes with the most and second most information on the factor v. Source:
    Chen et al. (2018), equation 6, who take samples of the encoder (their q(z|x)); Locatello et al.
    (2019) take means and 20 bins of equal width, the defaults here. One outlier stretches such bins
    until most are empty; binning="quantile" has bins of equal mass, which depend on the order of
    values only.

    Range [0, 1], no unit. Constant codes score 0. Random codes score nearly 0, since both
    informations have the same bias. A code with a copy scores 0 on its factor. A single code is
    compared with a constant one.

    >>> factors = torch.cartesian_prod(torch.arange(4), torch.arange(3))
    >>> f"{mig(factors, factors):.3f}", f"{mig(factors[:, :1], factors):.3f}"
    ('1.000', '0.500')
    """
    codes = with_rival(read_codes(codes))
    factors = read_factors(factors, codes)
    tables = _contingency(codes, factors, bins, binning)
    entropies = torch.stack([entropy_from_counts(table[0, 0].sum(0)) for table in tables])
    return (gap(_information(codes, tables)) / entropies).mean(-1)


def i_m(
    codes: Float[Tensor, "*members n latents"] | ArrayLike,
    factors: Tensor | ArrayLike,
    *,
    estimator: Literal["gaussian", "histogram"] = "gaussian",
    bins: int = 20,
    binning: Binning = "width",
) -> Float64[Tensor, "*members"]:
    """Matched information: the largest sum_j I(z_pi(j); v_j) over one-to-one matchings pi.

    "gaussian" takes I = -ln(1 - rho^2) / 2 from the correlation rho: exact where code and factor
    are jointly Gaussian, a lower bound where one of them is Gaussian. "histogram" takes the
    information of binned values. Source: Vu, Wan and Wei (2026), who use the first for linear
    models and the second, with 20 bins of equal width and means as codes, for deep ones.

    In nats, from 0 to infinity for "gaussian" (a code that is a linear function of its factor), to
    sum_j H(v_j) for "histogram". Constant codes score 0. Random codes score a little: about 1 / 2n
    for each matched pair ("gaussian") or the bias of the histogram, and somewhat more because the
    best matching is chosen. With fewer codes than factors, the other factors add nothing.

    >>> factors = torch.cartesian_prod(torch.arange(2), torch.arange(2))
    >>> round(i_m(factors, factors, estimator="histogram").item(), 4)  # 2 ln 2
    1.3863
    """
    codes = read_codes(codes)
    factors = read_factors(factors, codes)
    if estimator == "gaussian":
        unexplained = 1 - squared_correlations(codes, factors)
        information = cleared(-unexplained.log() / 2)
        information = information.masked_fill(unexplained <= NOTHING, torch.inf)
    elif estimator == "histogram":
        information = _information(codes, _contingency(codes, factors, bins, binning))
    else:
        raise ValueError(f"estimator must be 'gaussian' or 'histogram', got {estimator!r}")
    matched = [_matched(pairs) for pairs in information.reshape(-1, *information.shape[-2:])]
    return torch.stack(matched).reshape(codes.shape[:-2])


def modularity(
    codes: Float[Tensor, "*members n latents"] | ArrayLike,
    factors: Tensor | ArrayLike,
    *,
    bins: int = 20,
    binning: Binning = "width",
) -> Float64[Tensor, "*members"]:
    """Mean over codes of 1 - sum_(f != best) I(z; v_f)^2 / [(k - 1) I(z; v_best)^2].

    Each code is compared with its template, a code that knows of its best factor only. Source:
    Ridgeway and Mozer (2018), section 3; with 20 bins of equal width, Locatello et al. (2019).

    Range [0, 1], no unit; 1 where each code knows of one factor, however many share a factor.
    Constant codes score 0 and count in the mean. Random codes have no fixed score: the bias of the
    histogram makes them seem to know the factor with the most classes, so that useless codes raise
    the score where numbers of classes differ. With one factor, a code that knows of it scores 1.

    >>> factors = torch.cartesian_prod(torch.arange(2), torch.arange(2))
    >>> mixed = factors @ torch.tensor([[1], [2]])  # knows both factors equally well
    >>> f"{modularity(factors, factors):.3f}", f"{modularity(mixed, factors):.3f}"
    ('1.000', '0.000')
    """
    codes = read_codes(codes)
    factors = read_factors(factors, codes)
    squared = _information(codes, _contingency(codes, factors, bins, binning)).square()
    best = squared.amax(-1)
    rest = (squared.sum(-1) - best) / max(squared.shape[-1] - 1, 1)
    return torch.where(best > 0, cleared(1 - rest / best), 0.0).mean(-1)


def squared_correlations(
    codes: Float64[Tensor, "*members n latents"], factors: Float64[Tensor, "n k"]
) -> Float64[Tensor, "*members latents k"]:
    """Squared correlation of each code with each factor; 0 for a dead code."""
    return (standardised(codes).mT @ standardised(factors) / len(factors)).square().clamp(max=1)


def _matched(information: Float64[Tensor, "latents k"]) -> Float64[Tensor, ""]:
    weights = information.clamp(max=1e6).cpu().numpy()  # a matching needs finite weights
    rows, columns = linear_sum_assignment(weights, maximize=True)
    return information[torch.as_tensor(rows), torch.as_tensor(columns)].sum()


def _information(
    codes: Float64[Tensor, "*members n latents"],
    tables: list[Float64[Tensor, "all latents bins classes"]],
) -> Float64[Tensor, "*members latents k"]:
    information = torch.stack([mutual_information_from_counts(table) for table in tables], -1)
    return cleared(information).reshape(*codes.shape[:-2], *information.shape[-2:])


def _contingency(
    codes: Float64[Tensor, "*members n latents"],
    factors: Float64[Tensor, "n k"],
    bins: int,
    binning: Binning,
) -> list[Float64[Tensor, "all latents bins classes"]]:
    """For each factor, how often each bin of each code of all members meets each class."""
    bins = integer(bins, "bins", 2)
    rows = codes.mT.reshape(-1, codes.shape[-2]).contiguous()
    cell = torch.arange(len(rows), device=codes.device)[:, None] * bins
    cell = cell + _binned(rows, bins, binning)
    tables = []
    for column in factors.T.contiguous():
        whole = is_whole(column)
        classes = as_classes(column) if whole else _binned(column[None], bins, binning)[0]
        shape = len(rows), bins, int(classes.max()) + 1
        counts = (
            (cell * shape[-1] + classes).flatten().bincount(minlength=shape[0] * bins * shape[2])
        )
        tables.append(counts.reshape(-1, codes.shape[-1], *shape[1:]).double())
    return tables


def _binned(values: Float64[Tensor, "rows n"], bins: int, binning: Binning) -> Int64[Tensor, "..."]:
    """The bin, 0 to bins - 1, of each value among the n of its row.

    A value that is on an edge but for rounding is in the bin above it.
    """
    low, high = values.amin(-1, keepdim=True), values.amax(-1, keepdim=True)
    rounding = NOTHING * (high - low)
    if binning == "width":
        inner = torch.arange(1, bins, device=values.device).to(values)
        edges = inner * ((high - low) / bins) + low
        return torch.searchsorted(edges, values + rounding, right=True)
    if binning == "quantile":
        order = values.sort(-1).values
        below = torch.searchsorted(order, values - rounding)
        through = torch.searchsorted(order, values + rounding, right=True)
        return bins * (below + through) // (2 * values.shape[-1])  # ties share their mean rank
    raise ValueError(f"binning must be 'width' or 'quantile', got {binning!r}")
