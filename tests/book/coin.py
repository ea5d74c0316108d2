"""The chapter that tests write: its parameters, a cell, and how its text is put together."""

import textwrap
from pathlib import Path

from nbformat.v4 import new_output

from ibbook.book.chapters import Chapter
from ibbook.book.records import MIME

PARAMETERS = """\
bias: float = 0.25  # chance of heads [0, 1]
flips: int = 3  # number of flips [1, 100]
fair: bool = False  # whether to use a fair coin instead
side: str = "heads"  # side to count {"heads", "tails"}
"""
RECORDING = """\
from ibbook.book import record
record("coin.bias", 0.5 if fair else bias, "Chance of heads", unit="", digits=3)
print("flips:", flips)
"""


def written(
    book: Path, name: str, *cells: str, parameters: str = PARAMETERS, prose: str = "Toss it."
) -> Chapter:
    """A chapter of a book, written from its parameter lines and code cells."""
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


def recorded_without_a_kernel(chapter, made, *_):
    """In place of `execute`: the notebook as if its last cell had recorded a number."""
    row = {"name": "coin.bias", "value": 0.25, "unit": "", "label": "Bias", "digits": 2}
    made.cells[-1].outputs = [new_output("display_data", {MIME: row})]
    return made
