"""One protocol for every data set: pictures that are held, mapped from a file, or rendered.

A `Dataset` hands out integer pictures on any device, `[n, channel, height, width]`, with the
factors that made them. A float image is `images / scale`: scale is 255 for photographs, 1 for
black and white pixels, and the pixels averaged for binary pictures that were made smaller.

Contract for a renderer, a module such as `ibbook.datasets.dsprites`:

    render(classes: Int64[Tensor, "n k"], *, size: int) -> UInt8[Tensor, "n c size size"]

It works and answers on `classes.device`, is a function of `classes` alone, and is given at most
`CHUNK` rows at once. `classes` holds the class index of each factor, in the order of
`factor_values`. The module builds its set with

    def dataset(*, size: int = 64) -> Dataset:
        return Dataset.rendered(partial(render, size=size), shape=(c, size, size), name=...,
                                factor_names=..., factor_values=..., scale=..., source=...)

and `Dataset.rendered` turns an index into classes (mixed radix, the last factor fastest). Where an
official file exists, `check(path: Path) -> int` counts the pixels in which it differs from what is
drawn, and raises a ValueError that names the first when they are too many.
`shapes3d.dataset(path: Path | None = None, *, size)` reads the official file at `path`, and draws
the stand-in without one. Colour pictures are made smaller by `block_mean`.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from jaxtyping import Float, Float64, Int64, UInt8
from torch import Tensor

from ibbook._checks import real, tensor
from ibbook._numbers import integer, number
from ibbook.datasets._grid import (
    as_labels,
    check_classes,
    classes_of,
    indices_of,
    integers,
    seeded,
)
from ibbook.datasets._images import CHUNK, Copies, Images, as_images, rows_of

CLASSES = 1_000_000  # of a factor whose values are not given, at most
Render = Callable[[Int64[Tensor, "n k"]], UInt8[Tensor, "n c h w"]]


@dataclass(frozen=True, eq=False)
class Dataset:
    """Pictures, the factors that made them, and labels; `load` or `from_arrays` makes one.

    name, source:   what it is, and where these pictures came from ("rendered", a file, a stand-in)
    images:         `Images`, integer, `[n, c, h, w]`
    scale:          `images / scale` lies in [0, 1]
    factor_names:   k names
    factor_values:  for each factor, the value of each of its classes
    labels:         class of each picture, for sets that have labels

    >>> import torch
    >>> data = Dataset.from_arrays(torch.zeros(6, 8, 8, dtype=torch.uint8),
    ...                            factors=[[i // 3, i % 3] for i in range(6)],
    ...                            factor_names=("shape", "scale"))
    >>> len(data), data.factor_sizes
    (6, (2, 3))
    >>> data.batch([5, 0]).shape
    torch.Size([2, 1, 8, 8])
    >>> data.factors[5].tolist()
    [1, 2]
    """

    name: str
    images: Images
    scale: int = 255
    source: str = ""
    factor_names: tuple[str, ...] = ()
    factor_values: tuple[Float64[Tensor, "_"], ...] = ()
    labels: Int64[Tensor, "n"] | None = None
    classes: Int64[Tensor, "n k"] | None = None  # None: a full grid, computed from the index
    exact: Float64[Tensor, "n k"] | None = None  # values of factors that are not on a grid

    @classmethod
    def rendered(
        cls,
        render: Render,
        *,
        name: str,
        shape: tuple[int, int, int],
        factor_names: Sequence[str],
        factor_values: Sequence[Any],
        scale: int = 255,
        source: str = "rendered",
    ) -> Dataset:
        """A full grid of factors whose pictures are drawn on the device when a batch is asked for.

        >>> def render(classes):
        ...     return (classes.sum(1, keepdim=True)[..., None, None] * 10).to(torch.uint8)
        >>> data = Dataset.rendered(render, name="sums", shape=(1, 1, 1),
        ...                         factor_names=("a", "b"), factor_values=([0, 1], [0, 1, 2]))
        >>> data.images[:].flatten().tolist()
        [0, 10, 20, 10, 20, 30]
        """
        values = tuple(real(v, "factor_values") for v in factor_values)
        sizes = tuple(len(v) for v in values)
        images = Images((math.prod(sizes), *shape), partial(_drawn, render, sizes), drawn=True)
        return cls(name, images, scale, source, tuple(factor_names), values)

    @classmethod
    def from_arrays(
        cls,
        images: Any,
        *,
        factors: Any = None,
        factor_names: Sequence[str] | None = None,
        factor_values: Sequence[Any] | None = None,
        labels: Any = None,
        scale: int = 255,
        name: str = "own",
        source: str = "arrays",
        channels_last: bool = False,
    ) -> Dataset:
        """Your own pictures: uint8 `[n, h, w]` or `[n, c, h, w]`, in memory or a memory map.

        `factors` are class indices `[n, k]`; leave them out and give `factor_values` where the
        pictures are a full grid with the last factor fastest. With neither, there are none.

        >>> import numpy as np
        >>> data = Dataset.from_arrays(np.zeros((4, 8, 8), np.uint8), labels=[0, 1, 0, 1])
        >>> data.images.shape, data.labels.tolist(), data.factor_names
        ((4, 1, 8, 8), [0, 1, 0, 1], ())
        """
        pictures = as_images(images, channels_last)
        scale = integer(scale, "scale", 1, 255)
        check_scale(pictures, scale)
        n = len(pictures)
        classes = None if factors is None else integers(factors, "factors", (n, None))
        if factor_values is not None:
            values = tuple(real(v, "factor_values") for v in factor_values)
        elif classes is not None:
            most = [integer(column.max(), "the largest class", -1, CLASSES) for column in classes.T]
            values = tuple(torch.arange(high + 1, dtype=torch.float64) for high in most)
        else:
            values = ()
        sizes = tuple(len(v) for v in values)
        names = tuple(factor_names or (f"factor {j}" for j in range(len(sizes))))
        if len(names) != len(sizes):
            raise ValueError(f"factor_names has {len(names)} names for {len(sizes)} factors")
        if classes is None and values and math.prod(sizes) != n:
            raise ValueError(
                f"images has {n} pictures, but the grid of factor_values {sizes} has "
                f"{math.prod(sizes)}; give factors [n, k] where it is not a full grid"
            )
        if classes is not None:
            check_classes(classes, names, sizes)
        if labels is not None:
            labels = as_labels(labels, "labels", n)
        return cls(name, pictures, scale, source, names, values, labels, classes)

    @classmethod
    def from_codes(
        cls, codes: Float[Tensor, "n latents"], *, labels: Any = None, name: str = "codes"
    ) -> Dataset:
        """Codes as pictures [latents, 1, 1] of real numbers, for a layer above to learn from.

        >>> Dataset.from_codes(torch.zeros(5, 3)).images.shape
        (5, 3, 1, 1)
        """
        codes = tensor(codes, "codes").detach().float()
        if codes.ndim != 2 or not codes.numel() or not codes.isfinite().all():
            raise ValueError(f"codes must be finite, [n, latents], got shape {tuple(codes.shape)}")
        if labels is not None:
            labels = as_labels(labels, "labels", len(codes))
        images = Images.held(codes[..., None, None])
        return cls(name, images, 1, "a network's codes", labels=labels)

    def __len__(self) -> int:
        return len(self.images)

    @property
    def factor_sizes(self) -> tuple[int, ...]:
        """How many classes each factor has.

        >>> from ibbook.datasets import load
        >>> load("dsprites").factor_sizes
        (3, 6, 40, 32, 32)
        """
        return tuple(len(v) for v in self.factor_values)

    @property
    def factors(self) -> Int64[Tensor, "n k"]:
        """The class index of every factor of every picture.

        >>> from ibbook.datasets import load
        >>> load("dsprites").factors[-1].tolist()
        [2, 5, 39, 31, 31]
        """
        return self.factors_at(torch.arange(len(self)))

    @property
    def values(self) -> Float64[Tensor, "n k"]:
        """The value of every factor of every picture, in the factor's own unit.

        >>> from ibbook.datasets import load
        >>> load("dsprites").values[-1, 1].item()
        1.0
        """
        if self.exact is not None:
            return self.exact
        columns = [v[c] for v, c in zip(self.factor_values, self.factors.T, strict=True)]
        return torch.stack(columns, 1) if columns else torch.zeros(len(self), 0).double()

    def factors_at(self, indices: Any) -> Int64[Tensor, "*m k"]:
        """The class index of every factor of these pictures, without listing all the others.

        >>> from ibbook.datasets import load
        >>> load("dsprites").factors_at([0, 1024]).tolist()
        [[0, 0, 0, 0, 0], [0, 0, 1, 0, 0]]
        """
        rows = rows_of(indices, len(self))
        if self.classes is None:
            return classes_of(rows, self.factor_sizes)
        return self.classes.to(rows.device)[rows]

    def batch(
        self, indices: Any, device: torch.device | str | None = None
    ) -> UInt8[Tensor, "*m c h w"]:
        """These pictures, gathered or drawn on `device` (default: where `indices` is).

        >>> from ibbook.datasets import load
        >>> data = load("digits")
        >>> x = data.batch([0, 1, 2], "cpu") / data.scale
        >>> x.shape, x.max().item()
        (torch.Size([3, 1, 8, 8]), 1.0)
        """
        rows = rows_of(indices, len(self))
        return self.images[rows if device is None else rows.to(device)]

    def select(self, indices: Any) -> Dataset:
        """The set of these pictures, in this order; a full grid is one no longer.

        >>> from ibbook.datasets import load
        >>> load("digits").select([3, 1, 4]).labels.tolist()
        [3, 1, 4]
        """
        rows = rows_of(indices, len(self)).reshape(-1).cpu()
        read = partial(_chosen, self.images.read, Copies(rows))
        return replace(
            self,
            images=replace(self.images, shape=(len(rows), *self.images.shape[1:]), read=read),
            labels=None if self.labels is None else self.labels[rows],
            classes=self.factors_at(rows),
            exact=None if self.exact is None else self.exact[rows],
        )

    def sample(self, n: int, seed: int = 0) -> Dataset:
        """`n` different pictures drawn at random, the same ones on every machine.

        >>> from ibbook.datasets import load
        >>> len(load("dsprites").sample(100, seed=1))
        100
        """
        n = integer(n, "n", 1, len(self))
        return self.select(torch.randperm(len(self), generator=seeded(seed))[:n])

    def split(self, *fractions: float, seed: int = 0) -> tuple[Dataset, ...]:
        """Disjoint random parts of these fractions; those that sum to 1 use every picture.

        >>> from ibbook.datasets import load
        >>> train, test = load("digits").split(0.8, 0.2)
        >>> len(train), len(test)
        (1438, 359)
        """
        fractions = tuple(number(part, "fractions") for part in fractions)
        if not fractions or min(fractions) <= 0 or sum(fractions) > 1 + 1e-9:
            raise ValueError(f"fractions must be positive and sum to at most 1, got {fractions}")
        ends = [round(len(self) * sum(fractions[:i])) for i in range(len(fractions) + 1)]
        if any(a == b for a, b in itertools.pairwise(ends)):
            raise ValueError(f"fractions {fractions} leave a part of {len(self)} pictures empty")
        order = torch.randperm(len(self), generator=seeded(seed))
        return tuple(self.select(order[a:b]) for a, b in itertools.pairwise(ends))

    def black_and_white(self) -> Dataset:
        """The same pictures as bits, in memory: 1 where a pixel is above half of the scale.

        >>> from ibbook.datasets import load
        >>> load("digits").black_and_white().images[:].unique().tolist()
        [0, 1]
        """
        parts = torch.arange(len(self)).split(CHUNK)
        white = torch.cat([(self.images[rows] > self.scale / 2).byte() for rows in parts])
        name = f"{self.name}, black and white"
        return replace(self, name=name, images=Images.held(white), scale=1)

    def sharing(
        self, factor: int | str, groups: int, size: int, seed: int = 0
    ) -> Int64[Tensor, "groups size"]:
        """Indices of random pictures, where all of a row have one class of `factor` in common.

        The other factors vary freely. FactorVAE's score (Kim and Mnih, 2018) takes the variance
        of each code within a row; the beta-VAE score (Higgins et al., 2017) takes pairs, size=2.
        Each row draws its class as the pictures do (uniformly, on a full grid), then `size`
        pictures of that class with replacement.

        >>> from ibbook.datasets import load
        >>> data = load("dsprites")
        >>> rows = data.sharing("shape", groups=2, size=5)
        >>> data.factors_at(rows)[..., 0].unique(dim=1).shape
        torch.Size([2, 1])
        """
        j = self._factor(factor)
        groups, size = integer(groups, "groups", 1), integer(size, "size", 1)
        generator = seeded(seed)
        if self.classes is None:
            draw = [
                torch.randint(s, (groups, size), generator=generator) for s in self.factor_sizes
            ]
            draw[j] = draw[j][:, :1].expand(-1, size)
            return indices_of(torch.stack(draw, -1), self.factor_sizes)
        column = self.classes[:, j]
        order = column.argsort(stable=True)
        counts = column.bincount(minlength=self.factor_sizes[j])
        first = counts.cumsum(0) - counts
        chosen = column[torch.randint(len(self), (groups, 1), generator=generator)]
        u = torch.rand(groups, size, generator=generator, dtype=torch.float64)
        return order[first[chosen] + (u * counts[chosen]).long()]

    def traversal(self, index: int, factor: int | str) -> Int64[Tensor, "classes"]:
        """Indices of a full grid: the picture `index` with `factor` run through all its classes.

        >>> from ibbook.datasets import load
        >>> data = load("dsprites")
        >>> data.factors_at(data.traversal(0, "shape"))[:, 0].tolist()
        [0, 1, 2]
        """
        j = self._factor(factor)
        if self.classes is not None:
            raise ValueError(
                f"{self.name} is not a full grid of its factors, so a traversal has gaps; "
                "take it from the whole set, before sample() or split()"
            )
        steps = self.factors_at([index]).repeat(self.factor_sizes[j], 1)
        steps[:, j] = torch.arange(self.factor_sizes[j])
        return indices_of(steps, self.factor_sizes)

    def _factor(self, factor: int | str) -> int:
        if factor in self.factor_names:
            return self.factor_names.index(factor)
        with suppress(ValueError):
            return integer(factor, "factor", 0, len(self.factor_names) - 1)
        known = ", ".join(self.factor_names) or "none"
        raise ValueError(f"factor must be one of {self.name}'s ({known}), got {factor!r}")


def check_scale(pictures: Images, scale: int) -> None:
    """Refuse pictures that are brighter than white."""
    if scale >= 255:
        return
    for start in range(0, len(pictures), CHUNK):
        brightest = int(pictures[start : start + CHUNK].max())
        if brightest > scale:
            raise ValueError(
                f"images has a pixel of {brightest}, above scale={scale}; scale is the value of a "
                "white pixel, 255 for photographs"
            )


def _drawn(render: Render, sizes: tuple[int, ...], rows: Int64[Tensor, "n"]) -> Tensor:
    return render(classes_of(rows, sizes))


def _chosen(read: Render, on: Copies, rows: Int64[Tensor, "n"]) -> Tensor:
    return read(on(rows.device)[rows])
