"""What a result depends on besides its arguments: source, libraries, device; and its seal."""

from __future__ import annotations

import hashlib
import json
import platform
import re
from collections.abc import Callable, Collection, Mapping
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import Any

PACKAGE = Path(__file__).parent


def sha256(path: Path) -> str:
    """A hash of a file's content, read block by block.

    >>> len(sha256(Path(__file__)))
    64
    """
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def digest(top: Path, others: Collection[str] = (), of: Callable[[Path], str] = sha256) -> str:
    """A hash of the names and contents of the files below a folder, caches and others left out.

    >>> digest(PACKAGE) == digest(PACKAGE, ["book"])
    False
    """
    total = hashlib.sha256()
    for path in sorted(top.rglob("*")):
        parts = path.relative_to(top).parts
        if any(p in ("__pycache__", "cache", *others) or p[0] == "." for p in parts):
            continue
        if path.is_file():
            total.update(f"{'/'.join(parts)}\0{of(path)}\n".encode())
    return total.hexdigest()


def libraries() -> dict[str, str]:
    """The version of Python, and of each library that the package needs.

    >>> sorted({"python", "torch", "numpy"} - libraries().keys())
    []
    """
    try:
        needed = [
            re.split(r"[^\w.-]", line)[0] for line in requires("ibbook") or () if ";" not in line
        ]
    except PackageNotFoundError:
        needed = []
    found = {"python": platform.python_version()}
    for name in sorted({"ibbook", "numpy", "scipy", "torch", *needed}):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found


def device() -> str:
    """What computes unless a program says: the GPU that torch finds, or the processor's kind.

    >>> " " in device() or device() == platform.machine()
    True
    """
    if not libraries()["torch"].endswith("+cpu"):  # such a torch has no GPU, and imports slowly
        import torch

        if torch.cuda.is_available():
            return torch.cuda.get_device_name()
    return platform.machine()


def seal(content: Mapping[str, Any]) -> str:
    """A hash of what a JSON file holds, its own entry `seal` apart.

    >>> seal({"value": 1, "seal": "..."}) == seal({"value": 1}) != seal({"value": 2})
    True
    """
    rest = {name: value for name, value in content.items() if name != "seal"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()
