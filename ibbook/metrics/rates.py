"""How much a trained stochastic code tells: bounds and estimates of I(X;Z) and I(Z;Y).

The encoder is p(z|x) = N(mean, diag exp(log_variance)), as `Ensemble.encode` returns it, for n
pictures; papers on VAEs call it q(z|x). Everything is in nats unless `base` is given, and what is 0
but for rounding is 0.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from ibbook._checks import tensor
from ibbook.information import entropy
from ibbook.metrics._inputs import cleared
from ibbook.noise import normal, uniform
from ibbook.objective import gaussian_kl

STREAM = 2_000_000  # of random numbers: neither the trainer's nor torch's own
CHUNK = 1 << 23  # pairs of pictures compared at once: 64 MiB of float64


class Bounds(NamedTuple):
    """Two estimates of an information, in nats, one from each side."""

    lower: Float[Tensor, "*m"]
    upper: Float[Tensor, "*m"]


def rate(
    mean: Float[Tensor, "*m n latents"], log_variance: Float[Tensor, "*m n latents"]
) -> Float[Tensor, "*m latents"]:
    """R_j = E D_KL[p(z_j|x) || r(z_j)] of each latent, with the marginal r(z_j) = N(0, 1).

    It is I(X;Z_j) + D_KL[p(z_j) || r(z_j)]: an upper bound on the information, tight where the
    codes of all pictures together follow r (Alemi et al., 2017, section 3). The sum over latents,
    the rate R, bounds I(X;Z).

    >>> rate(torch.tensor([[1.0, 0.0], [-1.0, 0.0]]), torch.zeros(2, 2)).tolist()
    [0.5, 0.0]
    """
    mean, log_variance = _codes(mean, log_variance)
    return cleared(gaussian_kl(mean, log_variance).mean(-2))


def aggregate_information(
    mean: Float[Tensor, "*m n latents"],
    log_variance: Float[Tensor, "*m n latents"],
    *,
    seed: int = 0,
) -> Bounds:
    """I(X;Z) from the aggregate p(z), the mean of p(z|x) over the n pictures.

    Papers on VAEs call it the aggregate posterior q(z). One z is drawn for each picture x, and
    ln p(z|x) / p(z) is averaged. `lower` counts x itself in p(z): its mean is the information if
    the n pictures were all there are. That is at most ln n, and on average below I(X;Z) for the
    source that they are drawn from. `upper` leaves x out of p(z): its mean is above I(X;Z) (Poole
    et al., 2019, section 2.4). For pictures that are drawn independently the truth lies between the
    two, up to the noise of the draw.

    >>> same, far = torch.zeros(4, 2), 100 * torch.eye(4)
    >>> [f"{b:.3f}" for b in aggregate_information(same, same)]
    ['0.000', '0.000']
    >>> f"{aggregate_information(far, torch.zeros(4, 4)).lower:.3f}"  # ln 4
    '1.386'
    """
    mean, log_variance = _codes(mean, log_variance)
    *members, n, latents = mean.shape
    codes = zip(mean.reshape(-1, n, latents), log_variance.reshape(-1, n, latents), strict=True)
    lower, upper = torch.stack([_bounds(*code, seed) for code in codes], -1)
    return Bounds(lower.reshape(members), upper.reshape(members))


def latent_information(
    mean: Float[Tensor, "*m n latents"],
    log_variance: Float[Tensor, "*m n latents"],
    *,
    seed: int = 0,
) -> Float[Tensor, "*m latents"]:
    """I(X;Z_j) of each latent on its own: `lower` of `aggregate_information`, at most ln n.

    A latent that ignores the picture has 0. The sum over latents is more than I(X;Z) where they
    share information, and less where they hold it jointly.

    >>> mean = torch.tensor([[-50.0, 0.0], [50.0, 0.0]])
    >>> [f"{i:.3f}" for i in latent_information(mean, torch.zeros(2, 2))]  # ln 2, 0
    ['0.693', '0.000']
    """
    mean, log_variance = _codes(mean, log_variance)
    each = (part.mT.unsqueeze(-1) for part in (mean, log_variance))
    return aggregate_information(*each, seed=seed).lower


def label_information(
    distortion: Float[Tensor, "*m"], labels: Int64[Tensor, "n"], *, base: float = math.e
) -> Float[Tensor, "*m"]:
    """A lower bound on I(Z;Y): H(Y) - D, with the distortion D = E[-ln q(y|z)] of the decoder.

    `distortion` is D in nats, as `Ensemble.evaluate` gives it on the pictures of `labels`; H(Y) is
    that of their frequencies. Tight where q(y|z) = p(y|z); it may be negative (Alemi et al., 2017,
    section 3).

    >>> labels = torch.tensor([0, 1, 0, 1])
    >>> [f"{i:.3f}" for i in label_information(torch.tensor([0.0, 0.3]), labels)]
    ['0.693', '0.393']
    >>> f"{label_information(torch.tensor(0.0), labels, base=2):.3f}"  # bits
    '1.000'
    """
    labels = tensor(labels, "labels")
    if labels.ndim != 1 or not len(labels):
        raise ValueError(f"labels must be a vector of classes, got shape {tuple(labels.shape)}")
    counts = labels.unique(return_counts=True)[1].double()
    distortion = tensor(distortion, "distortion").double()
    if not distortion.isfinite().all():
        raise ValueError("distortion must be finite; leave out the members that diverged")
    return cleared((entropy(counts / counts.sum()) - distortion) / math.log(base))


def bernoulli_floor(
    chances: Float[Tensor, "n pixels"], *, draws: int = 4, seed: int = 0
) -> Float[Tensor, ""]:
    """The least D + R of any model whose pixels are Bernoulli, where these n pictures are all.

    A grey pixel is read as a chance of white, so what the likelihood scores is a black and white
    picture, tossed with those chances. D + R is at least its entropy, which is estimated from
    `draws` tosses of each picture.

    >>> f"{bernoulli_floor(torch.eye(8)):.3f}"  # nothing to toss: ln 8
    '2.079'
    >>> 2.75 < bernoulli_floor(torch.full((1, 4), 0.5), draws=1) < 2.8  # 4 ln 2
    tensor(True)
    """
    chances = tensor(chances, "chances").double()
    if chances.ndim != 2 or not ((chances >= 0) & (chances <= 1)).all():
        raise ValueError(f"chances must be [n, pixels] in 0..1, got {tuple(chances.shape)}")
    sure = chances.clamp(1e-9, 1 - 1e-9)
    white, black = sure.log().T, (-sure).log1p().T
    total = 0.0
    for u in uniform(torch.tensor([seed]), 0, (draws, *chances.shape), stream=STREAM)[0]:
        tossed = (u.to(chances) < chances).double()
        log_p = tossed @ white + (1 - tossed) @ black - math.log(len(chances))
        total = total - log_p.logsumexp(1).mean() / draws
    return cleared(total)


def _codes(mean: Tensor, log_variance: Tensor) -> tuple[Tensor, Tensor]:
    mean, log_variance = (
        tensor(part, name).double()
        for name, part in (("mean", mean), ("log_variance", log_variance))
    )
    if mean.shape != log_variance.shape or mean.ndim < 2 or mean.shape[-2] < 2:
        raise ValueError(
            "mean and log_variance must both be [..., n, latents] with n >= 2, "
            f"got {tuple(mean.shape)} and {tuple(log_variance.shape)}"
        )
    for name, part in (("mean", mean), ("log_variance", log_variance)):
        if not part.isfinite().all():
            raise ValueError(f"{name} must be finite; leave out the members that diverged")
    return mean, log_variance


def _bounds(mean: Tensor, log_variance: Tensor, seed: int) -> Float[Tensor, "2"]:
    """Both estimates for one code [n, latents].

    (z - mean)^2 / variance is multiplied out, so that all pairs are one matrix product.
    """
    n = len(mean)
    mean = mean - mean.mean(0)  # where the codes lie tells nothing, and costs precision
    noise = normal(torch.tensor([seed]), range(1), mean.shape, stream=STREAM)[0, 0].to(mean)
    z = mean + (log_variance / 2).exp() * noise
    precision = (-log_variance).exp()
    weights = torch.cat([precision, -2 * precision * mean], -1).mT
    offset = (precision * mean.square() + log_variance).sum(-1)
    own = -(noise.square() + log_variance).sum(-1) / 2
    lower, upper = [], []
    for rows in torch.arange(n, device=mean.device).split(max(1, CHUNK // n)):
        point = z[rows]
        log_p = -(torch.cat([point.square(), point], -1) @ weights + offset) / 2
        here = torch.arange(len(rows), device=mean.device)
        log_p[here, rows] = own[rows]
        lower.append(own[rows] - log_p.logsumexp(-1) + math.log(n))
        log_p[here, rows] = -math.inf
        upper.append(own[rows] - log_p.logsumexp(-1) + math.log(n - 1))
    return cleared(torch.stack([torch.cat(lower).mean(), torch.cat(upper).mean()]))
