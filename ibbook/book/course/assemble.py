"""What students hand in, put back into the notebook that they were given.

Cells come back inserted, split, deleted, copied, retyped, without metadata. Answers are looked up
in what came back; everything else is as it was given. nbgrader then sees whole notebooks only.
"""

from __future__ import annotations

import ast
import copy
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from nbformat import NotebookNode, convert, reader
from nbformat.v4 import new_code_cell, new_markdown_cell

from ibbook.book.course.exercises import ANSWER, WRITTEN, grade_id, kind
from ibbook.book.folders import BookError, text_of

LARGEST = 50  # MB; a notebook with as much in it holds pictures or printed text, not answers


class Assembled(NamedTuple):
    """A notebook for nbgrader, what was repaired, and the student's code for the suspicious."""

    notebook: NotebookNode
    repairs: list[str]
    code: str


class Came(NamedTuple):
    """A cell as it came back; `known` is the id of the given cell that it is, or empty."""

    kind: str
    source: str
    known: str


def read(path: Path) -> tuple[NotebookNode, list[str]]:
    """A notebook of any format, and what had to be done to read it."""
    size = path.stat().st_size / 2**20
    if size > LARGEST:
        raise BookError(f"{path.name} has {size:.0f} MB; clear its outputs and hand it in again")
    text = text_of(path)
    if not text.strip():
        raise BookError(f"{path.name} is empty")
    try:
        made = reader.reads(text)
        major, minor = made.nbformat, made.get("nbformat_minor", 0)
        made = convert(made, 4)
        made.cells = [c for c in made.cells if isinstance(c.get("source"), str)]
    except Exception as error:  # whatever a file that calls itself a notebook makes nbformat do
        reason = (str(error).splitlines() or [type(error).__name__])[0][:80]
        raise BookError(f"{path.name} is not a notebook ({reason})") from None
    older = [f"was in notebook format {major}.{minor}"] if (major, minor) < (4, 5) else []
    return made, older


def assemble(given: NotebookNode, submitted: NotebookNode) -> Assembled:
    """The given notebook with the student's answers, and with the cells that the student added."""
    made = copy.deepcopy(given)
    cells = {cell.id: cell for cell in made.cells}
    repairs: list[str] = []
    came = _placed(_recognised(given, submitted), given, repairs)
    for cell in made.cells:
        found = [one for one in came if one.known == cell.id]
        if kind(cell) in (ANSWER, WRITTEN):
            _answer(cell, found, repairs)
        elif not found and kind(cell):
            repairs.append(f"{cell.id} was missing: put back")
        elif kind(cell) and any(one.source.strip() != cell.source.strip() for one in found):
            repairs.append(f"{cell.id} was changed: put back")
    after, place = {"": []}, ""
    for number, one in enumerate(came, 1):
        if one.known:
            place = one.known
        elif one.source.strip():
            new = new_code_cell if one.kind == "code" else new_markdown_cell
            after.setdefault(place, []).append(new(one.source, id=f"added-{number}"))
    ordered = [*after[""]]
    for name, cell in cells.items():
        ordered += [cell, *after.get(name, [])]
    made.cells = ordered
    own = [c.source for c in ordered if c.cell_type == "code" and kind(c) in (ANSWER, None)]
    return Assembled(made, repairs, "\n".join(own))


def _recognised(given: NotebookNode, submitted: NotebookNode) -> list[Came]:
    """Each cell that came back, with the given cell that its metadata, id or text say it is."""
    ids = {cell.id for cell in given.cells}
    texts = {cell.source.strip(): cell.id for cell in given.cells}
    came = []
    for cell in submitted.cells:
        names = (_grade_id(cell), cell.get("id"), texts.get(cell.source.strip()))
        known = next((name for name in names if isinstance(name, str) and name in ids), "")
        came.append(Came("code" if cell.cell_type == "code" else "markdown", cell.source, known))
    return came


def _grade_id(cell: NotebookNode) -> object:
    """The grade_id, whatever stands where metadata should."""
    metadata = cell.get("metadata")
    marks = metadata.get("nbgrader") if isinstance(metadata, dict) else None
    return marks.get("grade_id") if isinstance(marks, dict) else None


def _placed(came: list[Came], given: NotebookNode, repairs: list[str]) -> list[Came]:
    """Answers that lost their names, found by what they define, or else by where they stand."""
    came = list(came)
    answers = {cell.id for cell in given.cells if kind(cell) == ANSWER}
    for n, (first, second) in enumerate(pairwise(came), 1):  # the second half of a split answer
        half = first.known in answers and second.kind == "code" and not second.known
        half = half and not _parses(second.source)
        if half and _parses(f"{first.source}\n{second.source}"):
            came[n] = second._replace(known=first.known)
    order = [cell.id for cell in given.cells]
    for cell in given.cells:
        if kind(cell) not in (ANSWER, WRITTEN) or any(one.known == cell.id for one in came):
            continue
        free = [n for n, one in enumerate(came) if not one.known and one.source.strip()]
        names = _defined(cell.source)
        hits = [n for n in free if names & _defined(came[n].source)] if kind(cell) == ANSWER else []
        if not hits:
            before, behind = set(order[: order.index(cell.id)]), order[order.index(cell.id) + 1 :]
            start = max((n for n, one in enumerate(came) if one.known in before), default=-1)
            stop = min((n for n, one in enumerate(came) if one.known in behind), default=len(came))
            hits = [n for n in free if start < n < stop and came[n].kind == cell.cell_type]
        for n in hits:
            came[n] = came[n]._replace(known=cell.id)
        if hits:
            repairs.append(f"{cell.id} had lost its name: found")
    return came


def _defined(source: str) -> set[str]:
    """The names of functions and classes that a cell defines."""
    try:
        body = ast.parse(source).body
    except SyntaxError:
        return set()
    return {n.name for n in body if isinstance(n, ast.FunctionDef | ast.ClassDef)}


def _answer(cell: NotebookNode, found: list[Came], repairs: list[str]) -> None:
    """Put what came back of an answer into its cell."""
    changed = [one for one in found if one.source.strip() not in ("", cell.source.strip())]
    if not found:
        repairs.append(f"{cell.id} was missing: counts as not answered")
    if not changed:
        return
    if cell.cell_type == "code" and len(changed) > 1:
        parts = "\n".join(one.source for one in changed)
        split = not _parses(changed[-1].source) and _parses(parts)
        repairs.append(
            f"{cell.id} was split: joined" if split else f"{cell.id} came twice: the last counts"
        )
        cell.source = parts if split else changed[-1].source
        return
    if changed[-1].kind != cell.cell_type:
        repairs.append(f"{cell.id} was turned into {changed[-1].kind}: turned back")
    cell.source = changed[-1].source


def _parses(source: str) -> bool:
    try:
        ast.parse(source)
    except (SyntaxError, ValueError):
        return False
    return True


def missing(given: NotebookNode, submitted: NotebookNode) -> int:
    """How many of the cells to fill in are not recognised; the fewest tell a chapter's notebook."""
    wanted = {grade_id(cell) for cell in given.cells if grade_id(cell)}
    return len(wanted - {one.known for one in _recognised(given, submitted)})
