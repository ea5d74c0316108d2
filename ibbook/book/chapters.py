"""The chapters on disk: their names, and the pairing of text and notebook."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jupytext
import nbformat
import yaml
from jupytext.combine import map_outputs_to_inputs
from nbformat import NotebookNode

from ibbook.book.folders import BookError, root, save
from ibbook.book.numbers import refreshed
from ibbook.book.records import Record, records


@dataclass(frozen=True)
class Chapter:
    """One chapter: the text that people edit, and the notebook made from it."""

    text: Path

    @property
    def name(self) -> str:
        """Its file name without the ending, as in `05-beta-vae`."""
        return self.text.stem

    @property
    def stored(self) -> Path:
        """The committed notebook, with outputs."""
        return self.text.with_suffix(".ipynb")

    @property
    def book(self) -> Path:
        """The book's folder."""
        return self.text.parent.parent


def chapters(book: Path | None = None) -> list[Chapter]:
    """Every text in chapters/ that names a kernel, in reading order.

    >>> all(chapter.text.exists() for chapter in chapters())
    True
    """
    texts = sorted((book or root()).glob("chapters/*.md"))
    return [Chapter(text) for text in texts if "kernelspec" in _header(text)]


def find(name: str, book: Path | None = None) -> Chapter:
    """The chapter of that name, number, or part of a name: `05-beta-vae`, `5`, `beta-vae`."""
    known = chapters(book)
    wanted = Path(name).name.removesuffix(".md").removesuffix(".ipynb").lower()
    if not known:
        raise BookError(f"there is no chapter in {(book or root()) / 'chapters'}")
    names = [chapter.name for chapter in known]
    if wanted.isdigit():
        hits = [c for c in known if re.match(rf"0*{int(wanted)}-", c.name)]
    else:
        bare = {c.name: re.sub(r"^\d+-", "", c.name) for c in known}
        hits = [c for c in known if wanted in (c.name, bare[c.name])]
        hits = hits or [c for c in known if wanted and wanted in c.name]
    if len(hits) == 1:
        return hits[0]
    if hits:
        raise BookError(f"{name!r} could be {either([c.name for c in hits])}; say which")
    near = difflib.get_close_matches(wanted, names, n=1, cutoff=0.4)
    hint = f"did you mean {near[0]}? " if near else ""
    raise BookError(f"no chapter {name!r}; {hint}there are {', '.join(names)}")


def notebook(chapter: Chapter) -> NotebookNode:
    """The text as a notebook without outputs; cells keep the ids of the stored notebook.

    >>> all(not cell.get("outputs") for c in chapters() for cell in notebook(c).cells)
    True
    """
    made = jupytext.reads(chapter.text.read_text(encoding="utf-8"), fmt="md:myst")
    made.metadata.pop("jupytext", None)
    if chapter.stored.exists():
        old = read(chapter.stored).cells
        for cell, place in zip(made.cells, map_outputs_to_inputs(made.cells, old), strict=True):
            if place is not None:
                cell.id = old[place].id
    return made


def read(path: Path) -> NotebookNode:
    """A notebook file; a broken one is an error that names it."""
    try:
        return nbformat.read(path, as_version=4)
    except (nbformat.reader.NotJSONError, nbformat.ValidationError) as error:
        reason = str(error).splitlines()[0]
        raise BookError(f"{path} is not a notebook ({reason}); delete it and remake it") from None


def recorded_in(notebooks: Iterable[Path]) -> dict[str, Record]:
    """The numbers of notebook files by name; where two have one, the later file's."""
    return {row["name"]: row for path in notebooks for row in records(read(path))}


def store(
    chapter: Chapter, executed: NotebookNode, known: Mapping[str, Record] | None = None
) -> bool:
    """Put an executed notebook's outputs beside the text; False where that changes nothing.

    The numbers in its prose become those of `known`. A notebook that someone edited after the text
    is left alone: its edits would be lost.
    """
    made = notebook(chapter)
    if chapter.stored.exists():
        pairs = [[(c.cell_type, c.source) for c in n.cells] for n in (made, read(chapter.stored))]
        if pairs[0] != pairs[1] and chapter.stored.stat().st_mtime > chapter.text.stat().st_mtime:
            raise BookError(
                f"{chapter.stored.name} differs from {chapter.text.name} and is newer. To keep its "
                f"edits: jupytext --to md:myst {chapter.stored}; to drop them: "
                f"touch {chapter.text}"
            )
    if refresh(chapter.text, known or {}):
        made = notebook(chapter)
    for cell, run in zip(made.cells, executed.cells, strict=True):
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = run.outputs, run.execution_count
    text = nbformat.writes(made) + "\n"
    if chapter.stored.exists() and chapter.stored.read_text(encoding="utf-8") == text:
        return False
    save(chapter.stored, text)
    return True


def refresh(text: Path, known: Mapping[str, Record]) -> bool:
    """Bring the numbers in a text's prose up to date; False where that changes nothing."""
    before = text.read_text(encoding="utf-8")
    after = refreshed(before, known)
    if after != before:
        save(text, after)
    return after != before


def title(chapter: Chapter) -> str:
    """The title that the page carries."""
    page = next((c.source for c in notebook(chapter).cells if c.cell_type == "markdown"), "")
    return str(_front_matter(page, chapter.text).get("title", chapter.name))


def first_line(source: str) -> str:
    """The first line of code, which names a cell in messages.

    >>> first_line("# a comment\\n\\nx = 1")
    'x = 1'
    """
    lines = [line.strip() for line in source.splitlines() if line.strip()]
    return next((line for line in lines if not line.startswith("#")), "".join(lines[:1]))


def header(chapter: Chapter) -> dict[str, Any]:
    """What the top of the text says about the chapter: its kernel, minutes and device."""
    return _header(chapter.text)


def _header(path: Path) -> dict[str, Any]:
    return _front_matter(path.read_text(encoding="utf-8"), path)


def _front_matter(text: str, path: Path) -> dict[str, Any]:
    match = re.match(r"---\s*\n(.*?)\n---\s*(\n|$)", text, re.DOTALL)
    return mapping(match[1], path) if match else {}


def mapping(text: str, path: Path) -> dict[str, Any]:
    try:
        loaded = yaml.safe_load(text) or {}
    except yaml.YAMLError as error:
        reason = " ".join(str(error).split())
        raise BookError(f"{path} holds broken YAML: {reason}") from None
    if not isinstance(loaded, dict):
        raise BookError(f"{path} must hold `name: value` lines, got {loaded!r}")
    return loaded


def either(names: list[str]) -> str:
    return " or ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
