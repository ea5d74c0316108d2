"""What training changes, and a checkpoint holds."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from ibbook.networks import Model
from ibbook.training.checkpoint import read, write
from ibbook.training.loss import rate_columns
from ibbook.training.members import parameters
from ibbook.training.optimiser import Optimiser


class State:
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
                    parameters(i, self.members[i])
                    | {"step": step, "loss": loss, "distortion": distortion}
                    | rate_columns(rate)
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
        header = {"run": run, "rows": self.rows, "step": self.step}
        header |= {"seconds": self.seconds, "logged": self.logged}
        write(path, self._tensors(), header | {"diverged": list(self.diverged.items())})

    def restore(self, path: Path, run: dict[str, Any], steps: int) -> None:
        tensors, header = read(path, self.weights[0].device)
        if header.get("run") != json.loads(json.dumps(run)):
            raise ValueError(f"checkpoint {path} is that of another run; delete it to start again")
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
