"""Codes to decode into new pictures: from the aggregate p(z), or from the product of its marginals.

p(z) is the mean of p(z|x) = N(mean, diag exp(log_variance)) over n pictures, as `Ensemble.encode`
returns it; papers on VAEs call it the aggregate posterior q(z).
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from ibbook import _numbers
from ibbook._numbers import integer
from ibbook.noise import normal, uniform

PICTURE, NOISE = 3_000_000, 3_000_001  # streams of random numbers of their own


def aggregate_draws(
    mean: Float[Tensor, "members n latents"],
    log_variance: Float[Tensor, "members n latents"],
    draws: int,
    *,
    seed: int = 0,
) -> Float[Tensor, "members draws latents"]:
    """z ~ p(z): a random picture, and a code of it.

    >>> mean = torch.tensor([[[-5.0, -5.0], [5.0, 5.0]]])
    >>> z = aggregate_draws(mean, torch.full((1, 2, 2), -20.0), 100)
    >>> torch.equal(z.sign()[..., 0], z.sign()[..., 1])
    True
    """
    return _draws(mean, log_variance, draws, seed, pictures=1)


def marginal_draws(
    mean: Float[Tensor, "members n latents"],
    log_variance: Float[Tensor, "members n latents"],
    draws: int,
    *,
    seed: int = 0,
) -> Float[Tensor, "members draws latents"]:
    """z ~ prod_j p(z_j): every latent of another random picture (Gao et al. 2018, section 6.3).

    What is lost against p(z) is the dependence of the latents, TC(z).

    >>> mean = torch.tensor([[[-5.0, -5.0], [5.0, 5.0]]])
    >>> z = marginal_draws(mean, torch.full((1, 2, 2), -20.0), 100)
    >>> torch.equal(z.sign()[..., 0], z.sign()[..., 1])
    False
    """
    return _draws(mean, log_variance, draws, seed, pictures=mean.shape[-1])


def aggregate_variance(
    mean: Float[Tensor, "*m n latents"], log_variance: Float[Tensor, "*m n latents"]
) -> Float64[Tensor, "*m latents"]:
    """Var p(z_j): the variance of the means plus the mean of the variances.

    >>> aggregate_variance(torch.tensor([[1.0], [-1.0]]), torch.zeros(2, 1)).tolist()
    [2.0]
    """
    mean, log_variance = mean.double(), log_variance.double()
    return mean.var(-2, correction=0) + log_variance.exp().mean(-2)


def _draws(
    mean: Tensor, log_variance: Tensor, draws: int, seed: int, pictures: int
) -> Float[Tensor, "members draws latents"]:
    if mean.ndim != 3 or mean.shape != log_variance.shape or not mean.numel():
        raise ValueError(
            "mean and log_variance must both be [members, n, latents], got "
            f"{tuple(mean.shape)} and {tuple(log_variance.shape)}"
        )
    draws = integer(draws, "draws", 1)
    members, n, latents = mean.shape
    seeds = torch.tensor([_numbers.seed(seed)], device=mean.device)
    chosen = uniform(seeds, 0, (members, draws, pictures), stream=PICTURE)[0]
    rows = (chosen * n).long().clamp(max=n - 1).expand(-1, -1, latents)
    noise = normal(seeds, range(1), (members, draws, latents), stream=NOISE)[0, 0].to(mean)
    return mean.gather(1, rows) + (log_variance.gather(1, rows) / 2).exp() * noise
