"""One trainer for many models: members with their own beta, seed or learning rate, all at once.

A member's weights, batches and noise are functions of its own seed and the step. So it ends where
it would have ended alone, and a run that was killed goes on from its checkpoint as if nothing had
happened.
"""

from __future__ import annotations

import difflib
import hashlib
import itertools
import json
import math
import os
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import safetensors.torch
import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor
from torch.optim.adam import adam
from tqdm import tqdm

from ibbook._threads import threads
from ibbook.datasets import Dataset
from ibbook.networks import Model, Network
from ibbook.noise import normal, philox
from ibbook.objective import (
    Beta,
    Objective,
    categorical_kl,
    check_beta,
    check_l2,
    gaussian_kl,
    squared_error,
)
from ibbook.schedules import Schedule

FORMAT = 1
# Streams of random numbers: the layers count from 0, predictions have one for each seed.
ORDER, SAMPLE, PREDICT = 1_000_000, 1_000_001, 1_000_002
STRETCH = 64  # steps, at most, that are drawn at once and then looked at
NUMBERS = {"cpu": 1 << 20, "cuda": 1 << 26}  # pixels and noise, at most, that are drawn at once
SMALL = 1 << 27  # work, weights times pictures of a step, that one thread does fastest for a member
FUSED = 10_000  # steps of a run on a GPU from which it is worth the minute of compiling one
PICTURES = 1024  # that the members together look at in one go, once trained
DEFAULTS = {"beta": None, "l2": None, "seed": 0, "learning_rate": None}

Member = Mapping[str, Any]


def grid(**axes: Iterable[Any]) -> list[dict[str, Any]]:
    """Every combination of the given values, as members for `fit`; the last axis runs fastest.

    >>> grid(beta=[1, 4], seed=range(2))[2]
    {'beta': 4, 'seed': 0}
    """
    values = [list(v) for v in axes.values()]
    return [dict(zip(axes, point, strict=True)) for point in itertools.product(*values)]


@dataclass(frozen=True)
class Optimiser:
    """Adam (Kingma and Ba, 2015), shared by the members; each may have its own learning rate.

    decay:    the learning rate's factor at each step, 1 without it
    average:  keep a moving average of the weights, of this decay, and return it; 0 for none
    """

    learning_rate: float = 1e-3
    betas: tuple[float, float] = (0.9, 0.999)
    epsilon: float = 1e-8
    decay: Schedule | None = None
    average: float = 0.0

    def __post_init__(self) -> None:
        _check_rate(self.learning_rate)
        if not all(0 <= b < 1 for b in (*self.betas, self.average)):
            raise ValueError(
                f"betas and average must lie in [0, 1), got {self.betas} and {self.average}"
            )


def fit(
    network: Network,
    objective: Objective,
    data: Dataset,
    members: Sequence[Member],
    *,
    steps: int,
    batch_size: int,
    optimiser: Optimiser | None = None,
    device: torch.device | str | None = None,
    log_every: int | None = None,
    checkpoint: Path | str | None = None,
    checkpoint_seconds: float = 180.0,
) -> Runs:
    """Train every member at once, and return their curves and weights.

    A member is a dict with any of beta, l2, seed and learning_rate. Each sees the data in its own
    random order, epoch by epoch, without the last incomplete batch. A GPU trains all members in one
    step, compiled in long runs (TORCH_COMPILE_DISABLE=1 keeps it plain); the threads of a CPU share
    them out.

    A member whose loss is no longer finite stops there: it is named in `Runs.diverged`, its weights
    become NaN, so that nothing is read off them by mistake, and the others go on. `checkpoint` is a
    folder: a file of this run is written there every `checkpoint_seconds`, named by a hash of all
    that the run depends on but `steps`, and a run that finds its own file goes on from it.

    >>> from ibbook.datasets import load
    >>> from ibbook.networks import mlp
    >>> net = mlp((1, 8, 8), latents=2, hidden=(16,))
    >>> runs = fit(net, Objective(), load("digits"), grid(beta=[1, 4], seed=range(2)),
    ...            steps=4, batch_size=32)
    >>> runs.final[["beta", "seed", "step"]].values.tolist()
    [[1, 0, 4], [1, 1, 4], [4, 0, 4], [4, 1, 4]]
    """
    members = [_check_member(m, i) for i, m in enumerate(members)]
    _check_fit(network, objective, data, members, steps, batch_size)
    optimiser = optimiser or Optimiser()
    device = _device(device)
    log_every = log_every or max(1, steps // 100)
    seeds = torch.tensor([m["seed"] for m in members], device=device)
    state = _State(network.build(seeds), optimiser, members)
    path, run = None, {}
    if checkpoint is not None:
        run = {
            "network": asdict(network),
            "objective": asdict(objective),
            "members": [_plain(m) for m in members],
            "optimiser": asdict(optimiser),
            "data": [data.name, len(data), list(data.images.shape[1:]), _fingerprint(data)],
            "batch_size": batch_size,
            "log_every": log_every,
        }
        path = Path(checkpoint) / _checkpoint_name(run)
        if path.exists():
            state.restore(path, steps)

    parts = _parts(len(members), device)
    shares = [_Share(state, part, objective, data, batch_size) for part in parts]
    size = sum(w[0].numel() for w in state.weights)
    bar = tqdm(initial=state.step, total=steps, disable=None)
    with bar, _workers(len(shares), size * batch_size) as each:
        if state.step < steps:
            for share in shares:
                share.fuse(state.step, steps)
        begun, saved = time.monotonic() - state.seconds, time.monotonic()
        while state.step < steps:
            stretch = range(state.step, min(steps, *(s.feed.end(state.step) for s in shares)))
            values = torch.cat([*each(_Share.train, shares, itertools.repeat(stretch))], 1)
            state.step, state.seconds = stretch.stop, time.monotonic() - begun
            ends = (s + 1 for s in stretch)
            state.look(values, due=[s for s in ends if s % log_every == 0 or s == steps])
            bar.update(len(stretch))
            if state.rows and not bar.disable:
                rate, distortion = (state.rows[-1][k] for k in ("rate", "distortion"))
                bar.set_postfix(rate=f"{rate:.2f}", distortion=f"{distortion:.2f}")
            if path is not None and time.monotonic() - saved >= checkpoint_seconds:
                state.save(path, run)
                saved = time.monotonic()
    if path is not None:
        state.save(path, run)
    return Runs(network, objective, members, state.result(), state.rows, state.diverged)


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
    its decoder sees each class once, weighted by q(z | x), and needs no noise, nor does a point.
    """
    code = model.encode(x)
    distortion, error = _losses(objective, *_decoded(model, code, noise), target)
    return Terms(distortion.mean(1), _rate(model.network, code).mean(1), error.mean(1))


def _rate(network: Network, code: tuple[Tensor, ...]) -> Float[Tensor, "members batch divergences"]:
    if network.latent == "gaussian":
        return gaussian_kl(*code)
    return categorical_kl(*code) if network.latent == "categorical" else torch.zeros_like(code[0])


def _decoded(
    model: Model, code: tuple[Tensor, ...], noise: Tensor | None
) -> tuple[Tensor, Tensor | None]:
    """The decoder's output; for a categorical code that of every class, and their weights."""
    if model.network.latent == "gaussian":
        mean, log_variance = code
        return model.decode(mean + (log_variance / 2).exp() * noise), None
    if model.network.latent == "point":
        return model.decode(*code), None
    (logits,) = code
    every = torch.eye(model.network.latents, device=logits.device).expand(len(logits), -1, -1)
    return model.decode(every)[:, None], logits.softmax(-1)


def _mean(objective: Objective, decoded: Tensor, weight: Tensor | None) -> Tensor:
    """E[target | code] of each picture: pixels, or class probabilities."""
    mean = objective.mean(decoded)
    return mean if weight is None else (weight.unsqueeze(2) @ mean).squeeze(2)


def _losses(
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


class Runs:
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
        return pd.DataFrame(self.rows)

    @property
    def final(self) -> pd.DataFrame:
        """The last row of each member."""
        return self.history.groupby("member").tail(1).reset_index(drop=True)

    def encode(
        self, images: Float[Tensor, "n c h w"], members: Sequence[int] | None = None
    ) -> tuple[Float[Tensor, "members n latents"], ...]:
        """q(z | x) of the chosen members: (mean, log variance), (logits,), or (z,) of points."""
        model = self._chosen(members)
        _check_images(images, self.network)
        with torch.no_grad():
            batches = images.split(max(1, PICTURES // len(model.seeds)))
            parts = [model.encode(_spread(batch, model)) for batch in batches]
        return tuple(torch.cat(column, 1) for column in zip(*parts, strict=True))

    def decode(
        self, z: Float[Tensor, "members n latents"], members: Sequence[int] | None = None
    ) -> Float[Tensor, "members n output"]:
        """The mean of q(target | z) of the chosen members: pixels, or class probabilities."""
        model = self._chosen(members)
        with torch.no_grad():
            return self.objective.mean(model.decode(z.to(model.seeds.device)))

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
        >>> data = load("digits")
        >>> net = mlp((1, 8, 8), latents=2, hidden=(16,), decoder=(), outputs=10)
        >>> vib = Objective(beta=1e-3, output="categorical", target="labels")
        >>> runs = fit(net, vib, data, grid(seed=range(3)), steps=4, batch_size=32)
        >>> runs.predict(data.images[:5] / data.scale, samples=12).shape
        torch.Size([3, 5, 10])
        >>> list(runs.evaluate(data, samples=12).columns)[2:]
        ['samples', 'distortion', 'rate', 'rate_0', 'rate_1', 'accuracy']
        """
        model = self._chosen(members)
        _check_images(images, self.network)
        _check_samples(samples, seed)
        parts = []
        for rows in _passes(model, len(images), samples):
            with torch.no_grad():
                code = model.encode(_spread(images[rows.start : rows.stop], model))
                draws = _draws(model, rows, samples, seed)
                means = (_mean(self.objective, *_decoded(model, code, noise)) for noise in draws)
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
        _check_data(self.network, self.objective, data)
        _check_samples(samples, seed)
        passes = _passes(model, len(data), samples)
        means = sum(self._sums(model, data, rows, samples, seed) for rows in passes) / len(data)
        last = "error" if self.objective.target == "images" else "accuracy"
        chosen = range(len(self.members)) if members is None else members
        return pd.DataFrame(
            _parameters(m, self.members[m])
            | {"samples": samples, "distortion": distortion}
            | _rates(rate)
            | {last: quality}
            for m, (distortion, quality, *rate) in zip(chosen, means.tolist(), strict=True)
        )

    def _sums(
        self, model: Model, data: Dataset, rows: range, samples: int, seed: int
    ) -> Float64[Tensor, "members scores"]:
        """Distortion, error or accuracy, and rates, summed over these pictures."""
        index, labels = torch.arange(rows.start, rows.stop), self.objective.target == "labels"
        x = _spread(data.batch(index, model.seeds.device) / data.scale, model)
        target = data.labels[index].to(x.device).expand(len(x), -1) if labels else x.flatten(2)
        with torch.no_grad():
            code = model.encode(x)
            draws = _draws(model, rows, samples, seed)
            losses = mean = 0.0
            for noise in draws:
                decoded = _decoded(model, code, noise)
                losses = losses + torch.stack(_losses(self.objective, *decoded, target), -1)
                mean = mean + _mean(self.objective, *decoded)
            distortion, quality = (losses / len(draws)).unbind(-1)
            if labels:
                quality = (mean.argmax(-1) == target).float()
            columns = [distortion[..., None], quality[..., None], _rate(self.network, code)]
            return torch.cat(columns, -1).double().sum(1)

    def traverse(
        self,
        image: Float[Tensor, "c h w"],
        values: Float[Tensor, "values"],
        members: Sequence[int] | None = None,
    ) -> Float[Tensor, "members latents values c h w"]:
        """Reconstructions of one image as each latent in turn runs through `values`."""
        mean = self.encode(image[None], members)[0]
        latents = mean.shape[-1]
        z = mean[:, :, None].repeat(1, latents, len(values), 1)
        for j in range(latents):
            z[:, j, :, j] = values.to(z)
        decoded = self.decode(z.flatten(1, 2), members)
        return decoded.unflatten(1, (latents, len(values))).unflatten(3, self.network.picture)

    def save(self, path: Path | str) -> None:
        """One safetensors file; everything but the weights is JSON in its header."""
        header = {
            "format": FORMAT,
            "network": asdict(self.network),
            "objective": asdict(self.objective),
            "members": [_plain(m) for m in self.members],
            "rows": self.rows,
            "diverged": list(self.diverged.items()),
        }
        _write(Path(path), dict(self.models.state_dict()), header)

    @classmethod
    def load(cls, path: Path | str, *, device: torch.device | str = "cpu") -> Runs:
        """What `save` wrote."""
        tensors, header = _read(Path(path), device)
        network = _tuples(Network, header["network"])
        members = [_member(m) for m in header["members"]]
        model = network.build(torch.tensor([m["seed"] for m in members], device=device))
        model.load_state_dict(tensors)
        objective = header["objective"]
        objective["beta"] = _beta(objective["beta"])
        objective["anchors"] = {int(j): s for j, s in objective["anchors"].items()}
        diverged = {int(m): int(s) for m, s in header["diverged"]}
        return cls(network, Objective(**objective), members, model, header["rows"], diverged)

    def _chosen(self, members: Sequence[int] | None) -> Model:
        if members is None:
            return self.models
        known = range(len(self.members))
        if not len(members) or any(m not in known for m in members):
            raise ValueError(f"members must be some of 0..{len(known) - 1}, got {list(members)}")
        rows = torch.tensor(list(members))
        chosen = self.network.build(torch.tensor([self.members[m]["seed"] for m in members]))
        chosen.to(self.models.seeds.device)
        chosen.load_state_dict({k: v[rows] for k, v in self.models.state_dict().items()})
        return chosen.eval()


class _State:
    """What training changes, and what a checkpoint holds."""

    def __init__(self, model: Model, optimiser: Optimiser, members: list[dict[str, Any]]) -> None:
        self.model, self.optimiser, self.members = model, optimiser, members
        self.weights = [w.detach() for w in model.parameters()]
        self.first = [torch.zeros_like(w) for w in self.weights]
        self.second = [torch.zeros_like(w) for w in self.weights]
        self.average = [w.clone() for w in self.weights] if optimiser.average else []
        self.sums: Tensor | None = None
        self.step, self.seconds, self.logged = 0, 0.0, 0
        self.rows: list[dict[str, Any]] = []
        self.diverged: dict[int, int] = {}

    def look(self, values: Float[Tensor, "steps members columns"], due: list[int]) -> None:
        """Take in the last steps' numbers: log those due, give up members that diverged."""
        start, bad = self.step - len(values), ~values[..., 0].isfinite()
        for member in bad.any(0).nonzero().flatten().tolist():
            if member not in self.diverged:
                self.diverged[member] = start + int(bad[:, member].int().argmax())
                for tensor in (*self.weights, *self.average):
                    tensor[member] = math.nan
        for end in due:
            self._add(values[: end - start])
            self._log(end)
            values, start = values[end - start :], end
        self._add(values)

    def _add(self, values: Float[Tensor, "steps members columns"]) -> None:
        if len(values):
            self.sums = values.sum(0) if self.sums is None else self.sums + values.sum(0)

    def _log(self, step: int) -> None:
        means = (self.sums / (step - self.logged)).tolist()
        for i, (loss, distortion, error, *rate) in enumerate(means):
            if self.diverged.get(i, step) >= step:
                self.rows.append(
                    _parameters(i, self.members[i])
                    | {"step": step, "loss": loss, "distortion": distortion}
                    | _rates(rate)
                    | {"error": error, "seconds": self.seconds}
                )
        self.sums, self.logged = None, step

    def result(self) -> Model:
        for mean, weight in zip(self.average, self.weights, strict=False):
            weight.copy_(mean)
        return self.model.requires_grad_(False)

    def _tensors(self) -> dict[str, Tensor]:
        kinds = {"weight": self.weights, "first": self.first, "second": self.second}
        kinds["average"] = self.average
        tensors = {f"{kind}.{i}": t for kind, ts in kinds.items() for i, t in enumerate(ts)}
        return tensors | ({} if self.sums is None else {"sums": self.sums})

    def save(self, path: Path, run: dict[str, Any]) -> None:
        header = {"format": FORMAT, "run": run, "rows": self.rows, "step": self.step}
        header |= {"seconds": self.seconds, "logged": self.logged}
        _write(path, self._tensors(), header | {"diverged": list(self.diverged.items())})

    def restore(self, path: Path, steps: int) -> None:
        tensors, header = _read(path, self.weights[0].device)
        if header["step"] > steps:
            raise ValueError(
                f"checkpoint {path} is at step {header['step']}, beyond steps={steps}; "
                "name another folder, or delete the file to start again"
            )
        self.sums = tensors.pop("sums", None)
        for name, own in self._tensors().items():
            if name != "sums":
                own.copy_(tensors[name])
        self.rows, self.step = header["rows"], header["step"]
        self.seconds, self.logged = header["seconds"], header["logged"]
        self.diverged = {int(m): int(s) for m, s in header["diverged"]}


class _Share:
    """Members that one thread trains, on their own views of the state."""

    def __init__(
        self, state: _State, part: slice, objective: Objective, data: Dataset, batch_size: int
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
        self.feed = _Feed(network, objective, data, members, batch_size, seeds.device)
        l2 = torch.tensor([objective.l2 if m["l2"] is None else m["l2"] for m in members])
        self.penalised, self.l2 = bool(l2.any()), l2.to(seeds.device)
        self.ones = torch.ones(len(members), device=seeds.device)
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
        return torch.autograd.grad(loss, list(self.model.parameters()), self.ones)

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


class _Feed:
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
        self.divergences = _divergences(network)
        self.order = _Order([m["seed"] for m in members], len(data), batch_size, device)
        self.seeds = torch.tensor(self.order.seeds, device=device)
        self.labels = data.labels.to(device) if objective.target == "labels" else None
        self.noise = (batch_size, network.latents)
        numbers = len(members) * batch_size * (math.prod(network.picture) + network.latents)
        self.most = max(1, min(STRETCH, NUMBERS[device.type] // numbers))

    def end(self, step: int) -> int:
        """Where a stretch that starts at this step ends: within memory and the epoch."""
        return min(step + self.most, self.order.epoch_end(step))

    def __call__(self, stretch: range) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Each [steps members ...]."""
        rows = self.order(stretch)
        x = self.data.batch(rows, self.device) / self.data.scale
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


def _parts(members: int, device: torch.device) -> list[slice]:
    """Neighbours for each thread of a CPU; a GPU takes all members at once."""
    count = min(members, torch.get_num_threads()) if device.type == "cpu" else 1
    ends = [members * k // count for k in range(count + 1)]
    return [slice(*pair) for pair in itertools.pairwise(ends)]


@contextmanager
def _workers(shares: int, work: int) -> Iterator[Callable[..., Iterator[Any]]]:
    """`map` on a thread for each share, which splits what is left of PyTorch's threads."""
    own = torch.get_num_threads() // shares if work > SMALL else 1
    with threads(own):
        if shares == 1:
            yield map
        else:
            with ThreadPoolExecutor(shares, "fit", torch.set_num_threads, (own,)) as pool:
                yield pool.map


def _fuses(device: torch.device, steps: int) -> bool:
    return device.type == "cuda" and steps >= FUSED


def _precision(device: torch.device) -> torch.autocast:
    """On a GPU, matrix products in bfloat16; weights, losses and all else stay float32."""
    return torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda")


def _divergences(network: Network) -> int:
    return 1 if network.latent == "categorical" else network.latents


def _passes(model: Model, pictures: int, samples: int) -> Iterator[range]:
    """The pictures in turn, as many at once as fit the memory that training takes."""
    members = len(model.seeds)
    noise = members * samples * model.network.latents
    size = max(1, min(PICTURES // members, NUMBERS["cpu"] // noise))
    for start in range(0, pictures, size):
        yield range(start, min(start + size, pictures))


def _draws(model: Model, rows: range, samples: int, seed: int) -> list[Tensor | None]:
    """Noise for some pictures, [members, pictures, latents] for each draw; [None] if none is."""
    if model.network.latent != "gaussian":
        return [None]
    shape = (samples, model.network.latents)
    return list(normal(model.seeds, rows, shape, stream=PREDICT + seed).permute(2, 1, 0, 3))


def _spread(images: Tensor, model: Model) -> Tensor:
    return images.to(model.seeds.device).expand(len(model.seeds), *images.shape)


def _device(device: torch.device | str | None) -> torch.device:
    if device is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    device = torch.device(device)
    if device.type not in NUMBERS:
        raise ValueError(f"device must be 'cpu' or 'cuda', got {str(device)!r}")
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(
            f"device is {str(device)!r}, but this machine has no GPU that PyTorch can use; "
            "leave device out to train on the CPU"
        )
    return device


def _check_member(member: Member, index: int) -> dict[str, Any]:
    for key in member:
        if key not in DEFAULTS:
            near = difflib.get_close_matches(str(key), DEFAULTS, 1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise ValueError(
                f"member {index} has the key {key!r}, not one of {list(DEFAULTS)}{hint}"
            )
    full = DEFAULTS | dict(member)
    if full["beta"] is not None:
        check_beta(full["beta"])
    if full["l2"] is not None:
        check_l2(full["l2"])
    if full["learning_rate"] is not None:
        _check_rate(full["learning_rate"])
    if not (isinstance(full["seed"], int) and 0 <= full["seed"] < 2**63):
        raise ValueError(f"member {index}: seed must be an integer >= 0, got {full['seed']!r}")
    return full


def _check_rate(rate: float) -> None:
    if not 0 < rate < math.inf:
        raise ValueError(f"learning_rate must be positive and finite, got {rate!r}")


def _check_fit(
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
    _check_data(network, objective, data)
    latents = _divergences(network)
    for beta in (objective.beta, *(m["beta"] for m in members)):
        if isinstance(beta, Sequence) and len(beta) != latents:
            raise ValueError(f"beta has {len(beta)} entries for {latents} latents")
    for latent in objective.anchors:
        if latent >= latents:
            raise ValueError(f"anchors names latent {latent}, but there are {latents}")


def _check_data(network: Network, objective: Objective, data: Dataset) -> None:
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
    elif network.outputs != math.prod(network.picture):
        raise ValueError(
            f"network.outputs must be {math.prod(network.picture)}, one for each pixel of "
            f"{network.picture}, got {network.outputs}"
        )


def _check_images(images: Tensor, network: Network) -> None:
    if images.shape[1:] != network.picture or not len(images) or images.dtype != torch.float32:
        raise ValueError(
            f"images must be float32 of shape (n, {', '.join(map(str, network.picture))}), got "
            f"{images.dtype} of shape {tuple(images.shape)}; data.images[:] / data.scale is"
        )


def _check_samples(samples: int, seed: int) -> None:
    if not (isinstance(samples, int) and samples >= 1):
        raise ValueError(f"samples must be an integer >= 1, got {samples!r}")
    if not (isinstance(seed, int) and 0 <= seed < 2**31):
        raise ValueError(f"seed must be an integer in 0..2**31 - 1, got {seed!r}")


def _checkpoint_name(run: dict[str, Any]) -> str:
    plain = json.loads(json.dumps(run))  # as it comes back from a file: every key is text
    digest = hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()
    return f"{digest[:16]}.safetensors"


def _fingerprint(data: Dataset) -> str:
    """A hash of 64 pictures and all labels, which tells apart two subsets of one size."""
    rows = torch.linspace(0, len(data) - 1, 64).round().long()
    digest = hashlib.sha256(data.images[rows].numpy().tobytes())
    if data.labels is not None:
        digest.update(data.labels.numpy().tobytes())
    return digest.hexdigest()[:16]


def _plain(member: Member) -> dict[str, Any]:
    return {k: asdict(v) if isinstance(v, Schedule) else v for k, v in member.items()}


def _parameters(number: int, member: Member) -> dict[str, int | float | str]:
    """The columns that name a member."""
    given = {k: v for k, v in member.items() if v is not None}
    plain = {k: v if isinstance(v, int | float) else str(v) for k, v in given.items()}
    return {"member": number} | plain


def _rates(rate: list[float]) -> dict[str, float]:
    return {"rate": sum(rate)} | {f"rate_{j}": r for j, r in enumerate(rate)}


def _beta(value: Any) -> Beta | None:
    """A beta that was written as JSON."""
    if isinstance(value, dict):
        return Schedule(tuple(tuple(knot) for knot in value["knots"]))
    return value


def _member(member: Member) -> dict[str, Any]:
    return dict(member) | {"beta": _beta(member["beta"])}


def _tuples(kind: type, values: Mapping[str, Any]) -> Any:
    return kind(**{k: tuple(v) if isinstance(v, list) else v for k, v in values.items()})


def _write(path: Path, tensors: dict[str, Tensor], header: dict[str, Any]) -> None:
    """Write a safetensors file whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        whole = {k: t.detach().contiguous() for k, t in tensors.items()}
        safetensors.torch.save_file(whole, part, metadata={"ibbook": json.dumps(header)})
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def _read(path: Path, device: torch.device | str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    with safetensors.safe_open(path, "pt", device=str(device)) as file:
        header = json.loads((file.metadata() or {}).get("ibbook", "{}"))
        if header.get("format") != FORMAT:
            raise ValueError(
                f"{path} is of format {header.get('format')}, this version reads {FORMAT}; "
                "train again, or use the version that wrote it"
            )
        return {k: file.get_tensor(k) for k in file.keys()}, header  # noqa: SIM118
