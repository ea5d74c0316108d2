"""Render text: paragraphs, lists, tables, mathematics, references, notes.

A renderer is a function of a node and the page's context, registered under the node's type. A type
nobody registered is a problem, which fails the build: mystmd would drop such content silently.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from markupsafe import Markup

from . import breaks, records, symbols
from .context import Context, Heading, Node
from .html import classes, join, tag

Renderer = Callable[[Node, Context], Markup]
RENDERERS: dict[str, Renderer] = {}


def renders(*kinds: str) -> Callable[[Renderer], Renderer]:
    """Register a function as the renderer of these node types."""

    def register(function: Renderer) -> Renderer:
        RENDERERS.update(dict.fromkeys(kinds, function))
        return function

    return register


def render(node: Node, context: Context) -> Markup:
    """The HTML of a node and all below it."""
    if node.get("visibility") == "remove":
        return Markup()
    if node["type"] not in RENDERERS:
        context.problems.append(f"no renderer for node type {node['type']!r}")
        return children(node, context)
    return RENDERERS[node["type"]](node, context)


def children(node: Node, context: Context) -> Markup:
    """The HTML of what is below a node."""
    return join(render(child, context) for child in held(node.get("children", [])))


def held(parts: Sequence[Node]) -> list[Node]:
    """The same nodes, each formula in one with the signs beside it: no line begins with its stop.

    >>> words = [{"type": "text", "value": value} for value in ("or (", ", then")]
    >>> [part["type"] for part in held([words[0], {"type": "inlineMath"}, words[1]])]
    ['text', 'held', 'text']
    >>> held([words[0], {"type": "inlineMath"}, words[1]])[2]["value"]
    ' then'
    """
    rest, made = list(parts), []
    for i, part in enumerate(rest):
        if part["type"] != "inlineMath":
            made.append(part)
            continue
        before = made[-1]["value"][-1:].strip() if made and made[-1]["type"] == "text" else ""
        after = ""
        if rest[i + 1 :] and rest[i + 1]["type"] == "text":
            after = rest[i + 1]["value"][:1].strip()
        if before:
            made[-1] = made[-1] | {"value": made[-1]["value"][:-1]}
        if after:
            rest[i + 1] = rest[i + 1] | {"value": rest[i + 1]["value"][1:]}
        signs = [{"type": "text", "value": sign} for sign in (before, after)]
        group = {"type": "held", "children": [signs[0], part, signs[1]]}
        made.append(group if before or after else part)
    return made


BASE = Markup('<span class="base">')


@renders("held")
def held_together(node: Node, context: Context) -> Markup:
    """No line ends within, except where a long formula may."""
    inner = join(render(part, context) for part in node["children"])
    return tag(
        "span", inner.replace(BASE, Markup("<wbr>") + BASE).replace("<wbr>", "", 1), class_="held"
    )


def unlinked(node: Node) -> Node:
    """The same node without links, for places that are links or buttons already."""
    if "children" not in node:
        return node
    kind = "inline" if node["type"] in {"link", "crossReference", "cite"} else node["type"]
    return node | {"type": kind, "children": [unlinked(child) for child in node["children"]]}


PLAIN = {
    "paragraph": "p",
    "emphasis": "em",
    "strong": "strong",
    "delete": "del",
    "subscript": "sub",
    "superscript": "sup",
    "underline": "u",
    "keyboard": "kbd",
    "blockquote": "blockquote",
    "tableRow": "tr",
    "caption": "figcaption",
    "definitionList": "dl",
    "definitionTerm": "dt",
    "definitionDescription": "dd",
}
GROUPS = ["root", "inline", "include", "glossary", "div"]


def _plain(name: str) -> Renderer:
    return lambda node, context: tag(name, children(node, context), id=node.get("html_id"))


RENDERERS |= {kind: _plain(name) for kind, name in PLAIN.items()}
RENDERERS |= dict.fromkeys(GROUPS, children)


@renders("span")
def span(node: Node, context: Context) -> Markup:
    inner = children(node, context)
    return tag("span", inner, id=node["html_id"]) if node.get("html_id") else inner


@renders("comment")
def nothing(node: Node, context: Context) -> Markup:
    return Markup()


@renders("text")
def text(node: Node, context: Context) -> Markup:
    return breaks.prose(node["value"])


@renders("inlineCode")
def inline_code(node: Node, context: Context) -> Markup:
    return tag("code", breaks.code(node["value"]))


@renders("smallcaps")
def small_caps(node: Node, context: Context) -> Markup:
    return tag("span", children(node, context), class_="small-caps")


@renders("abbreviation")
def abbreviation(node: Node, context: Context) -> Markup:
    return tag("abbr", children(node, context), title=node.get("title"))


@renders("break")
def line_break(node: Node, context: Context) -> Markup:
    return tag("br")


@renders("thematicBreak")
def rule(node: Node, context: Context) -> Markup:
    return tag("hr")


@renders("heading")
def heading(node: Node, context: Context) -> Markup:
    level = min(max(node["depth"], 2), 6)
    ident = node.get("html_id") or node.get("identifier")
    shown = node.get("enumerator", "")
    if shown and context.chapter and not shown.startswith(f"{context.chapter}."):
        remedy = f"write numbering: {{heading_1: {{start: {context.chapter}}}}} in its front matter"
        context.problems.append(f"section {shown} in chapter {context.chapter}: {remedy}")
    name = join([number(node), children(unlinked(node), context)])
    context.outline.append(Heading(level, ident, name))
    anchor = tag("a", "#", class_="anchor", href=f"#{ident}", aria_label="Link to this section")
    return tag(f"h{level}", number(node), children(node, context), anchor, id=ident)


def number(node: Node) -> Markup:
    """The number of a section, as a part of its heading."""
    return (
        tag("span", node["enumerator"], " ", class_="number") if "enumerator" in node else Markup()
    )


@renders("link")
def link(node: Node, context: Context) -> Markup:
    name, target = children(node, context) or node["url"], node["url"].removeprefix("#")
    if target in context.absent:
        return tag("span", name, class_="absent")
    if target in context.numbers:
        return records.number(target, name, context)
    return tag(
        "a",
        name,
        href=context.href(node["url"]),
        class_=node.get("class"),
    )


@renders("crossReference")
def cross_reference(node: Node, context: Context) -> Markup:
    label = node.get("html_id") or node.get("identifier") or ""
    if not node.get("resolved"):
        if label not in context.absent:
            context.problems.append(f"nothing is labelled {label!r}")
        return tag("span", children(node, context) or label, class_="absent")
    page = context.href(node["url"]) if node.get("remote") else ""
    return tag("a", children(node, context), class_="xref", href=f"{page}#{label}")


@renders("citeGroup")
def citations(node: Node, context: Context) -> Markup:
    if node.get("kind") == "narrative":
        return Markup(" and ").join(render(child, context) for child in node["children"])
    return join(["(", Markup("; ").join(render(child, context) for child in node["children"]), ")"])


@renders("cite")
def citation(node: Node, context: Context) -> Markup:
    return tag("a", children(node, context), class_="xref", href=f"#cite-{node['identifier']}")


@renders("footnoteReference")
def footnote_reference(node: Node, context: Context) -> Markup:
    key = node["enumerator"]
    mark = tag(
        "a", key, class_="xref", id=f"fnref-{key}", href=f"#fn-{key}", aria_label=f"Footnote {key}"
    )
    return tag("sup", mark)


@renders("footnoteDefinition")
def footnote(node: Node, context: Context) -> Markup:
    context.footnotes[node["enumerator"]] = children(node, context)
    return Markup()


@renders("inlineMath")
def inline_math(node: Node, context: Context) -> Markup:
    return Markup(breaks.formula(katex(node, context)))


@renders("math")
def display_math(node: Node, context: Context) -> Markup:
    ident, mark = node.get("html_id"), Markup()
    if "enumerator" in node:
        shown = f"({node['enumerator']})"
        mark = tag("a", shown, href=f"#{ident}") if ident else tag("span", shown)
    body = tag("div", Markup(katex(node, context)), class_="scroll", data_label="Equation")
    return tag("div", body, mark, class_="equation", id=ident)


def katex(node: Node, context: Context) -> str:
    """What mystmd's KaTeX made of a formula; a formula it could not read is a problem."""
    if "html" not in node or node.get("error"):
        context.problems.append(f"KaTeX cannot read {node['value']!r}: {node.get('message', '')}")
    return node.get("html", "")


@renders("list")
def items(node: Node, context: Context) -> Markup:
    start = node.get("start")
    return tag(
        "ol" if node.get("ordered") else "ul",
        children(node, context),
        start=start if start != 1 else None,
    )


@renders("listItem")
def item(node: Node, context: Context) -> Markup:
    box = None
    if node.get("checked") is not None:
        box = tag(
            "input", type="checkbox", disabled=True, checked=node["checked"], aria_label="Done"
        )
    return tag("li", box, children(node, context))


@renders("table")
def table(node: Node, context: Context) -> Markup:
    rows = node["children"]
    if symbols.is_list_of_symbols(node):
        rows = [rows[0], *(row | {"html_id": symbols.ident(row)} for row in rows[1:])]
    head = [row for row in rows if all(cell.get("header") for cell in row["children"])]
    body = [row for row in rows if row not in head]
    if _stacks(head):
        names = [_words(cell) for cell in head[0]["children"]]
        body = [_named(row, names) for row in body]
    parts = [
        tag(name, join(render(_scoped(row, scope), context) for row in part))
        for name, scope, part in (("thead", "col", head), ("tbody", "row", body))
        if part
    ]
    made = tag("table", *parts, class_="stacked" if _stacks(head) else None)
    return tag("div", made, class_="scroll", data_label="Table")


def _stacks(head: list[Node]) -> bool:
    """Whether a narrow screen shows the cells of a row below one another: many columns of words."""
    return len(head) == 1 and len(head[0]["children"]) > 4 and not _formula(head[0])


def _named(row: Node, names: list[str]) -> Node:
    """The same row, whose cells know the names of their columns."""
    cells = zip(row["children"], names, strict=False)
    return row | {"children": [cell | {"column": name} for cell, name in cells]}


def _scoped(row: Node, scope: str) -> Node:
    """The same row, whose headers say whether they head a column or a row."""
    return row | {"children": [cell | {"scope": scope} for cell in row["children"]]}


@renders("tableCell")
def cell(node: Node, context: Context) -> Markup:
    align = node.get("align")
    inner = children(node, context)
    if node.get("header") and not _words(node).strip():
        inner = tag("div", inner, role="math", aria_label=_formula(node))
    return tag(
        "th" if node.get("header") else "td",
        inner,
        class_=f"to-{align}" if align else None,
        scope=node.get("scope") if node.get("header") else None,
        colspan=node.get("colspan"),
        rowspan=node.get("rowspan"),
        data_column=node.get("column"),
    )


def _words(node: Node) -> str:
    """The text of a node, without formulas."""
    own = node.get("value", "") if node["type"] in {"text", "inlineCode"} else ""
    return own + "".join(_words(child) for child in node.get("children", []))


def _formula(node: Node) -> str:
    """The formulas of a node, as they were typed: a header of a table needs a name in words."""
    own = node["value"] if node["type"] == "inlineMath" else ""
    return own + "".join(_formula(child) for child in node.get("children", []))


@renders("image")
def image(node: Node, context: Context) -> Markup:
    if not node.get("alt"):
        context.problems.append(f"the picture {node['url']} has no alt text")
    return tag(
        "img",
        src=context.href(node.get("urlOptimized") or node["url"]),
        alt=node.get("alt", ""),
        width=node.get("width"),
        class_="on-paper",
        loading="lazy",
    )


@renders("container")
def container(node: Node, context: Context) -> Markup:
    """A figure: code stands above it, numbers below, so that picture and caption stay together."""
    inner = node["children"]
    is_cell = any(part["type"] == "outputs" for part in inner)
    code = [part for part in inner if is_cell and part["type"] == "code"]
    rest, recorded = records.lifted(part for part in inner if part not in code)
    if node.get("kind") == "quote":
        return tag("figure", join(render(part, context) for part in rest), class_="epigraph")
    figure = tag(
        "figure",
        join(render(part, context) for part in rest),
        id=node.get("html_id"),
        class_=classes(f"of-{node.get('kind', 'figure')}", node.get("class")),
    )
    shown = [render(part, context) for part in code]
    return join([*shown, figure, records.table(recorded, context)])


@renders("captionNumber")
def caption_number(node: Node, context: Context) -> Markup:
    name, ident = tag("b", children(node, context), class_="caption-number"), node.get("html_id")
    return join([tag("a", name, class_="permalink", href=f"#{ident}") if ident else name, " "])


@renders("embed", "_lift")
def embed(node: Node, context: Context) -> Markup:
    """What is shown again from elsewhere; mystmd leaves it empty without a word where it cannot."""
    label = (node.get("source") or {}).get("label", "?")
    if node["type"] == "embed" and node.get("children"):
        return children(node, context)
    if label not in context.absent:
        remedy = "embed the label of a cell that has an output, not of a figure made from one"
        context.problems.append(f"nothing to show for {label!r}: {remedy}")
    return tag("p", f"[{label} is not in this build]", class_="absent")
