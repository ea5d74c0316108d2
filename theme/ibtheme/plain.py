"""Write a page as plain Markdown, which every notebook viewer can show: no directive, no role.

Theorems, exercises and notes become quotations with a bold title, answers fold, and references
carry the numbers that the site shows.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from .context import Node

Href = Callable[[Node], str]  # the whole address that a node leads to; empty for none
MARKS = {"emphasis": "*", "strong": "**", "delete": "~~"}
ELEMENTS = {"subscript": "sub", "superscript": "sup", "keyboard": "kbd", "underline": "u"}
BLOCKS = {"paragraph", "math", "list", "table", "code", "blockquote", "heading", "container"}
BLOCKS |= {"proof", "exercise", "solution", "admonition", "details", "grid", "card", "tabSet"}
BLOCKS |= {"thematicBreak", "aside", "definitionList", "image"}
SPECIAL = re.compile(r"([\\`*_$<\[\]|])")
LEADING = re.compile(r"^(\s*)([#>+-]|\d+[.)])(?=\s)", re.MULTILINE)


def markdown(nodes: list[Node], href: Href) -> str:
    """These nodes as Markdown, blocks apart by an empty line.

    >>> note = {"type": "text", "value": "a_b costs $5"}
    >>> markdown([{"type": "paragraph", "children": [note]}], lambda node: "")
    'a\\\\_b costs \\\\$5'
    """
    parts: list[str] = []
    run = ""  # what stands in one line
    for node in nodes:
        if node.get("visibility") == "remove" or node["type"] in ("outputs", "comment"):
            continue
        if node["type"] in BLOCKS:
            parts += [run, _block(node, href)]
            run = ""
        else:
            run += _inline(node, href)
    return "\n\n".join(part for part in [*parts, run] if part.strip())


def _inner(node: Node, href: Href) -> str:
    return markdown(node.get("children", []), href)


def _inline(node: Node, href: Href) -> str:
    kind, value = node["type"], node.get("value", "")
    if kind == "text":
        return LEADING.sub(r"\1\\\2", SPECIAL.sub(r"\\\1", value))
    if kind == "inlineCode":
        ticks = "``" if "`" in value else "`"
        return f"{ticks}{value}{ticks}"
    if kind == "inlineMath":
        return f"${' '.join(value.split())}$"
    if kind == "break":
        return "  \n"
    inner = _inner(node, href)
    if kind == "captionNumber":
        return f"**{inner.removesuffix(':')}.** "
    if kind in MARKS:
        return MARKS[kind] + inner + MARKS[kind]
    if kind in ELEMENTS:
        return f"<{ELEMENTS[kind]}>{inner}</{ELEMENTS[kind]}>"
    if kind in ("link", "crossReference", "cite"):
        address = href(node)
        return f"[{inner or address}]({address})" if address else inner
    if kind == "citeGroup" and node.get("kind") != "narrative":
        return f"({'; '.join(_inline(child, href) for child in node['children'])})"
    if kind == "footnoteReference":
        return f"[^{node['enumerator']}]"
    if kind == "footnoteDefinition":
        return f"\n\n[^{node['enumerator']}]: {inner}"
    return inner


def _block(node: Node, href: Href) -> str:
    kind = node["type"]
    if kind == "heading":
        number = f"{node['enumerator']} " if "enumerator" in node else ""
        return f"{'#' * max(node['depth'], 2)} {number}{_inner(node, href)}"
    if kind == "math":
        tag = f"\n\\tag{{{node['enumerator']}}}" if "enumerator" in node else ""
        return f"$$\n{node['value'].strip()}{tag}\n$$"
    if kind == "code":
        return f"```{node.get('lang') or ''}\n{node['value']}\n```"
    if kind == "list":
        return _list(node, href)
    if kind == "table":
        return _table(node, href)
    if kind == "blockquote":
        return _quoted(_inner(node, href))
    if kind == "thematicBreak":
        return "---"
    if kind == "container":
        return markdown([part for part in node["children"] if part["type"] != "code"], href)
    if kind == "image":
        return f"*{node.get('alt', '')}*"
    if kind in ("details", "solution"):
        title, body = _split(node, href)
        title = title or "Details"
        return f"<details>\n<summary>{title}</summary>\n\n{body}\n\n</details>"
    if kind in ("proof", "exercise", "admonition", "aside"):
        title, body = _split(node, href)
        return _quoted(f"{_title(node, title)}\n\n{body}".strip())
    return _inner(node, href)


def _split(node: Node, href: Href) -> tuple[str, str]:
    """The title of a box and what it holds."""
    names = {"admonitionTitle", "summary", "cardTitle"}
    titles = [part for part in node["children"] if part["type"] in names]
    rest = [part for part in node["children"] if part["type"] not in names]
    return " ".join(_inner(part, lambda _: "") for part in titles), markdown(rest, href)


def _title(node: Node, title: str) -> str:
    if node["type"] in ("proof", "exercise"):
        kind = node.get("kind", node["type"]).capitalize()
        number = f" {node['enumerator']}" if "enumerator" in node and kind != "Proof" else ""
        return f"**{kind}{number}**" + (f" ({title})" if title else "")
    return f"**{title}**" if title else ""


def _quoted(text: str) -> str:
    return "\n".join(f"> {line}".rstrip() for line in text.split("\n"))


def _list(node: Node, href: Href) -> str:
    start, lines = node.get("start") or 1, []
    for place, item in enumerate(node["children"]):
        mark = f"{start + place}. " if node.get("ordered") else "- "
        body = _inner(item, href).replace("\n\n", "\n") if not node.get("spread") else ""
        body = body or _inner(item, href)
        lines.append(mark + body.replace("\n", "\n" + " " * len(mark)))
    return "\n".join(lines)


def _table(node: Node, href: Href) -> str:
    rows = [
        [_inner(cell, href).replace("\n", " ").replace("|", r"\|") for cell in row["children"]]
        for row in node["children"]
    ]
    rows = [[cell.replace(r"\\|", r"\|") for cell in row] for row in rows]
    rule = ["---"] * len(rows[0])
    return "\n".join(f"| {' | '.join(row)} |" for row in [rows[0], rule, *rows[1:]])
