"""The bank of wrong answers: what students get wrong, and what each exercise must notice."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

from ibbook.book.chapters import Chapter
from ibbook.book.course.exercises import answers, grade_id, notebook
from ibbook.book.folders import BookError, root, text_of

FEWEST = 3


class Wrong(NamedTuple):
    """One wrong answer: to which exercise, what the student got wrong, the cell's source."""

    exercise: str
    mistake: str
    source: str


def wrong(name: str, book: Path | None = None) -> list[Wrong]:
    """The wrong answers to the exercises of a chapter, by exercise, in the bank's order."""
    path = (book or root()) / "tests" / "book" / "course" / "bank" / f"{name}.toml"
    if not path.is_file():
        return []
    try:
        rows = [Wrong(**row) for row in tomllib.loads(text_of(path)).get("wrong", [])]
    except (tomllib.TOMLDecodeError, TypeError) as error:
        raise BookError(f"{path}: {error}; each [[wrong]] has {', '.join(Wrong._fields)}") from None
    return sorted(rows, key=lambda row: row.exercise)


def columns(rows: list[Wrong]) -> list[dict[str, Wrong]]:
    """The k-th wrong answer of every exercise, for each k."""
    groups = {name: list(group) for name, group in groupby(rows, key=lambda row: row.exercise)}
    longest = max(map(len, groups.values()), default=0)
    return [{n: g[k] for n, g in groups.items() if k < len(g)} for k in range(longest)]


def faults(source: Chapter) -> Iterator[str]:
    """Whether each exercise has enough wrong answers, and each of them is one."""
    where = f"tests/book/course/bank/{source.name}.toml: "
    try:
        made, rows = notebook(source), wrong(source.name, source.text.parents[2])
    except BookError as error:
        yield f"{where}{error}"
        return
    right = {grade_id(cell): cell.source.strip() for cell in made.cells}
    for name in answers(made):
        own = [row.source.strip() for row in rows if row.exercise == name]
        if len(set(own)) < FEWEST:
            yield f"{where}{name} has {len(set(own))} wrong answers; {FEWEST} are wanted"
    for row in rows:
        if row.exercise not in answers(made):
            yield f"{where}{row.exercise} is not graded by itself, so nothing can be wrong for it"
        elif row.source.strip() == right[row.exercise]:
            yield f"{where}{row.exercise}: {row.mistake!r} is the right answer"
