"""Where models are trained: the GPU that torch finds, else the processor."""

from __future__ import annotations

import torch

KNOWN = ("cpu", "cuda")


def chosen(device: torch.device | str | None) -> torch.device:
    """The device that an argument `device` names; None is the GPU where there is one.

    >>> chosen("cpu")
    device(type='cpu')
    """
    if device is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        found = torch.device(device)
    except (RuntimeError, TypeError):
        found = None
    if found is None or found.type not in KNOWN:
        raise ValueError(f"device must be 'cpu' or 'cuda', got {str(device)!r}")
    if found.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(
            f"device is {str(device)!r}, but this machine has no GPU that PyTorch can use; "
            "leave device out to train on the CPU"
        )
    return found
