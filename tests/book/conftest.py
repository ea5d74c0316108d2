"""A book to try things on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from ibbook.book.chapters import Chapter
from tests.book.coin import written


@pytest.fixture
def book(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty book in a folder of its own, which the package takes for the book."""
    (tmp_path / "book" / "chapters").mkdir(parents=True)
    (tmp_path / "book" / "data").mkdir()
    monkeypatch.setenv("IBBOOK_ROOT", str(tmp_path / "book"))
    monkeypatch.delenv("IBBOOK_RUNS", raising=False)
    return tmp_path / "book"


@pytest.fixture
def write(book: Path) -> Callable[..., Chapter]:
    """Write a chapter from its parameter lines and code cells."""

    def chapter(name: str = "01-coin", *cells: str, **text: str) -> Chapter:
        return written(book, name, *cells, **text)

    return chapter
