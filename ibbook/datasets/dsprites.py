"""dSprites, rendered from the factors alone: no download, on any device.

The data set of Matthey, Higgins, Hassabis and Lerchner (2017) holds 737,280 black and white
pictures of a square, an ellipse or a heart, over a full grid of scale, orientation and position.
Each is a polygon whose vertices are rounded to 1/256 pixel and scan converted without
anti-aliasing, so integers decide every pixel, and the picture is the same on every machine.

All 525 official pictures at hand are met in every pixel, yet the whole file is not. Its mean as
published is 128,328,862 white pixels, and here they are 128,328,864; its mean deviation of a
picture as published (0.19516645880626055, in the code of Michlo's disent) is 0.19516645451 here,
for which at least 14 pixels must differ. The file was drawn by a graphics card, hence in single
precision, in an order of evaluation that is not known and that rounds some vertices the other way.
The orders that we tried move mostly 36 to 84 pixels, one a picture, and none meets both numbers. So
about 50 of the 737,280 pictures probably differ, in one pixel each; `check` counts them.

A scan line through the centres of row r meets a polygon in a few crossings. A run of pixels
c, ..., d - 1 is the integer 2^d - 2^c, so a row of 64 pixels is one 64-bit word: the sum of 2^d
over its downward crossings minus that over its upward ones.
"""

from __future__ import annotations

import math
import zipfile
import zlib
from collections.abc import Iterator
from functools import cache, partial
from pathlib import Path
from typing import IO

import numpy as np
import torch
from jaxtyping import Float64, Int32, Int64, UInt8
from torch import Tensor

from ibbook._files import room_for, whole
from ibbook._paths import expanded
from ibbook.datasets._dataset import Dataset
from ibbook.datasets._grid import check_classes, classes_of
from ibbook.datasets._images import CHUNK

FACTOR_NAMES = ("shape", "scale", "orientation", "posX", "posY")
FACTOR_SIZES = (3, 6, 40, 32, 32)
COUNT = math.prod(FACTOR_SIZES)

WIDTH = 64
CENTRE = 128  # of a pixel, in 1/256 pixel
EDGES = 150  # edges of the heart, the largest polygon

# So many differing pixels of the official file are too many for `check`. About 50 are expected; the
# single-precision orders of evaluation that we tried seldom move as many, and a wrong rule, such as
# a constant off by a thousandth, moves tens of thousands.
TOO_MANY = 200


def render(classes: Int64[Tensor, "n 5"], *, size: int = WIDTH) -> UInt8[Tensor, "n 1 size size"]:
    """The pictures of these factors, drawn on the device of `classes`.

    A pixel of the full size is 0 or 1. A smaller picture counts the white pixels of each block,
    so it lies in 0..4 at `size` 32 and in 0..16 at 16; divide by that to have an average.

    >>> heart = render(torch.tensor([[2, 0, 0, 16, 16]]))[0, 0]
    >>> for row in heart[28:37, 27:38].tolist():
    ...     print("".join(".#"[pixel] for pixel in row))
    ..###.###..
    .####.####.
    .#########.
    .#########.
    .#########.
    ..#######..
    ...#####...
    ....###....
    .....#.....
    """
    block = _block(size)
    if classes.device.type == "cpu" and len(classes):  # on a GPU the look would wait for it
        check_classes(classes, FACTOR_NAMES, FACTOR_SIZES)
    pictures = _unpack(_words(classes))
    if block > 1:
        pictures = sum(pictures[:, i::block] for i in range(block))
        pictures = sum(pictures[..., i::block] for i in range(block))
    return pictures[:, None]


def dataset(*, size: int = WIDTH) -> Dataset:
    """All 737,280 pictures as a `Dataset`, each drawn when it is asked for.

    >>> data = dataset(size=32)
    >>> data.images.shape, data.scale
    ((737280, 1, 32, 32), 4)
    """
    block = _block(size)
    return Dataset.rendered(
        partial(render, size=size),
        name="dsprites",
        shape=(1, size, size),
        factor_names=FACTOR_NAMES,
        factor_values=(
            np.arange(1, 4),
            np.linspace(0.5, 1, 6),
            np.linspace(0, 2 * np.pi, 40),
            np.linspace(0, 1, 32),
            np.linspace(0, 1, 32),
        ),
        scale=block * block,
        source="rendered",
    )


def write(path: Path | str, *, size: int = WIDTH) -> None:
    """Write all 737,280 pictures to a `.npy` file, for tools that read arrays.

    The file takes 3.0 GB at size 64, 755 MB at 32 and 189 MB at 16; open it with
    `np.load(path, mmap_mode="r")`. No more than one chunk of it is ever in memory, and `path`
    holds all of it or is not touched.

    >>> write("dsprites.npy", size=48)
    Traceback (most recent call last):
    ...
    ValueError: size of a dSprites picture must be 16, 32 or 64, got 48
    """
    _block(size)
    path = expanded(path)
    room_for(path, COUNT * size * size)
    header = {"descr": "|u1", "fortran_order": False, "shape": (COUNT, size, size)}
    with whole(path) as part, part.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        for rows in torch.arange(COUNT).split(CHUNK):
            render(classes_of(rows, FACTOR_SIZES), size=size).numpy().tofile(file)


def check(path: Path | str, *, complete: bool = True) -> int:
    """How many pixels of an official file differ from the rendered ones.

    The official file is `dsprites_ndarray_co1sh3sc6or40x32y32_64x64.npz`. It is read in chunks,
    and its pickled metadata is never opened. Some 50 pixels are expected to differ (see the top of
    this module); `TOO_MANY` or more are a ValueError that names their number and the first of them.
    A file that holds only some of the pictures, with their `latents_classes`, is compared with
    `complete=False`.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp(), "two.npz")
    >>> classes = torch.tensor([[0, 0, 0, 0, 0], [2, 5, 7, 1, 30]])
    >>> pictures = render(classes)[:, 0].numpy()
    >>> pictures[1, 5, 6] = 1
    >>> np.savez_compressed(path, imgs=pictures,
    ...                     latents_classes=np.insert(classes.numpy(), 0, 0, axis=1))
    >>> check(path, complete=False)
    1
    """
    differing, first = 0, ""
    try:
        with zipfile.ZipFile(path) as archive:
            count, pictures = _member(archive, "imgs", (WIDTH, WIDTH))
            rows, classes = _member(archive, "latents_classes", (1 + len(FACTOR_SIZES),))
            if count != rows or (complete and count != COUNT):
                expected = COUNT if complete else "as many of each"
                raise ValueError(
                    f"it holds {count} pictures and the factors of {rows}, expected {expected}"
                )
            for chunk, (found, known) in enumerate(zip(pictures, classes, strict=True)):
                number, place = _differences(found, known, chunk * CHUNK, complete)
                differing, first = differing + number, first or place
        if differing >= TOO_MANY:
            raise ValueError(
                f"{differing} pixels differ from the rendered ones, expected fewer than "
                f"{TOO_MANY}; the first is in {first}. Download the file again; if its checksum "
                "is right, the renderer is wrong"
            )
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise ValueError(f"{path} is damaged ({error}); download it again") from None
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    return differing


def _differences(
    found: UInt8[np.ndarray, "n 64 64"],
    known: Int64[np.ndarray, "n 6"],
    start: int,
    complete: bool,
) -> tuple[int, str]:
    """How many pixels are not ours, and where the first of them is; factors must be ours."""
    classes = torch.from_numpy(known[:, 1:].astype(np.int64))
    if complete:
        grid = classes_of(torch.arange(start, start + len(known)), FACTOR_SIZES)
        moved = (classes != grid).any(1).nonzero()
        if len(moved):
            i = int(moved[0])
            raise ValueError(
                f"picture {start + i} has factors {_named(classes[i])}, expected {_named(grid[i])}"
            )
    drawn = render(classes)[:, 0].numpy()
    wrong = found != drawn
    if not wrong.any():
        return 0, ""
    i, row, column = np.unravel_index(wrong.argmax(), wrong.shape)
    place = (
        f"picture {start + i} ({_named(classes[i])}) at row {row}, column {column}: "
        f"the file has {found[i, row, column]}, rendered is {drawn[i, row, column]}"
    )
    return int(wrong.sum()), place


def _named(classes: Int64[Tensor, "5"]) -> str:
    return ", ".join(f"{n} {c}" for n, c in zip(FACTOR_NAMES, classes.tolist(), strict=True))


def _member(
    archive: zipfile.ZipFile, name: str, shape: tuple[int, ...]
) -> tuple[int, Iterator[np.ndarray]]:
    """How many rows an integer array of an npz file has, and the rows, `CHUNK` at a time."""
    try:
        file = archive.open(f"{name}.npy")
    except KeyError:
        raise ValueError(f"there is no array {name} in it") from None
    if np.lib.format.read_magic(file) == (1, 0):
        found, fortran, dtype = np.lib.format.read_array_header_1_0(file)
    else:
        found, fortran, dtype = np.lib.format.read_array_header_2_0(file)
    if found[1:] != shape or fortran or dtype.kind not in "iu":
        raise ValueError(f"{name} must be integers of shape (n, *{shape}), got {dtype} {found}")
    return found[0], _chunks(file, name, found, dtype)


def _chunks(
    file: IO[bytes], name: str, shape: tuple[int, ...], dtype: np.dtype
) -> Iterator[np.ndarray]:
    with file:
        for start in range(0, shape[0], CHUNK):
            rows = (min(CHUNK, shape[0] - start), *shape[1:])
            data = file.read(math.prod(rows) * dtype.itemsize)
            if len(data) < math.prod(rows) * dtype.itemsize:
                raise EOFError(f"{name} ends early")
            yield np.frombuffer(data, dtype).reshape(rows)
        if file.read(1):  # asking for more than there is also checks the checksum of the last part
            raise ValueError(f"{name} goes on after its last row")


def _block(size: int) -> int:
    if size not in (16, 32, 64):
        raise ValueError(f"size of a dSprites picture must be 16, 32 or 64, got {size!r}")
    return WIDTH // size


def _words(classes: Int64[Tensor, "n 5"]) -> Int64[Tensor, "n 64"]:
    """One word a row of pixels; bit c is the pixel of column c."""
    edges, below = _edges(classes.device)
    shape, scale, orientation, x, y = classes.unbind(-1)
    pose = (shape * 6 + scale) * 40 + orientation
    centre = torch.stack([x, y], -1).int() * 8192 + 31 * 4096
    # [n, axis, end, edge] in 1/256 pixel
    vertex = (edges[pose] + centre[:, :, None, None]).div(31, rounding_mode="floor")
    (x0, x1), (y0, y1) = vertex[:, 0].unbind(1), vertex[:, 1].unbind(1)

    first, last = (y0 - CENTRE) >> 8, (y1 - CENTRE) >> 8  # the last row of centres at or above
    row = torch.minimum(first, last) + below[shape]
    run, rise = x1 - x0, y1 - y0
    sign = rise.sign()
    along = (row << 8) + CENTRE - y0
    # the edge crosses at x0 + run * along / rise; column is the first whose centre is not left
    left = (-run * along * sign).div(rise.abs().clamp(min=1), rounding_mode="floor")
    column = (x0 + CENTRE - 1 - left) >> 8
    sign = sign * (row <= torch.maximum(first, last))
    runs = sign.long() << column.clamp(0, WIDTH - 1)
    words = runs.new_zeros(len(classes), WIDTH)
    return words.scatter_add_(1, row.clamp(max=WIDTH - 1).long(), runs)


def _unpack(words: Int64[Tensor, "n 64"]) -> UInt8[Tensor, "n 64 64"]:
    octets = words.view(torch.uint8).int().flatten()  # little-endian: column 0 comes first
    table = _octets(words.device)
    return table.index_select(0, octets).view(torch.uint8).view(-1, WIDTH, WIDTH)


@cache
def _octets(device: torch.device) -> Int64[Tensor, "256"]:
    """Eight pixels in eight bytes, for each value of a byte."""
    bits = (torch.arange(256)[:, None] >> torch.arange(8)) & 1
    return bits.to(torch.uint8).view(torch.int64)[:, 0].to(device)


@cache
def _edges(
    device: torch.device,
) -> tuple[Int32[Tensor, "720 2 2 150"], Int32[Tensor, "3 150"]]:
    """Both ends of every edge about the centre, for each shape, scale and orientation.

    A vertex u, in 1/256 pixel, is rounded after the centre is added: round(u + 4096 + 8192 p/31)
    = floor((w + 31 * 4096 + 8192 p) / 31) with w = floor(31 u + 31/2). Only w is kept, so the rest
    is integer arithmetic. An edge that spans several rows is listed once a row, and `below` says
    how many rows below its upper end each copy crosses; edges of zero length fill the table.

    No 31 u + 31/2 is nearer to an integer than 8e-6, and the last bits of a cosine, which depend on
    the processor, move it by less than 1e-9: the table is the same everywhere.
    """
    angle = np.linspace(0, 2 * np.pi, 40)[:, None]
    radius = 256 * 9.6 * np.linspace(0.5, 1, 6)[:, None, None]
    edges = np.zeros((3, 6, 40, 2, 2, EDGES), np.int32)
    below = np.zeros((3, EDGES), np.int32)
    for shape, (polygon, rows) in enumerate(_polygons()):
        x, y = polygon
        ends = radius * (x * np.cos(angle) + y * np.sin(angle))
        tops = radius * (y * np.cos(angle) - x * np.sin(angle))
        start = np.floor(31 * np.stack([ends, tops], -2) + 15.5).astype(np.int32)
        end = np.roll(start, -1, -1)
        used = rows * polygon.shape[1]
        edges[shape, ..., :used] = np.tile(np.stack([start, end], -2), rows)
        below[shape, :used] = 1 + np.repeat(np.arange(rows), polygon.shape[1])
    edges = torch.from_numpy(edges).flatten(0, 2)
    return edges.to(device), torch.from_numpy(below).to(device)


def _polygons() -> list[tuple[Float64[np.ndarray, "2 v"], int]]:
    """Square, ellipse and heart, x right and y down, and the most rows that an edge can cross."""
    s, t = (2 * np.pi * np.arange(n) / n for n in (100, 150))
    square = np.array([[-1.0, 1, 1, -1], [-1, -1, 1, 1]])
    ellipse = np.stack([1.33 * np.cos(s), np.sin(s) / 1.33])
    lobe = 13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t)
    heart = np.stack([np.sin(t) ** 3, -(lobe / 14.5 + 0.15)])
    return [(square, 20), (ellipse, 1), (heart, 1)]
