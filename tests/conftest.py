"""What all tests share: no screen, one thread, repeatable examples, and a book to try things on."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from pathlib import Path

import matplotlib
import pytest
import torch
from hypothesis import settings

from ibbook.chapters import Chapter

matplotlib.use("Agg")
# The arrays of tests are small: a second thread mostly waits, and on a busy machine for long.
torch.set_num_threads(1)
# A failure must come from the change under test, so the examples are the same in every run.
settings.register_profile("ibbook", deadline=None, derandomize=True)
settings.load_profile("ibbook")

PARAMETERS = """\
bias: float = 0.25  # chance of heads [0, 1]
flips: int = 3  # number of flips [1, 100]
fair: bool = False  # whether to use a fair coin instead
side: str = "heads"  # side to count {"heads", "tails"}
"""
RECORDING = """\
from ibbook.records import record
record("coin.bias", 0.5 if fair else bias, unit="", digits=3)
print("flips:", flips)
"""


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
