"""The trained members: their curves, codes, predictions and scores."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from jaxtyping import Float, Float64
from torch import Tensor

from ibbook._checks import real, tensor
from ibbook._numbers import integer
from ibbook._paths import expanded
from ibbook.datasets import Dataset
from ibbook.networks import Model, Network
from ibbook.noise import normal
from ibbook.objective import Objective
from ibbook.training.checkpoint import as_member, as_network, as_objective, plain, read, write
from ibbook.training.checks import check_alone, check_data, check_images, check_samples
from ibbook.training.feed import NUMBERS, PREDICT
from ibbook.training.loss import (
    decode,
    distortion_and_error,
    divergences,
    expectation,
    noise_count,
    rate_columns,
)
from ibbook.training.members import parameters

PICTURES = 1024  # that the members together look at in one go, once trained


class Ensemble:
    """What `fit` returns: tidy curves, and the trained members.

    members:   one dict for each
    models:    their networks, weights stacked along the first axis
    diverged:  {member: step} of those whose loss was not finite; their weights are NaN
    """

    def __init__(
        self,
        network: Network,
        objective: Objective,
        members: list[dict[str, Any]],
        models: Model,
        rows: list[dict[str, Any]],
        diverged: dict[int, int],
    ) -> None:
        self.network, self.objective = network, objective
        self.members, self.models = members, models.eval()
        self.rows, self.diverged = rows, diverged

    @property
    def history(self) -> pd.DataFrame:
        """One row for each member and logged step, averages since the row before; in nats.

        Columns: member and its parameters (a schedule or vector as text); step, loss, distortion,
        rate, rate_0, rate_1, ... (one for each latent), error (squared, over all pixels), seconds.
        """
        empty = ["member", "step", "loss", "distortion", "rate", "error", "seconds"]
        return pd.DataFrame(self.rows, columns=None if self.rows else empty)

    @property
    def final(self) -> pd.DataFrame:
        """The last row of each member."""
        return self.history.groupby("member").tail(1).reset_index(drop=True)

    def select(self, members: Sequence[int]) -> Ensemble:
        """Some of the members, in this order, counted from 0; one may come more than once."""
        members = self._numbers(members)
        model = self._chosen(members)
        rows = [r | {"member": i} for i, m in enumerate(members) for r in self._rows_of(m)]
        diverged = {i: self.diverged[m] for i, m in enumerate(members) if m in self.diverged}
        chosen = [self.members[m] for m in members]
        return Ensemble(self.network, self.objective, chosen, model, rows, diverged)

    def under(self, top: Ensemble) -> Ensemble:
        """Stacked networks: these, with `top`, trained on codes of their topmost layer, above.

        As many members of both, one on another; seeds, objective and curves are those of this one.

        >>> from ibbook.datasets import Dataset, load
        >>> from ibbook.networks import mlp
        >>> from ibbook.training import fit
        >>> net, brief = mlp((1, 8, 8), latents=3, hidden=(8,)), {"steps": 4, "batch_size": 32}
        >>> low = fit(net, Objective(), load("digits"), [{}], **brief)
        >>> codes = Dataset.from_codes(torch.randn(64, 3))
        >>> net = mlp((3, 1, 1), latents=5, hidden=(4,), latent="categorical", outputs=6)
        >>> explain = Objective(output="gaussian", variance="learned")
        >>> both = low.under(fit(net, explain, codes, [{}], **brief))
        >>> both.network.topmost.latents
        5
        """
        if len(top.members) != len(self.members):
            raise ValueError(
                f"top must have a member for each of {len(self.members)}, got {len(top.members)}; "
                "`select` chooses them"
            )
        network = self.network.under(top.network)
        model = network.build(self.models.seeds)
        model.load_state_dict(self.models.state_dict(), strict=False)
        layer, own = model, self.models
        while own.above is not None:
            layer, own = layer.above, own.above
        layer.above.load_state_dict(top.models.state_dict())
        return Ensemble(network, self.objective, self.members, model, self.rows, self.diverged)

    def encode(
        self, images: Float[Tensor, "n c h w"], members: Sequence[int] | None = None
    ) -> tuple[Float[Tensor, "members n latents"], ...]:
        """p(z | x) of the chosen members: (mean, log variance), (logits,), or (z,) of points."""
        model = self._chosen(members)
        images = check_images(images, self.network)
        with torch.no_grad():
            batches = images.split(max(1, PICTURES // len(model.seeds)))
            parts = [model.encode(_spread(batch, model)) for batch in batches]
        return tuple(torch.cat(column, 1) for column in zip(*parts, strict=True))

    def decode(
        self, z: Float[Tensor, "members n latents"], members: Sequence[int] | None = None
    ) -> Float[Tensor, "members n output"]:
        """The mean of q(target | z) of the chosen members: pixels, or class probabilities."""
        check_alone(self.network)
        model, z = self._chosen(members), tensor(z, "z")
        if z.ndim != 3 or len(z) != len(model.seeds):
            raise ValueError(
                f"z must have shape [{len(model.seeds)} members, n, latents], got {tuple(z.shape)}"
            )
        with torch.no_grad():
            z = z.detach().to(model.seeds.device, torch.float32)
            return self.objective.mean(model.decode(z))

    def predict(
        self,
        images: Float[Tensor, "n c h w"],
        *,
        samples: int = 1,
        seed: int = 0,
        members: Sequence[int] | None = None,
    ) -> Float[Tensor, "members n output"]:
        """E[target | x] of the chosen members: pixels, or class probabilities.

        A Gaussian code is averaged over `samples` draws, a function of the member's seed, `seed`
        and the picture's place; `decode(encode(images)[0])` takes its mean instead. A categorical
        code is summed out and a point has nothing to draw, so there `samples` changes nothing.

        >>> from ibbook.datasets import load
        >>> from ibbook.networks import mlp
        >>> from ibbook.training import fit, grid
        >>> data = load("digits")
        >>> net = mlp((1, 8, 8), latents=2, hidden=(16,), decoder=(), outputs=10)
        >>> vib = Objective(beta=1e-3, output="categorical", target="labels")
        >>> ensemble = fit(net, vib, data, grid(seed=range(3)), steps=4, batch_size=32)
        >>> ensemble.predict(data.images[:5] / data.scale, samples=12).shape
        torch.Size([3, 5, 10])
        >>> list(ensemble.evaluate(data, samples=12).columns)[2:]
        ['samples', 'distortion', 'rate', 'rate_0', 'rate_1', 'accuracy']
        """
        check_alone(self.network)
        model = self._chosen(members)
        images = check_images(images, self.network)
        samples, seed = check_samples(samples, seed)
        parts = []
        for rows in _passes(model, len(images), samples):
            with torch.no_grad():
                code = model.encode(_spread(images[rows.start : rows.stop], model))
                draws = _draws(model, rows, samples, seed)
                means = (
                    expectation(self.objective, *decode(model, code, noise)) for noise in draws
                )
                parts.append(sum(means) / len(draws))
        return torch.cat(parts, 1)

    def evaluate(
        self,
        data: Dataset,
        *,
        samples: int = 1,
        seed: int = 0,
        members: Sequence[int] | None = None,
    ) -> pd.DataFrame:
        """How the chosen members do on `data`: one row for each, in nats.

        Columns: member and its parameters; samples; distortion, rate, rate_0, rate_1, ...; and
        error (squared, over all pixels) of images, or accuracy of labels. Distortion and error are
        means over the draws; accuracy is the share of labels that `predict` finds most probable.
        """
        model = self._chosen(members)
        check_data(self.network, self.objective, data)
        samples, seed = check_samples(samples, seed)
        passes = _passes(model, len(data), samples)
        means = sum(self._sums(model, data, rows, samples, seed) for rows in passes) / len(data)
        last = "error" if self.objective.target == "images" else "accuracy"
        chosen = range(len(self.members)) if members is None else self._numbers(members)
        return pd.DataFrame(
            parameters(m, self.members[m])
            | {"samples": samples, "distortion": distortion}
            | rate_columns(rate)
            | {last: quality}
            for m, (distortion, quality, *rate) in zip(chosen, means.tolist(), strict=True)
        )

    def _sums(
        self, model: Model, data: Dataset, rows: range, samples: int, seed: int
    ) -> Float64[Tensor, "members scores"]:
        """Distortion, error or accuracy, and rates, summed over these pictures."""
        index, labels = torch.arange(rows.start, rows.stop), self.objective.target == "labels"
        x = _spread(data.batch(index, model.seeds.device).float() / data.scale, model)
        target = data.labels[index].to(x.device).expand(len(x), -1) if labels else x.flatten(2)
        with torch.no_grad():
            code = model.encode(x)
            draws = _draws(model, rows, samples, seed)
            losses = mean = 0.0
            for noise in draws:
                decoded = decode(model, code, noise, target)
                losses = losses + torch.stack(
                    distortion_and_error(self.objective, *decoded, target), -1
                )
                mean = mean + expectation(self.objective, *decoded)
            distortion, quality = (losses / len(draws)).unbind(-1)
            if labels:
                quality = (mean.argmax(-1) == target).float()
            rates = sum(divergences(model, code, noise) for noise in draws) / len(draws)
            columns = [distortion[..., None], quality[..., None], rates]
            return torch.cat(columns, -1).double().sum(1)

    def traverse(
        self,
        image: Float[Tensor, "c h w"],
        values: Float[Tensor, "values"],
        members: Sequence[int] | None = None,
    ) -> Float[Tensor, "members latents values c h w"]:
        """Reconstructions of one image as each latent in turn runs through `values`."""
        mean = self.encode(tensor(image, "image")[None], members)[0]
        latents, values = mean.shape[-1], real(values, "values")
        z = mean[:, :, None].repeat(1, latents, len(values), 1)
        for j in range(latents):
            z[:, j, :, j] = values.to(z)
        decoded = self.decode(z.flatten(1, 2), members)
        return decoded.unflatten(1, (latents, len(values))).unflatten(3, self.network.picture)

    def save(self, path: Path | str) -> None:
        """One safetensors file; everything but the weights is JSON in its header."""
        header = {
            "network": asdict(self.network),
            "objective": asdict(self.objective),
            "members": [plain(m) for m in self.members],
            "rows": self.rows,
            "diverged": list(self.diverged.items()),
        }
        write(expanded(path), dict(self.models.state_dict()), header)

    @classmethod
    def load(cls, path: Path | str, *, device: torch.device | str = "cpu") -> Ensemble:
        """What `save` wrote."""
        tensors, header = read(expanded(path), device)
        if "network" not in header:
            raise ValueError(f"{path} is no ensemble; load a file that `Ensemble.save` wrote")
        network = as_network(header["network"])
        members = [as_member(m) for m in header["members"]]
        model = network.build(torch.tensor([m["seed"] for m in members], device=device))
        model.load_state_dict(tensors)
        objective = as_objective(header["objective"])
        diverged = {int(m): int(s) for m, s in header["diverged"]}
        return cls(network, objective, members, model, header["rows"], diverged)

    def _rows_of(self, member: int) -> Iterator[dict[str, Any]]:
        return (row for row in self.rows if row["member"] == member)

    def _chosen(self, members: Sequence[int] | None) -> Model:
        if members is None:
            return self.models
        rows = self._numbers(members)
        chosen = self.network.build(torch.tensor([self.members[m]["seed"] for m in rows]))
        chosen.to(self.models.seeds.device)
        chosen.load_state_dict({k: v[rows] for k, v in self.models.state_dict().items()})
        return chosen.eval()

    def _numbers(self, members: Sequence[int]) -> list[int]:
        """Numbers of members, one or more, as Python's own."""
        most = len(self.members) - 1
        try:
            found = [integer(m, "member", 0, most) for m in members]
        except (TypeError, ValueError):
            found = []
        if not found:
            raise ValueError(f"members must be some of 0..{most}, got {members!r}")
        return found


def _passes(model: Model, pictures: int, samples: int) -> Iterator[range]:
    """The pictures in turn, as many at once as fit the memory that training takes."""
    members = len(model.seeds)
    noise = members * samples * noise_count(model.network)
    size = max(1, min(PICTURES // members, NUMBERS["cpu"] // noise))
    for start in range(0, pictures, size):
        yield range(start, min(start + size, pictures))


def _draws(model: Model, rows: range, samples: int, seed: int) -> list[Tensor | None]:
    """Noise for some pictures, [members, pictures, latents] for each draw; [None] if none is."""
    if model.network.latent != "gaussian":
        return [None]
    shape = (samples, noise_count(model.network))
    return list(normal(model.seeds, rows, shape, stream=PREDICT + seed).permute(2, 1, 0, 3))


def _spread(images: Tensor, model: Model) -> Tensor:
    return images.to(model.seeds.device).expand(len(model.seeds), *images.shape)
