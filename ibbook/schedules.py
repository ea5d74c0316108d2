"""How a coefficient changes during training: each schedule is a function, step -> beta."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from jaxtyping import Float64

from ibbook._numbers import integer, number


@dataclass(frozen=True)
class Schedule:
    """A piecewise linear beta(t) through `knots` of (step, beta), constant before and after them.

    Two knots at one step are a jump, and the later one holds there.

    >>> Schedule(((0, 0.0), (8, 1.0)))(4)
    0.5
    >>> Schedule(((0, 0.0), (8, 1.0)))(range(3)).tolist()
    [0.0, 0.125, 0.25]
    """

    knots: tuple[tuple[float, float], ...]

    def __post_init__(self) -> None:
        wanted = "finite and >= 0 at every knot"
        plain = tuple(
            (number(step, "step"), number(beta, "beta", wanted, lambda b: b >= 0))
            for step, beta in self.knots
        )
        object.__setattr__(self, "knots", plain)
        if not self.knots or any(a[0] > b[0] for a, b in pairwise(self.knots)):
            raise ValueError(f"knots must be (step, beta) in order of step, got {self.knots}")

    def __call__(self, step: int | Sequence[int]) -> float | Float64[np.ndarray, "steps"]:
        values = np.interp(step, *zip(*self.knots, strict=True))
        return values if np.ndim(values) else float(values)


def constant(beta: float) -> Schedule:
    """The same beta at every step.

    >>> constant(4.0)(1000)
    4.0
    """
    return Schedule(((0, beta),))


def linear(start: float, stop: float, steps: int, *, begin: int = 0) -> Schedule:
    """From `start` to `stop` in `steps` steps after step `begin` (annealing, Bowman et al., 2016).

    >>> [linear(0, 1, 4)(t) for t in (0, 1, 4, 9)]
    [0.0, 0.25, 1.0, 1.0]
    """
    steps, begin = integer(steps, "steps", 1), number(begin, "begin")
    return Schedule(((begin, start), (begin + steps, stop)))


def cyclical(
    total: int, cycles: int, ratio: float = 0.5, *, start: float = 0.0, stop: float = 1.0
) -> Schedule:
    """`cycles` times from `start` up to `stop` in a share `ratio` of each cycle, then held.

    Fu et al. (2019), equations 6 and 7, with steps counted from 0.

    >>> anneal = cyclical(64, cycles=2, ratio=0.5)
    >>> [anneal(t) for t in (0, 4, 16, 31, 32, 48, 500)]
    [0.0, 0.25, 1.0, 1.0, 0.0, 1.0, 1.0]
    """
    total = number(total, "total")
    cycles = integer(cycles, "cycles", 1, total)
    ratio = number(ratio, "ratio", "in (0, 1]", lambda ratio: 0 < ratio <= 1)
    period = total / cycles
    knots = []
    for c in range(cycles):
        knots += [(c * period, start), ((c + ratio) * period, stop), ((c + 1) * period, stop)]
    return Schedule(tuple(knots))


def staircase(factor: float, every: int, steps: int) -> Schedule:
    """1, then times `factor` after every `every` steps, for `steps` steps.

    >>> decay = staircase(0.5, every=10, steps=30)
    >>> [decay(t) for t in (0, 9, 10, 19, 20, 29)]
    [1.0, 1.0, 0.5, 0.5, 0.25, 0.25]
    """
    every, steps = integer(every, "every", 1), integer(steps, "steps", 1)
    if number(factor, "factor") < 0:
        raise ValueError(f"factor must be finite and >= 0, got {factor}")
    levels = [(k * every, factor**k) for k in range(-(-steps // every))]
    return Schedule(tuple((t, f) for start, f in levels for t in (start, start + every)))
