"""`ibbook models`: trained models of chapters' runs, shipped for readers to start from."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from nbformat.v4 import new_code_cell

from ibbook._origin import sha256
from ibbook.book import chapters
from ibbook.book.folders import BookError, files, root, save, text_of
from ibbook.book.kernels import execute
from ibbook.book.keys import commit, inputs
from ibbook.book.parameters import resolve
from ibbook.book.results import sealed
from ibbook.book.runs import origin

LARGEST = 1_000_000  # bytes; they travel with the repository


class Recipe(NamedTuple):
    """What of a chapter's run is kept: an expression whose value is an Ensemble, evaluated after
    the last cell that holds the words `after`; later cells are not run."""

    ensemble: str
    after: str


def recipes(book: Path) -> dict[str, Recipe]:
    """The recipes of data/models/recipes.toml, by chapter."""
    path = book / "data" / "models" / "recipes.toml"
    try:
        return {name: Recipe(**table) for name, table in tomllib.loads(text_of(path)).items()}
    except (OSError, tomllib.TOMLDecodeError, TypeError) as error:
        remedy = "it must have a table with ensemble and after for each chapter"
        raise BookError(f"{path} cannot be read ({error}); {remedy}") from None


def make(name: str, recipe: Recipe, book: Path) -> Path:
    """Run a chapter with its defaults, and keep in data/models what the recipe says."""
    chapter = chapters.find(name, book)
    values = resolve(chapter)
    depends, at = inputs(chapter, values), commit(book)
    made = chapters.notebook(chapter)
    places = [n for n, cell in enumerate(made.cells) if recipe.after in cell.source]
    if not places:
        raise BookError(f"no cell of {name} holds {recipe.after!r}; mend its recipe")
    with tempfile.TemporaryDirectory() as folder:
        part = Path(folder, "model.safetensors")
        made.cells[places[-1] + 1 :] = [new_code_cell(f"({recipe.ensemble}).save({str(part)!r})")]
        start = time.monotonic()
        execute(chapter, made, Path(folder, "made.ipynb"), {}, None, False)
        seconds = round(time.monotonic() - start, 1)
        if inputs(chapter, values) != depends or commit(book)["commit"] != at["commit"]:
            raise BookError(f"what {name} depends on changed while it ran; give the command again")
        if (size := part.stat().st_size) > LARGEST:
            raise BookError(f"the models of {name} take {size} bytes, over {LARGEST}; keep fewer")
        path = book / "data" / "models" / f"{chapter.name}.safetensors"
        about = origin(chapter, depends, {}, seconds) | at
        about |= {"recipe": recipe._asdict(), "command": f"ibbook models {name}"}
        text = json.dumps(sealed(about | {"sha256": sha256(part)}), indent=1) + "\n"
        shutil.copyfile(part, path)
        save(path.with_suffix(".json"), text)
    return path


def faults(book: Path) -> Iterator[str]:
    """Models that are missing, too large, changed, or that no recipe makes."""
    folder = book / "data" / "models"
    if not folder.is_dir():
        return
    wanted = recipes(book)
    for path in files(folder, "*.safetensors"):
        if path.stem not in wanted:
            yield f"data/models/{path.name}: no recipe makes it; add one or delete it"
    for name, recipe in wanted.items():
        where, path = f"data/models/{name}", folder / f"{name}.safetensors"
        if not path.is_file() or not path.with_suffix(".json").is_file():
            yield f"{where}: missing; run `ibbook models {name}`"
            continue
        try:
            about: dict[str, Any] = {**json.loads(text_of(path.with_suffix(".json")))}
        except (ValueError, TypeError):
            yield f"{where}.json: is damaged; run `ibbook models {name}`"
            continue
        if about != sealed({n: v for n, v in about.items() if n != "seal"}):
            yield f"{where}.json: was changed by hand; run `ibbook models {name}`"
        elif about["sha256"] != sha256(path) or about["recipe"] != recipe._asdict():
            yield f"{where}: is not what its recipe made; run `ibbook models {name}`"
        elif path.stat().st_size > LARGEST:
            yield f"{where}: is larger than {LARGEST} bytes; keep fewer members"


def add_commands(subparsers: argparse._SubParsersAction) -> None:
    """Add `models`, which sets `run`, a function of the parsed arguments.

    >>> parser = argparse.ArgumentParser()
    >>> add_commands(parser.add_subparsers())
    >>> parser.parse_args(["models", "05-beta-vae"]).names
    ['05-beta-vae']
    """
    text = "run chapters again and keep some of their trained models in data/models"
    command = subparsers.add_parser("models", help=text, description=text.capitalize() + ".")
    command.add_argument("names", nargs="*", metavar="CHAPTER", help="default: all that have one")
    command.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> None:
    book = root()
    known = recipes(book)
    chosen = [chapters.find(name, book).name for name in options.names] or list(known)
    if strange := [name for name in chosen if name not in known]:
        raise BookError(f"data/models/recipes.toml has no {strange[0]}; it has {', '.join(known)}")
    for name in chosen:
        print(f"{name}: running", file=sys.stderr, flush=True)
        print(make(name, known[name], book))
