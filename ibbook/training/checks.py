"""What is refused, by name, before anything runs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from jaxtyping import Float32
from torch import Tensor

from ibbook._checks import tensor
from ibbook._numbers import integer
from ibbook.datasets import Dataset
from ibbook.networks import Model, Network
from ibbook.objective import Objective
from ibbook.training.loss import divergence_count


def check_fit(
    network: Network,
    objective: Objective,
    data: Dataset,
    members: list[dict[str, Any]],
) -> None:
    if not members:
        raise ValueError("members must not be empty; one model with defaults is [{}]")
    check_data(network, objective, data)
    latents = divergence_count(network)
    for beta in (objective.beta, *(m["beta"] for m in members)):
        if isinstance(beta, Sequence) and len(beta) != latents:
            raise ValueError(f"beta has {len(beta)} entries for {latents} latents")
    for latent in objective.anchors:
        if latent >= latents:
            raise ValueError(f"anchors names latent {latent}, but there are {latents}")


def check_frozen(frozen: Sequence[str], model: Model) -> None:
    parts = [name for name, _ in model.named_modules() if name.endswith(("encoder", "decoder"))]
    if isinstance(frozen, str) or not set(frozen) <= set(parts):
        raise ValueError(f"frozen must be a list of parts of the model, of {parts}, got {frozen!r}")


def check_data(network: Network, objective: Objective, data: Dataset) -> None:
    if data.images.shape[1:] != network.picture:
        raise ValueError(
            f"data has pictures of shape {tuple(data.images.shape[1:])}, "
            f"but network takes {network.picture}"
        )
    if objective.target == "labels":
        if network.past:
            raise ValueError("network has past, for pictures, but objective's target is 'labels'")
        if data.labels is None:
            raise ValueError(f"objective's target is 'labels', but {data.name} has none")
        classes = int(data.labels.max()) + 1
        if classes > network.outputs:
            raise ValueError(
                f"data has {classes} classes, but network.outputs is {network.outputs}"
            )
    elif network.outputs != objective.per_pixel * math.prod(network.picture):
        count = "two" if objective.per_pixel == 2 else "one"
        raise ValueError(
            f"network.outputs must be {objective.per_pixel * math.prod(network.picture)}, {count} "
            f"for each pixel of {network.picture}, got {network.outputs}"
        )


def check_alone(network: Network) -> None:
    if network.past:
        raise ValueError(
            "network has past: its decoder needs the pixels as well as the code; "
            "evaluate scores it on pictures"
        )


def check_images(images: Any, network: Network) -> Float32[Tensor, "n c h w"]:
    """Pictures of numpy or torch, in the precision that networks take."""
    images = tensor(images, "images")
    shape = tuple(images.shape)
    if shape[1:] != network.picture or not shape[0] or not images.is_floating_point():
        raise ValueError(
            f"images must be real numbers of shape (n, {', '.join(map(str, network.picture))}), "
            f"got {images.dtype} of shape {shape}; data.images[:] / data.scale is"
        )
    return images.detach().float()


def check_samples(samples: int, seed: int) -> tuple[int, int]:
    return integer(samples, "samples", 1), integer(seed, "seed", 0, 2**31 - 1)
