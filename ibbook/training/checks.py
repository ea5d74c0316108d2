"""What is refused, by name, before anything runs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ibbook.datasets import Dataset
from ibbook.networks import Network
from ibbook.objective import Objective
from ibbook.training.loss import divergence_count


def check_fit(
    network: Network,
    objective: Objective,
    data: Dataset,
    members: list[dict[str, Any]],
    steps: int,
    batch_size: int,
) -> None:
    if not members:
        raise ValueError("members must not be empty; one model with defaults is [{}]")
    if steps < 1:
        raise ValueError(f"steps must be at least 1, got {steps}")
    if not 1 <= batch_size <= len(data):
        raise ValueError(
            f"batch_size must lie in 1..{len(data)}, the data's size, got {batch_size}"
        )
    check_data(network, objective, data)
    latents = divergence_count(network)
    for beta in (objective.beta, *(m["beta"] for m in members)):
        if isinstance(beta, Sequence) and len(beta) != latents:
            raise ValueError(f"beta has {len(beta)} entries for {latents} latents")
    for latent in objective.anchors:
        if latent >= latents:
            raise ValueError(f"anchors names latent {latent}, but there are {latents}")


def check_data(network: Network, objective: Objective, data: Dataset) -> None:
    if data.images.shape[1:] != network.picture:
        raise ValueError(
            f"data has pictures of shape {tuple(data.images.shape[1:])}, "
            f"but network takes {network.picture}"
        )
    if objective.target == "labels":
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


def check_images(images: Tensor, network: Network) -> None:
    if images.shape[1:] != network.picture or not len(images) or images.dtype != torch.float32:
        raise ValueError(
            f"images must be float32 of shape (n, {', '.join(map(str, network.picture))}), got "
            f"{images.dtype} of shape {tuple(images.shape)}; data.images[:] / data.scale is"
        )


def check_samples(samples: int, seed: int) -> None:
    if not (isinstance(samples, int) and samples >= 1):
        raise ValueError(f"samples must be an integer >= 1, got {samples!r}")
    if not (isinstance(seed, int) and 0 <= seed < 2**31):
        raise ValueError(f"seed must be an integer in 0..2**31 - 1, got {seed!r}")
