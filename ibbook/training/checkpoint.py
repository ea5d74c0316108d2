"""Files: safetensors with a header of JSON, written whole or not at all."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from ibbook.datasets import Dataset
from ibbook.networks import Network
from ibbook.objective import Beta, Objective
from ibbook.schedules import Schedule
from ibbook.training.members import Member
from ibbook.training.optimiser import Optimiser

FORMAT = 1


def describe(
    network: Network,
    objective: Objective,
    data: Dataset,
    members: Iterable[Member],
    optimiser: Optimiser,
    batch_size: int,
    log_every: int,
    start: Mapping[str, Tensor] | None = None,
) -> dict[str, Any]:
    """All that a run depends on but `steps`, as its file states it."""
    return {
        "network": asdict(network),
        "objective": asdict(objective),
        "members": [plain(m) for m in members],
        "optimiser": asdict(optimiser),
        "data": [data.name, len(data), list(data.images.shape[1:]), _fingerprint(data)],
        "batch_size": batch_size,
        "log_every": log_every,
        "start": None if start is None else _digest(start),
    }


def file_name(run: dict[str, Any]) -> str:
    """A hash of the run that `describe` gives."""
    text = json.loads(json.dumps(run))  # as it comes back from a file: every key is text
    digest = hashlib.sha256(json.dumps(text, sort_keys=True).encode()).hexdigest()
    return f"{digest[:16]}.safetensors"


def _fingerprint(data: Dataset) -> str:
    """A hash of 64 pictures and all labels, which tells apart two subsets of one size."""
    rows = torch.linspace(0, len(data) - 1, 64).round().long()
    digest = hashlib.sha256(data.images[rows].numpy().tobytes())
    if data.labels is not None:
        digest.update(data.labels.numpy().tobytes())
    return digest.hexdigest()[:16]


def _digest(tensors: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name in sorted(tensors):
        digest.update(name.encode() + tensors[name].cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]


def plain(member: Member) -> dict[str, Any]:
    """A member as JSON takes it; `as_member` is the way back."""
    return dict(member) | {"beta": _beta_as_json(member["beta"])}


def as_member(written: Mapping[str, Any]) -> dict[str, Any]:
    return dict(written) | {"beta": _as_beta(written["beta"])}


def as_network(written: Mapping[str, Any]) -> Network:
    fields = {k: tuple(v) if isinstance(v, list) else v for k, v in written.items()}
    above = fields.get("above")
    return Network(**fields | {"above": above and as_network(above)})


def as_objective(written: Mapping[str, Any]) -> Objective:
    anchors = {int(latent): strength for latent, strength in written["anchors"].items()}
    beta = _as_beta(written["beta"])
    return Objective(**dict(written) | {"beta": beta, "anchors": anchors})


def _beta_as_json(beta: Beta | None) -> Any:
    if isinstance(beta, Schedule):
        return asdict(beta)
    return [_beta_as_json(b) for b in beta] if isinstance(beta, Sequence) else beta


def _as_beta(written: Any) -> Beta | None:
    if isinstance(written, dict):
        return Schedule(tuple(tuple(knot) for knot in written["knots"]))
    return [_as_beta(b) for b in written] if isinstance(written, list) else written


def write(path: Path, tensors: dict[str, Tensor], header: dict[str, Any]) -> None:
    """Write a safetensors file whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        whole = {k: t.detach().contiguous() for k, t in tensors.items()}
        text = json.dumps({"format": FORMAT} | header)
        safetensors.torch.save_file(whole, part, metadata={"ibbook": text})
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def read(path: Path, device: torch.device | str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors and the header of a file that `write` made."""
    with safetensors.safe_open(path, "pt", device=str(device)) as file:
        header = json.loads((file.metadata() or {}).get("ibbook", "{}"))
        if header.get("format") != FORMAT:
            raise ValueError(
                f"{path} is of format {header.get('format')}, this version reads {FORMAT}; "
                "train again, or use the version that wrote it"
            )
        return {k: file.get_tensor(k) for k in file.keys()}, header  # noqa: SIM118
