"""The records that the search of the pages looks through.

One for each section, and one for each equation, theorem, exercise, figure, table and symbol: what a
reader calls by name leads to its place. Texts are plain: formulas as a line, no LaTeX, no code.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from typing import Any

from . import formula
from .context import Node
from .symbols import ident, is_list_of_symbols

# page: its title; title, url, text; meaning: of a symbol; code: functions that it calls
Record = dict[str, str]

QUIET = {"output", "comment", "captionNumber", "admonitionTitle", "summary", "image", "code"}
BLOCKS = {"paragraph", "tableRow", "caption", "listItem", "definitionTerm", "heading", "math"}
NAMES = {"math": "Equation", "exercise": "Exercise"}
ANSWERS = {"proof": "proof", "solution": "exercise"}  # to what stands before them
IMPORTS = re.compile(r"^from ibbook[\w.]* import (?:\(([^)]*)\)|(.*))$", re.MULTILINE)


def index(pages: Iterable[Node], config: Node) -> dict[str, Any]:
    """What the script of the pages asks for: the records, and other names of things.

    An address is written as seen from the root of the site. `search_aliases` in book.yml has one
    line a name: `MI: mutual information`.
    """
    home = config["projects"][0]["index"]
    option = (config.get("options") or {}).get("search_aliases", "")
    lines = (line.partition(":") for line in option.splitlines() if line.strip())
    aliases: dict[str, list[str]] = {}
    for name, _, meaning in lines:
        aliases.setdefault(name.strip(), []).append(meaning.strip())
    records = [record for page in pages for record in _records(page, home)]
    return {"aliases": aliases, "records": records}


def script(pages: Iterable[Node], config: Node) -> str:
    """The records as a script: a page that is read from a disk can load that, and no JSON."""
    return f"globalThis.bookRecords = {json.dumps(index(pages, config), ensure_ascii=False)};\n"


def _records(page: Node, home: str) -> Iterator[Record]:
    front, slug = page["frontmatter"], page["slug"]
    name = front.get("title", "")
    reader = _Reader("" if slug == home else f"{slug}/", name)
    reader.begin(name, "", front.get("description", ""))
    reader.read(page["mdast"])
    for record in reader.records:
        record["text"] = " ".join(record["text"].split())
        record["code"] = " ".join(dict.fromkeys(record["code"].split()))
        yield {key: value for key, value in record.items() if value or key == "url"}


class _Reader:
    """Goes through a page once; what it reads belongs to the section that it is in."""

    def __init__(self, address: str, page: str) -> None:
        self.address, self.page = address, page
        self.records: list[Record] = []
        self.imported: set[str] = set()
        self.section: Record = {}
        self.boxes: dict[str, Record] = {}  # the last theorem, the last exercise

    def begin(self, title: str, place: str, text: str = "") -> Record:
        """A new record."""
        url = self.address + (f"#{place}" if place else "")
        record = {"page": self.page, "title": title, "url": url, "text": text, "code": ""}
        self.records.append(record)
        if not self.section or not place:
            self.section = record
        return record

    def read(self, node: Node) -> None:
        kind, place = node["type"], node.get("html_id")
        if node.get("visibility") == "remove":
            return
        if kind == "heading":
            number = f"{node['enumerator']} " if "enumerator" in node else ""
            self.section = self.begin(number + words(node), place or node["identifier"])
        elif kind == "code" and node.get("executable"):
            self.calls(node["value"])
        elif kind == "table" and is_list_of_symbols(node):
            for row in node["children"][1:]:
                symbol, *meaning = (words(cell) for cell in row["children"])
                self.begin(symbol, ident(row))["meaning"] = meaning[0]
        elif box := self.boxes.get(ANSWERS.get(node.get("kind", kind), "")):
            box["text"] += f" {words(node)}"
        elif place and "enumerator" in node and kind != "captionNumber":
            self.numbered(node)
        elif kind in BLOCKS:
            self.section["text"] += f" {words(node)}"
        elif kind not in QUIET:
            for child in node.get("children", []):
                self.read(child)

    def numbered(self, node: Node) -> None:
        """An equation after the sentence that it ends, or a box with its title."""
        kind = NAMES.get(node["type"], node.get("kind", "").capitalize())
        title = f"{kind} {node['enumerator']}"
        if named := " ".join(words(part) for part in _titles(node)):
            title += f" ({named})"
        text = words(node)
        if node["type"] == "math":
            text = f"{_last_sentence(self.section['text'])} {text}"
            self.section["text"] += f" {words(node)}"
        record = self.begin(title, node["html_id"], text)
        self.boxes[node["type"]] = record
        for child in node.get("children", []):
            self.inner(child)

    def inner(self, node: Node) -> None:
        """What has a number of its own within a box, and the code behind a figure."""
        if node["type"] == "code" and node.get("executable"):
            self.calls(node["value"])
        elif node["type"] == "math" and "enumerator" in node and node.get("html_id"):
            self.numbered(node)
        else:
            for child in node.get("children", []):
                self.inner(child)

    def calls(self, source: str) -> None:
        """Note the functions of the package that a cell calls."""
        for several, one in IMPORTS.findall(source):
            self.imported |= set(re.findall(r"\w+", several or one))
        used = set(re.findall(r"\w+", IMPORTS.sub("", source))) & self.imported
        self.section["code"] += "".join(f" {name}" for name in sorted(used))


def words(node: Node) -> str:
    """The plain text of a node.

    >>> words({"type": "paragraph", "children": [{"type": "text", "value": "a "},
    ...        {"type": "inlineCode", "value": "b"}, {"type": "output", "value": "c"}]})
    'a b'
    """
    return " ".join(_text(node).split())


def _text(node: Node, *, inside: bool = False) -> str:
    kind = node["type"]
    if node.get("visibility") == "remove" or (inside and kind in QUIET):
        return ""
    if kind in ("inlineMath", "math"):
        return formula.line(node.get("html", ""))
    gap = "\n" if kind in BLOCKS or kind == "tableCell" else ""
    children = (_text(child, inside=True) for child in node.get("children", []))
    return gap + node.get("value", "") + "".join(children) + gap


def _titles(node: Node) -> list[Node]:
    return [part for part in node.get("children", []) if part["type"] == "admonitionTitle"]


def _last_sentence(text: str) -> str:
    return re.split(r"(?<=[.?!]) +", " ".join(text.split())[-300:])[-1]
