"""A chapter's parameters: what it declares, and the values of a run."""

from __future__ import annotations

import ast
import difflib
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from papermill import inspect_notebook

from ibbook._numbers import integer, number
from ibbook.book.chapters import Chapter, either, mapping, notebook
from ibbook.book.folders import BookError, text_of

Value = int | float | bool | str
TYPES: dict[str, type] = {"int": int, "float": float, "bool": bool, "str": str}
# Columns of the tables of recorded numbers, which a parameter would overwrite.
RESERVED = {"chapter", "run", "name", "value", "unit", "least", "most"}
RESERVED |= {"seconds", "finished", "platform", "torch", "commit", "dirty"}


@dataclass(frozen=True)
class Parameter:
    """One line of a chapter's parameters cell, and what it admits.

    >>> depth = Parameter("depth", "int", 4, "layers", low=1, high=8)
    >>> depth.parse("8")
    8
    >>> depth.parse("deep")
    Traceback (most recent call last):
    ...
    ibbook.book.folders.BookError: depth must be of type int, got 'deep'
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
    try:
        if kind == "int":
            return integer(given, "it", -math.inf)
        if kind == "float":
            return float(number(given, "it"))
    except ValueError:
        return None
    if kind == "bool" and isinstance(given, np.bool_):
        return bool(given)
    return given if type(given) is TYPES[kind] and _is_text(given) else None


def _is_text(given: Value) -> bool:
    """Whether a file can hold it: not bytes that the command line could not read."""
    try:
        return "\0" not in str(given).encode("utf-8").decode("utf-8")
    except UnicodeEncodeError:
        return False


def parameters(chapter: Chapter) -> dict[str, Parameter]:
    """What a chapter's cell tagged `parameters` declares, by name, in its order.

    >>> from ibbook.book.chapters import chapters
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
        raise BookError(f"{where}has type {kind}; annotate it with one of {either(list(TYPES))}")
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
    if not match["domain"] and re.search(r"\[.*\]|\{.*\}", match["help"]):
        raise BookError(
            f"{where}has a domain that would not be checked: let it stand at the very end of the "
            f"comment, after which nothing comes, not even a full stop; got {row['help']!r}"
        )
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
    if profile:
        layer = _profile(chapter, profile)
        values |= admitted(chapter, declared, layer, f"profile {profile}: ")
    return values | admitted(chapter, declared, given or {})


def admitted(
    chapter: Chapter, declared: Mapping[str, Parameter], given: Mapping[str, Any], source: str = ""
) -> dict[str, Value]:
    """Given values as the chapter's parameters take them; an error begins with their `source`."""
    values = {}
    for name, value in given.items():
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
        there = f"there is {either(known)}" if known else "it has none"
        raise BookError(f"{chapter.name} has no profile {profile!r}; {there}")
    path = folder / profile / f"{chapter.name}.yaml"
    return mapping(text_of(path), path)
