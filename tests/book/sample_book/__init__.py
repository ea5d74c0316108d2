"""A small book that holds every kind of node the theme renders; no kernel is needed to write it."""

from __future__ import annotations

import shutil
from functools import cache
from pathlib import Path
from unittest.mock import patch

import jupytext
import matplotlib.pyplot as plt
import nbformat
import numpy as np
from nbformat.v4 import new_output

from ibbook.book import record
from ibbook.figures import PALETTE, Live, label_end, show, use_house_style

HERE = Path(__file__).parent
ROOT = HERE.parents[1]

TABLE = """<table border="1" class="dataframe"><thead><tr style="text-align: right;"><th></th>
<th>letter</th><th>entropy (nats)</th><th>share</th></tr></thead><tbody>
<tr><th>0</th><td>e</td><td>0.2588</td><td>0.1270</td></tr>
<tr><th>1</th><td>t</td><td>0.2180</td><td>0.0906</td></tr></tbody></table>"""


def write(folder: Path) -> dict[str, Path]:
    """Write the sample book's sources into `folder`; return its executed notebooks by name.

    >>> import tempfile
    >>> sorted(write(Path(tempfile.mkdtemp())))
    ['01-sample', '02-second']
    """
    shutil.copytree(HERE / "chapters", folder / "chapters", dirs_exist_ok=True)
    shutil.copytree(HERE / "data", folder / "data")
    for name in ("book.yml", "myst.yml"):
        shutil.copy(HERE / name, folder)
    notebooks = {}
    for source in sorted((folder / "chapters").glob("0*.md")):
        notebook = jupytext.read(source)
        for count, cell in enumerate((c for c in notebook.cells if c.cell_type == "code"), 1):
            cell.execution_count = count
            cell.outputs = [OUTPUTS[tag]() for tag in cell.metadata.pop("sample", "").split()]
        target = folder / "executed" / f"{source.stem}.ipynb"
        target.parent.mkdir(exist_ok=True)
        nbformat.write(notebook, target)
        notebooks[source.stem] = target
    return notebooks


@cache
def figure_output() -> nbformat.NotebookNode:
    """What `ibbook.figures.show` displays, with a picture for light and one for dark pages."""
    use_house_style()
    p = np.linspace(1e-9, 1 - 1e-9, 201)
    entropy = -p * np.log(p) - (1 - p) * np.log(1 - p)
    fig, ax = plt.subplots()
    ax.plot(p, entropy, color=PALETTE[0])
    ax.plot(p, 2 * p * (1 - p), color=PALETTE[1])
    label_end(ax, 0.72, 0.61, "entropy", color=PALETTE[0])
    label_end(ax, 0.62, 0.40, "2p(1-p)", color=PALETTE[1])
    ax.set(xlabel="probability of one", ylabel="nats")
    return _shown(
        fig, alt=f"Two arches over p; the entropy peaks at {entropy.max():.4f} nats at p = 0.5."
    )


@cache
def live_output() -> nbformat.NotebookNode:
    """A picture, and what makes it live."""
    use_house_style()
    fig, ax = plt.subplots(figsize=(4, 2))
    ax.barh([0, 1], [0.69, 0.69])
    data = {"weights": [[30, 0], [0, 30]], "skies": ["clear", "</script>"], "needs": ["no", "yes"]}
    alt = "Two bars of the same length, one for the sky and one for the umbrella."
    return _shown(fig, alt=alt, live=Live("diagram", data))


def _shown(fig, **options) -> nbformat.NotebookNode:
    with patch("ibbook.figures.display") as display:
        show(fig, **options)
    (data,), options = display.call_args
    return new_output("display_data", data=data, metadata=options["metadata"])


def _display(data: dict[str, str], metadata: dict | None = None) -> nbformat.NotebookNode:
    return new_output("display_data", data=data, metadata=metadata or {})


def _record(*arguments, **options) -> nbformat.NotebookNode:
    with (
        patch("ibbook.book.records.InteractiveShell.initialized", lambda: True),
        patch("ibbook.book.records.display") as display,
    ):
        record(*arguments, **options)
    return _display(display.call_args.args[0])


OUTPUTS = {
    "figure": figure_output,
    "live": live_output,
    "stream": lambda: new_output("stream", name="stdout", text="R(D) = 0.3681 nats\nconverged\n"),
    "ansi": lambda: new_output(
        "stream", name="stderr", text="\x1b[31mred\x1b[0m <b>not bold</b>\n"
    ),
    "long": lambda: new_output(
        "stream", name="stdout", text="a line of digits 0123456789\n" * 1200
    ),
    "plain": lambda: new_output(
        "execute_result", data={"text/plain": "tensor([0.5000, 0.2500])"}, execution_count=1
    ),
    "table": lambda: _display({"text/html": TABLE, "text/plain": "  letter entropy"}),
    "markdown": lambda: _display({"text/markdown": "A *computed* sentence.", "text/plain": "x"}),
    "svg": lambda: _display(
        {
            "image/svg+xml": '<svg xmlns="http://www.w3.org/2000/svg" width="60" height="40">'
            '<circle cx="20" cy="20" r="15" fill="#0072b2"/></svg>',
            "text/plain": "A blue disc drawn in the left half of the picture.",
        }
    ),
    "rate": lambda: _record("sample.rate", [0.35, 0.3681, 0.3862], "Rate of a coin"),
    "gap": lambda: _record("sample.gap", 0.0, "Its gap", against="the closed form"),
}
