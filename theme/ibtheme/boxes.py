"""Render what stands apart from the text: theorems, exercises, notes, tabs, cards, the margin."""

from __future__ import annotations

from markupsafe import Markup

from .context import Context, Node
from .html import classes, join, tag
from .nodes import children, render, renders, unlinked

UNNUMBERED = {"proof"}


@renders("admonition")
def admonition(node: Node, context: Context) -> Markup:
    title, body = _split(node, "admonitionTitle", context)
    return _box(node, classes("admonition", node.get("kind", "note")), title, body)


@renders("details")
def details(node: Node, context: Context) -> Markup:
    title, body = _split(node, "summary", context)
    return _fold(node, "admonition dropdown", title or "Details", body)


@renders("proof")
def proof(node: Node, context: Context) -> Markup:
    kind = node.get("kind", "proof")
    return _box(
        node, classes("theorem", kind if kind != "theorem" else None), *_named(node, kind, context)
    )


@renders("exercise")
def exercise(node: Node, context: Context) -> Markup:
    return _box(node, "exercise", *_named(node, "exercise", context))


@renders("solution")
def solution(node: Node, context: Context) -> Markup:
    title, body = _split(node, "admonitionTitle", context)
    return _box(node, "solution", title, body)


def _named(node: Node, kind: str, context: Context) -> tuple[Markup, Markup]:
    """The title of a theorem and its kin, such as "Theorem 2.1 (Gibbs)", and its statement."""
    title, body = _split(node, "admonitionTitle", context)
    counter = "" if kind in UNNUMBERED else node.get("enumerator", "")
    lead = tag("b", f"{kind.capitalize()} {counter}".strip())
    if "html_id" in node and "dropdown" not in (node.get("class") or ""):
        lead = tag("a", lead, class_="permalink", href=f"#{node['html_id']}")
    return join([lead, " (" if title else None, title or None, ")" if title else None]), body


def _split(node: Node, kind: str, context: Context) -> tuple[Markup, Markup]:
    """The title inside a box (without links, since a fold's title is a button), and the rest."""
    titles = [part for part in node["children"] if part["type"] == kind]
    rest = [part for part in node["children"] if part["type"] != kind]
    title = join(children(unlinked(part), context) for part in titles)
    return title, join(render(part, context) for part in rest)


def _box(node: Node, kind: str, title: Markup, body: Markup) -> Markup:
    if "dropdown" in (node.get("class") or ""):
        return _fold(node, kind, title, body)
    heading = tag("p", title, class_="box-title")
    return tag("div", heading, body, class_=classes("box", kind), id=node.get("html_id"))


def _fold(node: Node, kind: str, title: object, body: Markup) -> Markup:
    return tag(
        "details",
        tag("summary", title),
        tag("div", body, class_="fold-body"),
        class_=classes("box", kind),
        id=node.get("html_id"),
        open=node.get("open", False),
    )


@renders("tabSet")
def tab_set(node: Node, context: Context) -> Markup:
    """Tabs without a script: radio buttons, of which the chosen one shows its panel."""
    context.tab_sets += 1
    name = f"tabs-{context.tab_sets}"
    chosen = next((i for i, tab in enumerate(node["children"]) if tab.get("selected")), 0)
    parts: list[Markup] = []
    for i, tab in enumerate(node["children"]):
        ident = f"{name}-{i}"
        radio = {"type": "radio", "name": name, "id": ident, "checked": i == chosen}
        parts += [
            tag("input", **radio, data_sync=tab.get("sync")),
            tag("label", tab["title"], for_=ident),
            tag("div", children(tab, context), class_="panel"),
        ]
    return tag("div", *parts, class_="tabs")


@renders("grid")
def grid(node: Node, context: Context) -> Markup:
    columns = (node.get("columns") or [1, 2, 2, 2])[-1]
    return tag("div", children(node, context), class_="grid", style=f"--columns: {columns}")


@renders("card")
def card(node: Node, context: Context) -> Markup:
    if "url" not in node:
        return tag("div", children(node, context), class_="card")
    body = children(unlinked(node), context)
    return tag("a", body, class_="card", href=context.href(node["url"]))


@renders("cardTitle")
def card_title(node: Node, context: Context) -> Markup:
    return tag("p", children(node, context), class_="card-title")


@renders("aside")
def margin(node: Node, context: Context) -> Markup:
    return tag("div", children(node, context), class_="margin", role="note")
