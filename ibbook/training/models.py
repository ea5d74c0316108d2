"""Trained models that the book ships, for readers who want to start from one."""

from __future__ import annotations

import json
from pathlib import Path

from ibbook._origin import sha256

FOLDER = Path(__file__).parents[2] / "data" / "models"


def model(name: str) -> Path:
    """The file of a trained model of the book, read and held against its checksum.

    `Ensemble.load(model("05-beta-vae"))` is all that a reader needs.

    >>> model("99-none") # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ...
    ValueError: name must be one of ..., got '99-none'
    """
    path = FOLDER / f"{name}.safetensors"
    known = sorted(file.stem for file in FOLDER.glob("*.safetensors"))
    if name not in known:
        raise ValueError(f"name must be one of {', '.join(known)}, got {name!r}")
    stated = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))["sha256"]
    if sha256(path) != stated:
        raise ValueError(f"{path} is not the file that was kept; restore it with `git checkout`")
    return path
