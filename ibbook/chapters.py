"""The chapters on disk: their names, parameters, and the pairing of text and notebook."""

from __future__ import annotations

import ast
import difflib
import json
import math
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jupytext
import nbformat
import yaml
from jupytext.combine import map_outputs_to_inputs
from nbformat import NotebookNode
from papermill import inspect_notebook

from ibbook.records import IGNORED, claims, in_outputs

Value = int | float | bool | str
TYPES: dict[str, type] = {"int": int, "float": float, "bool": bool, "str": str}
# Columns of the tables of recorded numbers, which a parameter would overwrite.
RESERVED = {"chapter", "run", "name", "value", "unit"}
RESERVED |= {"seconds", "finished", "platform", "torch", "commit", "dirty"}
# Tags that change what nbval compares; the book allows only the first.
NBVAL = {IGNORED, "nbval-check-output", "nbval-skip", "nbval-raises-exception"}
NBVAL |= {"raises-exception", "pytest-validate-ignore-output"}


class BookError(ValueError):
    """Something that the person at the keyboard can put right; the message says how."""


def root() -> Path:
    """The book's folder: the checkout that this package lies in, or `$IBBOOK_ROOT`.

    >>> (root() / "chapters").is_dir()
    True
    """
    book = Path(os.environ.get("IBBOOK_ROOT") or Path(__file__).parent.parent).resolve()
    if not (book / "chapters").is_dir():
        raise BookError(
            f"no book in {book}: it has no folder chapters/. "
            "Clone the repository, or set IBBOOK_ROOT to where it is"
        )
    return book


def run_store(book: Path) -> Path:
    """The folder of all runs: `_build/runs` of the book, or `$IBBOOK_RUNS`.

    >>> run_store(root()).is_absolute()
    True
    """
    return (book / (os.environ.get("IBBOOK_RUNS") or "_build/runs")).resolve()


def checkpoints() -> Path:
    """The folder for the checkpoints of long runs, beside the folder of runs.

    A full run that was interrupted goes on from there when it is run again. A default run must
    not use it: a test that starts from a finished checkpoint trains nothing.

    >>> checkpoints().name
    'checkpoints'
    """
    return run_store(root()).with_name("checkpoints")


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
        raise BookError(f"{name!r} could be {_either([c.name for c in hits])}; say which")
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


@dataclass(frozen=True)
class Parameter:
    """One line of a chapter's parameters cell, and what it admits.

    >>> depth = Parameter("depth", "int", 4, "layers", low=1, high=8)
    >>> depth.parse("8")
    8
    >>> depth.parse("deep")
    Traceback (most recent call last):
    ...
    ibbook.chapters.BookError: depth must be of type int, got 'deep'
    """

    name: str
    type: str
    default: Value
    help: str
    low: float | None = None
    high: float | None = None
    choices: tuple[Value, ...] = ()

    @property
    def domain(self) -> str:
        """The admitted values as the chapter writes them."""
        if self.low is not None:
            return f"[{self.low}, {self.high}]"
        return "{" + ", ".join(map(json.dumps, self.choices)) + "}" if self.choices else ""

    def parse(self, given: Any) -> Value:
        """A value of the declared type, from a string of the command line or a typed value."""
        value = _typed(given, self.type)
        if value is None:
            wanted = "true or false" if self.type == "bool" else f"of type {self.type}"
            raise BookError(f"{self.name} must be {wanted}, got {given!r}")
        if self.low is not None and not self.low <= value <= self.high:
            raise BookError(f"{self.name} must be in {self.domain}, got {value!r}")
        if self.choices and value not in self.choices:
            near = difflib.get_close_matches(str(value), map(str, self.choices), n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise BookError(f"{self.name} must be one of {self.domain}, got {value!r}{hint}")
        return value


def _typed(given: Any, kind: str) -> Value | None:
    """`given` as that type, or None where it is not one."""
    if isinstance(given, str) and kind != "str":
        if kind == "bool":
            return {"true": True, "false": False}.get(given.lower())
        try:
            given = int(given) if kind == "int" else float(given)
        except ValueError:
            return None
    if kind == "float" and isinstance(given, int) and not isinstance(given, bool):
        given = float(given)
    if type(given) is not TYPES[kind] or (kind == "float" and not math.isfinite(given)):
        return None
    return given


def parameters(chapter: Chapter) -> dict[str, Parameter]:
    """What a chapter's cell tagged `parameters` declares, by name, in its order.

    >>> all(p.parse(p.default) == p.default for c in chapters() for p in parameters(c).values())
    True
    """
    made = notebook(chapter)
    cells = [cell for cell in made.cells if "parameters" in cell.metadata.get("tags", ())]
    if not cells:
        return {}
    where = f"{chapter.text.name}: "
    if len(cells) > 1:
        raise BookError(f"{where}{len(cells)} cells are tagged parameters; keep one")
    found = {name: _declared(where, row) for name, row in inspect_notebook(made).items()}
    # papermill passes over lines that it cannot read; a parameter that it does not see is lost.
    try:
        written = [getattr(s.target, "id", None) for s in ast.parse(cells[0].source).body]
    except (SyntaxError, AttributeError):
        written = None
    if written != list(found):
        raise BookError(
            f"{where}a line of the parameters cell cannot be read; each must be "
            "`name: type = default  # help [low, high]`, with no other = in it"
        )
    return found


def _declared(where: str, row: dict[str, str]) -> Parameter:
    """A parameter from what papermill read off its line."""
    name, kind, where = row["name"], row["inferred_type_name"], f"{where}parameter {row['name']} "
    if kind not in TYPES:
        raise BookError(f"{where}has type {kind}; annotate it with one of {_either(list(TYPES))}")
    if name in RESERVED:
        raise BookError(f"{where}has a reserved name; these are taken: {sorted(RESERVED)}")
    match = re.fullmatch(r"(?P<help>.*?)\s*(?P<domain>\[[^\[\]]*\]|\{[^{}]*\})?", row["help"])
    try:
        default = ast.literal_eval(row["default"])
        domain = ast.literal_eval("[" + match["domain"][1:-1] + "]") if match["domain"] else []
    except (SyntaxError, ValueError):
        raise BookError(
            f"{where}has a default or a domain that is no plain value: "
            f"{row['default']}  # {row['help']}"
        ) from None
    limits: dict[str, Any] = {}
    if match["domain"] and match["domain"].startswith("["):
        if len(domain) != 2 or any(_typed(x, "float") is None for x in domain):
            raise BookError(f"{where}needs a range of two numbers, got {match['domain']}")
        limits = {"low": domain[0], "high": domain[1]}
    elif match["domain"]:
        limits = {"choices": tuple(domain)}
    elif kind in ("int", "float"):
        raise BookError(f"{where}needs a closed range [low, high] at the end of its comment")
    if not match["help"]:
        raise BookError(f"{where}needs a comment that says what it is")
    parameter = Parameter(name, kind, default, match["help"], **limits)
    try:
        return Parameter(name, kind, parameter.parse(default), match["help"], **limits)
    except BookError as error:
        raise BookError(f"{where}has a default that it does not admit: {error}") from None


def resolve(
    chapter: Chapter, given: Mapping[str, Any] | None = None, profile: str | None = None
) -> dict[str, Value]:
    """Every parameter's value: the defaults, over them a profile's, over them those given."""
    declared = parameters(chapter)
    values = {name: parameter.default for name, parameter in declared.items()}
    layers = [(f"profile {profile}: ", _profile(chapter, profile))] if profile else []
    for source, layer in [*layers, ("", given or {})]:
        for name, value in layer.items():
            if name not in declared:
                near = difflib.get_close_matches(str(name), declared, n=1)
                hint = f"did you mean {near[0]}? " if near else ""
                known = ", ".join(declared) or "none"
                raise BookError(
                    f"{source}{chapter.name} has no parameter {name!r}; "
                    f"{hint}its parameters are {known}"
                )
            try:
                values[name] = declared[name].parse(value)
            except BookError as error:
                raise BookError(f"{source}{error}") from None
    return values


def _profile(chapter: Chapter, profile: str) -> dict[str, Any]:
    """The parameters that chapters/profiles/PROFILE/CHAPTER.yaml sets."""
    folder = chapter.book / "chapters" / "profiles"
    known = sorted(p.parent.name for p in folder.glob(f"*/{chapter.name}.yaml"))
    if profile not in known:
        there = f"there is {_either(known)}" if known else "it has none"
        raise BookError(f"{chapter.name} has no profile {profile!r}; {there}")
    path = folder / profile / f"{chapter.name}.yaml"
    return _mapping(path.read_text(encoding="utf-8"), path)


def problems(book: Path | None = None) -> list[str]:
    """What is wrong with texts, notebooks and claims: one line each, empty when all is well."""
    book = book or root()
    known = chapters(book)
    faults = {chapter: list(_problems(chapter)) for chapter in known}
    found = [fault for chapter in known for fault in faults[chapter]]
    found += _unclaimed(book, faults)
    names = {chapter.name for chapter in known}
    for path in sorted(book.glob("chapters/*.ipynb")):
        if path.stem not in names:
            found.append(f"chapters/{path.name}: no text; add {path.stem}.md or delete it")
    for path in sorted(book.glob("chapters/*.md")):
        if path.stem not in names and "{code-cell}" in path.read_text(encoding="utf-8"):
            found.append(f"chapters/{path.name}: has code but names no kernelspec at its top")
    for path in sorted(book.glob("chapters/profiles/*/*.yaml")):
        if path.stem not in names:
            found.append(f"{path.relative_to(book)}: no chapter has this name")
    return found


def _problems(chapter: Chapter) -> Iterator[str]:
    try:
        parameters(chapter)
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
        kinds = [output.output_type for output in cell.outputs]
        if cell.execution_count is None:
            yield f"{label} was not run{remedy}"
        if "error" in kinds:
            yield f"{label} ended in an error; repair it and run `make notebooks`"
        if any(output.get("name") == "stderr" for output in cell.outputs):
            yield f"{label} wrote to stderr; silence its cause and run `make notebooks`"
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


def _code(chapter: Chapter, stored: NotebookNode) -> Iterator[tuple[str, NotebookNode]]:
    """Each code cell that is not empty, after the words that name it."""
    code = [cell for cell in stored.cells if cell.cell_type == "code" and cell.source.strip()]
    for number, cell in enumerate(code, 1):
        where = f"chapters/{chapter.stored.name}: code cell {number}"
        yield f"{where} (`{first_line(cell.source)}`)", cell


def _marks(cell: NotebookNode) -> set[str]:
    """The tags of nbval on a cell, and the comments that do the same."""
    comments = re.findall(r"^\s*#+\s*(NBVAL_\w+|PYTEST_VALIDATE_\w+)\s*$", cell.source, re.M)
    return NBVAL.intersection(cell.metadata.get("tags", ())).union(comments)


def _unclaimed(book: Path, faults: Mapping[Chapter, list[str]]) -> Iterator[str]:
    """Names recorded twice, trained numbers without a claim, and claims without a number.

    Chapters with faults of their own are left out.
    """
    try:
        known = claims(book)
    except ValueError as error:
        yield str(error)
        return
    places: dict[str, str] = {}
    sound = [chapter for chapter, found in faults.items() if not found]
    for chapter in sound:
        for label, cell in _code(chapter, read(chapter.stored)):
            for name in (row["name"] for row in in_outputs(cell.outputs)):
                if name in places:
                    yield f"{label} records {name} again, after {places[name]}; rename one of them"
                elif IGNORED in _marks(cell) and name not in known:
                    yield (
                        f"{label} records {name} out of training without a claim; add [{name}] "
                        "with claim and tolerance to data/claims.toml"
                    )
                places.setdefault(name, label)
    if len(sound) == len(faults):
        for name in sorted(known.keys() - places.keys()):
            yield f"data/claims.toml: no chapter records {name}; record it or delete its claim"


def _difference(made: NotebookNode, stored: NotebookNode) -> str:
    """Where a stored notebook departs from its text; empty where it does not."""
    for number, (new, old) in enumerate(zip(made.cells, stored.cells, strict=False), 1):
        if (new.cell_type, new.source) != (old.cell_type, old.source):
            return f"cell {number} (`{first_line(new.source)}`) differs from its text"
        if new.metadata != old.metadata:
            return (
                f"the metadata of cell {number} (`{first_line(new.source)}`) differ from its text"
            )
    if len(made.cells) != len(stored.cells):
        return f"has {len(stored.cells)} cells, its text has {len(made.cells)}"
    return "" if made.metadata == stored.metadata else "its metadata differ from its text"


def store(chapter: Chapter, executed: NotebookNode) -> bool:
    """Put an executed notebook's outputs beside the text; False where that changes nothing.

    A notebook that someone edited after the text is left alone: its edits would be lost.
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
    for cell, run in zip(made.cells, executed.cells, strict=True):
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = run.outputs, run.execution_count
    text = nbformat.writes(made) + "\n"
    if chapter.stored.exists() and chapter.stored.read_text(encoding="utf-8") == text:
        return False
    save(chapter.stored, text)
    return True


def save(path: Path, text: str) -> None:
    """Write a text file whole or not at all.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp(), "note.txt")
    >>> save(path, "kept")
    >>> path.read_text(), len(list(path.parent.iterdir()))
    ('kept', 1)
    """
    part = path.with_name(f".{path.name}.part")
    part.write_text(text, encoding="utf-8")
    part.replace(path)


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
    return _mapping(match[1], path) if match else {}


def _mapping(text: str, path: Path) -> dict[str, Any]:
    try:
        loaded = yaml.safe_load(text) or {}
    except yaml.YAMLError as error:
        reason = " ".join(str(error).split())
        raise BookError(f"{path} holds broken YAML: {reason}") from None
    if not isinstance(loaded, dict):
        raise BookError(f"{path} must hold `name: value` lines, got {loaded!r}")
    return loaded


def _either(names: list[str]) -> str:
    return " or ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
