"""Files: safetensors with a header of JSON, written whole or not at all."""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from ibbook import _origin
from ibbook.datasets import Dataset
from ibbook.datasets._images import CHUNK
from ibbook.networks import Network
from ibbook.objective import Beta, Objective
from ibbook.schedules import Schedule
from ibbook.training.members import Member
from ibbook.training.optimiser import Optimiser

FORMAT = 1
READ = 1 << 28  # bytes of drawn pictures, at most, that are all read to tell two sets apart
SOURCE = _origin.digest(_origin.PACKAGE, ["book"])  # as it was imported, whatever becomes of it


def describe(
    network: Network,
    objective: Objective,
    data: Dataset,
    members: Iterable[Member],
    optimiser: Optimiser,
    batch_size: int,
    device: torch.device | str,
    log_every: int | None = None,
    start: Mapping[str, Tensor] | None = None,
    frozen: Sequence[str] = (),
) -> dict[str, Any]:
    """All that a run depends on but `steps`, as its file states it.

    `log_every` as it was given: where it was not, it follows `steps`, and no weight depends on it.
    """
    card = torch.cuda.get_device_name(device) if torch.device(device).type == "cuda" else "cpu"
    return {
        "network": asdict(network),
        "objective": asdict(objective),
        "members": [plain(m) for m in members],
        "optimiser": asdict(optimiser),
        "data": [data.name, data.scale, list(data.images.shape), _fingerprint(data)],
        "source": SOURCE,
        "torch": torch.__version__,
        "device": card,
        "batch_size": batch_size,
        "log_every": log_every,
        "start": None if start is None else _digest(start),
        "frozen": sorted(frozen),
    }


def file_name(run: dict[str, Any]) -> str:
    """A hash of the run that `describe` gives."""
    text = json.loads(json.dumps(run))  # as it comes back from a file: every key is text
    digest = hashlib.sha256(json.dumps(text, sort_keys=True).encode()).hexdigest()
    return f"{digest[:16]}.safetensors"


def _fingerprint(data: Dataset) -> str:
    """A hash of all labels and all pictures; of a large set that the package draws, of some."""
    found, n = hashlib.sha256(), len(data)
    if math.prod(data.images.shape) <= READ or not data.images.drawn:
        rows = torch.arange(n)
    else:
        rows = torch.linspace(0, n - 1, CHUNK, dtype=torch.float64).round().long()
    for part in rows.split(CHUNK):
        found.update(data.images[part].numpy().tobytes())
    if data.labels is not None:
        found.update(data.labels.numpy().tobytes())
    return found.hexdigest()[:16]


def _digest(tensors: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name in sorted(tensors):
        raw = tensors[name].detach().cpu().reshape(-1).view(torch.uint8)
        digest.update(name.encode() + raw.numpy().tobytes())
    return digest.hexdigest()[:16]


def _seal(header: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> str:
    return _origin.seal({"header": header, "tensors": _digest(tensors)})


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
        header = json.loads(json.dumps({"format": FORMAT} | header))  # as it is read again
        text = json.dumps(header | {"seal": _seal(header, whole)})
        safetensors.torch.save_file(whole, part, metadata={"ibbook": text})
        with part.open("rb") as stream:
            os.fsync(stream.fileno())
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def read(path: Path, device: torch.device | str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors and the header of a file that `write` made; a damaged one is named."""
    try:
        return _read(path, device)
    except (safetensors.SafetensorError, json.JSONDecodeError) as error:
        raise ValueError(
            f"{path} is damaged or cut short ({error}); delete it to start again"
        ) from None


def _read(path: Path, device: torch.device | str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    with safetensors.safe_open(path, "pt", device=str(device)) as file:
        header = json.loads((file.metadata() or {}).get("ibbook", "{}"))
        if header.get("format") != FORMAT:
            raise ValueError(
                f"{path} is of format {header.get('format')}, this version reads {FORMAT}; "
                "train again, or use the version that wrote it"
            )
        tensors = {k: file.get_tensor(k) for k in file.keys()}  # noqa: SIM118
    seal = header.pop("seal", None)  # a file of before seals has none
    if seal not in (None, _seal(header, tensors)):
        raise ValueError(
            f"{path} was changed after it was written; restore it, or delete it to start again"
        )
    return tensors, header
