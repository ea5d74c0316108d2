"""A small denoiser, trained for several seeds at once, and what its errors tell.

It sees y = sqrt(SNR) x + e and guesses x: what a Gaussian with the mean and covariance of x would
say, plus what a network adds. Its squared error is at least the mmse, so an information that is
read off its errors (`ibbook.diffusion.information_from_mmse`) is an estimate from above.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from ibbook import _numbers
from ibbook._checks import real
from ibbook._device import chosen
from ibbook._numbers import integer, number
from ibbook.diffusion import information_from_mmse
from ibbook.layers import Linear, Same
from ibbook.noise import normal, uniform

# Streams of random numbers: layers count from 0, the trainer and the metrics have theirs
NOISE, LEVEL, LOOK = 3_000_000, 3_000_001, 3_000_002
BUMPS = 8  # numbers that tell the network the noise level

Draw = Callable[[int], Float[Tensor, "members batch d"]]


class Denoiser:
    """x given y and its SNR, for each member; `fit_denoiser` trains one."""

    def __init__(
        self,
        network: nn.Module,
        seeds: Int64[Tensor, "members"],
        mean: Float[Tensor, "members d"],
        variance: Float[Tensor, "members d"],
        axes: Float[Tensor, "members d d"],
        log_snr: tuple[float, float],
        picture: tuple[int, int, int] | None,
    ) -> None:
        self.network, self.seeds, self.log_snr, self.picture = network, seeds, log_snr, picture
        self.mean, self.variance, self.axes = mean[:, None], variance[:, None], axes

    def __call__(
        self, y: Float[Tensor, "members n d"], snr: Float[Tensor, "members n"]
    ) -> Float[Tensor, "members n d"]:
        """The guess. Along each principal axis, of variance v, a Gaussian has the best one,
        sqrt(SNR) v / (1 + SNR v) y, and leaves v / (1 + SNR v): the scale of what the network adds,
        which fades with the SNR of the first axis, since in pure noise all data look Gaussian.
        """
        y, snr = y.to(self.mean), snr[..., None].to(self.mean)
        gain = snr * self.variance
        left = self.variance / (1 + gain)
        along = (y - snr.sqrt() * self.mean) @ self.axes
        seen, bumps = along / (1 + gain).sqrt(), self._bumps(snr)
        if self.picture is None:
            added = self.network(torch.cat([seen, bumps], -1))
        else:
            pixels = (seen @ self.axes.mT).unflatten(-1, self.picture)
            maps = bumps[..., None, None].expand(*bumps.shape, *self.picture[1:])
            added = self.network(torch.cat([pixels, maps], 2)).flatten(2) @ self.axes
        added = added * left.sqrt() * (gain / (1 + gain)).amax(-1, keepdim=True)
        return self.mean + (snr.sqrt() * left * along + added) @ self.axes.mT

    def _bumps(self, snr: Float[Tensor, "members n 1"]) -> Float[Tensor, "members n bumps"]:
        low, high = self.log_snr
        centres = torch.linspace(low, high, BUMPS, device=snr.device, dtype=snr.dtype)
        return (-((snr.log() - centres) / (high - low) * BUMPS).square() / 2).exp()


def fit_denoiser(
    draw: Draw,
    mean: Float[Tensor, "*members d"],
    cov: Float[Tensor, "*members d d"],
    seeds: Sequence[int],
    *,
    steps: int,
    snr: tuple[float, float],
    hidden: tuple[int, ...] = (128,),
    picture: tuple[int, int, int] | None = None,
    learning_rate: float = 2e-3,
    device: torch.device | str | None = None,
) -> Denoiser:
    """Train one denoiser for each seed on SNR |x - guess|^2 / 2, with ln SNR uniform in a range.

    That is the integrand of I-MMSE (Kong, Brekelmans and Ver Steeg, 2023). `draw(step)` gives clean
    points, a batch for each member, and `mean` and `cov` their moments. Adam's rate falls to 0. The
    network is dense, of `hidden` units, or with `picture`, (channels, height, width), made of 3x3
    convolutions with that many maps: what they add to the Gaussian's guess is local.

    >>> points = torch.tensor([[-1.0, 0.0], [1.0, 0.0]])
    >>> draw = lambda step: points.repeat(1, 32, 1)
    >>> found = fit_denoiser(draw, points.mean(0), torch.cov(points.T, correction=0), [0],
    ...                      steps=2, snr=(0.01, 100.0), hidden=(8,))
    >>> found(torch.zeros(1, 3, 2), torch.ones(1, 3)).shape
    torch.Size([1, 3, 2])
    """
    low, high = _range(snr)
    device = chosen(device)
    steps, seeds = integer(steps, "steps", 1), _numbers.seeds(seeds)
    mean, cov = real(mean, "mean"), real(cov, "cov")
    members, d = len(seeds), mean.shape[-1]
    learning_rate = number(learning_rate, "learning_rate", "positive", lambda rate: rate > 0)
    if cov.shape[-2:] != (d, d):
        raise ValueError(f"cov must be {d} x {d}, as mean has {d} entries, got {tuple(cov.shape)}")
    if picture is not None and math.prod(picture) != d:
        raise ValueError(f"picture must have {d} pixels, as mean has, got {picture}")
    variance, axes = torch.linalg.eigh(cov)
    parts = (mean, variance.clamp(min=0), axes)
    shapes = ((members, d), (members, d), (members, d, d))
    mean, variance, axes = (
        p.expand(s).float().to(device) for p, s in zip(parts, shapes, strict=True)
    )
    seeds = torch.tensor(seeds, device=device)
    network = _network(seeds, d, hidden, picture)
    log_snr = (math.log(low), math.log(high))
    denoiser = Denoiser(network, seeds, mean, variance, axes, log_snr, picture)
    adam = torch.optim.Adam(network.parameters(), learning_rate)
    falling = torch.optim.lr_scheduler.LambdaLR(adam, lambda step: 1 - step / steps)
    for step in range(steps):
        x = draw(step).to(mean)
        n = x.shape[1]
        noise = normal(seeds, range(step, step + 1), (n, d), stream=NOISE)[0]
        place = (torch.arange(n, device=device) + uniform(seeds, step, (n,), stream=LEVEL)) / n
        level = (math.log(low) + place * math.log(high / low)).exp()
        guess = denoiser(level.sqrt()[..., None] * x + noise, level)
        loss = (level * (x - guess).square().sum(-1)).mean(1).sum() / 2
        adam.zero_grad()
        loss.backward()
        adam.step()
        falling.step()
    network.requires_grad_(False)
    return denoiser


def _network(
    seeds: Int64[Tensor, "members"],
    d: int,
    hidden: tuple[int, ...],
    picture: tuple[int, int, int] | None,
) -> nn.Module:
    layer, inputs, outputs = (Linear, d, d) if picture is None else (Same, picture[0], picture[0])
    layers: list[nn.Module] = []
    for stream, sizes in enumerate(pairwise([inputs + BUMPS, *hidden, outputs])):
        layers += [layer(seeds, *sizes, stream, "uniform"), nn.ReLU()]
    for last in layers[-2].parameters():
        last.data.zero_()  # training starts from the Gaussian's guess
    return nn.Sequential(*layers[:-1])


def denoising_errors(
    denoiser: Denoiser,
    x: Float[Tensor, "*members n d"],
    snr: Float[Tensor, "k"],
    *,
    seed: int = 0,
) -> Float[Tensor, "members k"]:
    """E |x - guess|^2 at each SNR, over the points x, each with noise of its own.

    Times (SNR_{t-1} - SNR_t) / 2 it is the divergence L_{t-1} of a diffusion model with DDPM's
    variance; see `ibbook.diffusion.gaussian_bound`.

    >>> found = fit_denoiser(lambda step: torch.zeros(1, 4, 1), torch.zeros(1), torch.eye(1), [0],
    ...                      steps=1, snr=(0.1, 10.0), learning_rate=1e-9)
    >>> x = torch.randn(20_000, 1, generator=torch.Generator().manual_seed(0))
    >>> errors = denoising_errors(found, x, torch.tensor([0.0, 1.0]))[0]
    >>> [f"{e:.1f}" for e in errors]  # 1 / (1 + SNR)
    ['1.0', '0.5']
    """
    x, errors = x.to(denoiser.mean.device), []
    for level, y in _noisy(denoiser, x, snr, seed):
        errors.append((denoiser(y, level) - x).square().sum(-1).mean(-1))
    return torch.stack(errors, -1)


def code_information(
    denoiser: Denoiser,
    mean: Float[Tensor, "members n d"],
    log_variance: Float[Tensor, "members n d"],
    snr: Float[Tensor, "k"],
    *,
    seed: int = 0,
) -> Float[Tensor, "members"]:
    """I(x; z) of a code p(z|x) = N(mean, diag exp(log_variance)) by a denoiser of z.

    Half the integral over SNR of mmse(z | y) - mmse(z | y, x) (Yu et al., 2025). Given x the best
    guess of z is known, and the gap is the mean squared distance of the two guesses. A denoiser
    that is not the best makes it larger.

    >>> found = fit_denoiser(lambda step: torch.zeros(1, 4, 1), torch.zeros(1), torch.eye(1), [0],
    ...                      steps=1, snr=(0.1, 10.0), learning_rate=1e-9)
    >>> silent = torch.zeros(1, 10, 1)  # mean 0 and variance 1, whatever x is
    >>> f"{code_information(found, silent, silent, torch.logspace(-2, 2, 9)).item():.3f}"
    '0.000'
    """
    device = denoiser.mean.device
    mean, variance = mean.to(device), log_variance.to(device).exp()
    noise = normal(denoiser.seeds, range(1), mean.shape[1:], stream=LOOK + 1 + seed)[0]
    z = mean + variance.sqrt() * noise
    gaps = []
    for level, y in _noisy(denoiser, z, snr, seed):
        root = level.sqrt()[..., None]
        given = mean + root * variance / (1 + root.square() * variance) * (y - root * mean)
        gaps.append((denoiser(y, level) - given).square().sum(-1).mean(-1))
    return information_from_mmse(snr, torch.stack(gaps, -1))[..., -1]


def _noisy(
    denoiser: Denoiser, x: Tensor, snr: Tensor, seed: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """Each SNR in turn, and the points with noise."""
    seeds, snr = denoiser.seeds, real(snr, "snr")
    if snr.ndim != 1 or (snr < 0).any():
        raise ValueError(f"snr must be a vector of numbers >= 0, got {snr.tolist()}")
    x = x.to(denoiser.mean).expand(len(seeds), *x.shape[-2:])
    for k, level in enumerate(snr.tolist()):
        noise = normal(seeds, range(k, k + 1), x.shape[1:], stream=LOOK + seed)[0]
        yield x.new_full(x.shape[:2], level), math.sqrt(level) * x + noise


def _range(snr: tuple[float, float]) -> tuple[float, float]:
    """A ValueError unless it is two SNRs, 0 < lower < upper."""
    try:
        low, high = (number(level, "snr") for level in snr)
    except (TypeError, ValueError):
        low, high = 0.0, 0.0
    if not 0 < low < high:
        raise ValueError(f"snr must be two numbers, 0 < lower < upper, got {snr}")
    return low, high
