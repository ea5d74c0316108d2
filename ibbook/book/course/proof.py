"""Whether exercises notice what they should: right answers, no answers, wrong answers."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from nbformat import NotebookNode

from ibbook.book.chapters import Chapter
from ibbook.book.course import bank, exercises, sandbox
from ibbook.book.course.execute import execute
from ibbook.book.course.exercises import answers, grade_id, kind, tests
from ibbook.book.course.sandbox import Limits
from ibbook.book.folders import BookError

CLEAN = Limits(cell=30, notebook=120)


class Trial(NamedTuple):
    """What an answer got of the points of its tests, and what it should."""

    exercise: str
    what: str
    got: float
    points: float
    wanted: str

    @property
    def holds(self) -> bool:
        """All points, none, or fewer than all."""
        limit = {"all": self.got >= self.points, "none": self.got == 0}
        return limit.get(self.wanted, self.got < self.points)


def trials(source: Chapter) -> Iterator[Trial]:
    """Grade the reference solution, the released file, and every wrong answer of the bank."""
    made = exercises.notebook(source)
    if not answers(made):
        raise BookError(f"{source.name} has no exercise that is graded by itself")
    yield from _graded(made, {}, dict.fromkeys(answers(made), ("the reference", "all")))
    stubs = {grade_id(c): c.source for c in exercises.released(made).cells if kind(c) == ""}
    yield from _graded(made, stubs, dict.fromkeys(stubs, ("the released file", "none")))
    for column in bank.columns(bank.wrong(source.name, source.text.parents[2])):
        sources = {name: row.source for name, row in column.items()}
        yield from _graded(made, sources, {n: (r.mistake, "fewer") for n, r in column.items()})


def _graded(
    made: NotebookNode, sources: Mapping[str, str], expected: Mapping[str, tuple[str, str]]
) -> Iterator[Trial]:
    """Run one notebook whose answers are replaced by `sources`."""
    from nbgrader.utils import determine_grade

    made = copy.deepcopy(made)
    for cell in made.cells:
        cell.source = sources.get(grade_id(cell), cell.source)
    execute(made, CLEAN, closed=sandbox.closed())
    cells = {grade_id(cell): cell for cell in made.cells if grade_id(cell)}
    for name, (what, wanted) in expected.items():
        grades = [determine_grade(cells[test]) for test in tests(made, name)]
        got, points = (sum(column) for column in zip(*grades, strict=True))
        yield Trial(name, what, got, points, wanted)
