"""`ibbook crate`: the book, its runs and its data described as an RO-Crate, for archives.

https://w3id.org/ro/crate/1.3, written to ro-crate-metadata.json at the top of the repository.
"""

from __future__ import annotations

import argparse
import json
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from ibbook.book import chapters
from ibbook.book.folders import BookError, files, root, save, text_of
from ibbook.book.results import kept, kept_files

FILE = "ro-crate-metadata.json"
SPECIFICATION = "https://w3id.org/ro/crate/1.3"
NOTEBOOK = "application/x-ipynb+json"
Entity = dict[str, Any]


def crate(book: Path) -> dict[str, Any]:
    """The description: the book as CITATION.cff has it, chapters, kept runs, models, data sets."""
    citation = yaml.safe_load(text_of(book / "CITATION.cff"))
    parts = [*_chapters(book), *_runs(book), *_models(book), *_data(book)]
    files = [part for part in parts if part["@type"] != "CreateAction"]
    own = [part for part in files if not part["@id"].startswith(("#", "http"))]
    runs = [part for part in parts if part["@type"] == "CreateAction"]
    authors = [
        {"@id": f"#author-{n}", "@type": "Organization", "name": author["name"]}
        for n, author in enumerate(citation["authors"], 1)
    ]
    licences = [
        {"@id": f"https://spdx.org/licenses/{name}", "@type": "CreativeWork", "name": name}
        for name in citation["license"]
    ]
    package = {"@id": "ibbook/", "@type": "Dataset", "name": "The package that chapters import"}
    top = {
        "@id": "./",
        "@type": "Dataset",
        "name": citation["title"],
        "description": citation["abstract"].strip(),
        "datePublished": str(citation["date-released"]),
        "version": str(citation["version"]),
        "keywords": ", ".join(citation["keywords"]),
        "license": _ids(licences),
        "author": _ids(authors),
        "hasPart": _ids([package, *own]),
        "mentions": _ids([*runs, *(part for part in files if part not in own)]),
    }
    about = {
        "@id": FILE,
        "@type": "CreativeWork",
        "about": {"@id": "./"},
        "conformsTo": {"@id": SPECIFICATION},
    }
    graph = [about, top, *authors, *licences, package, *parts, *_values(runs, book)]
    return {"@context": f"{SPECIFICATION}/context", "@graph": graph}


def _ids(entities: list[Entity]) -> list[Entity]:
    return [{"@id": entity["@id"]} for entity in entities]


def _chapters(book: Path) -> Iterator[Entity]:
    for chapter in chapters.chapters(book):
        stored, name = f"chapters/{chapter.stored.name}", chapters.title(chapter)
        yield {
            "@id": stored,
            "@type": ["File", "SoftwareSourceCode"],
            "name": name,
            "encodingFormat": NOTEBOOK,
            "programmingLanguage": "Python",
            "isBasedOn": {"@id": f"chapters/{chapter.text.name}"},
        }
        yield {
            "@id": f"chapters/{chapter.text.name}",
            "@type": "File",
            "name": f"{name}: the text that the notebook is made from",
            "encodingFormat": "text/markdown",
        }


def _runs(book: Path) -> Iterator[Entity]:
    """Each kept run: its file, and the action that made it."""
    for path in kept_files(book):
        run, file = kept(path), f"data/results/{path.name}"
        yield {
            "@id": file,
            "@type": "File",
            "name": f"Numbers of the run {path.stem}",
            "encodingFormat": "application/json",
        }
        yield {
            "@id": f"#run-{path.stem}",
            "@type": "CreateAction",
            "name": f"The run {path.stem}",
            "instrument": {"@id": f"chapters/{run['chapter']}.ipynb"},
            "object": [{"@id": _value(path.stem, name)} for name in run["parameters"]],
            "result": {"@id": file},
            "endTime": run["finished"],
        }


def _value(run: str, name: str) -> str:
    return f"#run-{run}-{name}"


def _values(runs: list[Entity], book: Path) -> Iterator[Entity]:
    """The parameters of each kept run."""
    for run in runs:
        name = run["@id"].removeprefix("#run-")
        parameters = kept(book / "data" / "results" / f"{name}.json")["parameters"]
        for what, value in parameters.items():
            named = {"@id": _value(name, what), "@type": "PropertyValue", "name": what}
            yield {**named, "value": value}


def _models(book: Path) -> Iterator[Entity]:
    for path in files(book / "data" / "models", "*.safetensors"):
        about = json.loads(text_of(path.with_suffix(".json")))
        yield {
            "@id": f"data/models/{path.name}",
            "@type": "File",
            "name": f"Trained models of {path.stem}",
            "encodingFormat": "application/octet-stream",
            "sha256": about["sha256"],
            "isBasedOn": {"@id": f"chapters/{about['chapter']}.ipynb"},
        }


def _data(book: Path) -> Iterator[Entity]:
    """Each data set of the registry, which the repository does not hold."""
    path = book / "data" / "registry.toml"
    tables: Mapping[str, Any] = tomllib.loads(text_of(path)) if path.exists() else {}
    for name, about in tables.items():
        urls = [url for file in about.get("files", ()) for url in file["urls"][:1]]
        entity = {"@id": f"#data-{name}", "@type": "Dataset", "name": about["title"]}
        yield entity | {"license": about["licence"]} | ({"url": urls} if urls else {})


def text(book: Path) -> str:
    """The description as its file has it; what it cannot be made of is an error that says so."""
    try:
        return json.dumps(crate(book), indent=1, ensure_ascii=False) + "\n"
    except BookError:
        raise
    except (KeyError, TypeError, ValueError, AttributeError, OSError, yaml.YAMLError) as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise BookError(
            f"{FILE} cannot be made ({reason}); mend CITATION.cff or data/models"
        ) from None


def faults(book: Path) -> Iterator[str]:
    """Whether the file, where there is one, is no longer what it would be."""
    path = book / FILE
    if path.exists():
        try:
            now = text(book)
        except BookError as error:
            yield str(error)
            return
        if text_of(path) != now:
            yield f"{FILE}: does not describe what is here; run `ibbook crate`"


def add_commands(subparsers: argparse._SubParsersAction) -> None:
    """Add `crate`, which sets `run`, a function of the parsed arguments.

    >>> parser = argparse.ArgumentParser()
    >>> add_commands(parser.add_subparsers())
    >>> parser.parse_args(["crate"]).run.__name__
    '_run'
    """
    does = "describe the book, its runs and its data for archives, as an RO-Crate"
    command = subparsers.add_parser("crate", help=does, description=does.capitalize() + ".")
    command.set_defaults(run=_run)


def _run(_: argparse.Namespace) -> None:
    path = root() / FILE
    save(path, text(root()))
    print(path)
