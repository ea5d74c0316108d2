"""What nbgrader's steps do with a submission: our kernel, our care for the hidden tests."""

from __future__ import annotations

import ast
import builtins
import re
from pathlib import Path
from typing import Any

from nbformat import NotebookNode
from nbgrader.preprocessors import ClearHiddenTests, NbGraderPreprocessor
from traitlets import Float, Int

from ibbook.book.course import sandbox
from ibbook.book.course.execute import OURS, STOPS, execute
from ibbook.book.course.exercises import HIDDEN, kind
from ibbook.book.course.sandbox import Limits

DEFAULT = Limits()
AUTOGRADE = [
    "ibbook.book.course.preprocessors.Run",
    "nbconvert.preprocessors.ClearMetadataPreprocessor",
    "nbgrader.preprocessors.LimitOutput",
    "nbgrader.preprocessors.SaveAutoGrades",
    "nbgrader.preprocessors.AssignLatePenalties",
    "nbgrader.preprocessors.CheckCellMetadata",
]
FEEDBACK = [
    "nbgrader.preprocessors.GetGrades",
    "ibbook.book.course.preprocessors.Discreet",
    "nbconvert.preprocessors.CSSHTMLHeaderPreprocessor",
]

WORD = r"\w{1,24}"
NAMES = {name for name in dir(builtins) if name.endswith(("Error", "Interrupt", "Exit"))} | STOPS


class Run(NbGraderPreprocessor):
    """Runs a submission in the sandbox, or within limits where there is none."""

    cell = Float(DEFAULT.cell, help="seconds for a cell").tag(config=True)
    notebook = Float(DEFAULT.notebook, help="seconds for a notebook").tag(config=True)
    memory = Float(DEFAULT.memory, help="GiB of data").tag(config=True)
    output = Int(DEFAULT.output, help="characters of a cell's output").tag(config=True)

    def preprocess(
        self, nb: NotebookNode, resources: dict[str, Any]
    ) -> tuple[NotebookNode, dict[str, Any]]:
        limits = Limits(self.cell, self.notebook, self.memory, self.output)
        files = Path(resources["metadata"]["path"])
        execute(nb, limits, closed=sandbox.closed(), files=files)
        return nb, resources


class Discreet(ClearHiddenTests):
    """Feedback without hidden tests.

    A student's cell that runs after a hidden test may have learnt it, so from there on outputs go.
    What remains of a test is the words of its author.
    """

    def preprocess(
        self, nb: NotebookNode, resources: dict[str, Any]
    ) -> tuple[NotebookNode, dict[str, Any]]:
        ran = False
        for cell in nb.cells:
            ran = ran or kind(cell) == HIDDEN
            if ran and cell.cell_type == "code":
                cell.outputs = _own_words(cell)
        return super().preprocess(nb, resources)


def _own_words(cell: NotebookNode) -> list[NotebookNode]:
    """Of a test's outputs, the kind of each error, and lines that its author wrote."""
    said = _written(cell.source) if cell.metadata.get("nbgrader", {}).get("locked") else []
    kept = []
    for output in cell.outputs:
        if output.output_type == "error":
            first = (str(output.evalue).splitlines() or [""])[0]
            message = first if any(one.fullmatch(first) for one in (*said, OURS)) else ""
            name = output.ename if output.ename in NAMES else "Error"
            output.ename, output.evalue = name, message
            output.traceback = [f"{name}: {message}" if message else name]
            kept.append(output)
        elif output.output_type == "stream":
            lines = output.text.splitlines()
            output.text = "\n".join(
                line for line in lines if any(one.fullmatch(line) for one in said)
            )
            kept += [output] if output.text else []
    return kept


def _written(source: str) -> list[re.Pattern[str]]:
    """The texts that stand in code; a value in one is a short word, or another such text."""
    try:
        nodes = list(ast.walk(ast.parse(source)))
    except SyntaxError:
        return []
    texts = [n.value for n in nodes if isinstance(n, ast.Constant) and isinstance(n.value, str)]
    plain = [re.escape(text) for text in texts if text.strip()]
    joined = [node.values for node in nodes if isinstance(node, ast.JoinedStr)]
    labels = plain + [_filled(parts, WORD) for parts in joined]
    value = f"(?:{'|'.join([WORD, *labels])})"
    return [re.compile(one) for one in plain + [_filled(parts, value) for parts in joined]]


def _filled(parts: list[ast.expr], value: str) -> str:
    """The pattern of an f-string whose values look like `value`."""
    return "".join(re.escape(p.value) if isinstance(p, ast.Constant) else value for p in parts)
