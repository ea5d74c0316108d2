"""How well clusters that were found without labels agree with them."""

from __future__ import annotations

import torch
from jaxtyping import Float64, Int64
from numpy.typing import ArrayLike
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from ibbook._checks import real


def majority_accuracy(
    clusters: Int64[Tensor, "*members n"] | ArrayLike, labels: Int64[Tensor, "n"] | ArrayLike
) -> Float64[Tensor, "*members"]:
    """The share of points that have the most frequent label of their cluster.

    Several clusters may stand for one label, so more clusters never score less; with a cluster for
    each point it is 1. Source: Dilokthanakul et al. (2016), section 4.

    >>> majority_accuracy([0, 0, 1, 1, 2], [7, 7, 7, 7, 8]).item()
    1.0
    """
    return _score(clusters, labels, lambda table: table.max(0).values.sum())


def matched_accuracy(
    clusters: Int64[Tensor, "*members n"] | ArrayLike, labels: Int64[Tensor, "n"] | ArrayLike
) -> Float64[Tensor, "*members"]:
    """The share of points that are right when each label is given at most one cluster, at best.

    The best matching is found by the Hungarian method (Kuhn, 1955). Never above
    `majority_accuracy`.

    >>> matched_accuracy([0, 0, 1, 1, 2], [7, 7, 7, 7, 8]).item()
    0.6
    """
    return _score(clusters, labels, lambda t: t[linear_sum_assignment(t, maximize=True)].sum())


def _score(clusters, labels, right) -> Float64[Tensor, "*members"]:
    clusters, labels = _classes(clusters, "clusters"), _classes(labels, "labels")
    if labels.ndim != 1 or not len(labels) or clusters.shape[-1:] != labels.shape:
        raise ValueError(
            "clusters must be [*members, n] for labels [n], n >= 1, got "
            f"{tuple(clusters.shape)} and {tuple(labels.shape)}"
        )
    label = torch.nn.functional.one_hot(labels.unique(return_inverse=True)[1]).double()
    scores = [
        right(label.T @ torch.nn.functional.one_hot(each.unique(return_inverse=True)[1]).double())
        for each in clusters.reshape(-1, len(labels))
    ]
    return torch.stack(scores).reshape(clusters.shape[:-1]) / len(labels)


def _classes(value: ArrayLike, name: str) -> Int64[Tensor, "..."]:
    values = real(value, name)
    if (values != values.round()).any():
        raise ValueError(f"{name} must hold whole numbers, one for each class")
    return values.long()
