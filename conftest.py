"""What notebooks record, held against the stored numbers and the claims in nbval's own run."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest
from nbval.plugin import IPyNbCell

from ibbook.book import expressions
from ibbook.book.chapters import chapters, first_line, read
from ibbook.book.claims import broken, claims, drift
from ibbook.book.records import IGNORED, Record, in_outputs, records

BOOK = Path(__file__).parent
REMEDY = (
    "If the chapter or its code changed, run `make notebooks`, read what the text says of the "
    "number, and commit both; if only the machine did, widen the tolerance in data/claims.toml."
)
FRESH = pytest.StashKey[dict[str, Record]]()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item):
    """After a cell of a notebook has run, compare what it recorded with what the book says."""
    if not isinstance(item, IPyNbCell):
        yield
        return
    from ibbook.figures import LIVE_MIME  # brings matplotlib, which only notebooks need

    if LIVE_MIME not in item.parent.skip_compare:  # as of a picture, the sentence stands for it
        item.parent.skip_compare = (*item.parent.skip_compare, LIVE_MIME)
    yield
    known, fresh = claims(BOOK), list(in_outputs(item.test_outputs))
    faults = []
    if IGNORED in item.cell.metadata.get("tags", ()):
        faults = drift(in_outputs(item.cell.outputs), fresh, known)
    faults += [str(fault) for fault in _broken(item, fresh, known)]
    if faults:
        where = f"{item.path.stem}, the cell `{first_line(item.cell.source)}`:"
        item.raise_cell_error("\n  ".join([where, *faults, REMEDY]))


@cache
def _stored() -> dict[Path, list[Record]]:
    """What each stored notebook recorded; they are large, and none changes during the tests."""
    paths = [chapter.stored for chapter in chapters(BOOK) if chapter.stored.exists()]
    return {path: list(records(read(path))) for path in paths}


def _broken(item: IPyNbCell, fresh: list[Record], known: dict) -> list:
    """Claims on this cell's numbers that fail, the others taken from this run or other chapters."""
    run = item.parent.stash.setdefault(FRESH, {})
    run |= {row["name"]: row for row in fresh}
    if not fresh:
        return []
    stored = [row for path, rows in _stored().items() if path != item.path for row in rows]
    now = {row["name"] for row in fresh}
    return [
        fault
        for fault in broken(known, [*stored, *run.values()])
        if now & set(expressions.names(fault.claim.holds))
    ]
