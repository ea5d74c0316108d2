"""Where the words of a solution or of a hidden test stand that should stand nowhere."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from ibbook.book.chapters import Chapter
from ibbook.book.course import exercises
from ibbook.book.course.exercises import WRITTEN, grade_id, kind

SHORTEST = 12  # letters; a shorter line, such as `return x`, says nothing
BINARY = {".woff2", ".png", ".webp", ".jpg", ".ico", ".db"}


def secrets(source: Chapter, *, hidden_only: bool = False) -> set[str]:
    """Lines of solutions, model answers and hidden tests that a student is not shown elsewhere."""
    made = exercises.notebook(source)
    parts = []
    for cell in made.cells:
        if kind(cell) == WRITTEN and not hidden_only:
            parts += [cell.source]
        elif not hidden_only:
            parts += exercises.regions(cell.source, "SOLUTION")
        parts += exercises.regions(cell.source, "HIDDEN TESTS")
    shown = " ".join(bare(cell.source) for cell in exercises.released(made).cells)
    shown += _book(source.text.parents[1])
    lines = {bare(line) for part in parts for line in part.splitlines()}
    return {line for line in lines if len(line) >= SHORTEST and line not in shown}


@cache
def _book(chapters: Path) -> str:
    """What the chapters themselves say, which is no secret."""
    return " ".join(bare(path.read_text(encoding="utf-8")) for path in chapters.glob("*.md"))


def shown(source: Chapter) -> set[str]:
    """Lines of the tests that a student does see, which a search for leaks must be able to find."""
    cells = exercises.notebook(source).cells
    lines = {bare(s) for c in cells if grade_id(c).endswith("-test") for s in c.source.splitlines()}
    return {line for line in lines if len(line) >= SHORTEST}


def bare(text: str) -> str:
    """Text without spaces, tags and escapes, however a file wraps it."""
    text = re.sub(r"<[^<>]*>", "", text) if "</" in text else text
    return re.sub(r"\\[nt]|[\s\\]", "", html.unescape(text))


def found(folder: Path, lines: Iterable[str]) -> dict[str, list[str]]:
    """The lines that occur in any file below a folder, with the files."""
    hits: dict[str, list[str]] = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.suffix not in BINARY:
            text = bare(path.read_text(encoding="utf-8", errors="replace"))
            for line in lines:
                if line in text:
                    hits.setdefault(line, []).append(str(path.relative_to(folder)))
    return hits
