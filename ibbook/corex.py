"""Total correlation explanation: what a code explains of the dependence among the parts of x.

    L = TC(x; z) - TC(z),    TC(x; z) = TC(x) - TC(x|z)              (Gao et al. 2018, equation 4)

It never exceeds TC(x). If the latents are drawn independently given x, it is also

    L = sum_i I(x_i; z) - sum_j I(z_j; x)                                             (equation 7)

A decoder q(x_i|z) of each part and a marginal r(z_j) of each latent bound it from below, with any
encoder:

    L >= sum_i H(x_i) + E[ln q(x|z)] - E D_KL[p(z|x) || r(z)]                        (equation 12)

The last two terms are the evidence lower bound of an autoencoder. Everything here is exact: over
the values of discrete variables, or in closed form for Gaussian ones. In nats.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import log, pi
from typing import NamedTuple

import torch
from jaxtyping import Float64
from numpy.typing import ArrayLike
from torch import Tensor

from ibbook._checks import covariance, distribution, real
from ibbook.information import (
    conditional_total_correlation,
    entropy,
    gaussian_entropy,
    gaussian_total_correlation,
    kl_divergence,
    mutual_information,
    total_correlation,
)


class Corex(NamedTuple):
    """What a code z does for the parts of x, in nats."""

    total: Float64[Tensor, ""]  # TC(x)
    unexplained: Float64[Tensor, ""]  # TC(x|z)
    entangled: Float64[Tensor, ""]  # TC(z)
    relevance: Float64[Tensor, "parts"]  # I(x_i; z)
    cost: Float64[Tensor, "latents"]  # I(z_j; x)

    @property
    def explained(self) -> Float64[Tensor, ""]:
        """TC(x; z)."""
        return self.total - self.unexplained

    @property
    def objective(self) -> Float64[Tensor, ""]:
        """L = TC(x; z) - TC(z)."""
        return self.explained - self.entangled


class CorexBound(NamedTuple):
    """The bound of equation 12 and what it misses L by: one divergence for each guess, in nats."""

    value: Float64[Tensor, ""]
    elbo: Float64[Tensor, ""]  # E ln q(x|z) - E D_KL[p(z|x) || r(z)]
    decoder_gap: Float64[Tensor, "parts"]  # E D_KL[p(x_i|z) || q(x_i|z)]
    marginal_gap: Float64[Tensor, "latents"]  # D_KL[p(z_j) || r(z_j)]


def corex(
    p: Float64[Tensor, "..."] | ArrayLike, encoder: Float64[Tensor, "..."] | ArrayLike
) -> Corex:
    """The objective of a code and its parts, by counting every case.

    `p` is p(x), with one axis for each part of x; `encoder` is p(z|x), with those axes first and
    one for each latent after them.

    >>> p = torch.eye(2) / 2  # a bit and its copy
    >>> found = corex(p, torch.eye(2)[:, None].expand(2, 2, 2))  # z is the first of them
    >>> [round(x.item(), 4) for x in (found.total, found.unexplained, found.objective)]
    [0.6931, 0.0, 0.6931]
    """
    joint, parts = _joint(p, encoder)
    before, after = range(parts), range(parts, joint.ndim)
    by_code, by_source = joint.flatten(parts), joint.flatten(0, parts - 1)
    return Corex(
        total_correlation(_keep(joint, *before)),
        conditional_total_correlation(by_code),
        total_correlation(_keep(joint, *after)),
        torch.stack([mutual_information(_keep(by_code, i, parts)) for i in before]),
        torch.stack([mutual_information(_keep(by_source, 0, j - parts + 1)) for j in after]),
    )


def corex_layers(
    p: Float64[Tensor, "..."] | ArrayLike, encoders: Sequence[Float64[Tensor, "..."] | ArrayLike]
) -> list[Corex]:
    """Each layer of a stack, of which the next explains the code of the one before.

    The sum of their objectives telescopes to TC(x) - TC(x|z1) - TC(z1|z2) - ... - TC(zL), which is
    at most TC(x) (Gao et al. 2018, equations 13 to 15): a layer is worth adding where its own is
    positive.

    >>> p = torch.eye(2) / 2
    >>> layers = corex_layers(p, [torch.eye(2)[:, None].expand(2, 2, 2), torch.eye(2)])
    >>> [round(layer.objective.item(), 4) for layer in layers]
    [0.6931, 0.0]
    """
    layers = []
    for encoder in encoders:
        layers.append(corex(p, encoder))
        joint, parts = _joint(p, encoder)
        p = _keep(joint, *range(parts, joint.ndim))
    return layers


def corex_bound(
    p: Float64[Tensor, "..."] | ArrayLike,
    encoder: Float64[Tensor, "..."] | ArrayLike,
    decoders: Sequence[Float64[Tensor, "..."] | ArrayLike],
    marginals: Sequence[Float64[Tensor, "z"] | ArrayLike],
) -> CorexBound:
    """The bound for a decoder q(x_i|z) of each part, x_i on its last axis, and each r(z_j).

    >>> p = torch.eye(2) / 2
    >>> copy = torch.eye(2)[:, None].expand(2, 2, 2)
    >>> round(corex_bound(p, copy, [torch.eye(2)] * 2, [torch.ones(2) / 2]).value.item(), 4)
    0.6931
    """
    joint, parts = _joint(p, encoder)
    latents = joint.ndim - parts
    if (len(decoders), len(marginals)) != (parts, latents):
        raise ValueError(
            f"{parts} parts and {latents} latents need as many decoders and marginals, "
            f"got {len(decoders)} and {len(marginals)}"
        )
    flat = joint.flatten(parts)
    decoder_gap, likelihood, entropies = [], [], []
    for i, given in enumerate(decoders):
        pair = _keep(flat, i, parts)  # p(x_i, z)
        q = distribution(given, f"decoders[{i}]")
        if q.shape != (*joint.shape[parts:], joint.shape[i]):
            raise ValueError(
                f"decoders[{i}] must have shape {(*joint.shape[parts:], joint.shape[i])}, "
                f"got {tuple(q.shape)}"
            )
        expected = torch.xlogy(pair.mT, q.flatten(0, -2)).sum()
        likelihood.append(expected)
        decoder_gap.append(mutual_information(pair) - entropy(pair.sum(1)) - expected)
        entropies.append(entropy(pair.sum(1)))
    marginal_gap, product = [], joint.new_ones(())
    for j, given in enumerate(marginals):
        r = distribution(given, f"marginals[{j}]")
        own = _keep(joint, parts + j)
        if r.shape != own.shape:
            raise ValueError(
                f"marginals[{j}] must have {len(own)} entries, got shape {tuple(r.shape)}"
            )
        marginal_gap.append(kl_divergence(own, r))
        product = product[..., None] * r
    px = _keep(joint, *range(parts)).flatten()
    rows = joint.flatten(0, parts - 1).flatten(1)
    given_x = torch.where(px[:, None] > 0, rows / px[:, None], product.flatten())
    elbo = sum(likelihood) - (px * kl_divergence(given_x, product.flatten())).sum()
    return CorexBound(
        sum(entropies) + elbo, elbo, torch.stack(decoder_gap), torch.stack(marginal_gap)
    )


def gaussian_corex(
    cov: Float64[Tensor, "n n"] | ArrayLike,
    loadings: Float64[Tensor, "m n"] | ArrayLike,
    noise: Float64[Tensor, "m m"] | ArrayLike,
) -> Corex:
    """The same for x ~ N(0, cov) and the code z = loadings x + N(0, noise).

    Latents are independent given x where `noise` is diagonal.

    >>> cov = torch.tensor([[1.0, 0.6], [0.6, 1.0]])
    >>> found = gaussian_corex(cov, [[0.5, 0.5]], [[0.1]])
    >>> 0 < found.objective < found.total
    tensor(True)
    """
    cov, noise, code, _, given_z = _gaussian(cov, loadings, noise)
    return Corex(
        gaussian_total_correlation(cov),
        gaussian_total_correlation(given_z),
        gaussian_total_correlation(code),
        (cov.diagonal().log() - given_z.diagonal().log()) / 2,
        (code.diagonal().log() - noise.diagonal().log()) / 2,
    )


def gaussian_corex_bound(
    cov: Float64[Tensor, "n n"] | ArrayLike,
    loadings: Float64[Tensor, "m n"] | ArrayLike,
    noise: Float64[Tensor, "m m"] | ArrayLike,
    decoder: tuple[Float64[Tensor, "n m"] | ArrayLike, Float64[Tensor, "n"] | ArrayLike],
    variances: Float64[Tensor, "m"] | ArrayLike,
) -> CorexBound:
    """The bound for q(x_i|z) = N(w_i z, v_i), `decoder` is (w, v), and r(z_j) = N(0, variances_j).

    >>> cov = torch.tensor([[1.0, 0.6], [0.6, 1.0]])
    >>> bound = gaussian_corex_bound(cov, [[0.5, 0.5]], [[0.1]], ([[0.0], [0.0]], [1, 1]), [1])
    >>> bound.value < gaussian_corex(cov, [[0.5, 0.5]], [[0.1]]).objective
    tensor(True)
    """
    cov, noise, code, cross, given_z = _gaussian(cov, loadings, noise)
    w, v, r = real(decoder[0], "decoder"), real(decoder[1], "decoder"), real(variances, "variances")
    if w.shape != cross.shape or v.shape != w.shape[:1] or r.shape != w.shape[1:]:
        raise ValueError(
            f"decoder must be ({tuple(cross.shape)}, {len(cross)}) and variances "
            f"{cross.shape[1]} numbers, got {tuple(w.shape)}, {tuple(v.shape)}, {tuple(r.shape)}"
        )
    for name, given in (("decoder", v), ("variances", r)):
        if (given <= 0).any():
            raise ValueError(f"{name} must hold variances > 0, got {given.min():g}")
    best = torch.linalg.solve(code, cross.mT).mT
    miss = given_z.diagonal() + ((best - w) @ code @ (best - w).mT).diagonal()
    own, exact = code.diagonal(), given_z.diagonal()
    decoder_gap = (v.log() - exact.log() + miss / v - 1) / 2
    marginal_gap = (r.log() - own.log() + own / r - 1) / 2
    likelihood = -(log(2 * pi) + v.log() + miss / v).sum() / 2
    rate = (own / r - 1 + r.log()).sum() / 2 - noise.logdet() / 2
    elbo = likelihood - rate
    parts = gaussian_entropy(cov.diagonal()[:, None, None]).sum()
    return CorexBound(parts + elbo, elbo, decoder_gap, marginal_gap)


def _joint(
    p: Float64[Tensor, "..."] | ArrayLike, encoder: Float64[Tensor, "..."] | ArrayLike
) -> tuple[Float64[Tensor, "..."], int]:
    """p(x, z), and how many of its axes are parts of x."""
    p = distribution(p, "p", axes=0)
    encoder = real(encoder, "encoder")
    if encoder.shape[: p.ndim] != p.shape or encoder.ndim == p.ndim:
        raise ValueError(
            f"encoder must have the axes of p, {tuple(p.shape)}, and after them one for each "
            f"latent, got shape {tuple(encoder.shape)}"
        )
    encoder = distribution(encoder, "encoder", axes=encoder.ndim - p.ndim)
    return p.reshape(*p.shape, *[1] * (encoder.ndim - p.ndim)) * encoder, p.ndim


def _keep(joint: Float64[Tensor, "..."], *axes: int) -> Float64[Tensor, "..."]:
    """The distribution of some of the variables."""
    others = [axis for axis in range(joint.ndim) if axis not in axes]
    return joint.sum(others) if others else joint


def _gaussian(
    cov: ArrayLike, loadings: ArrayLike, noise: ArrayLike
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Cov(x), the noise, Cov(z), Cov(x, z) and Cov(x|z)."""
    cov, a, noise = covariance(cov, "cov"), real(loadings, "loadings"), covariance(noise, "noise")
    if a.shape != (len(noise), len(cov)):
        raise ValueError(
            f"loadings must have shape {(len(noise), len(cov))}, as noise and cov say, "
            f"got {tuple(a.shape)}"
        )
    cross = cov @ a.mT
    code = a @ cross + noise
    return cov, noise, code, cross, cov - cross @ torch.linalg.solve(code, cross.mT)
