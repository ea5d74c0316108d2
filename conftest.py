"""Numbers of cells that nbval does not compare, held against their claims in the same run."""

from __future__ import annotations

from pathlib import Path

import pytest
from nbval.plugin import IPyNbCell

from ibbook.book.chapters import first_line
from ibbook.book.claims import claims, drift
from ibbook.book.records import IGNORED, in_outputs

REMEDY = (
    "If the chapter or its code changed, run `make notebooks`, read what the text says of the "
    "number, and commit both; if only the machine did, widen the tolerance in data/claims.toml."
)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item):
    """After a tagged cell of a notebook has run, compare what it recorded."""
    yield
    if isinstance(item, IPyNbCell) and IGNORED in item.cell.metadata.get("tags", ()):
        stored, fresh = in_outputs(item.cell.outputs), in_outputs(item.test_outputs)
        if moved := drift(stored, fresh, claims(Path(__file__).parent)):
            where = f"{item.path.stem}, the cell `{first_line(item.cell.source)}`:"
            item.raise_cell_error("\n  ".join([where, *moved, REMEDY]))
