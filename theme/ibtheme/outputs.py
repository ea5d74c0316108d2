"""Render what a notebook adds: cells, code, and the outputs of a run."""

from __future__ import annotations

import base64
import io
import re
import struct
from typing import Any

from markdown_it import MarkdownIt
from markupsafe import Markup
from PIL import Image
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import TextLexer, get_lexer_by_name
from pygments.util import ClassNotFound

from . import live, records
from .context import Context, Node
from .html import classes, foreign, join, tag
from .nodes import children, renders

ANSI = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
STYLE = re.compile(r"<style.*?</style>", re.DOTALL | re.IGNORECASE)
BARE = re.compile(r"<[\w.]+ object(?: at 0x[0-9a-f]+)?>")
FORMULA = re.compile(r"\$[^$]+\$|\\[(\[]")
# pandas gives the name of an index a row of its own, otherwise empty, below the other headers
INDEX_NAME = re.compile(
    r"(<thead>\s*<tr[^>]*>\s*)<th></th>(.*?</tr>)\s*<tr>\s*(<th>[^<]+</th>)(?:\s*<th></th>)*\s*</tr>",
    re.DOTALL,
)
HEADER = re.compile(r"<th\b")
MARKDOWN = MarkdownIt("commonmark", {"html": False}).enable("table")
Bundle = dict[str, dict[str, Any]]


@renders("block")
def block(node: Node, context: Context) -> Markup:
    context.tags = frozenset((node.get("data") or {}).get("tags", ()))
    inner = children(node, context)
    if node.get("kind") != "notebook-code":
        return inner
    if node.get("visibility") == "hide":
        inner = fold("Show cell", inner)
    if "parameters" in context.tags:
        note = join([tag("b", "Parameters"), " of this chapter; a run can change them"])
        inner = tag("p", note, class_="badge") + inner
    return tag("div", inner, class_="cell") if inner else inner


@renders("code")
def code(node: Node, context: Context) -> Markup:
    try:
        lexer = get_lexer_by_name(node.get("lang") or "text", stripnl=False)
    except ClassNotFound:
        lexer = TextLexer()
    form = HtmlFormatter(nowrap=True, hl_lines=node.get("emphasizeLines") or [])
    html = highlight(node["value"], lexer, form).rstrip("\n")
    if node.get("showLineNumbers"):
        numbered = enumerate(html.split("\n"), node.get("startingLineNumber", 1))
        html = "\n".join(f'<span class="line-number">{i}</span>{line}' for i, line in numbered)
    lines = tag("code", Markup(html))
    listing = tag(
        "div", tag("pre", lines, class_="scroll", data_label="Code"), class_="code", id=_label(node)
    )
    return fold("Show code", listing) if node.get("visibility") == "hide" else listing


def _label(node: Node) -> str | None:
    """The id of a listing that an author labelled; a cell's own id is of no use to a reader."""
    return node.get("html_id") if node.get("label") else None


def fold(title: str, body: Markup) -> Markup:
    """Something that is there, but closed."""
    return tag("details", tag("summary", title), body, class_="fold")


@renders("outputs")
def outputs(node: Node, context: Context) -> Markup:
    (others,), recorded = records.lifted([node])
    inner = children(others, context) + records.table(recorded, context)
    if inner and node.get("visibility") == "hide":
        inner = fold("Show output", inner)
    return tag("div", inner, class_="outputs") if inner else inner


@renders("output")
def output(node: Node, context: Context) -> Markup:
    data = node.get("jupyter_data")
    if not data:
        return children(node, context)
    if data["output_type"] == "stream":
        text = _content(data, context) if "path" in data else "".join(data["text"])
        return _pre(text, data["name"])
    if data["output_type"] == "error":
        message = f"{data['ename']}: {data['evalue']}"
        if "raises-exception" not in context.tags:
            context.problems.append(f"a cell failed: {message}")
        return _pre(message, "stderr")
    return bundle(data["data"], data.get("metadata") or {}, context)


def bundle(data: Bundle, metadata: dict[str, Any], context: Context) -> Markup:
    """The richest form of a display that a static page can show."""
    if "image/png" in data or "image/svg+xml" in data:
        still = picture(data, metadata, context)
        return live.figure(data[live.MIME], still, context) if live.MIME in data else still
    if "text/html" in data:
        return html_table(_content(data["text/html"], context), context)
    if "text/markdown" in data:
        return markdown(_content(data["text/markdown"], context), context)
    if "text/plain" not in data or "text/latex" in data:
        context.problems.append(f"an output holds only {sorted(data)}, which a page cannot show")
        return Markup()
    text = _content(data["text/plain"], context)
    if BARE.fullmatch(text.strip()):
        context.problems.append(
            f"an output is {text.strip()}, which says nothing; print what it holds"
        )
    return _pre(text, "plain")


def markdown(text: str, context: Context) -> Markup:
    """What a cell displayed as Markdown; mystmd has not seen it, so formulas would stay raw."""
    if FORMULA.search(text):
        context.problems.append("an output of Markdown has a formula; write it in the text instead")
    html = MARKDOWN.render(text)
    if fault := foreign(html):
        context.problems.append(f"an output of Markdown {fault}, which a page cannot show")
        return Markup()
    return Markup(html)


def picture(data: Bundle, metadata: dict[str, Any], context: Context) -> Markup:
    """A picture and, where the run stored one, its partner for dark pages; one of them is shown."""
    alt = _content(data["text/plain"], context) if "text/plain" in data else ""
    if len(alt.split()) < 6 or alt.startswith("<"):
        context.problems.append(f"a picture's alt text must be a sentence, got {alt!r}")
    if "image/png" not in data:
        svg = base64.b64encode(_content(data["image/svg+xml"], context).encode()).decode()
        return tag("img", src=f"data:image/svg+xml;base64,{svg}", alt=alt, class_="on-paper")
    path = data["image/png"].get("path")
    light = context.assets.read(path) if path else base64.b64decode(data["image/png"]["content"])
    url = context.assets.save(smaller(light), ".webp")
    width, height = struct.unpack(">II", light[16:24])
    shown = metadata.get("image/png", {}).get("width", width)
    size = {"width": shown, "height": round(shown * height / width), "alt": alt, "loading": "lazy"}
    dark = metadata.get("ibbook", {}).get("dark")
    if not dark:
        return tag("a", tag("img", src=url, class_="on-paper", **size), class_="picture", href=url)
    partner = context.assets.save(smaller(base64.b64decode(dark)), ".webp")
    pair = [
        tag("img", src=source, class_=f"for-{mode}", **size)
        for mode, source in (("light", url), ("dark", partner))
    ]
    return tag("a", *pair, class_="picture", href=url)


def smaller(png: bytes) -> bytes:
    """The same picture, to the pixel, in a third of the bytes."""
    buffer = io.BytesIO()
    with Image.open(io.BytesIO(png)) as image:
        image.save(buffer, "WEBP", lossless=True, exact=True, method=2, quality=60)
    return buffer.getvalue()


def html_table(html: str, context: Context) -> Markup:
    """A data frame, without the style that pandas adds and without its empty header cells."""
    if fault := foreign(STYLE.sub("", html)):
        context.problems.append(f"an HTML output {fault}, so it would not stay in its place")
        return Markup()
    html = INDEX_NAME.sub(r"\1\3\2", STYLE.sub("", html))
    html = html.replace("<th></th>", "<td></td>").replace(' border="1"', "")
    head, end, body = html.rpartition("</thead>")
    html = HEADER.sub('<th scope="col"', head) + end + HEADER.sub('<th scope="row"', body)
    return tag("div", Markup(html), class_="scroll data", data_label="Table")


def _content(part: dict[str, Any], context: Context) -> str:
    """The text of an output, which mystmd moves to a file when it is long."""
    if "path" in part:
        return context.assets.read(part["path"]).decode()
    return "".join(part["content"])


def _pre(text: str, kind: str) -> Markup:
    text = ANSI.sub("", text).rstrip("\n")
    return tag("pre", text, class_=classes("scroll", "output", kind), data_label="Output")
