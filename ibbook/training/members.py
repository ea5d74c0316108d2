"""Members: what tells the networks of one call of `fit` apart, and what is refused."""

from __future__ import annotations

import difflib
import itertools
from collections.abc import Iterable, Mapping
from typing import Any

from ibbook._numbers import seed
from ibbook.objective import check_beta, check_weight
from ibbook.training.optimiser import check_rate

DEFAULTS = {"beta": None, "l2": None, "seed": 0, "learning_rate": None}

Member = Mapping[str, Any]


def grid(**axes: Iterable[Any]) -> list[dict[str, Any]]:
    """Every combination of the given values, as members for `fit`; the last axis runs fastest.

    >>> grid(beta=[1, 4], seed=range(2))[2]
    {'beta': 4, 'seed': 0}
    """
    values = [list(v) for v in axes.values()]
    return [dict(zip(axes, point, strict=True)) for point in itertools.product(*values)]


def check_member(member: Member, index: int) -> dict[str, Any]:
    """The member with all its keys; a ValueError names it by its index."""
    for key in member:
        if key not in DEFAULTS:
            near = difflib.get_close_matches(str(key), DEFAULTS, 1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise ValueError(
                f"member {index} has the key {key!r}, not one of {list(DEFAULTS)}{hint}"
            )
    full = DEFAULTS | dict(member)
    if full["beta"] is not None:
        full["beta"] = check_beta(full["beta"])
    if full["l2"] is not None:
        full["l2"] = check_weight(full["l2"], "l2")
    if full["learning_rate"] is not None:
        full["learning_rate"] = check_rate(full["learning_rate"])
    return full | {"seed": seed(full["seed"], f"member {index}: seed")}


def parameters(number: int, member: Member) -> dict[str, int | float | str]:
    """The columns that name a member."""
    given = {k: v for k, v in member.items() if v is not None}
    plain = {k: v if isinstance(v, int | float) else str(v) for k, v in given.items()}
    return {"member": number} | plain
