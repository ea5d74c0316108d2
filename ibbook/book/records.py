"""Numbers that the book states: recorded by a cell, carried by the executed notebook."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, TypedDict

from IPython.core.interactiveshell import InteractiveShell
from IPython.display import display

if TYPE_CHECKING:  # reading a notebook needs nbformat, recording in one does not
    from nbformat import NotebookNode

MIME = "application/vnd.ibbook.record+json"
# The tag of a cell whose outputs nbval does not compare.
IGNORED = "nbval-ignore-output"
NAME = re.compile(r"[a-z][a-z0-9_]*\.[a-z][a-z0-9_]*")


class Record(TypedDict):
    """One recorded number."""

    name: str
    value: float
    unit: str


def record(name: str, value: Any, *, unit: str = "nats", digits: int = 4) -> None:
    """Show a number and store it in the notebook, rounded to `digits` decimals.

    `name` is `chapter.what` in lower case; `value` is one finite number of Python, numpy or torch.
    A pure number has the unit "". Outside Jupyter the line is printed.

    >>> record("rd.binary_error", 0.123449)
    rd.binary_error = 0.1234 nats
    >>> record("rd.slopes", 64, unit="", digits=0)
    rd.slopes = 64
    """
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise ValueError(
            f"name must read chapter.what in lower-case letters, digits and _, got {name!r}"
        )
    if not isinstance(digits, int) or not 0 <= digits <= 15:
        raise ValueError(f"digits must be an integer from 0 to 15, got {digits!r}")
    try:
        number = float(value)
    except (TypeError, ValueError, RuntimeError):
        raise ValueError(f"value of {name} must be one real number, got {value!r}") from None
    if not math.isfinite(number):
        raise ValueError(f"value of {name} must be finite, got {number}; record only what was run")
    number = round(number, digits) + 0.0  # + 0.0 turns -0.0 into 0.0
    text = f"{name} = {number:.{digits}f} {unit}".rstrip()
    if InteractiveShell.initialized():
        row = Record(name=name, value=number, unit=unit)
        display({MIME: row, "text/plain": text}, raw=True)
    else:
        print(text)


def records(notebook: NotebookNode) -> Iterator[Record]:
    """The numbers that an executed notebook recorded, in the order of its cells.

    >>> from nbformat.v4 import new_code_cell, new_notebook, new_output
    >>> row = {"name": "rd.rate", "value": 0.25, "unit": "nats"}
    >>> cell = new_code_cell(outputs=[new_output("display_data", {MIME: row})])
    >>> list(records(new_notebook(cells=[cell])))
    [{'name': 'rd.rate', 'value': 0.25, 'unit': 'nats'}]
    """
    for cell in notebook.cells:
        yield from in_outputs(cell.get("outputs", ()))


def in_outputs(outputs: Iterable[Mapping[str, Any]]) -> Iterator[Record]:
    """The numbers among one cell's outputs.

    >>> row = {"name": "rd.rate", "value": 0.25, "unit": "nats"}
    >>> list(in_outputs([{"data": {"text/plain": "noise"}}, {"data": {MIME: row}}]))
    [{'name': 'rd.rate', 'value': 0.25, 'unit': 'nats'}]
    """
    for output in outputs:
        bundle = output.get("data", {})
        if MIME in bundle:
            row = bundle[MIME]
            yield Record(name=row["name"], value=row["value"], unit=row["unit"])
