"""Whether exercises notice what they should: right answers, no answers, wrong answers."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from nbformat import NotebookNode
from nbformat.v4 import new_code_cell

from ibbook.book.chapters import Chapter
from ibbook.book.course import bank, exercises, sandbox
from ibbook.book.course.execute import execute
from ibbook.book.course.exercises import ANSWER, answers, grade_id, kind, tests
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
    """Grade the reference solution, the released file, and every wrong answer of the bank.

    All of them run in one kernel, one after the other, each from an empty namespace.
    """
    from nbgrader.utils import determine_grade

    made = exercises.notebook(source)
    if not answers(made):
        raise BookError(f"{source.name} has no exercise that is graded by itself")
    stubs = {grade_id(c): c.source for c in exercises.released(made).cells if kind(c) == ANSWER}
    columns = [
        ({}, {name: ("the reference", "all") for name in stubs}),
        (stubs, {name: ("the released file", "none") for name in stubs}),
    ]
    for column in bank.columns(bank.wrong(source.name, source.text.parents[2])):
        sources = {name: row.source for name, row in column.items()}
        columns.append((sources, {name: (row.mistake, "fewer") for name, row in column.items()}))
    for cells, (_, expected) in zip(_run(made, [c[0] for c in columns]), columns, strict=True):
        for name, (what, wanted) in expected.items():
            grades = [determine_grade(cells[test]) for test in tests(made, name)]
            got, points = (sum(column) for column in zip(*grades, strict=True))
            yield Trial(name, what, got, points, wanted)


def _run(made: NotebookNode, columns: Sequence[Mapping[str, str]]) -> list[dict[str, NotebookNode]]:
    """The cells that are graded, by grade_id, after they ran with each of the given answers."""
    everything, parts = copy.deepcopy(made), []
    everything.cells = []
    for column in columns:
        part = copy.deepcopy(made).cells
        for cell in part:
            cell.source = column.get(grade_id(cell), cell.source)
        parts.append({grade_id(cell): cell for cell in part if grade_id(cell)})
        everything.cells += [*part, new_code_cell("%reset -f")]
    limits = CLEAN._replace(notebook=CLEAN.notebook * len(columns))
    execute(everything, limits, closed=sandbox.closed())
    return parts
