"""Files: safetensors with a header of JSON, written whole or not at all."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from ibbook.datasets import Dataset
from ibbook.objective import Beta
from ibbook.schedules import Schedule
from ibbook.training.members import Member

FORMAT = 1


def run_name(run: dict[str, Any]) -> str:
    plain = json.loads(json.dumps(run))  # as it comes back from a file: every key is text
    digest = hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()
    return f"{digest[:16]}.safetensors"


def fingerprint(data: Dataset) -> str:
    """A hash of 64 pictures and all labels, which tells apart two subsets of one size."""
    rows = torch.linspace(0, len(data) - 1, 64).round().long()
    digest = hashlib.sha256(data.images[rows].numpy().tobytes())
    if data.labels is not None:
        digest.update(data.labels.numpy().tobytes())
    return digest.hexdigest()[:16]


def plain(member: Member) -> dict[str, Any]:
    return {k: asdict(v) if isinstance(v, Schedule) else v for k, v in member.items()}


def as_beta(value: Any) -> Beta | None:
    """A beta that was written as JSON."""
    if isinstance(value, dict):
        return Schedule(tuple(tuple(knot) for knot in value["knots"]))
    return value


def as_member(member: Member) -> dict[str, Any]:
    return dict(member) | {"beta": as_beta(member["beta"])}


def as_tuples(kind: type, values: Mapping[str, Any]) -> Any:
    return kind(**{k: tuple(v) if isinstance(v, list) else v for k, v in values.items()})


def write(path: Path, tensors: dict[str, Tensor], header: dict[str, Any]) -> None:
    """Write a safetensors file whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        whole = {k: t.detach().contiguous() for k, t in tensors.items()}
        safetensors.torch.save_file(whole, part, metadata={"ibbook": json.dumps(header)})
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def read(path: Path, device: torch.device | str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    with safetensors.safe_open(path, "pt", device=str(device)) as file:
        header = json.loads((file.metadata() or {}).get("ibbook", "{}"))
        if header.get("format") != FORMAT:
            raise ValueError(
                f"{path} is of format {header.get('format')}, this version reads {FORMAT}; "
                "train again, or use the version that wrote it"
            )
        return {k: file.get_tensor(k) for k in file.keys()}, header  # noqa: SIM118
