"""What a teacher reads after grading: a table of scores, and who needs a look."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from pathlib import Path

from ibbook.book.course.grade import Graded
from ibbook.book.folders import save


def write(course: Path, name: str, rows: Iterable[Graded]) -> Path:
    """`grades/NAME.csv`: a row a student, a column a graded cell.

    An empty score was not graded; the column `status` says why. `waiting` names answers that a
    person has to grade, which count nothing so far.
    """
    rows = list(rows)
    cells = list(dict.fromkeys(cell for row in rows for cell in row.points))
    table = io.StringIO()
    out = csv.writer(table, lineterminator="\n")
    out.writerow(["student", "status", "score", "points", "waiting", "repairs", "look", *cells])
    for row in rows:
        scores = [_number(row.scores.get(cell)) for cell in cells]
        words = ("; ".join(part) for part in (row.waiting, row.repairs, row.look))
        points = _number(sum(row.points.values()) if row.points else None)
        out.writerow([row.student, row.status, _number(row.score), points, *words, *scores])
    path = course / "grades" / f"{name}.csv"
    path.parent.mkdir(exist_ok=True)
    save(path, table.getvalue())
    return path


def lines(name: str, row: Graded) -> Iterable[str]:
    """What a teacher should know of one student's work, as it is graded."""
    got = f"{row.score:g} of {sum(row.points.values()):g}" if row.score is not None else row.status
    yield f"{name}  {row.student}: {got}"
    yield from (f"    {repair}" for repair in row.repairs)
    if row.waiting:
        yield f"    to be graded by a person: {', '.join(row.waiting)}"
    if row.look:
        yield f"    read this code before you trust its score; it uses {', '.join(row.look)}"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:g}"
