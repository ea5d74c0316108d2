"""Write HTML elements from Python, everything escaped unless it is Markup already."""

from __future__ import annotations

import re
from collections.abc import Iterable
from html.parser import HTMLParser

from markupsafe import Markup, escape

VOID = {"br", "hr", "img", "input"}
# What an HTML output may hold: tables, and text with emphasis.
ELEMENTS = {"table", "thead", "tbody", "tfoot", "tr", "th", "td", "caption", "colgroup", "col"}
ELEMENTS |= {"div", "p", "span", "b", "i", "em", "strong", "small", "sub", "sup", "code", "pre"}
ELEMENTS |= {"br", "hr", "ul", "ol", "li", "dl", "dt", "dd", "blockquote", "a"}
ELEMENTS |= {"h2", "h3", "h4", "h5", "h6"}
ATTRIBUTES = {"class", "colspan", "rowspan", "scope", "title", "align", "valign", "halign", "start"}
ATTRIBUTES |= {"border", "style", "href", "id"}
# Text that a browser reads as an address of its own kind, once blanks and controls are gone.
SCHEME = re.compile(r"([a-z][a-z0-9+.-]*):", re.IGNORECASE)
SAFE = {"http", "https", "mailto"}


def tag(name: str, /, *children: object, **attributes: object) -> Markup:
    """One element. Attributes that are None, False or empty are left out, True stands alone.

    >>> tag("a", "x < y", href="/?a=1&b=2", class_="xref", hidden=True, title=None)
    Markup('<a href="/?a=1&amp;b=2" class="xref" hidden>x &lt; y</a>')
    >>> tag("img", src="a.png", alt="")
    Markup('<img src="a.png" alt="">')
    """
    start = Markup("<") + name
    for key, value in attributes.items():
        key = key.rstrip("_").replace("_", "-")
        if value is True:
            start += Markup(" ") + key
        elif value not in (None, False, "") or (key == "alt" and value == ""):
            start += Markup(' {}="{}"').format(key, value)
    start += Markup(">")
    return start if name in VOID else start + join(children) + Markup("</{}>").format(name)


def join(parts: Iterable[object]) -> Markup:
    """Concatenate, escaping what is not Markup; None counts as nothing.

    >>> join(["a & b", None, Markup("<br>")])
    Markup('a &amp; b<br>')
    """
    return Markup("").join(escape(part) for part in parts if part is not None)


def classes(*names: str | None) -> str:
    """A class attribute of the names that are not empty.

    >>> classes("box", None, "note dropdown")
    'box note dropdown'
    """
    return " ".join(name for name in names if name)


def unsafe(url: str) -> bool:
    """Whether a link would do something else than lead to a page.

    >>> [unsafe(url) for url in ("/a#b", "https://a.org", "java\\nscript:1", "data:text/html,1")]
    [False, False, True, True]
    """
    scheme = SCHEME.match(re.sub(r"[\x00-\x20\x7f-\xa0]", "", url))
    return bool(scheme) and scheme[1].lower() not in SAFE


class _Foreign(HTMLParser):
    """Notes what is not plain text in tables, or is left open."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.faults: list[str] = []

    def handle_starttag(self, name: str, attributes: list[tuple[str, str | None]]) -> None:
        if name not in ELEMENTS:
            self.faults.append(f"has the element <{name}>")
        for key, value in attributes:
            text = value or ""
            if key not in ATTRIBUTES or (key == "href" and unsafe(text)):
                self.faults.append(f"has the attribute {key}={text!r}")
            if key == "style" and re.search(r"position|url|expression|@import|\\", text, re.I):
                self.faults.append(f"has the style {text!r}")
        if name not in VOID | {"col"}:
            self.open.append(name)

    def handle_startendtag(self, name: str, attributes: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(name, attributes)

    def handle_endtag(self, name: str) -> None:
        if not self.open or self.open.pop() != name:
            self.faults.append(f"closes <{name}> where it is not open")

    def handle_comment(self, data: str) -> None:
        self.faults.append("has a comment")

    def unknown_decl(self, data: str) -> None:
        self.faults.append("has a declaration")

    handle_decl = handle_pi = unknown_decl


def foreign(html: str) -> str:
    """The first thing in an HTML output that is no table or text of its own; empty for none.

    >>> foreign("<table><tr><td>1</td></tr></table>")
    ''
    >>> foreign("<SCRIPT>1</SCRIPT>"), foreign('<p onclick="x">')
    ('has the element <script>', "has the attribute onclick='x'")
    """
    reader = _Foreign()
    reader.feed(html)
    rest = reader.rawdata
    reader.close()
    faults = reader.faults
    if reader.open:
        faults.append(f"leaves <{reader.open[-1]}> open")
    if "<" in rest:
        faults.append("ends within a tag")
    return faults[0] if faults else ""
