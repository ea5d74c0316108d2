"""What it costs to turn the axes of a code whose encoder has a diagonal covariance.

A turned code z' = Qz carries as much, and its decoder can turn it back. But its best covariance Q S
Q^T need not be diagonal, and an encoder that states variances only must do with less. The price is
in the objective D + beta R, in nats, as long as the distortion is quadratic over one code.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from ibbook._checks import real


def plane_turn(degrees: float) -> Float64[Tensor, "2 2"]:
    """The rotation of a plane, counter-clockwise.

    >>> plane_turn(90).round(decimals=9).abs().tolist()
    [[0.0, 1.0], [1.0, 0.0]]
    """
    angle = math.radians(degrees)
    cosine, sine = math.cos(angle), math.sin(angle)
    return torch.tensor([[cosine, -sine], [sine, cosine]], dtype=torch.float64)


def turned_precision(
    precision: Float[Tensor, "*m n k k"], turn: Float[Tensor, "k k"]
) -> Float64[Tensor, "*m n k"]:
    """1 / variance of the best diagonal encoder in turned axes: the diagonal of Q P Q^T.

    `precision` P is that of the best encoder with any covariance, for each picture.

    >>> turned_precision(torch.diag(torch.tensor([4.0, 2.0]))[None], plane_turn(45)).tolist()
    [[3.0, 3.0]]
    """
    turn = real(turn, "turn")
    return torch.einsum("ja,...ab,jb->...j", turn, real(precision, "precision"), turn)


def price_of_turn(
    precision: Float[Tensor, "*m n k k"], turn: Float[Tensor, "k k"], beta: float
) -> Float64[Tensor, "*m"]:
    """beta D_KL, in the mean over pictures, between the best covariance and the best diagonal one.

    beta / 2 E[sum_j ln (Q P Q^T)_jj - ln det P]: 0 where the turned axes are those of P, and never
    negative (Hadamard's inequality). Differences between two turns are what a turn costs.

    >>> P = torch.diag(torch.tensor([4.0, 1.0]))[None]
    >>> f"{price_of_turn(P, plane_turn(45), beta=1.0):.4f}"  # ln (5 / 4)
    '0.2231'
    >>> abs(round(price_of_turn(P, plane_turn(90), beta=1.0).item(), 9))
    0.0
    """
    stated = turned_precision(precision, turn).log().sum(-1)
    best = torch.logdet(real(precision, "precision"))
    return beta / 2 * (stated - best).mean(-1)
