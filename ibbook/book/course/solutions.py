"""The exercises with their solutions, run: pages of their own, which no page of the book lists."""

from __future__ import annotations

import re
import shutil
from collections.abc import Sequence
from pathlib import Path

import nbformat
import yaml
from nbformat import NotebookNode

from ibbook.book import site
from ibbook.book.chapters import Chapter
from ibbook.book.course import exercises, sandbox
from ibbook.book.course.execute import execute
from ibbook.book.course.exercises import HIDDEN, kind
from ibbook.book.course.pages import page
from ibbook.book.course.proof import CLEAN
from ibbook.book.folders import BookError, root, text_of

INDEX = """\
---
title: Solutions
---

The exercises of the book with their solutions, as they ran. These pages are not part of the book's
site. Whoever has them has the answers: keep them from a public place while a course runs.
"""


def build(sources: Sequence[Chapter], out: Path | None = None) -> Path:
    """Run the solutions and build their pages, by default in `_build/solutions`."""
    book = root()
    out = (out or book / "_build" / "solutions").resolve()
    if out.is_relative_to((book / "_build" / "html").resolve()):
        raise BookError(f"{out} lies in the book's site, which is public; choose another folder")
    folder = book / "_build" / "solutions-source"
    shutil.rmtree(folder, ignore_errors=True)
    for place in ("chapters", "executed", "data"):
        (folder / place).mkdir(parents=True)
    (folder / "chapters" / "index.md").write_text(INDEX, encoding="utf-8")
    shutil.copy(book / "myst.yml", folder)
    executed = {
        f"exercises-{source.name}": _executed(source, folder / "executed") for source in sources
    }
    config = yaml.safe_load(text_of(book / "book.yml"))
    config["project"] |= {
        "title": "Solutions",
        "toc": [{"file": f"chapters/{name}"} for name in _files(executed)],
        "bibliography": [],
    }
    config["site"]["title"] = "Solutions"
    (folder / "book.yml").write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")
    return site.build(executed, {}, source=folder, out=out)


def _files(executed: dict[str, Path]) -> list[str]:
    return ["index.md", *(f"{name}.ipynb" for name in executed)]


def _executed(source: Chapter, folder: Path) -> Path:
    made = solved(exercises.notebook(source))
    execute(made, CLEAN, closed=sandbox.closed())
    for cell in made.cells:
        for output in cell.get("outputs", []):
            if output.output_type == "error":
                raise BookError(f"{source.name}: {cell.id} ends in {output.ename}: {output.evalue}")
    path = folder / f"exercises-{source.name}.ipynb"
    nbformat.write(page(made), path)
    return path


def solved(made: NotebookNode) -> NotebookNode:
    """The exercises with their answers, without the marks around them and without hidden tests."""
    made.cells = [cell for cell in made.cells if kind(cell) != HIDDEN]
    for cell in made.cells:
        cell.source = re.sub(r"^[^\n]*(?:BEGIN|END) SOLUTION[^\n]*\n?", "", cell.source, flags=re.M)
    return made
