"""A course of coins, released once; and how students fill it in."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path

import nbformat
import pytest
from nbformat import NotebookNode

from ibbook.book.cli import main
from ibbook.book.course import release
from tests.book.course import coin


@pytest.fixture(scope="module")
def in_book(tmp_path_factory):
    """A book whose one chapter has exercises, which the package takes for the book."""
    with pytest.MonkeyPatch.context() as patch:
        book = coin.write(tmp_path_factory.mktemp("coins") / "book")
        patch.setenv("IBBOOK_ROOT", str(book))
        yield book


@pytest.fixture(scope="module")
def course(in_book) -> Path:
    """Its course, released to ann and to bob, each with numbers of their own."""
    folder = in_book / "coins-2027"
    roster = in_book / "roster.csv"
    roster.write_text("id,first_name\nann,Ann\nbob,Bob\n")
    assert main(["course", "release", "1", "--course", str(folder), "--roster", str(roster)]) == 0
    return folder


@pytest.fixture(scope="module")
def fill(course) -> Callable[..., NotebookNode]:
    """The notebook that a student got, with answers by grade_id; `None` stands for right ones."""

    def filled(student: str = "", answers: dict[str, str] | None = None) -> NotebookNode:
        path = release.given(course, student, coin.NAME)
        made = copy.deepcopy(nbformat.read(path, as_version=4))
        for cell in made.cells:
            cell.source = (coin.RIGHT | (answers or {})).get(cell.id, cell.source)
        return made

    return filled


@pytest.fixture(scope="module")
def hand_in(course) -> Callable[[str, NotebookNode | str], Path]:
    """Put a student's work where the course looks for it."""

    def handed_in(student: str, work: NotebookNode | str, file: str = f"{coin.NAME}.ipynb") -> Path:
        path = course / "submitted" / student / coin.NAME / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(work if isinstance(work, str) else nbformat.writes(work), encoding="utf-8")
        return path

    return handed_in
