"""One number, of Python, numpy or torch alike, as Python's own; everything else is refused."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

MOST_SEED = 2**63 - 1


def integer(value: Any, name: str, least: float, most: float = math.inf) -> int:
    """A whole number within limits.

    >>> import torch
    >>> integer(np.int64(3), "steps", 1), integer(torch.tensor(3), "steps", 1)
    (3, 3)
    >>> integer(2.5, "steps", 1)
    Traceback (most recent call last):
    ValueError: steps must be a whole number >= 1, got 2.5
    """
    try:
        whole = None if _is_no_number(value) else operator.index(value)
    except (TypeError, ValueError, RuntimeError):
        whole = None
    if whole is None or not least <= whole <= most:
        limits = f"from {least} to {most}" if most < math.inf else f">= {least}"
        raise ValueError(f"{name} must be a whole number {limits}, got {value!r}")
    return whole


def seed(value: Any, name: str = "seed") -> int:
    """A whole number that random numbers start from.

    >>> seed(np.int64(3))
    3
    """
    return integer(value, name, 0, MOST_SEED)


def seeds(values: Iterable[Any], name: str = "seeds") -> list[int]:
    """One or more of them.

    >>> seeds(np.arange(2))
    [0, 1]
    """
    try:
        found = [seed(value, f"a seed in {name}") for value in values]
    except TypeError:
        found = []
    if not found:
        raise ValueError(f"{name} must be one or more whole numbers >= 0, got {values!r}; try [0]")
    return found


def number(
    value: Any,
    name: str,
    wanted: str = "a finite number",
    fits: Callable[[float], bool] = lambda _: True,
    hint: str = "",
) -> float:
    """A finite real number that fits, as `wanted` puts it; those that were integers stay so.

    >>> number(np.float32(0.5), "beta"), number(np.int64(4), "beta")
    (0.5, 4)
    >>> number("4", "beta")
    Traceback (most recent call last):
    ValueError: beta must be a finite number, got '4'
    >>> number(-1, "beta", "finite and >= 0", lambda beta: beta >= 0)
    Traceback (most recent call last):
    ValueError: beta must be finite and >= 0, got -1
    """
    try:
        if _is_no_number(value) or isinstance(value, str | bytes) or np.ndim(value):
            raise TypeError
        found = value.item() if hasattr(value, "item") else value
        found = found if type(found) is int else float(found)
        if math.isfinite(found) and fits(found):
            return found
    except (TypeError, ValueError, RuntimeError, OverflowError):
        pass
    raise ValueError(f"{name} must be {wanted}, got {value!r}{hint}")


def _is_no_number(value: Any) -> bool:
    """Whether it is no number though it converts to one: a truth value, or masked."""
    truth = str(getattr(value, "dtype", "")) in ("bool", "torch.bool")
    return truth or isinstance(value, bool | np.bool_) or np.ma.is_masked(value)
