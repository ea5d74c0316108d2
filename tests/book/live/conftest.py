"""Pages with one live figure each, and a tab to open them in."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page

from tests.book.live.pages import served_figures
from tests.book.watching import watched


@pytest.fixture(scope="session")
def address() -> Iterator[str]:
    yield from served_figures()


@pytest.fixture(scope="module")
def tab(browser: Browser) -> Iterator[Page]:
    """One page for all tests of a file; it fails on an error or a foreign request."""
    yield from watched(browser, 1000, "light")
