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
    distortion, error = distortion_and_error(objective, *decode(model, code, noise, target), target)
    return Terms(distortion.mean(1), divergences(model, code, noise).mean(1), error.mean(1))


def divergences(
    model: Model, code: tuple[Tensor, ...], noise: Tensor | None
) -> Float[Tensor, "members batch divergences"]:
    """D_KL[p(z_j | x) || r(z_j)] of each picture; 0 where nothing is drawn.

    With a layer above: ln p(z_j | x) - E ln q(z_j | z') at the sampled z, its mean over z' being
    that of the layer above, and then the divergences of that layer (Gao et al. 2018, equation 19).
    """
    if model.network.latent == "categorical":
        return categorical_kl(*code)
    if model.network.latent != "gaussian":
        return torch.zeros_like(code[0])
    if model.above is None:
        return gaussian_kl(*code)
    own, rest = noise.split([model.network.latents, noise.shape[-1] - model.network.latents], -1)
    mean, log_variance = code
    z = mean + (log_variance / 2).exp() * own
    higher = model.above.encode(z[..., None, None])
    decoded, weight = decode(model.above, higher, rest)
    prior_mean, prior_log_variance = decoded.chunk(2, -1)
    at = z if weight is None else z.unsqueeze(2)
    log_prior = -((at - prior_mean).square() / prior_log_variance.exp() + prior_log_variance) / 2
    if weight is not None:
        log_prior = (weight.unsqueeze(-1) * log_prior).sum(2)
    log_own = -(own.square() + log_variance) / 2
    return torch.cat([log_own - log_prior, divergences(model.above, higher, rest)], -1)


def divergence_count(network: Network) -> int:
    """How many there are: one for each latent of each layer, or one of a categorical code."""
    own = 1 if network.latent == "categorical" else network.latents
    return own + (divergence_count(network.above) if network.above else 0)


def noise_count(network: Network) -> int:
    """How many numbers one draw of the codes of all layers takes."""
    return network.latents + (noise_count(network.above) if network.above else 0)


def rate_columns(rate: list[float]) -> dict[str, float]:
    return {"rate": sum(rate)} | {f"rate_{j}": r for j, r in enumerate(rate)}


def decode(
    model: Model, code: tuple[Tensor, ...], noise: Tensor | None, target: Tensor | None = None
) -> tuple[Tensor, Tensor | None]:
    """The decoder's output; for a categorical code that of every class, and their weights.

    `target` is for decoders that see the pixels before the one they predict.
    """
    if model.network.latent == "gaussian":
        mean, log_variance = code
        z = mean + (log_variance / 2).exp() * noise[..., : mean.shape[-1]]
        return model.decode(z, target), None
    if model.network.latent in ("point", "none"):
        return model.decode(*code), None
    (logits,) = code
    every = torch.eye(model.network.latents, device=logits.device, dtype=torch.float32)
    return model.decode(every.expand(len(logits), -1, -1))[:, None], logits.softmax(-1)


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
