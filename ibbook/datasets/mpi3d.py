"""MPI3D: photographs of a robot arm, and two renderings of it, on one grid of seven factors."""

from __future__ import annotations

import errno
import math
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import IO

import numpy as np
from filelock import FileLock
from torch import Tensor

from ibbook._files import cache_folder, room_for, whole
from ibbook.datasets._dataset import Dataset
from ibbook.datasets._images import Images, block_mean

# Gondal et al. (2019), table 1; the last factor varies fastest
FACTOR_NAMES = (
    "object colour",
    "object shape",
    "object size",
    "camera height",
    "background colour",
    "horizontal axis",
    "vertical axis",
)
FACTOR_SIZES = (6, 6, 2, 3, 3, 40, 40)
STORED_HEADER = 30  # bytes of a zip member's header before its name


def dataset(path: Path, *, name: str, size: int = 64) -> Dataset:
    """The pictures of an MPI3D npz file, mapped from disk: 12.7 GB that are never in memory.

    A compressed file is unpacked once, into the cache; `size` 32 or 16 averages blocks of pixels.

    >>> dataset(Path("mpi3d_real.npz"), name="mpi3d-real")
    Traceback (most recent call last):
    ...
    FileNotFoundError: [Errno 2] No such file or directory: 'mpi3d_real.npz'
    """
    check(path)
    mapped = memory_map(path, "images", cache_folder() / "mpi3d")
    n = math.prod(FACTOR_SIZES)
    data = Dataset.from_arrays(
        mapped.reshape(n, 64, 64, 3),
        factor_names=FACTOR_NAMES,
        factor_values=[range(k) for k in FACTOR_SIZES],
        channels_last=True,
        name=name,
        source=path.name,
    )
    if size == 64:
        return data
    if size not in (32, 16):
        raise ValueError(f"size must be 64, 32 or 16, got {size!r}")
    smaller = partial(_smaller, data.images.read, size)
    return replace(data, images=Images((n, 3, size, size), smaller))


def _smaller(read: Callable[[Tensor], Tensor], size: int, rows: Tensor) -> Tensor:
    return block_mean(read(rows), size)


def check(path: Path) -> None:
    """Refuse what is no npz file with as many pictures of that shape; none of them is read.

    >>> check(Path("mpi3d_real.npz"))
    Traceback (most recent call last):
    ...
    FileNotFoundError: [Errno 2] No such file or directory: 'mpi3d_real.npz'
    """
    with _named(path), zipfile.ZipFile(path) as archive:
        _, (dtype, shape, _), _ = _member(archive, "images", path)
    n, grid = math.prod(FACTOR_SIZES), (*FACTOR_SIZES, *shape[-3:])
    if dtype != np.uint8:
        raise ValueError(f"images must be uint8, got {dtype} in {path}")
    if shape[-3:] != (64, 64, 3) or shape not in (grid, (n, *grid[-3:])):
        raise ValueError(
            f"images of {path} must have shape {(n, 64, 64, 3)}, got {shape}; "
            "the smaller release of the 2019 challenge has 460,800 pictures and is not this set"
        )


def memory_map(path: Path, key: str, folder: Path) -> np.memmap:
    """The array `key` of an npz file as a memory map.

    A member that is stored is mapped where it lies. A compressed one is first unpacked into
    `folder`, once, as a stream. Pickled objects are refused.

    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> np.savez(folder / "a.npz", images=np.arange(6, dtype=np.uint8))
    >>> memory_map(folder / "a.npz", "images", folder).tolist()
    [0, 1, 2, 3, 4, 5]
    """
    with _named(path):
        return _map(path, key, folder)


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """Whatever is damaged in an npz file is a ValueError that names it."""
    try:
        yield
        return
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError) as error:
        damage = error
    except OSError as error:
        if error.errno != errno.EINVAL:  # a damaged directory points before the file's beginning
            raise
        damage = error
    raise ValueError(f"{path} is not a whole npz file ({damage}); fetch it again")


Header = tuple[np.dtype, tuple[int, ...], bool]


def _member(archive: zipfile.ZipFile, key: str, path: Path) -> tuple[zipfile.ZipInfo, Header, int]:
    """An array of an npz file: its place, its header, and how long that is."""
    member = f"{key}.npy"
    if member not in archive.namelist():
        raise ValueError(f"{path} holds {archive.namelist()}, not {member}")
    info = archive.getinfo(member)
    with archive.open(member) as stream:
        header = dtype, shape, _ = _header(stream, path)
        begin = stream.tell()
    if info.file_size != begin + dtype.itemsize * math.prod(shape):
        raise ValueError(f"{path} is cut short: {member} does not hold shape {shape}")
    return info, header, begin


def _map(path: Path, key: str, folder: Path) -> np.memmap:
    with zipfile.ZipFile(path) as archive:
        info, (dtype, shape, fortran), begin = _member(archive, key, path)
        if info.compress_type == zipfile.ZIP_STORED:
            offset = _content(path, info) + begin
            return np.memmap(path, dtype, "r", offset, shape, "F" if fortran else "C")
        folder.mkdir(parents=True, exist_ok=True)
        unpacked = folder / f"{path.stem}-{key}-{info.CRC:08x}.npy"
        _unpack(archive, info, unpacked)
    return np.load(unpacked, mmap_mode="r", allow_pickle=False)


def _header(stream: IO[bytes], path: Path) -> Header:
    try:
        version = np.lib.format.read_magic(stream)
        read = {
            (1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0,
        }[version]
        shape, fortran, dtype = read(stream)
    except (ValueError, KeyError) as error:
        raise ValueError(f"{path} does not hold a numpy array ({error})") from None
    if dtype.hasobject:
        raise ValueError(f"{path} holds pickled objects, which could run code; it is refused")
    return dtype, shape, fortran


def _content(path: Path, info: zipfile.ZipInfo) -> int:
    """Where the bytes of a stored member begin; its own header may differ from the directory's."""
    with path.open("rb") as stream:
        stream.seek(info.header_offset)
        header = stream.read(STORED_HEADER)
    name, extra = (int.from_bytes(header[i : i + 2], "little") for i in (26, 28))
    return info.header_offset + STORED_HEADER + name + extra


def _unpack(archive: zipfile.ZipFile, info: zipfile.ZipInfo, target: Path) -> None:
    if target.exists():
        return
    with FileLock(target.with_name(target.name + ".lock")):
        if target.exists():
            return
        room_for(target, info.file_size)
        with whole(target) as part, archive.open(info) as packed, part.open("wb") as stream:
            while block := packed.read(1 << 24):
                stream.write(block)
