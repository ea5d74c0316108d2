"""Recorded numbers: a table of them below their cell, and the numbers in prose that lead there."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from markupsafe import Markup

from .context import Context, Node
from .html import join, tag

MIME = "application/vnd.ibbook.record+json"


def row(node: Node) -> dict[str, Any] | None:
    """What an output recorded, or None.

    >>> data = {MIME: {"content": '{"name": "vib.rate"}'}}
    >>> row({"type": "output", "jupyter_data": {"data": data}})
    {'name': 'vib.rate'}
    >>> row({"type": "output", "jupyter_data": {"output_type": "stream", "text": "x"}})
    """
    bundle = (node.get("jupyter_data") or {}).get("data") or {}
    return json.loads("".join(bundle[MIME]["content"])) if MIME in bundle else None


def places(pages: Iterable[Node]) -> dict[str, str]:
    """The slug of the page that shows each recorded number.

    >>> data = {MIME: {"content": '{"name": "vib.rate"}'}}
    >>> tree = {"type": "output", "jupyter_data": {"data": data}}
    >>> places([{"slug": "vib", "mdast": {"type": "root", "children": [tree]}}])
    {'vib.rate': 'vib'}
    """
    return {name: page["slug"] for page in pages for name in _names(page["mdast"])}


def _names(node: Node) -> Iterator[str]:
    if found := row(node):
        yield found["name"]
    for child in node.get("children", []):
        yield from _names(child)


def lifted(parts: Iterable[Node]) -> tuple[list[Node], list[Node]]:
    """The same nodes without the records among their outputs, and those records."""
    kept, recorded = [], []
    for part in parts:
        if part["type"] == "outputs":
            recorded += [child for child in part["children"] if row(child)]
            part = part | {"children": [c for c in part["children"] if not row(c)]}
        kept.append(part)
    return kept, recorded


def table(recorded: Sequence[Node], context: Context) -> Markup:
    """One table of all that a cell recorded, and beside it what it breaks."""
    lines = [_line(node, context) for node in recorded]
    if not lines:
        return Markup()
    here = {row(node)["name"] for node in recorded}
    notes = [_note(claim) for claim in context.broken if claim["names"][0] in here]
    body = tag("table", tag("tbody", *lines), class_="records")
    return join([*notes, tag("div", body, class_="scroll", data_label="Table")])


def _line(node: Node, context: Context) -> Markup:
    about, plain = row(node), node["jupyter_data"]["data"]["text/plain"]["content"]
    name, label = about["name"], about["label"]
    value = "".join(plain).removeprefix(f"{label}: ")
    link = tag("a", "#", class_="anchor", href=f"#{name}", aria_label="Link to this number")
    return tag(
        "tr",
        tag("th", label, link, scope="row"),
        tag("td", tag("b", value, class_="words" if "against" in about else None)),
        tag("td", _details(about, context)),
        id=name,
    )


def _details(about: dict[str, Any], context: Context) -> str:
    """Over how many seeds a number was taken, between what, and how far a rerun may move it."""
    parts = []
    if "seeds" in about:
        parts.append(f"{about['seeds']} seed{'s' if about['seeds'] > 1 else ''}")
    if "least" in about:
        parts.append(" to ".join(f"{about[end]:.{about['digits']}f}" for end in ("least", "most")))
    if about["name"] in context.tolerances:
        parts.append(f"rerun ± {context.tolerances[about['name']]:g} {about['unit']}".rstrip())
    return ", ".join(parts)


def _note(claim: dict[str, Any]) -> Markup:
    words = [tag("b", "Not so in this run"), ": “", claim["claim"], "” (", claim["numbers"], ")"]
    return tag("div", tag("p", *words), class_="margin broken", role="note")


def number(name: str, text: Markup, context: Context) -> Markup:
    """A number in prose: it leads to its record, on whatever page that is."""
    page = context.href(f"/{context.numbers[name]}")
    here = context.numbers[name] == context.slug
    return tag("a", text, class_="xref measured", href=f"{'' if here else page}#{name}")
