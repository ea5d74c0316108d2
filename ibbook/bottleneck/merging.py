"""Hard clusters, merged two at a time, each merge with its price."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float64
from numpy.typing import ArrayLike
from torch import Tensor

from ibbook import _checks


class Merge(NamedTuple):
    """Two clusters become one. Cluster i < n is the value i of X, cluster n + j the merge j."""

    first: int
    second: int
    beta: float  # below it the merge lowers L = I(X;T) - beta I(T;Y)
    saved: float  # nats of I(X;T)
    lost: float  # nats of I(T;Y)


def merge_tree(pxy: Float64[Tensor, "x y"] | ArrayLike) -> list[Merge]:
    """Merge the values of X pair by pair, down to one cluster: always the pair of highest price.

    To merge the hard clusters a and b saves I(X;T) and loses I(T;Y). That lowers L below the
    price, the beta

        saved / lost = H(pi) / JS_pi[p(y|a), p(y|b)],    pi = (p(a), p(b)) / (p(a) + p(b)),

    with the Jensen-Shannon divergence; it is inf where the two say the same of Y. This is the
    agglomerative bottleneck (Slonim and Tishby 1999), ordered by price: theirs merges the pair that
    loses least. A greedy tree need not have falling prices: a merge may be dearer than one before.

    >>> pxy = torch.tensor([[8, 2, 0, 0], [2, 8, 0, 0], [0, 0, 7, 3], [0, 0, 3, 7]]) / 40
    >>> [(step.first, step.second, round(step.beta, 2)) for step in merge_tree(pxy)]
    [(2, 3, 8.42), (0, 1, 3.6), (4, 5, 1.0)]
    """
    pxy = _checks.distribution(pxy, "pxy", axes=0)
    if pxy.ndim != 2:
        raise ValueError(f"pxy must have two axes, got shape {tuple(pxy.shape)}")
    size, joint, names, steps = len(pxy), pxy, list(range(len(pxy))), []
    while len(names) > 1:
        saved, lost = _trade(joint)
        price = torch.where(lost > 0, saved / lost, torch.inf).triu(1)
        a, b = divmod(int(price.argmax()), len(names))
        parts = (price, saved, lost)
        steps.append(Merge(names[a], names[b], *(part[a, b].item() for part in parts)))
        rest = [i for i in range(len(names)) if i not in (a, b)]
        joint = torch.cat([joint[rest], joint[[a, b]].sum(0, keepdim=True)])
        names = [*(names[i] for i in rest), size + len(steps) - 1]
    return steps


def _trade(joint: Float64[Tensor, "t y"]) -> tuple[Float64[Tensor, "t t"], Float64[Tensor, "t t"]]:
    """What each pair of clusters would save of I(X;T) and lose of I(T;Y)."""
    mass = joint.sum(1)
    by_t, by_ty = torch.xlogy(mass, mass), torch.xlogy(joint, joint).sum(1)
    both, both_y = mass[:, None] + mass, joint[:, None] + joint
    saved = torch.xlogy(both, both) - by_t[:, None] - by_t
    lost = saved + by_ty[:, None] + by_ty - torch.xlogy(both_y, both_y).sum(-1)
    return saved, torch.where(lost > 1e-15, lost, 0.0)  # less is rounding
