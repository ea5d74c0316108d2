"""`load`: every set of the book by its name."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable
from dataclasses import replace
from functools import partial

from ibbook import _files
from ibbook.datasets import digits, dsprites, gaussian, mnist, mpi3d, shapes3d
from ibbook.datasets._dataset import Dataset

PARTS = ("train", "test")


def load(name: str, **options: object) -> Dataset:
    """The data set of this name; it never downloads, `ibbook data fetch NAME` does.

    dsprites(size=64)            drawn by the official file's rule; size 64, 32 or 16
    shapes3d(size=64, stand_in=None)    the official file where it is found, else a ray-traced
                                 stand-in; True or False insists on the one or the other
    mpi3d-toy, mpi3d-realistic, mpi3d-real(size=64)     from files
    mnist, fashion-mnist(part="train")                  from files; part "train" or "test"
    digits()                     1,797 digits of 8x8 pixels, bundled with scikit-learn
    gaussian-factors(n=10000, observed=20, factors=5, noise=0.05, seed=0)       computed

    >>> data = load("dsprites", size=32)
    >>> len(data), data.images.shape[1:], data.scale
    (737280, (1, 32, 32), 4)
    """
    _known(name)
    loader = LOADERS[name]
    try:
        inspect.signature(loader).bind(**options)
    except TypeError as error:
        takes = ", ".join(map(str, inspect.signature(loader).parameters.values())) or "none"
        raise ValueError(f"options of {name} are: {takes} ({error})") from None
    return loader(**options)


def entry(name: str) -> _files.Entry:
    """What the registry says of the set of this name.

    >>> entry("mnist").licence
    'CC-BY-SA-3.0'
    """
    _known(name)
    found = _files.registry()[name]
    if name.startswith("mpi3d"):
        found = replace(found, files=tuple(replace(f, opens=mpi3d.check) for f in found.files))
    return found


def _known(name: str) -> None:
    if name in LOADERS:
        return
    near = difflib.get_close_matches(str(name), LOADERS, 1, 0.5)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    raise ValueError(f"name must be one of {', '.join(LOADERS)}, got {name!r}{hint}")


def _shapes3d(*, size: int = 64, stand_in: bool | None = None) -> Dataset:
    here = entry("shapes3d")
    if stand_in or (stand_in is None and _files.find(here.files[0]) is None):
        return shapes3d.dataset(size=size)
    return shapes3d.dataset(*_files.require(here), size=size)


def _mpi3d(name: str, *, size: int = 64) -> Dataset:
    return mpi3d.dataset(*_files.require(entry(name)), name=name, size=size)


def _mnist(name: str, *, part: str = "train") -> Dataset:
    if part not in PARTS:
        raise ValueError(f"part must be 'train' or 'test', got {part!r}")
    first = 2 * PARTS.index(part)
    return mnist.dataset(*_files.require(entry(name))[first : first + 2], name=name)


LOADERS: dict[str, Callable[..., Dataset]] = {
    "dsprites": dsprites.dataset,
    "shapes3d": _shapes3d,
    **{name: partial(_mpi3d, name) for name in ("mpi3d-toy", "mpi3d-realistic", "mpi3d-real")},
    **{name: partial(_mnist, name) for name in ("mnist", "fashion-mnist")},
    "digits": digits.dataset,
    "gaussian-factors": gaussian.dataset,
}
