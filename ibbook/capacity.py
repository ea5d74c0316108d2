"""The capacity of a discrete channel, with a certificate.

A channel p(y|x) carries at most C = max over p(x) of I(X; Y) nats a use (Shannon 1948). Lists and
numpy arrays are accepted wherever a tensor is; the arithmetic is float64 on the device of the
argument.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float64, Int64
from numpy.typing import ArrayLike
from torch import Tensor

from ibbook._checks import distribution
from ibbook._interior_point import Problem, check_tolerance, interior_point
from ibbook._threads import deal

TINY = 1e-300


@dataclass(frozen=True)
class Capacity:
    """What `channel_capacity` finds for each channel."""

    capacity: Float64[Tensor, "*batch"]
    input: Float64[Tensor, "*batch x"]
    gap: Float64[Tensor, "*batch"]
    iterations: Int64[Tensor, "*batch"]
    converged: Bool[Tensor, "*batch"]


def channel_capacity(
    channel: Float64[Tensor, "*batch x y"] | ArrayLike, *, tol: float = 1e-9
) -> Capacity:
    """The capacity of p(y|x) = channel[..., x, y], in nats, and an input p(x) that reaches it.

    - `input` is a distribution p(x), and `capacity` the information I(X; Y) that it gets through;
    - `gap` bounds its error: capacity <= C <= capacity + gap, up to rounding;
    - `converged` is true exactly where gap <= tol; `iterations` counts Newton steps.

    C is also the least over q(y) of max_x D_KL[p(y|x) || q(y)], so that with q(y) the output p(y)
    of any p(x) the maximum is an upper bound (Arimoto 1972, Blahut 1972). Where Blahut
    and Arimoto iterate on p(x), this is the interior-point method of `rate_distortion`. With S the
    sum of unnormalised p(x) >= 0, max I = ln S at the minimum of sum_y p(y) ln p(y) - S +
    sum_x p(x) H(Y|x), which needs no constraint on S. Optimal inputs need not be unique; the output
    p(y) = p(x) @ channel is.

    >>> z = channel_capacity([[1.0, 0.0], [0.5, 0.5]])
    >>> print(f"C = {z.capacity:.4f} with p(1) = {z.input[1]:.4f}, gap below 1e-9: {z.converged}")
    C = 0.2231 with p(1) = 0.4000, gap below 1e-9: True
    """
    channel = distribution(channel, "channel")
    if channel.ndim < 2:
        raise ValueError(
            f"channel must have an axis for its inputs and one for its outputs, got shape "
            f"{tuple(channel.shape)}"
        )
    tol = check_tolerance(tol)
    shape, flat = channel.shape[:-1], channel.reshape(-1, *channel.shape[-2:])

    def part(some: slice) -> tuple[Tensor, ...]:
        matrix = flat[some].mT  # [b, y, x]
        known = torch.xlogy(matrix, matrix).sum(1)  # -H(Y|x)
        uniform = torch.full_like(known, 1 / known.shape[1])
        most = _divergence(uniform, matrix, known).amax(1, keepdim=True)
        p = 2 * most.exp() * uniform
        y = _output(p, matrix).log()
        p, steps = interior_point(CHANNEL, matrix, known, p, y, -known, tol, 100)
        divergence = _divergence(p, matrix, known)
        capacity = (p * divergence).sum(1)
        return capacity, p, divergence.amax(1) - capacity, steps

    capacity, p, gap, steps = deal(part, len(flat), flat[0].numel(), flat.device)
    capacity, gap = (each.clamp(min=0) + 0.0 for each in (capacity, gap))
    batch = shape[:-1]
    return Capacity(
        capacity.reshape(batch),
        p.reshape(shape),
        gap.reshape(batch),
        steps.reshape(batch),
        (gap <= tol).reshape(batch),
    )


def _output(p: Float64[Tensor, "b x"], matrix: Float64[Tensor, "b y x"]) -> Float64[Tensor, "b y"]:
    """p(y), positive also where no input leads."""
    return (matrix @ p[..., None])[..., 0].clamp(min=TINY)


def _divergence(
    p: Float64[Tensor, "b x"], matrix: Float64[Tensor, "b y x"], known: Float64[Tensor, "b x"]
) -> Float64[Tensor, "b x"]:
    """D_KL[p(y|x) || p(y)] for every x."""
    return known - (matrix.mT @ _output(p, matrix).log()[..., None])[..., 0]


def _gap(
    p: Float64[Tensor, "b x"], matrix: Float64[Tensor, "b y x"], known: Float64[Tensor, "b x"]
) -> Float64[Tensor, "b"]:
    divergence = _divergence(p, matrix, known)
    return divergence.amax(1) - (p * divergence).sum(1)


def _link(z: Tensor, y: Tensor, known: Tensor, bend: Tensor | float) -> tuple[Tensor, Tensor]:
    """The derivative of z ln z - z is y = ln z."""
    z = z.clamp(min=TINY)
    return 1 / z, z.log() - y


CHANNEL = Problem(gap=_gap, link=_link, room=lambda y, dy: y.new_full((len(y), 1), torch.inf))
