"""The bottleneck of a fair bit and its noisy copy, in closed form."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float64
from numpy.typing import ArrayLike
from torch import Tensor

from ibbook import _checks
from ibbook._numbers import number

HALVINGS = 100


@dataclass(frozen=True)
class BinaryBottleneck:
    """The bottleneck of a fair bit and its noisy copy; see `binary_bottleneck`."""

    beta: Float64[Tensor, "*k"]
    complexity: Float64[Tensor, "*k"]  # I(X;T)
    relevance: Float64[Tensor, "*k"]  # I(T;Y)
    tilt: Float64[Tensor, "*k"]  # of the decoders: p(y=t|t) = (1 + tilt) / 2


def binary_bottleneck(flip: float, beta: Float64[Tensor, "*k"] | ArrayLike) -> BinaryBottleneck:
    """The bottleneck of a fair bit X and a copy Y that differs from it with chance `flip`.

    The best T is X sent through a symmetric channel (Mrs. Gerber's lemma, Wyner and Ziv 1973). With
    c = 1 - 2 flip, its encoder has p(t=x|x) = (1 + tanh s) / 2, where s is the largest solution of
    s = beta c artanh(c tanh s), found by bisection. Up to beta = 1/c^2 that is s = 0. With
    iota(s) = s tanh s - ln cosh s,

        I(X;T) = iota(s),    I(T;Y) = iota(artanh(c tanh s)).

    >>> solution = binary_bottleneck(0.1, [1.5, 3.0])
    >>> solution.complexity.numpy().round(4), solution.relevance.numpy().round(4)
    (array([0.    , 0.6578]), array([0.    , 0.3581]))
    """
    flip = number(flip, "flip", "a number between 0 and 0.5", lambda share: 0 < share < 0.5)
    beta = _checks.slopes(beta)
    c = 1 - 2 * flip
    low, high = torch.zeros_like(beta), beta * c * math.atanh(c)
    for _ in range(HALVINGS):
        s = (low + high) / 2
        grows = beta * c * torch.atanh(c * torch.tanh(s)) > s
        low, high = torch.where(grows, s, low), torch.where(grows, high, s)
    s = torch.where(beta * c**2 > 1, low, 0.0)
    tilt = c * torch.tanh(s)
    return BinaryBottleneck(beta, _iota(s), _iota(torch.atanh(tilt)), tilt)


def _iota(s: Tensor) -> Tensor:
    """s tanh s - ln cosh s: the information between a fair bit and a copy of it of tilt tanh s."""
    return s * torch.tanh(s) - (torch.logaddexp(s, -s) - math.log(2))
