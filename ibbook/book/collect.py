"""The numbers that runs recorded: gathered from many runs, or kept of one."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ibbook.book.chapters import Chapter, either, numbers_in, read
from ibbook.book.folders import BookError, root, run_store, save
from ibbook.book.keys import inputs, key
from ibbook.book.results import NUMBER, results_folder, sealed, table
from ibbook.book.runs import PROVENANCE, below, executed, finished, provenance

if TYPE_CHECKING:
    import pandas as pd

NAME = re.compile(r"[a-z0-9][a-z0-9_-]*")


def collect(runs: Iterable[Path] | None = None, book: Path | None = None) -> pd.DataFrame:
    """Every number that runs recorded, one row each, beside the run's parameters.

    `runs` are run folders or folders that hold some; by default all of the book's runs. A damaged
    one is an error.
    """
    found, damaged = gather(runs, book)
    if damaged:
        raise BookError("; ".join(damaged))
    return found


def gather(
    runs: Iterable[Path] | None = None, book: Path | None = None
) -> tuple[pd.DataFrame, list[str]]:
    """The numbers of the whole runs, as `collect` gives them, and what is wrong with the others."""
    rows, damaged = [], []
    for top in [run_store(book or root())] if runs is None else runs:
        found = sorted(_finished_below(top))
        if not found:
            raise BookError(f"no run in {top}; make one with `ibbook run CHAPTER`")
        for run_folder in found:
            try:
                about = provenance(run_folder)
                made = numbers_in(executed(run_folder))
            except BookError as error:
                damaged.append(str(error))
                continue
            for row in made:
                origin = {"chapter": about["chapter"], "run": about["key"]}
                number = {name: row[name] for name in NUMBER}
                rows.append({**origin, **number, **about["parameters"]})
    return table(rows, ["chapter", "run", *NUMBER]), damaged


def present(chapter: Chapter) -> list[Path]:
    """The runs of a chapter as it is now: of its text, this package, these data and libraries."""
    depends, found = inputs(chapter, {}), []
    for run in sorted(_finished_below(below(chapter))):
        about = provenance(run)
        own = {"parameters": about["parameters"], "device": about["inputs"]["device"]}
        if about["key"] == key(depends | own):
            found.append(run)
    if not found:
        raise BookError(f"no run of {chapter.name} as it is now; make some with `ibbook sweep`")
    return found


def keep(run: Path, name: str, figures: Collection[str] = ()) -> Path:
    """Store a finished run's numbers and provenance as data/results/NAME.json.

    `run` is a run's folder or its notebook, `figures` are labels of its cells whose pictures are
    kept, too. A file of another run is not overwritten.

    >>> keep(Path("nowhere"), "04-vib-full-seed-0")
    Traceback (most recent call last):
    ...
    ibbook.book.folders.BookError: no finished run in nowhere; `ibbook run` prints where one lies
    """
    if not NAME.fullmatch(name):
        raise BookError(f"NAME must be lower-case letters, digits, - and _, got {name!r}")
    folder = run.parent if run.suffix == ".ipynb" else run
    if not finished(folder):
        raise BookError(f"no finished run in {folder}; `ibbook run` prints where one lies")
    rows = numbers_in(executed(folder))
    if not rows:
        raise BookError(f"the run in {folder} recorded no number; there is nothing to keep")
    path = results_folder() / f"{name}.json"
    about = {**provenance(folder), "records": rows}
    if figures:
        about["figures"] = _figures(executed(folder), figures)
    text = json.dumps(sealed(about), indent=1, allow_nan=False) + "\n"
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        save(path, text, new=True)
    except FileExistsError:
        if path.read_text(encoding="utf-8") != text:
            raise BookError(
                f"{path} holds another run; choose another name, or delete it first"
            ) from None
    return path


def _figures(notebook: Path, labels: Collection[str]) -> dict[str, dict[str, Any]]:
    """What the cells of those labels drew, as the notebook holds it: pictures and alt text."""
    drawn = {
        cell.metadata.get("label"): {"data": output.data, "metadata": output.metadata}
        for cell in read(notebook).cells
        for output in cell.get("outputs", [])
        if "image/png" in output.get("data", {})
    }
    for label in labels:
        if label not in drawn:
            known = either(sorted(filter(None, drawn)) or ["none"])
            raise BookError(f"the run has no figure {label!r}; it has {known}")
    return {label: drawn[label] for label in labels}


def _finished_below(top: Path) -> Iterator[Path]:
    for path in top.rglob(PROVENANCE):
        if not any(part.startswith(".") for part in path.relative_to(top).parts):
            yield path.parent
