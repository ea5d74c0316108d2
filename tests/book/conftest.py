"""A book to try things on, and a browser to look at it."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, sync_playwright

from ibbook.book.chapters import Chapter
from tests.book.coin import written

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "theme"))

from ibtheme import prepare

CHROMIUM = os.environ.get("CHROMIUM", "/usr/bin/chromium")
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


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


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """One for all tests of a process."""
    if not Path(CHROMIUM).exists():
        missing = f"no browser at {CHROMIUM}: install Debian's chromium, or set CHROMIUM"
        pytest.fail(missing) if os.environ.get("CI") else pytest.skip(missing)
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield chromium
        chromium.close()


@pytest.fixture(scope="session")
def axe() -> str:
    """The accessibility checker's script; npm brings it where it is not installed yet."""
    script = prepare.THEME / "node_modules" / "axe-core" / "axe.min.js"
    if not script.is_file():
        prepare.install()
    return script.read_text()


@pytest.fixture(scope="session")
def html_validate() -> Path:
    """The checker of HTML, which node runs; npm brings it where it is not installed yet."""
    script = prepare.THEME / "node_modules" / "html-validate" / "bin" / "html-validate.mjs"
    if not script.is_file():
        prepare.install()
    return script
