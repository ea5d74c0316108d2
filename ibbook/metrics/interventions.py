"""Scores that hold one factor fixed, let the others vary, and ask which codes show it.

Codes have shape [*members, n, latents], factors [n, k]; a score has one entry for each member. The
pictures that share a class of a factor are looked up among the n rows, so encode one sample in
which the other factors vary freely and most classes occur many times. Two thirds of the rows serve
for training, the others for testing; all members see the same ones. The numbers of draws are those
of Locatello et al. (2019).
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float, Float64, Int64
from numpy.typing import ArrayLike
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from ibbook._numbers import integer
from ibbook.datasets._grid import seeded
from ibbook.metrics._inputs import NOTHING, alive, read_classes, read_codes, split, standardised

CHUNK = 500  # groups of pictures whose codes are gathered at once: they fit a cache


def beta_vae_score(
    codes: Float[Tensor, "*members n latents"] | ArrayLike,
    factors: Tensor | ArrayLike,
    *,
    train: int = 10_000,
    test: int = 5_000,
    pairs: int = 64,
    seed: int = 0,
) -> Float64[Tensor, "*members"]:
    """Test accuracy of a linear classifier that names the factor which pairs of pictures share.

    For a random factor, `pairs` pairs are drawn, the two pictures of each with one class of that
    factor. The classifier, a logistic regression, sees the mean of |z - z'| over them, and learns
    on `train` such means. Source: Higgins et al. (2017), section 3. The codes are divided by their
    standard deviations, so that no penalty depends on their scale.

    Range [0, 1], no unit. Random codes score about 1 / k. Constant codes score 0. Rotated codes may
    still score 1: a linear classifier can undo much.

    >>> factors = torch.cartesian_prod(torch.arange(4), torch.arange(4)).repeat(5, 1)
    >>> beta_vae_score(factors, factors, train=200, test=100).item()
    1.0
    """
    pairs = integer(pairs, "pairs", 1)
    codes = read_codes(codes)
    labels, rows = _drawn(codes, factors, train, test, pairs, 2, seed)
    rows = rows.to(codes.device)
    scores = []
    for member in codes.reshape(-1, *codes.shape[-2:]):
        z = standardised(member)
        parts = [(z[p[..., 0]] - z[p[..., 1]]).abs().mean(1) for p in rows.split(CHUNK)]
        features = torch.cat(parts).cpu().numpy()
        model = LogisticRegression(max_iter=1000).fit(features[:train], labels[:train])
        scores.append(model.score(features[train:], labels[train:]))
    scores = codes.new_tensor(scores).reshape(codes.shape[:-2])
    return torch.where(alive(codes).any(-1), scores, 0.0)


def factor_vae_score(
    codes: Float[Tensor, "*members n latents"] | ArrayLike,
    factors: Tensor | ArrayLike,
    *,
    train: int = 10_000,
    test: int = 5_000,
    size: int = 64,
    threshold: float = 0.0,
    seed: int = 0,
) -> Float64[Tensor, "*members"]:
    """Test accuracy of the majority vote that names the factor which a group of pictures shares.

    For a random factor, `size` pictures of one class of it are drawn. Their vote is the code with
    the smallest variance within the group, relative to its variance over all n. Each code then
    stands for the factor that it got most votes for in `train` groups. Source: Kim and Mnih (2018),
    section 4. They leave out codes that collapsed to the prior. Here these are codes with a
    standard deviation of at most `threshold`, and dead codes always; for means of a VAE, Locatello
    et al. (2019) take 0.05. Of codes that tie, the first has the vote.

    Range [0, 1], no unit. Random codes score about 1 / k. Constant codes score 0.

    >>> factors = torch.cartesian_prod(torch.arange(4), torch.arange(4)).repeat(5, 1)
    >>> factor_vae_score(factors, factors, train=200, test=100).item()
    1.0
    """
    size = integer(size, "size", 2)
    if not threshold >= 0:
        raise ValueError(f"threshold must be >= 0, got {threshold!r}")
    codes = read_codes(codes)
    labels, rows = _drawn(codes, factors, train, test, 1, size, seed)
    labels, rows = labels.to(codes.device), rows[:, 0].to(codes.device)
    k = int(labels.max()) + 1
    live = alive(codes) & (codes.std(-2) > threshold)
    latents = codes.shape[-1]
    scores = []
    for member, mask in zip(
        codes.reshape(-1, *codes.shape[-2:]), live.reshape(-1, latents), strict=True
    ):
        z = standardised(member)
        variances = torch.cat([z[part].var(1) for part in rows.split(CHUNK)])
        variances = variances.masked_fill(~mask, torch.inf)
        least = variances.amin(1, keepdim=True)
        vote = (variances <= least + NOTHING).int().argmax(1)
        votes = (vote[:train] * k + labels[:train]).bincount(minlength=latents * k)
        named = votes.reshape(latents, k).argmax(1)
        scores.append((named[vote[train:]] == labels[train:]).double().mean())
    return torch.where(live.any(-1), torch.stack(scores).reshape(codes.shape[:-2]), 0.0)


def _drawn(
    codes: Tensor, factors: Any, train: int, test: int, groups: int, size: int, seed: int
) -> tuple[Int64[Tensor, "draws"], Int64[Tensor, "draws groups size"]]:
    """A random factor for each draw, and groups of rows that share a class of it.

    The first `train` draws take their rows from two thirds of all, the others from the rest: a
    classifier must not profit from what is peculiar to the pictures of a class.
    """
    classes = [column.cpu() for column in read_classes(factors, codes)]
    if len(classes) < 2:
        raise ValueError("factors must have at least 2 columns for a score that tells them apart")
    train, test = integer(train, "train", 1), integer(test, "test", 1)
    generator = seeded(seed)
    labels = torch.randint(len(classes), (train + test,), generator=generator)
    rows = torch.empty(train + test, groups, size, dtype=torch.int64)
    begin = 0
    for part, draws in zip(split(codes, seed), (train, test), strict=True):
        for j, column in enumerate(classes):
            mine = begin + (labels[begin : begin + draws] == j).nonzero()[:, 0]
            drawn = _sharing(column[part], j, len(mine) * groups, size, generator)
            rows[mine] = part[drawn].reshape(-1, groups, size)
        begin += draws
    return labels, rows


def _sharing(
    column: Int64[Tensor, "n"], j: int, groups: int, size: int, generator: torch.Generator
) -> Int64[Tensor, "groups size"]:
    """Rows of one class each; the first of a row is never drawn again, so that pairs differ."""
    order = column.argsort(stable=True)
    counts = column.bincount()
    first = counts.cumsum(0) - counts
    repeated = order[counts[column[order]] > 1]
    if not len(repeated):
        raise ValueError(
            f"factors[:, {j}] has no class that two of {len(column)} points share; pass more points"
        )
    anchor = repeated[torch.randint(len(repeated), (groups, 1), generator=generator)]
    count, start = counts[column[anchor]], first[column[anchor]]
    place = torch.empty_like(order)
    place[order] = torch.arange(len(order))
    steps = torch.rand(groups, size - 1, generator=generator, dtype=torch.float64)
    steps = 1 + (steps * (count - 1)).long()
    others = order[start + (place[anchor] - start + steps) % count]
    return torch.cat([anchor, others], 1)
