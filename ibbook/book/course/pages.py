"""The exercises as pages of the site: as students get them, without solutions or hidden tests."""

from __future__ import annotations

from pathlib import Path

import nbformat
import yaml
from nbformat import NotebookNode

from ibbook.book.chapters import Chapter
from ibbook.book.course import exercises
from ibbook.book.course.exercises import HIDDEN, kind
from ibbook.book.folders import save, text_of

PART = "Exercises"


def stage(book: Path, folder: Path) -> None:
    """Add to a staged book a page for each source of `book`, and their part to its contents."""
    entries = []
    for source in exercises.exercises(book):
        made = page(exercises.released(exercises.notebook(source)))
        name = f"chapters/exercises-{source.name}.ipynb"
        nbformat.write(made, folder / name)
        entries.append({"file": name, "title": title(source)})
    if not entries:
        return
    config = yaml.safe_load(text_of(folder / "book.yml"))
    toc = config["project"]["toc"]
    place = next((n for n, entry in enumerate(toc) if "children" in entry), len(toc))
    toc.insert(place, {"title": PART, "children": entries})
    save(folder / "book.yml", yaml.safe_dump(config, sort_keys=False, allow_unicode=True))


def title(source: Chapter) -> str:
    """The first heading, `Exercises 1: Entropy`."""
    lines = text_of(source.text).splitlines()
    return next((line[2:] for line in lines if line.startswith("# ")), source.name)


def page(made: NotebookNode) -> NotebookNode:
    """A notebook as mystmd wants it; cells that say nothing to a reader stay in its file only.

    Ids go, since mystmd wants those of a whole book to differ.
    """
    made.nbformat_minor = 4
    for cell in made.cells:
        del cell["id"]
        tags = cell.metadata.get("tags", [])
        if "parameters" in tags or kind(cell) == HIDDEN:
            cell.metadata.tags = [*tags, "remove-cell"]
    return made
