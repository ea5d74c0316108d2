"""Grids of factors: classes of an index, the index of classes, and their checks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Int64
from torch import Tensor

from ibbook import _numbers
from ibbook._checks import tensor


def classes_of(indices: Int64[Tensor, "*m"], sizes: Sequence[int]) -> Int64[Tensor, "*m k"]:
    """The digits of an index in the mixed radix `sizes`, the last one fastest.

    >>> classes_of(torch.tensor([0, 1, 3]), (2, 3)).tolist()
    [[0, 0], [0, 1], [1, 0]]
    """
    digits = []
    for size in reversed(sizes):
        digits.append(indices % size)
        indices = indices // size
    if not digits:
        return indices.new_zeros(*indices.shape, 0)
    return torch.stack(digits[::-1], -1)


def indices_of(classes: Int64[Tensor, "*m k"], sizes: Sequence[int]) -> Int64[Tensor, "*m"]:
    """The index whose digits in the mixed radix `sizes` are `classes`.

    >>> indices_of(torch.tensor([[1, 0]]), (2, 3)).tolist()
    [3]
    """
    index = torch.zeros_like(classes[..., 0])
    for j, size in enumerate(sizes):
        index = index * size + classes[..., j]
    return index


def integers(value: Any, name: str, shape: tuple[int | None, ...]) -> Int64[Tensor, "..."]:
    array = tensor(value, name).cpu()
    if array.is_floating_point():
        raise ValueError(f"{name} must be integers, the class of each picture, got {array.dtype}")
    fits = array.ndim == len(shape) and all(
        want in (None, got) for want, got in zip(shape, array.shape, strict=True)
    )
    if not fits:
        wanted = ", ".join("k" if s is None else str(s) for s in shape)
        raise ValueError(f"{name} must have shape [{wanted}], got {tuple(array.shape)}")
    return array.long()


def as_labels(value: Any, name: str, n: int) -> Int64[Tensor, "n"]:
    """A class of each picture, counted from 0."""
    found = integers(value, name, (n,))
    if n and found.min() < 0:
        raise ValueError(f"{name} must count from 0, got {found.min()}")
    return found


def check_classes(
    classes: Int64[Tensor, "n k"], names: Sequence[str], sizes: Sequence[int]
) -> None:
    if classes.ndim != 2:
        raise ValueError(f"factors must have shape [n, {len(sizes)}], got {tuple(classes.shape)}")
    if classes.shape[1] != len(sizes):
        raise ValueError(f"factors has {classes.shape[1]} columns for {len(sizes)} factors")
    for name, column, size in zip(names, classes.T, sizes, strict=True):
        low, high = int(column.min()), int(column.max())
        if low < 0 or high >= size:
            bad = low if low < 0 else high
            raise ValueError(f"factors of {name} must lie in 0..{size - 1}, got {bad}")


def seeded(seed: int) -> torch.Generator:
    """The random generator of a seed, on the CPU, so that every device draws the same.

    >>> torch.randint(10, (3,), generator=seeded(0)).tolist()
    [4, 9, 3]
    """
    return torch.Generator().manual_seed(_numbers.seed(seed))
