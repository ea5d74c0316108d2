"""The steps themselves: loss, gradient and Adam, for the members of one thread."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.optim.adam import adam

from ibbook.datasets import Dataset
from ibbook.objective import Objective
from ibbook.training.feed import Feed
from ibbook.training.loss import terms
from ibbook.training.state import State

FUSED = 10_000  # steps of a run on a GPU from which it is worth the minute of compiling one


class Share:
    """Members that one thread trains, on their own views of the state."""

    def __init__(
        self,
        state: State,
        part: slice,
        objective: Objective,
        data: Dataset,
        batch_size: int,
        frozen: Sequence[str] = (),
    ) -> None:
        network, seeds, members = state.model.network, state.model.seeds[part], state.members[part]
        self.objective, self.optimiser = objective, state.optimiser
        self.weights, self.first, self.second, self.average = (
            [t[part] for t in kind]
            for kind in (state.weights, state.first, state.second, state.average)
        )
        self.model = network.build(seeds)
        for own, view in zip(self.model.parameters(), self.weights, strict=True):
            own.data = view
        self.stays = [_within(name, frozen) for name, _ in self.model.named_parameters()]
        self.feed = Feed(network, objective, data, members, batch_size, seeds.device)
        l2 = [objective.l2 if m["l2"] is None else m["l2"] for m in members]
        l2 = torch.tensor(l2, dtype=torch.float32)
        self.penalised, self.l2 = bool(l2.any()), l2.to(seeds.device)
        self.ones = torch.ones(len(members), device=seeds.device, dtype=torch.float32)
        self.groups = list(self._groups(members, state.step))

    def _groups(
        self, members: list[dict[str, Any]], step: int
    ) -> Iterator[tuple[slice, float, list[list[Tensor]]]]:
        """Neighbours that share a learning rate, and their part of what Adam changes.

        Weights, first and second moments, and Adam's own counters, which it counts up itself.
        """
        rates = [m["learning_rate"] or self.optimiser.learning_rate for m in members]
        for rate, run in itertools.groupby(range(len(rates)), rates.__getitem__):
            run = list(run)
            part = slice(run[0], run[-1] + 1)
            kinds = (self.weights, self.first, self.second)
            counts = [self.ones.new_tensor(step) for _ in self.weights]
            yield part, rate, [*([t[part] for t in kind] for kind in kinds), counts]

    def train(self, stretch: range) -> Float[Tensor, "steps members columns"]:
        """Take these steps; the loss, distortion, error and rates of each, left on the device."""
        decay = self.optimiser.decay
        factors = decay(stretch) if decay else [1.0] * len(stretch)
        records = []
        for *batch, factor in zip(*self.feed(stretch), factors, strict=True):
            columns = self.losses(*batch)
            self._update(self._gradients(columns[0]), factor)
            records.append([column.detach() for column in columns])
        *columns, rate = (torch.stack(column) for column in zip(*records, strict=True))
        return torch.cat([torch.stack(columns, -1), rate], -1)

    def losses(
        self, x: Tensor, target: Tensor, noise: Tensor, betas: Float[Tensor, "members divergences"]
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The loss of each member on its batch, its distortion, error and rates."""
        with _precision(x.device):
            parts = terms(self.model, self.objective, x, target, noise)
        loss = parts.distortion + (betas * parts.rate).sum(-1)
        if self.penalised:
            loss = loss + self.l2 * parts.error
        return loss, parts.distortion, parts.error, parts.rate

    def fuse(self, step: int, steps: int) -> None:
        """In a long run on a GPU, compile `losses` and its gradient, and try them on this step.

        Where that fails, as without a C compiler, training stays plain and a warning says why.
        """
        if not _fuses(self.ones.device, steps):
            return
        fused = torch.compile(self.losses, fullgraph=True, dynamic=False)
        batch = [values[0] for values in self.feed(range(step, step + 1))]
        try:
            self._gradients(fused(*batch)[0])
        except Exception as error:  # of whatever a compiler may lack
            warnings.warn(f"training without compiled steps: {error}", stacklevel=3)
        else:
            self.losses = fused

    def _gradients(self, loss: Float[Tensor, "members"]) -> list[Tensor]:
        gradients = torch.autograd.grad(loss, list(self.model.parameters()), self.ones)
        pairs = zip(gradients, self.stays, strict=True)
        return [torch.zeros_like(g) if stays else g for g, stays in pairs]

    def _update(self, gradients: Sequence[Tensor], factor: float) -> None:
        """One step of Adam, with `factor` times each member's learning rate."""
        gradients = [g.contiguous() for g in gradients]  # the fused kernel reads plain memory
        beta1, beta2 = self.optimiser.betas
        with torch.no_grad():
            for part, rate, (weights, first, second, counts) in self.groups:
                adam(
                    weights,
                    gradients if len(self.groups) == 1 else [g[part] for g in gradients],
                    first,
                    second,
                    [],
                    counts,
                    fused=True,
                    amsgrad=False,
                    beta1=beta1,
                    beta2=beta2,
                    lr=factor * rate,
                    weight_decay=0.0,
                    eps=self.optimiser.epsilon,
                    maximize=False,
                )
            for mean, weight in zip(self.average, self.weights, strict=False):
                mean.lerp_(weight, 1 - self.optimiser.average)


def _fuses(device: torch.device, steps: int) -> bool:
    return device.type == "cuda" and steps >= FUSED


def _within(name: str, parts: Sequence[str]) -> bool:
    """Whether this weight belongs to one of the parts.

    >>> _within("above.encoder.1.weight", ["above.encoder"]), _within("decoder2.bias", ["decoder"])
    (True, False)
    """
    return any(name.startswith(f"{part}.") for part in parts)


def _precision(device: torch.device) -> torch.autocast:
    """On a GPU, matrix products in bfloat16; weights, losses and all else stay float32."""
    return torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda")
