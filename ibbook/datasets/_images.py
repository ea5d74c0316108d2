"""Pictures that are held, mapped from a file, or rendered when asked for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from jaxtyping import Int64, UInt8
from torch import Tensor

from ibbook._checks import tensor

CHUNK = 4096  # pictures read or rendered at a time: 48 MiB of 64x64 colour


@dataclass(frozen=True, eq=False)
class Images:
    """Pictures that are read when asked for: index it like an array, `images[:8]`.

    `read(rows)` returns the pictures of these rows, on the device of `rows`; `drawn` are those
    that are computed, not held or mapped.

    >>> from ibbook.datasets import load
    >>> images = load("digits").images
    >>> images.shape
    (1797, 1, 8, 8)
    >>> images[:3].dtype
    torch.uint8
    """

    shape: tuple[int, ...]
    read: Callable[[Int64[Tensor, "n"]], Tensor]
    drawn: bool = False

    @classmethod
    def held(cls, pictures: Tensor) -> Images:
        """Pictures in memory, copied once to each device that asks for some.

        >>> Images.held(torch.eye(3, dtype=torch.uint8))[[1]].tolist()
        [[0, 1, 0]]
        """
        return cls(tuple(pictures.shape), partial(_rows, Copies(pictures)))

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, key: Any) -> Tensor:
        rows = rows_of(key, len(self))
        flat = rows.reshape(-1)
        if len(flat) <= CHUNK:
            pictures = self.read(flat)
        else:
            pictures = torch.cat([self.read(part) for part in flat.split(CHUNK)])
        return pictures.reshape(*rows.shape, *self.shape[1:])

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.asarray(self[:].numpy(), dtype=dtype)


def as_images(images: Any, channels_last: bool) -> Images:
    """`Images` of an array: a memory map stays on disk, anything else lives on the device."""
    if np.ma.is_masked(images):
        raise ValueError("some pixels of images are masked; fill them or leave them out")
    if not isinstance(images, Tensor | np.ndarray):
        images = np.asarray(images)
    if images.dtype not in (torch.uint8, np.dtype(np.uint8)):
        raise ValueError(
            f"images must be uint8, got {images.dtype}; scale and round them, "
            "and give the value of a white pixel as scale"
        )
    shape = tuple(images.shape)
    if len(shape) not in (3, 4) or 0 in shape or (channels_last and len(shape) != 4):
        wanted = "[n, h, w, c]" if channels_last else "[n, h, w] or [n, c, h, w]"
        raise ValueError(f"images must have shape {wanted}, none of them 0, got {shape}")
    if channels_last:
        shape = (shape[0], shape[3], *shape[1:3])
    elif len(shape) == 3:
        shape = (shape[0], 1, *shape[1:])

    if isinstance(images, np.memmap):
        return Images(shape, Mapped(images, None if channels_last else shape[1:]))
    if isinstance(images, np.ndarray):
        images = torch.from_numpy(np.require(images, requirements=["C", "W"]))
    return Images.held(
        images.movedim(-1, 1).contiguous() if channels_last else images.reshape(shape)
    )


def block_mean(images: UInt8[Tensor, "n c h w"], size: int) -> UInt8[Tensor, "n c size size"]:
    """Pictures made smaller by rounding the mean of each block of pixels, halves up.

    >>> block_mean(torch.tensor([[[[0, 1], [1, 0]]]], dtype=torch.uint8), 1).item()
    1
    """
    n, c, h, w = images.shape
    if not (1 <= size <= h == w and h % size == 0):
        raise ValueError(f"size must divide the {h}x{w} pixels of the pictures, got {size}")
    block = h // size
    total = images.reshape(n, c, size, block, size, block).sum((3, 5))
    return ((total + block**2 // 2) // block**2).to(torch.uint8)


class Mapped:
    """Rows of a memory map: `shape` of each picture, or None where its channels come last."""

    def __init__(self, pictures: np.memmap, shape: tuple[int, ...] | None) -> None:
        self.pictures, self.shape = pictures, shape

    def __call__(self, rows: Int64[Tensor, "n"]) -> UInt8[Tensor, "n c h w"]:
        part = torch.from_numpy(self.pictures[rows.cpu().numpy()]).to(rows.device)
        return part.movedim(-1, 1) if self.shape is None else part.reshape(-1, *self.shape)

    def __reduce__(self) -> tuple[Any, ...]:
        """Another process maps the file again, rather than be sent what it holds."""
        whole = self.pictures
        while isinstance(whole.base, np.memmap):
            whole = whole.base
        begin = whole.offset + self.pictures.ctypes.data - whole.ctypes.data
        if not self.pictures.flags.c_contiguous:
            return Mapped, (np.array(self.pictures), self.shape)
        return _map_again, (whole.filename, begin, self.pictures.shape, self.shape)


def _map_again(path: str, begin: int, size: tuple[int, ...], shape: Any) -> Mapped:
    return Mapped(np.memmap(path, np.uint8, "r", begin, size), shape)


def _rows(on: Copies, rows: Int64[Tensor, "n"]) -> Tensor:
    return on(rows.device)[rows]


class Copies:
    """A tensor, and its copy on each device that asked for one."""

    def __init__(self, tensor: Tensor) -> None:
        self.on = {tensor.device: tensor}
        self.original = tensor

    def __call__(self, device: torch.device) -> Tensor:
        if device not in self.on:
            self.on[device] = self.original.to(device)
        return self.on[device]

    def __reduce__(self) -> tuple[Any, ...]:
        return Copies, (self.original,)


def rows_of(key: Any, length: int) -> Int64[Tensor, "*m"]:
    """Any index into a set (number, slice, mask, array) as row numbers from 0."""
    if isinstance(key, slice):
        return torch.from_numpy(np.arange(*key.indices(length), dtype=np.int64))
    if isinstance(key, tuple):
        raise IndexError(
            f"pictures have one index, their number, got {key}; take axes of what comes back, "
            "as in images[0][0], or give a list of numbers"
        )
    rows = tensor(key, "indices")
    if rows.dtype == torch.bool:
        if rows.shape != (length,):
            raise IndexError(f"a mask must have shape ({length},), got {tuple(rows.shape)}")
        return rows.nonzero()[:, 0]
    if rows.is_floating_point() and rows.numel():
        raise IndexError(f"indices must be integers, got {rows.dtype}")
    rows = rows.long()
    if rows.device.type == "cpu" and rows.numel():  # on a GPU the look would wait for the device
        low, high = int(rows.min()), int(rows.max())
        if low < -length or high >= length:
            raise IndexError(f"index {high if high >= length else low} of {length} pictures")
    return torch.where(rows < 0, rows + length, rows)
