"""The information curve: the largest I(T;Y) at every I(X;T)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float64
from numpy.typing import ArrayLike
from torch import Tensor

from ibbook import _checks
from ibbook._convex_curve import Points, read
from ibbook.bottleneck._problem import information, pad, sufficient
from ibbook.bottleneck.discrete import information_bottleneck

AIM = 1e-9  # nats of I(X;T) by which an unmixed code may miss its target
STRAIGHT = 1e-11  # nats between curve and chord where the curve is taken for straight


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


def information_curve(
    pxy: Float64[Tensor, "x y"] | ArrayLike,
    betas: Float64[Tensor, "k"] | ArrayLike,
    *,
    clusters: int | None = None,
) -> InformationCurve:
    """The largest I(T;Y) at every I(X;T), as the polygon through the solutions at `betas`.

    The solutions are those with `trivial="while-lowest"`. To them come the two ends that need no
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
    points = information_bottleneck(pxy, betas, clusters=clusters, trivial="while-lowest")
    p, rows, _ = sufficient(pxy)
    ends = pxy.new_tensor(
        [[0, 0, 0], [math.inf, torch.special.entr(p).sum(), information(p, rows)]]
    )
    beta, complexity, relevance = torch.cat(
        [ends, torch.stack([points.beta, points.complexity, points.relevance], 1)]
    ).T
    keep = _hull(complexity.tolist(), relevance.tolist())
    return InformationCurve(beta[keep], complexity[keep], relevance[keep])


@dataclass(frozen=True)
class EncoderAt:
    """Codes of a wanted complexity, one for each target; see `encoder_at`."""

    complexity: Float64[Tensor, "*k"]  # I(X;T), the target
    relevance: Float64[Tensor, "*k"]  # I(T;Y)
    encoder: Float64[Tensor, "*k x t"]  # p(t|x); a smaller code has mass 0 in its last columns
    beta: Float64[Tensor, "*k"]  # 1/beta is the slope of the curve there
    gap: Float64[Tensor, "*k"]  # no code of this complexity was found to keep more than this more


def encoder_at(
    pxy: Float64[Tensor, "x y"] | ArrayLike,
    complexity: Float64[Tensor, "*k"] | ArrayLike | float,
) -> EncoderAt:
    """The encoder that keeps most about Y at a given I(X;T): a point of the information curve.

    Where a beta gives that complexity, it is the bottleneck's solution there. On a straight piece
    of the curve no beta does: there the code says in T which of two codes is in use, those at the
    ends of the piece, in the right proportion. From H(S) on, S the minimal sufficient statistic,
    nothing is left to gain, and the encoder is S itself with complexity H(S).

    Both ends of the curve need no solver. Between them the next beta is in turn the chord's, which
    finds a straight piece in one step, and the one that interpolation suggests. The tangents of all
    solutions bound the curve from above: `relevance` is within `gap` of it, unless a search in
    `information_bottleneck` missed a cluster.

    Where Y = f(X) is a fair bit, half of its information costs half a bit:

    >>> half = encoder_at([[0.5, 0.0], [0.0, 0.5]], 0.5 * math.log(2))
    >>> round(half.relevance.item() / math.log(2), 6)
    0.5
    >>> half.encoder.shape  # two columns say X, one that it is not said
    torch.Size([2, 3])
    """
    pxy = _checks.distribution(pxy, "pxy", axes=0)
    if pxy.ndim != 2:
        raise ValueError(f"pxy must have two axes, got shape {tuple(pxy.shape)}")
    wanted = _checks.real(complexity, "complexity").to(pxy.device)
    if (wanted < 0).any():
        raise ValueError(f"complexity must be >= 0, got {wanted.min().item():g}")
    p, rows, label = sufficient(pxy)
    size = len(p)
    top = torch.special.entr(p).sum()
    target = wanted.reshape(-1).clamp(max=top.item())

    def point(slope: Tensor, x: Tensor, y: Tensor, encoder: Tensor) -> Points:
        return Points(slope, x, y, torch.zeros_like(x), encoder.flatten(1))

    def solve(_: Tensor, slope: Tensor) -> tuple[Points, Tensor]:
        code = information_bottleneck(pxy, 1 / slope, trivial="while-lowest")
        encoder = pad(code.encoder, size)
        steps = torch.zeros_like(slope, dtype=torch.int64)
        return point(slope, code.complexity, -code.relevance, encoder), steps

    copy = torch.eye(size, dtype=p.dtype, device=p.device)
    silent = torch.zeros_like(copy)
    silent[:, 0] = 1
    slope, x, y = p.new_tensor([[0, 1], [top, 0], [-information(p, rows), 0]])
    ends = point(slope, x, y, torch.stack([copy, silent])[:, label])
    found = read(Points(*(part[None] for part in ends)), solve, target[None], STRAIGHT)
    near, far = (end.q[0].unflatten(-1, (-1, size)) for end in (found.near, found.far))
    share = found.share[0, :, None, None]
    parts = [(1 - share) * near, share * far]
    codes, one = torch.cat(parts, -1), pad(sum(parts), 2 * size)  # one: T need not say which
    p_x = pxy.sum(1)
    same = (information(p_x.expand(len(one), -1), one) - target).abs() <= AIM
    codes = torch.where(same[:, None, None], one, codes)
    used = codes.sum(-2) > 0
    order = used.to(torch.int8).argsort(dim=-1, descending=True, stable=True)
    codes = codes.gather(-1, order[:, None].expand_as(codes))[..., : int(used.sum(-1).max())]
    tight = (found.near.line(target) >= found.far.line(target))[0]
    slope = torch.where(tight, found.near.beta, found.far.beta)[0]
    shape = wanted.shape
    return EncoderAt(
        complexity=target.reshape(shape),
        relevance=(0 - found.upper).reshape(shape),
        encoder=codes.reshape(*shape, *codes.shape[1:]),
        beta=(1 / slope).reshape(shape),
        gap=(found.upper - found.lower).clamp_min(0).reshape(shape),
    )


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
