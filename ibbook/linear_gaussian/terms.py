"""What a linear VAE pays: the three terms of its loss, for any maps and noises."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from jaxtyping import Float64
from torch import Tensor


class Terms(NamedTuple):
    """The parts of the loss of each model."""

    nll: Float64[Tensor, "*b"]  # E[-ln q(y|x)], nats: the distortion
    rate: Float64[Tensor, "*b"]  # E KL[p(x|y) || N(0, I)], nats
    error: Float64[Tensor, "*b"]  # E||y - decoder x||^2

    def loss(self, beta: Tensor | float, l2: Tensor | float = 0.0) -> Float64[Tensor, "*b"]:
        """nll + beta rate + l2 error."""
        return self.nll + beta * self.rate + l2 * self.error


def terms(
    cov: Float64[Tensor, "n n"],
    encoder: Float64[Tensor, "*b m n"],
    code_cov: Float64[Tensor, "*b m m"],
    decoder: Float64[Tensor, "*b n m"],
    noise_cov: Float64[Tensor, "*b n n"],
) -> Terms:
    """The terms in closed form, with C the covariance of the error y - decoder x:

        C = (I - DE) cov (I - DE)' + D S D',      nll = (n ln 2 pi + ln|R| + tr R^-1 C) / 2,
        rate = (tr(E cov E' + S) - ln|S| - m) / 2,     error = tr C.

    >>> eye = torch.eye(1, dtype=torch.float64)
    >>> terms(eye, 0 * eye, eye, 0 * eye, eye)  # silence: h(Y) of a standard normal, no rate
    Terms(nll=tensor(1.4189, dtype=torch.float64), rate=tensor(0., dtype=torch.float64), \
error=tensor(1., dtype=torch.float64))
    """
    n, m = len(cov), encoder.shape[-2]
    left = torch.eye(n, dtype=cov.dtype, device=cov.device) - decoder @ encoder
    error = left @ cov @ left.mT + decoder @ code_cov @ decoder.mT
    root = torch.linalg.cholesky(noise_cov)
    weighed = torch.cholesky_solve(error, root).diagonal(dim1=-2, dim2=-1).sum(-1)
    log_det = 2 * root.diagonal(dim1=-2, dim2=-1).log().sum(-1)
    spread = (encoder @ cov @ encoder.mT + code_cov).diagonal(dim1=-2, dim2=-1).sum(-1)
    return Terms(
        (n * math.log(2 * math.pi) + log_det + weighed) / 2,
        (spread - torch.logdet(code_cov) - m) / 2,
        error.diagonal(dim1=-2, dim2=-1).sum(-1),
    )
