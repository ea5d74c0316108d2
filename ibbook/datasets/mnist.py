"""MNIST and Fashion-MNIST: 28x28 grey pictures of ten classes, in idx files."""

from __future__ import annotations

import gzip
import math
import zlib
from pathlib import Path

import numpy as np

from ibbook.datasets._dataset import Dataset

IDX_OF_BYTES = b"\0\0\x08"  # 8 is the element type, unsigned bytes; the number of axes follows

LARGEST = 1 << 30


def read_idx(path: Path) -> np.ndarray:
    """The array of unsigned bytes in a gzipped idx file (LeCun, Cortes and Burges, 1998).

    The header is two zero bytes, the element type, the number of axes, and the length of each axis
    as a big-endian 32-bit number; the rest must be exactly the elements.

    >>> import pathlib, tempfile
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "three.gz"
    >>> _ = path.write_bytes(gzip.compress(bytes([0, 0, 8, 1, 0, 0, 0, 3, 7, 8, 9])))
    >>> read_idx(path)
    array([7, 8, 9], dtype=uint8)
    """
    try:
        with gzip.open(path) as stream:
            head = stream.read(4)
            if len(head) < 4 or head[:3] != IDX_OF_BYTES or not 1 <= head[3] <= 4:
                raise ValueError(f"{path} does not begin like an idx file of bytes: {head.hex()!r}")
            lengths = stream.read(4 * head[3])
            if len(lengths) < 4 * head[3]:
                raise ValueError(f"{path} is cut short within its header")
            shape = tuple(np.frombuffer(lengths, ">u4").tolist())
            size = math.prod(shape)
            if size > LARGEST:
                raise ValueError(f"{path} claims {size:,} bytes for shape {shape}")
            content = stream.read(size + 1)  # past the end, so that gzip compares its checksum
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise ValueError(f"{path} is not a whole gzip file ({error}); fetch it again") from None
    if len(content) != size:
        more = "more" if len(content) > size else f"only {len(content)}"
        raise ValueError(f"{path} should hold {size} bytes for shape {shape}, it holds {more}")
    return np.frombuffer(content, np.uint8).reshape(shape)


def dataset(images: Path, labels: Path, *, name: str) -> Dataset:
    """The pictures and classes of two idx files.

    >>> import pathlib, tempfile
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> header = bytes([0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 1])
    >>> _ = (folder / "x.gz").write_bytes(gzip.compress(header + bytes([0, 255])))
    >>> _ = (folder / "y.gz").write_bytes(gzip.compress(bytes([0, 0, 8, 1, 0, 0, 0, 2, 4, 9])))
    >>> data = dataset(folder / "x.gz", folder / "y.gz", name="tiny")
    >>> data.images[:].flatten().tolist(), data.labels.tolist()
    ([0, 255], [4, 9])
    """
    pictures, classes = read_idx(images), read_idx(labels)
    if pictures.ndim != 3:
        raise ValueError(f"{images} must hold [n, h, w] pictures, it holds {pictures.shape}")
    if classes.shape != pictures.shape[:1]:
        raise ValueError(
            f"{labels} must hold one label for each of {len(pictures)} pictures, "
            f"it holds {classes.shape}"
        )
    return Dataset.from_arrays(pictures, labels=classes, name=name, source=str(images.name))
