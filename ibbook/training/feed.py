"""What the members see at each step: pictures in their own order, targets, noise and betas."""

from __future__ import annotations

import math
from typing import Any

import torch
from jaxtyping import Int64
from torch import Tensor

from ibbook.datasets import Dataset
from ibbook.networks import Network
from ibbook.noise import normal, philox
from ibbook.objective import Objective
from ibbook.training.loss import divergence_count, noise_count

# Streams of random numbers: the layers count from 0, predictions have one for each seed.
ORDER, SAMPLE, PREDICT = 1_000_000, 1_000_001, 1_000_002
STRETCH = 64  # steps, at most, that are drawn at once and then looked at
NUMBERS = {"cpu": 1 << 20, "cuda": 1 << 26}  # pixels and noise, at most, that are drawn at once


class Feed:
    """What the members see: pictures, targets, noise and betas, drawn for some steps at once."""

    def __init__(
        self,
        network: Network,
        objective: Objective,
        data: Dataset,
        members: list[dict[str, Any]],
        batch_size: int,
        device: torch.device,
    ) -> None:
        self.objective, self.data, self.device = objective, data, device
        self.own = [m["beta"] for m in members]
        self.divergences = divergence_count(network)
        self.order = _Order([m["seed"] for m in members], len(data), batch_size, device)
        self.seeds = torch.tensor(self.order.seeds, device=device)
        self.labels = data.labels.to(device) if objective.target == "labels" else None
        self.noise = (batch_size, noise_count(network))
        numbers = len(members) * batch_size * (math.prod(network.picture) + self.noise[1])
        self.most = max(1, min(STRETCH, NUMBERS[device.type] // numbers))

    def end(self, step: int) -> int:
        """Where a stretch that starts at this step ends: within memory and the epoch."""
        return min(step + self.most, self.order.epoch_end(step))

    def __call__(self, stretch: range) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Each [steps members ...]."""
        rows = self.order(stretch)
        x = self.data.batch(rows, self.device).float() / self.data.scale
        target = x.flatten(3) if self.labels is None else self.labels[rows]
        noise = normal(self.seeds, stretch, self.noise, stream=SAMPLE)
        betas = [
            self.objective.betas(step=stretch, latents=self.divergences, beta=beta)
            for beta in self.own
        ]
        return x, target, noise, torch.stack(betas, 1).to(self.device)


class _Order:
    """Which pictures each member sees at a step: its own shuffle of each epoch."""

    def __init__(self, seeds: list[int], size: int, batch: int, device: torch.device) -> None:
        self.seeds, self.size, self.batch, self.device = seeds, size, batch, device
        self.steps = size // batch  # of an epoch
        self.epoch: int | None = None

    def epoch_end(self, step: int) -> int:
        return (step // self.steps + 1) * self.steps

    def __call__(self, stretch: range) -> Int64[Tensor, "steps members batch"]:
        """Rows for some steps of one epoch."""
        epoch, within = divmod(stretch.start, self.steps)
        if epoch != self.epoch:
            shuffles = [
                torch.randperm(self.size, generator=self._generator(s, epoch)) for s in self.seeds
            ]
            self.shuffles, self.epoch = torch.stack(shuffles).to(self.device), epoch
        rows = self.shuffles[:, within * self.batch : (within + len(stretch)) * self.batch]
        rows = rows.unflatten(1, (len(stretch), self.batch)).transpose(0, 1)
        return rows.contiguous()  # laid out alike for any stretch, as a compiled step needs

    @staticmethod
    def _generator(seed: int, epoch: int) -> torch.Generator:
        counter = torch.tensor([[epoch], [0], [ORDER], [0]])
        high, low, *_ = philox(counter, torch.tensor([[seed & 0xFFFFFFFF], [seed >> 32]]))[
            :, 0
        ].tolist()
        return torch.Generator().manual_seed(high << 31 | low >> 1)
