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

from ibbook._origin import seal
from ibbook.book.folders import BookError, files, root, save, text_of
from ibbook.book.numbers import refreshed
from ibbook.book.records import Record, records

# Where a stored notebook carries the hash of its cells, as `store` wrote them.
SEAL = "ibbook_seal"


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
    texts = files(book or root(), "chapters/*.md")
    return [Chapter(text) for text in texts if _names_a_kernel(text)]


def _names_a_kernel(text: Path) -> bool:
    """Also where its top cannot be read: the error then comes up where the chapter is used."""
    try:
        return "kernelspec" in _header(text)
    except BookError:
        return True


def find(name: str, book: Path | None = None) -> Chapter:
    """The chapter of that name, number, or part of a name: `05-beta-vae`, `5`, `beta-vae`."""
    known = chapters(book)
    wanted = Path(name).name.removesuffix(".md").removesuffix(".ipynb").casefold()
    if not known:
        raise BookError(f"there is no chapter in {(book or root()) / 'chapters'}")
    names = [chapter.name for chapter in known]
    if wanted.isdecimal():
        hits = [c for c in known if re.match(rf"0*{int(wanted)}-", c.name)]
    else:
        plain = {c: c.name.casefold() for c in known}
        hits = [c for c in known if wanted in (plain[c], re.sub(r"^\d+-", "", plain[c]))]
        hits = hits or [c for c in known if wanted and wanted in plain[c]]
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
    text = text_of(chapter.text)
    try:
        made = jupytext.reads(text, fmt="md:myst")
        nbformat.validate(made)
    except Exception as error:  # whatever the parsers of Markdown and YAML stumble over
        reason = " ".join(str(error).split())
        raise BookError(f"{chapter.text} cannot be read as a chapter: {reason}") from None
    made.metadata.pop("jupytext", None)
    if not isinstance(made.metadata.get("ibbook", {}), dict):
        raise BookError(f"{chapter.text} must say ibbook: {{minutes: ..., device: ...}} at its top")
    if chapter.stored.exists():
        old = read(chapter.stored).cells
        for cell, place in zip(made.cells, map_outputs_to_inputs(made.cells, old), strict=True):
            if place is not None:
                cell.id = old[place].id
    return made


def read(path: Path) -> NotebookNode:
    """A notebook file; a broken one is an error that names it."""
    try:
        found = nbformat.read(path, as_version=4)
        "".join(cell.source for cell in found.cells)  # nbformat only warns of what is no text
        return found
    except OSError:
        raise
    except Exception as error:  # whatever nbformat stumbles over
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise BookError(f"{path} is not a notebook ({reason}); delete it and remake it") from None


def numbers_in(path: Path) -> list[Record]:
    """The numbers that a notebook file recorded; a damaged one is an error that names it."""
    try:
        return list(records(read(path)))
    except ValueError as error:
        named = isinstance(error, BookError)
        raise BookError(str(error) if named else f"{path}: {error}; run it again") from None


def recorded_in(notebooks: Iterable[Path]) -> dict[str, Record]:
    """The numbers of notebook files by name; where two have one, the later file's."""
    return {row["name"]: row for path in notebooks for row in numbers_in(path)}


def untouched(stored: NotebookNode) -> bool:
    """Whether a stored notebook is as `store` wrote it; none is that was written before seals."""
    return stored.metadata.get(SEAL) == _seal(stored)


def _seal(made: NotebookNode) -> str:
    return seal({"cells": made.cells})


def store(
    chapter: Chapter, executed: NotebookNode, known: Mapping[str, Record] | None = None
) -> bool:
    """Put an executed notebook's outputs beside the text; False where that changes nothing.

    The numbers in its prose become those of `known`. A notebook that someone edited is left alone:
    its edits would be lost.
    """
    made = notebook(chapter)
    if _code(made) != _code(executed):
        raise BookError(f"{chapter.text} changed while its cells ran; give the command again")
    if chapter.stored.exists():
        stored = read(chapter.stored)
        if attached(stored) or (sources(made) != sources(stored) and _edited(chapter, stored)):
            raise BookError(
                f"{chapter.stored.name} was edited, and differs from {chapter.text.name}. To keep "
                f"its edits: jupytext --to md:myst {chapter.stored}, and save pasted pictures as "
                f"files; to drop them: delete {chapter.stored}"
            )
    if refresh(chapter.text, known or {}):
        made = notebook(chapter)
    for cell, run in zip(made.cells, executed.cells, strict=True):
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = run.outputs, run.execution_count
    made.metadata[SEAL] = _seal(made)
    text = nbformat.writes(made) + "\n"
    if chapter.stored.exists() and chapter.stored.read_text(encoding="utf-8") == text:
        return False
    save(chapter.stored, text)
    return True


def sources(made: NotebookNode) -> list[tuple[str, str]]:
    """What the cells of a notebook hold, without outputs."""
    return [(cell.cell_type, cell.source) for cell in made.cells]


def _code(made: NotebookNode) -> list[str]:
    return [cell.source for cell in made.cells if cell.cell_type == "code"]


def attached(made: NotebookNode) -> list[int]:
    """The numbers, from 1, of cells that hold pasted pictures, which no text can."""
    return [number for number, cell in enumerate(made.cells, 1) if cell.get("attachments")]


def _edited(chapter: Chapter, stored: NotebookNode) -> bool:
    """Whether someone else than `store` wrote this notebook; without a seal the later date says."""
    if SEAL in stored.metadata:
        return not untouched(stored)
    return chapter.stored.stat().st_mtime > chapter.text.stat().st_mtime


def refresh(text: Path, known: Mapping[str, Record]) -> bool:
    """Bring the numbers in a text's prose up to date; False where that changes nothing."""
    before = text_of(text)
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
    return _front_matter(text_of(path), path)


def _front_matter(text: str, path: Path) -> dict[str, Any]:
    match = re.match(r"---\s*\n(.*?)\n---\s*(\n|$)", text, re.DOTALL)
    return mapping(match[1], path) if match else {}


def mapping(text: str, path: Path) -> dict[str, Any]:
    """What YAML says, each value as the words that stand there: `010` is no octal number here."""
    try:
        loaded = yaml.load(text, Loader=_Words) or {}
    except (yaml.YAMLError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise BookError(f"{path} holds broken YAML: {reason}") from None
    if not isinstance(loaded, dict):
        raise BookError(f"{path} must hold `name: value` lines, got {loaded!r}")
    return loaded


class _Words(yaml.BaseLoader):
    """Every value is text, and no key stands twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[str, Any]:
        names = [str(key.value) for key, _ in node.value]
        if twice := next((name for name in names if names.count(name) > 1), None):
            raise ValueError(
                f"{twice} stands there more than once, in line {node.start_mark.line + 1}"
            )
        return super().construct_mapping(node, deep)


def either(names: list[str]) -> str:
    return " or ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
