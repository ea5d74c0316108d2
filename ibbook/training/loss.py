"""The terms of the objective, for every member at once."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from ibbook.networks import Model, Network
from ibbook.objective import Objective, categorical_kl, gaussian_kl, squared_error


@dataclass(frozen=True)
class Terms:
    """The parts of the objective for each member, in nats (the error in squared pixels)."""

    distortion: Float[Tensor, "members"]
    rate: Float[Tensor, "members divergences"]
    error: Float[Tensor, "members"]


def terms(
    model: Model,
    objective: Objective,
    x: Float[Tensor, "members batch c h w"],
    target: Tensor,
    noise: Float[Tensor, "members batch latents"],
) -> Terms:
    """Distortion, rate of each latent, and squared error: sums over pixels, means over the batch.

    A Gaussian code is sampled once (z = mean + deviation * noise). A categorical one is summed out:
    its decoder sees each class once, weighted by p(z | x), and needs no noise, nor does a point.
    """
    code = model.encode(x)
    distortion, error = distortion_and_error(objective, *decode(model, code, noise), target)
    return Terms(distortion.mean(1), divergences(model.network, code).mean(1), error.mean(1))


def divergences(
    network: Network, code: tuple[Tensor, ...]
) -> Float[Tensor, "members batch divergences"]:
    """D_KL[p(z_j | x) || r(z_j)] of each picture; 0 where nothing is drawn."""
    if network.latent == "gaussian":
        return gaussian_kl(*code)
    return categorical_kl(*code) if network.latent == "categorical" else torch.zeros_like(code[0])


def divergence_count(network: Network) -> int:
    """How many there are: one for each latent, or the one of a categorical code."""
    return 1 if network.latent == "categorical" else network.latents


def rate_columns(rate: list[float]) -> dict[str, float]:
    return {"rate": sum(rate)} | {f"rate_{j}": r for j, r in enumerate(rate)}


def decode(
    model: Model, code: tuple[Tensor, ...], noise: Tensor | None
) -> tuple[Tensor, Tensor | None]:
    """The decoder's output; for a categorical code that of every class, and their weights."""
    if model.network.latent == "gaussian":
        mean, log_variance = code
        return model.decode(mean + (log_variance / 2).exp() * noise), None
    if model.network.latent in ("point", "none"):
        return model.decode(*code), None
    (logits,) = code
    every = torch.eye(model.network.latents, device=logits.device).expand(len(logits), -1, -1)
    return model.decode(every)[:, None], logits.softmax(-1)


def expectation(objective: Objective, decoded: Tensor, weight: Tensor | None) -> Tensor:
    """E[target | code] of each picture: pixels, or class probabilities."""
    mean = objective.mean(decoded)
    return mean if weight is None else (weight.unsqueeze(2) @ mean).squeeze(2)


def distortion_and_error(
    objective: Objective, decoded: Tensor, weight: Tensor | None, target: Tensor
) -> tuple[Float[Tensor, "members batch"], Float[Tensor, "members batch"]]:
    """Distortion and squared error (0 for labels) of each picture."""
    if weight is not None:
        target = target.unsqueeze(2)
    distortion = objective.distortion(decoded, target)
    if objective.target == "labels":
        error = torch.zeros_like(distortion)
    else:
        error = squared_error(objective.mean(decoded), target)
    if weight is None:
        return distortion, error
    return (weight * distortion).sum(-1), (weight * error).sum(-1)
