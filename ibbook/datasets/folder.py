"""Your own pictures: a folder of image files as a data set."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from ibbook._numbers import integer
from ibbook._paths import expanded
from ibbook.datasets._dataset import Dataset

ENDINGS = {".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"}


def from_folder(path: Path | str, *, size: int = 64, grey: bool = False) -> Dataset:
    """The pictures of a folder and of those below it, in the order of their names.

    All must have the same size. Each is cut to its middle square and brought to `size` pixels a
    side, in colour or grey. Where the files lie in folders, those are the labels, by name.

    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> for name in "ab":
    ...     Image.new("RGB", (178, 218), "teal").save(folder / f"{name}.png")
    >>> data = from_folder(folder, size=32)
    >>> len(data), data.images.shape[1:], data.images[:][0, :, 0, 0].tolist()
    (2, (3, 32, 32), [0, 128, 128])
    """
    folder = expanded(path)
    if not folder.is_dir():
        raise ValueError(f"path must be a folder of pictures, there is none at {folder}")
    size = integer(size, "size", 1)
    files = sorted(
        file
        for file in folder.rglob("*")
        if file.suffix.lower() in ENDINGS
        and file.is_file()
        # not what systems and editors keep beside them
        and not any(part.startswith(".") for part in file.relative_to(folder).parts)
    )
    if not files:
        raise ValueError(
            f"{folder} holds no picture; known endings are {', '.join(sorted(ENDINGS))}"
        )
    pictures = np.empty((len(files), size, size, 1 if grey else 3), np.uint8)
    first: tuple[int, int] | None = None
    for row, file in zip(pictures, files, strict=True):
        try:
            with Image.open(file) as image:
                shape = image.size
                side = min(shape)
                left, top = (shape[0] - side) // 2, (shape[1] - side) // 2
                square = image.convert("L" if grey else "RGB").crop(
                    (left, top, left + side, top + side)
                )
                square = square.resize((size, size), Image.Resampling.LANCZOS)
        except (OSError, UnidentifiedImageError, Image.DecompressionBombError) as error:
            raise ValueError(f"{file} cannot be read as a picture ({error}); remove it") from None
        first = first or shape
        if shape != first:
            raise ValueError(
                f"{file} has {shape[0]}x{shape[1]} pixels, {files[0]} has {first[0]}x{first[1]}; "
                "bring all pictures to one size"
            )
        row[:] = np.asarray(square).reshape(row.shape)
    classes = sorted({file.parent for file in files})
    labels = [classes.index(file.parent) for file in files] if len(classes) > 1 else None
    return Dataset.from_arrays(
        pictures, labels=labels, channels_last=True, name=folder.name, source=str(folder)
    )
