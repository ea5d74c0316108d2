"""A book to try things on."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from ibbook.book.chapters import Chapter
from tests.book.coin import PARAMETERS


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

    def chapter(
        name: str = "01-coin", *cells: str, parameters: str = PARAMETERS, prose: str = "Toss it."
    ) -> Chapter:
        top = """\
            ---
            kernelspec: {name: python3, display_name: Python 3, language: python}
            ibbook: {minutes: 1, device: cpu}
            ---

            ---
            title: A coin
            ---
            """
        blocks = [textwrap.dedent(top), prose]
        if parameters:
            blocks.append(f"```{{code-cell}} ipython3\n:tags: [parameters]\n{parameters}```")
        blocks += [f"```{{code-cell}} ipython3\n{cell.strip()}\n```" for cell in cells]
        text = book / "chapters" / f"{name}.md"
        text.write_text("\n\n".join(blocks) + "\n", encoding="utf-8")
        return Chapter(text)

    return chapter
