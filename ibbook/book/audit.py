"""The audit of the book: whether texts, notebooks and claims agree."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from nbformat import NotebookNode

from ibbook._zeros import NEGATIVE_ZERO
from ibbook.book import crate, ledger, markup, models, numbers
from ibbook.book.chapters import (
    SEAL,
    Chapter,
    attached,
    chapters,
    first_line,
    notebook,
    read,
    title,
    untouched,
)
from ibbook.book.claims import broken, claims, said
from ibbook.book.course import bank, exercises
from ibbook.book.expressions import names as spoken_of
from ibbook.book.folders import BookError, files, root, text_of
from ibbook.book.parameters import parameters, resolve
from ibbook.book.records import IGNORED, Record, in_outputs
from ibbook.book.results import kept, kept_files

# Tags that change what nbval compares; the book allows only the first.
NBVAL = {IGNORED, "nbval-check-output", "nbval-skip", "nbval-raises-exception"}
NBVAL |= {"raises-exception", "pytest-validate-ignore-output"}


def problems(book: Path | None = None) -> list[str]:
    """What is wrong with texts, notebooks and claims: one line each, empty when all is well."""
    book = book or root()
    known = chapters(book)
    faults = {chapter: list(_problems(chapter)) or list(_touched(chapter)) for chapter in known}
    found = [fault for chapter in known for fault in faults[chapter]]
    found += _unsupported(book, faults)
    names = {chapter.name for chapter in known}
    for path in files(book, "chapters/*.ipynb"):
        if path.stem not in names:
            found.append(f"chapters/{path.name}: no text; add {path.stem}.md or delete it")
    for path in files(book, "chapters/*.md"):
        try:
            text = text_of(path)
        except BookError as error:
            found += [] if path.stem in names else [f"chapters/{path.name}: {error}"]
            continue
        found += [f"chapters/{path.name}: {fault}" for fault in markup.faults(text)]
        if path.stem not in names and "{code-cell}" in text:
            found.append(f"chapters/{path.name}: has code but names no kernelspec at its top")
    for source in exercises.exercises(book):
        found += exercises.faults(source)
        found += bank.faults(source)
    for path in kept_files(book):
        found += [f"{path.relative_to(book)}: {fault}" for fault in _kept(path)]
    found += models.faults(book)
    found += crate.faults(book)
    for path in files(book, "chapters/profiles/*/*.yaml"):
        if path.stem not in names:
            found.append(f"{path.relative_to(book)}: no chapter has this name")
    return found


def _kept(path: Path) -> Iterator[str]:
    """What is wrong with a kept run."""
    try:
        if "seal" not in kept(path):
            yield "has no seal; keep the run again with `ibbook keep`"
    except BookError as error:
        yield str(error)


def _problems(chapter: Chapter) -> Iterator[str]:
    try:
        parameters(chapter), title(chapter)
        for path in sorted(chapter.book.glob(f"chapters/profiles/*/{chapter.name}.yaml")):
            resolve(chapter, profile=path.parent.name)
        made = notebook(chapter)
        stored = read(chapter.stored) if chapter.stored.exists() else None
    except BookError as error:
        yield f"chapters/{chapter.text.name}: {error}"
        return
    about = made.metadata.get("ibbook", {})
    if not {"minutes", "device"} <= set(about):
        top = "ibbook: {minutes: ..., device: ...}"
        yield f"chapters/{chapter.text.name}: its top must say {top}"
    file, remedy = f"chapters/{chapter.stored.name}: ", "; run `make notebooks`"
    if stored is None:
        yield f"{file}missing{remedy}"
        return
    if difference := _difference(made, stored):
        yield f"{file}{difference}{remedy}"
        return
    code = list(_code(chapter, stored))
    if not any(cell.outputs for _, cell in code):
        yield f"{file}has no outputs{remedy}"
        return
    for label, cell in code:
        try:
            list(in_outputs(cell.outputs))
        except ValueError as error:
            yield f"{label}: {error}{remedy}"
            return
        kinds = [output.output_type for output in cell.outputs]
        if cell.execution_count is None:
            yield f"{label} was not run{remedy}"
        if "error" in kinds:
            yield f"{label} ended in an error; repair it and run `make notebooks`"
        if any(output.get("name") == "stderr" for output in cell.outputs):
            yield f"{label} wrote to stderr; silence its cause and run `make notebooks`"
        if any(NEGATIVE_ZERO.search(text) for text in _texts(cell)):
            yield f"{label} shows a rounded zero with a minus sign; round, add 0.0{remedy}"
        if marks := _marks(cell) - {IGNORED}:
            yield (
                f"{label} is marked {' and '.join(sorted(marks))}, which keeps it from being "
                f"compared; only the tag {IGNORED} is allowed, on cells that record trained numbers"
            )
        if IGNORED in _marks(cell) and not any(in_outputs(cell.outputs)):
            yield (
                f"{label} is tagged {IGNORED} but records nothing, so nothing of it is compared; "
                "record in this cell the numbers that it computes or draws, or drop the tag"
            )


def _touched(chapter: Chapter) -> Iterator[str]:
    """Whether a notebook that looks sound is that which `ibbook notebooks` wrote."""
    if not untouched(read(chapter.stored)):
        yield (
            f"chapters/{chapter.stored.name}: was changed after it was written; "
            "run `make notebooks`"
        )


def _code(chapter: Chapter, stored: NotebookNode) -> Iterator[tuple[str, NotebookNode]]:
    """Each code cell that is not empty, after the words that name it."""
    code = [cell for cell in stored.cells if cell.cell_type == "code" and cell.source.strip()]
    for number, cell in enumerate(code, 1):
        where = f"chapters/{chapter.stored.name}: code cell {number}"
        yield f"{where} (`{first_line(cell.source)}`)", cell


def _texts(cell: NotebookNode) -> Iterator[str]:
    """What a cell printed and displayed, as text."""
    for output in cell.outputs:
        yield output.get("text", "")
        yield output.get("data", {}).get("text/plain", "")


def _marks(cell: NotebookNode) -> set[str]:
    """The tags of nbval on a cell, and the comments that do the same."""
    comments = re.findall(r"^\s*#+\s*(NBVAL_\w+|PYTEST_VALIDATE_\w+)\s*$", cell.source, re.M)
    return NBVAL.intersection(cell.metadata.get("tags", ())).union(comments)


def _unsupported(book: Path, faults: Mapping[Chapter, list[str]]) -> Iterator[str]:
    """Where records, claims and prose part.

    Names recorded twice, trained numbers without a tolerance, claims that nothing records, that no
    text makes or that do not hold, entries of the ledger that lead nowhere, and numbers in prose
    that are not those of the run. Chapters with faults of their own are left out.
    """
    try:
        known = claims(book)
    except ValueError as error:
        yield str(error)
        return
    places: dict[str, str] = {}
    homes: dict[str, str] = {}
    rows: dict[str, Record] = {}
    sound = [chapter for chapter, found in faults.items() if not found]
    for chapter in sound:
        for label, cell in _code(chapter, read(chapter.stored)):
            for row in in_outputs(cell.outputs):
                name = row["name"]
                if name in places:
                    yield f"{label} records {name} again, after {places[name]}; rename one of them"
                elif (
                    IGNORED in _marks(cell) and getattr(known.get(name), "tolerance", None) is None
                ):
                    yield (
                        f"{label} records {name} out of training without a tolerance; add [{name}] "
                        "with claim and tolerance to data/claims.toml"
                    )
                places.setdefault(name, label)
                homes.setdefault(name, chapter.name)
                rows.setdefault(name, row)
    if len(sound) < len(faults):
        return
    try:
        texts = {path: text_of(path) for path in files(book, "chapters/*.md")}
    except BookError:  # which is named already
        return
    for name, claim in known.items():
        needed = [name] if claim.tolerance is not None else []
        for missing in dict.fromkeys(needed + spoken_of(claim.holds or "0")):
            if missing not in rows:
                remedy = f"record it or delete [{name}]"
                yield f"data/claims.toml: no chapter records {missing}; {remedy}"
        if claim.holds and not said(claim, texts.values()):
            yield (
                f"data/claims.toml: [{name}] has holds, but no chapter says {claim.claim!r}; "
                "quote the sentence, or the part of it that compares, as the chapter has it"
            )
    yield from (f"data/claims.toml: {fault}" for fault in broken(known, rows.values()))
    values = {name: row["value"] for name, row in rows.items()}
    amiss = list(ledger.faults(book, homes, {chapter.name for chapter in sound}, values))
    yield from amiss
    if not amiss:
        yield from ledger.misstated(texts, book, values)
    for path, text in texts.items():
        for fault in numbers.problems(text, rows):
            yield f"chapters/{path.name}: {fault}; run `make notebooks`"


def _difference(made: NotebookNode, stored: NotebookNode) -> str:
    """Where a stored notebook departs from its text; empty where it does not."""
    if pasted := attached(stored):
        return (
            f"cell {pasted[0]} holds a pasted picture, which its text cannot; save it as a file "
            "beside the text, refer to it there, and delete this notebook"
        )
    for number, (new, old) in enumerate(zip(made.cells, stored.cells, strict=False), 1):
        if (new.cell_type, new.source) != (old.cell_type, old.source):
            return f"cell {number} (`{first_line(new.source)}`) differs from its text"
        if new.metadata != old.metadata:
            return (
                f"the metadata of cell {number} (`{first_line(new.source)}`) differ from its text"
            )
    if len(made.cells) != len(stored.cells):
        return f"has {len(stored.cells)} cells, its text has {len(made.cells)}"
    own = {name: value for name, value in stored.metadata.items() if name != SEAL}
    return "" if made.metadata == own else "its metadata differ from its text"
