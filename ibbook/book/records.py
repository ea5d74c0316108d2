"""Numbers that the book states: recorded by a cell, carried by the executed notebook."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping
from statistics import fmean
from typing import TYPE_CHECKING, Any, NotRequired, TypedDict

from IPython.core.interactiveshell import InteractiveShell
from IPython.display import display

from ibbook._numbers import integer

if TYPE_CHECKING:  # reading a notebook needs nbformat, recording in one does not
    from nbformat import NotebookNode

MIME = "application/vnd.ibbook.record+json"
# The tag of a cell whose outputs nbval does not compare.
IGNORED = "nbval-ignore-output"
NAME = re.compile(r"[a-z][a-z0-9_]*\.[a-z][a-z0-9_]*")


class Record(TypedDict):
    """One recorded number: for machines its name, for readers its label and its digits.

    `seeds`: how many seeds it is a mean, a range or a count over; `least` and `most`: between what
    their values lie. `against`: what it is the distance from, such as "the closed form".
    """

    name: str
    value: float
    unit: str
    label: str
    digits: int
    seeds: NotRequired[int]
    least: NotRequired[float]
    most: NotRequired[float]
    against: NotRequired[str]


def record(
    name: str,
    value: Any,
    label: str,
    *,
    unit: str = "nats",
    digits: int = 4,
    seeds: int | None = None,
    against: str | None = None,
) -> None:
    """Show a number under its label and store it in the notebook, rounded to `digits` decimals.

    `name` is `chapter.what` in lower case; `value` is one finite number of Python, numpy or torch,
    or one of each seed: then their mean is recorded, and between what they lie. A pure number has
    the unit "". Say over how many `seeds` a range or a count is taken, and `against` what an error
    is measured. Outside Jupyter the line is printed.

    >>> record("vib.test_error", [1.39, 1.21, 1.32], "Test error, 12 draws", unit="%", digits=2)
    Test error, 12 draws: 1.31 %
    >>> record("vib.seeds_better", 5, "Seeds that err less", unit="", digits=0, seeds=5)
    Seeds that err less: 5
    >>> record("rd.slopes", 64, "Slopes solved at once", unit="", digits=0)
    Slopes solved at once: 64
    >>> record("rd.binary_error", 3e-8, "R(D) of a coin", digits=6, against="the closed form")
    R(D) of a coin: agrees with the closed form to 6 decimals
    >>> record("rd.binary_error", 3e-4, "R(D) of a coin", digits=6, against="the closed form")
    R(D) of a coin: 0.000300 nats from the closed form
    """
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise ValueError(
            f"name must read chapter.what in lower-case letters, digits and _, got {name!r}"
        )
    digits = integer(digits, "digits", 0, 15)
    if not isinstance(label, str) or not label.strip() or "\n" in label:
        raise ValueError(f"label of {name} must say on one line what it is, got {label!r}")
    for what, text in (("label", label), ("unit", unit), ("against", against or "")):
        if not isinstance(text, str) or "$" in text:
            raise ValueError(
                f"{what} of {name} must be plain words, without a formula, got {text!r}; "
                "write the letter itself, such as β"
            )
    each = _real(name, value)
    number, least, most = (
        round(of, digits) + 0.0  # + 0.0 turns -0.0 into 0.0
        for of in (fmean(each), min(each), max(each))
    )
    row = Record(name=name, value=number, unit=unit, label=label, digits=digits)
    if len(each) > 1:
        if seeds is not None:
            raise ValueError(f"seeds of {name} are its {len(each)} values; leave seeds out")
        row["seeds"], row["least"], row["most"] = len(each), least, most
    elif seeds is not None:
        row["seeds"] = integer(seeds, "seeds", 1)
    if against is not None:
        row["against"] = against
    text = f"{label}: {words(row)}"
    if InteractiveShell.initialized():
        display({MIME: row, "text/plain": text}, raw=True)
    else:
        print(text)


def _real(name: str, value: Any) -> list[float]:
    """The number, or the numbers of the seeds, as Python's own."""
    value = value.tolist() if hasattr(value, "tolist") else value
    try:
        each = value if isinstance(value, list | tuple) else [value]
        if not each or any(isinstance(one, str | bytes) for one in each):
            raise TypeError
        each = [float(one) for one in each]
    except (TypeError, ValueError):
        raise ValueError(
            f"value of {name} must be one real number, or one of each seed, got {value!r}"
        ) from None
    for one in each:
        if not math.isfinite(one):
            raise ValueError(f"value of {name} must be finite, got {one}; record only what was run")
    return each


def words(row: Record) -> str:
    """The value as a reader sees it.

    >>> words(Record(name="vib.rate", value=14.68, unit="nats", label="R", digits=1))
    '14.7 nats'
    """
    number = f"{row['value']:.{row['digits']}f} {row['unit']}".rstrip()
    if "against" not in row:
        return number
    if row["value"]:
        return f"{number} from {row['against']}"
    return f"agrees with {row['against']} to {row['digits']} decimals"


def over(row: Record) -> str:
    """Over how many seeds a number is taken, and between what they lie where it is their mean.

    >>> row = Record(name="vib.rate", value=14.68, unit="nats", label="R", digits=1, seeds=5)
    >>> over(row)
    '5 seeds'
    >>> over(row | {"least": 14.2, "most": 15.1})
    '5 seeds, 14.2 to 15.1'
    """
    ends = [f"{row[end]:.{row['digits']}f}" for end in ("least", "most") if end in row]
    return ", ".join([f"{row['seeds']} seeds", *([" to ".join(ends)] if ends else [])])


def records(notebook: NotebookNode) -> Iterator[Record]:
    """The numbers that an executed notebook recorded, in the order of its cells.

    >>> from nbformat.v4 import new_code_cell, new_notebook, new_output
    >>> row = Record(name="rd.rate", value=0.25, unit="nats", label="Rate", digits=2)
    >>> cell = new_code_cell(outputs=[new_output("display_data", {MIME: row})])
    >>> [words(row) for row in records(new_notebook(cells=[cell]))]
    ['0.25 nats']
    """
    for cell in notebook.cells:
        yield from in_outputs(cell.get("outputs", ()))


def in_outputs(outputs: Iterable[Mapping[str, Any]]) -> Iterator[Record]:
    """The numbers among one cell's outputs.

    >>> row = Record(name="rd.rate", value=0.25, unit="nats", label="Rate", digits=2)
    >>> len(list(in_outputs([{"data": {"text/plain": "noise"}}, {"data": {MIME: row}}])))
    1
    """
    for output in outputs:
        bundle = output.get("data", {})
        if MIME in bundle:
            yield whole(bundle[MIME])


def whole(row: Any) -> Record:
    """A record as it was made; one that is damaged is an error.

    >>> whole({"name": "rd.rate", "value": float("nan")})
    Traceback (most recent call last):
    ValueError: no whole record: {'name': 'rd.rate', 'value': nan}
    """
    kinds = {"name": str, "value": int | float, "unit": str, "label": str, "digits": int}
    if (
        not isinstance(row, Mapping)
        or not all(isinstance(row.get(name), kind) for name, kind in kinds.items())
        or not row.keys() <= Record.__annotations__.keys()
        or not NAME.fullmatch(row["name"])
        or not all(math.isfinite(row.get(name, 0)) for name in ("value", "least", "most"))
    ):
        raise ValueError(f"no whole record: {row!r}")
    return Record(**row)
