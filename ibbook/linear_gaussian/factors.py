"""Data made of Gaussian factors, and what a linear code tells of them, in closed form."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float, Float64
from numpy.typing import ArrayLike
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from ibbook import _numbers
from ibbook._checks import covariance, real
from ibbook._numbers import integer, number


@dataclass(frozen=True, eq=False)
class FactorProblem:
    """Observations y = loadings v + N(0, noise I) of factors v with covariance factor_cov.

    >>> FactorProblem([[1.0], [0.0]], [[2.0]], 0.5).covariance
    tensor([[2.5000, 0.0000],
            [0.0000, 0.5000]], dtype=torch.float64)
    """

    loadings: Float64[Tensor, "n s"] | ArrayLike
    factor_cov: Float64[Tensor, "s s"] | ArrayLike
    noise: float

    def __post_init__(self) -> None:
        loadings, cov = real(self.loadings, "loadings"), covariance(self.factor_cov, "factor_cov")
        if loadings.ndim != 2 or cov.shape != (loadings.shape[1],) * 2:
            raise ValueError(
                "loadings must be [n, s] and factor_cov [s, s], got shapes "
                f"{tuple(loadings.shape)} and {tuple(cov.shape)}"
            )
        without = (
            ": without it the likelihood of a decoder that learns its covariance is unbounded, "
            "whatever the code says"
        )
        noise = number(self.noise, "noise", "positive", lambda noise: noise > 0, without)
        object.__setattr__(self, "noise", noise)
        object.__setattr__(self, "loadings", loadings)
        object.__setattr__(self, "factor_cov", cov)

    @property
    def covariance(self) -> Float64[Tensor, "n n"]:
        """Of the observations."""
        eye = torch.eye(len(self.loadings), dtype=torch.float64, device=self.loadings.device)
        return self.loadings @ self.factor_cov @ self.loadings.T + self.noise * eye

    def reduced(self, extra: int) -> FactorProblem:
        """The same in s + extra coordinates: the loadings' span and `extra` directions of noise.

        What is left out is noise that no factor moves; n - s - extra directions of it. A decoder
        that learns a full covariance pays its entropy for them, and nothing else changes. The axes
        are turned at random, so that every factor moves every coordinate, as in a random problem.

        >>> factor_problem(n=20, factors=2).reduced(extra=3).covariance.shape
        torch.Size([5, 5])
        """
        n, s = self.loadings.shape
        extra = integer(extra, "extra", 0, n - s)
        span = torch.linalg.qr(self.loadings).R
        loadings = torch.cat([span, span.new_zeros(extra, s)])
        turn = _rotations(1, s + extra, seed=0)[0].to(loadings)
        return FactorProblem(turn @ loadings, self.factor_cov, self.noise)


def factor_problem(
    n: int = 100, factors: int = 5, *, noise: float = 0.05, seed: int = 0
) -> FactorProblem:
    """A random one: loadings N(0, 1), independent factors with variances uniform in [0.1, 1].

    As in the release of Vu, Wan and Wei (2026), whose instance is another.

    >>> factor_problem(n=3, factors=2).loadings.shape
    torch.Size([3, 2])
    """
    n = integer(n, "n", 1)
    factors = integer(factors, "factors", 1, n)
    generator = torch.Generator().manual_seed(_numbers.seed(seed))
    variances = 0.1 + 0.9 * torch.rand(factors, generator=generator, dtype=torch.float64)
    loadings = torch.randn(n, factors, generator=generator, dtype=torch.float64)
    return FactorProblem(loadings, torch.diag(variances), noise)


def code_information(
    cov: Float64[Tensor, "n n"],
    encoder: Float64[Tensor, "*b m n"],
    code_cov: Float64[Tensor, "*b m m"],
) -> Float64[Tensor, "*b"]:
    """I(X;Y) = ln|E cov E' + S| / 2 - ln|S| / 2, nats, of X = encoder Y + N(0, code_cov).

    >>> eye = torch.eye(1, dtype=torch.float64)
    >>> code_information(eye, eye, eye)  # ln(2) / 2
    tensor(0.3466, dtype=torch.float64)
    """
    total = encoder @ cov @ encoder.mT + code_cov
    return ((torch.logdet(total) - torch.logdet(code_cov)) / 2).clamp(min=0)


class Scores(NamedTuple):
    """What a code tells, all of it and factor by factor; see `scores`."""

    information: Float64[Tensor, "*b"]  # I(X;Y), nats
    factor_information: Float64[Tensor, "*b"]  # I(X;V), nats: no rotation changes it
    sap: Float64[Tensor, "*b"]
    i_m: Float64[Tensor, "*b"]  # nats
    mig: Float64[Tensor, "*b"]  # nats


def scores(
    problem: FactorProblem,
    encoder: Float[Tensor, "*b m n"],
    code_cov: Float[Tensor, "*b m m"],
) -> Scores:
    """Informations and scores of a Gaussian code in closed form, for two latents or more.

    With rho_ij the correlation of latent i and factor j, and I_ij = -ln(1 - rho_ij^2) / 2: SAP is
    the mean over factors of the largest less the second largest rho_ij^2, I_m the largest sum of
    I_ij over one-to-one matchings (both as in the release of Vu, Wan and Wei 2026), MIG the mean
    over factors of the largest less the second largest I_ij. It is in nats: Chen et al. (2018)
    divide by the entropy of the factor, which a continuous factor does not have.

    >>> problem = FactorProblem(torch.eye(2), torch.eye(2), 1.0)  # two factors, each seen alone
    >>> eye = torch.eye(2, dtype=torch.float64)
    >>> [round(s.item(), 4) for s in scores(problem, eye, eye)]  # rho^2 = 1/3, 0
    [1.0986, 0.4055, 0.3333, 0.4055, 0.2027]
    """
    if encoder.shape[-2] < 2:
        raise ValueError("encoder must have at least two latents, for a second best")
    cov = problem.covariance
    total = encoder @ cov @ encoder.mT + code_cov
    across = encoder @ problem.loadings @ problem.factor_cov  # Cov(X, V)
    given = total - across @ torch.linalg.solve(problem.factor_cov, across.mT)
    factor_information = (torch.logdet(total) - torch.logdet(given)) / 2
    variances = total.diagonal(dim1=-2, dim2=-1)[..., :, None] * problem.factor_cov.diagonal()
    square = (across.square() / variances).clamp(max=1)
    pairs = -torch.log1p(-square) / 2
    return Scores(
        code_information(cov, encoder, code_cov),
        factor_information.clamp(min=0),
        _gap(square),
        _matched(pairs),
        _gap(pairs),
    )


def _gap(table: Float64[Tensor, "*b m s"]) -> Float64[Tensor, "*b"]:
    best = table.topk(2, dim=-2).values
    return (best[..., 0, :] - best[..., 1, :]).mean(-1)


def _matched(table: Float64[Tensor, "*b m s"]) -> Float64[Tensor, "*b"]:
    sums = []
    for pairs in table.reshape(-1, *table.shape[-2:]):
        rows, columns = linear_sum_assignment(pairs.cpu().numpy(), maximize=True)
        sums.append(pairs[torch.as_tensor(rows), torch.as_tensor(columns)].sum())
    return torch.stack(sums).reshape(table.shape[:-2])


def turned(
    encoder: Float64[Tensor, "*b m n"], code_cov: Float64[Tensor, "*b m m"], draws: int, seed: int
) -> tuple[Float64[Tensor, "draws *b m n"], Float64[Tensor, "draws *b m m"]]:
    """The code turned by random rotations, uniform over all of them: Q E and Q S Q'.

    >>> eye = torch.eye(2, dtype=torch.float64)
    >>> turned(eye, eye, draws=3, seed=0)[0].shape
    torch.Size([3, 2, 2])
    """
    m, draws = encoder.shape[-2], integer(draws, "draws", 1)
    q = (
        _rotations(draws, m, _numbers.seed(seed))
        .reshape(draws, *[1] * (encoder.ndim - 2), m, m)
        .to(encoder)
    )
    return q @ encoder, q @ code_cov @ q.mT


def _rotations(draws: int, m: int, seed: int) -> Float64[Tensor, "draws m m"]:
    generator = torch.Generator().manual_seed(seed)
    normal = torch.randn(draws, m, m, generator=generator, dtype=torch.float64)
    q, r = torch.linalg.qr(normal)
    return q * r.diagonal(dim1=-2, dim2=-1).sign()[:, None]
