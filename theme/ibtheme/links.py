"""Follow every link of a published site that stays inside it."""

from __future__ import annotations

import os
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

from .html import unsafe


class Anchors(HTMLParser):
    """The targets and the links of one page."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.links: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name == "id" and value:
                self.ids.append(value)
            elif name in {"href", "src"} and value:
                self.links.append(value)


def broken_links(out: Path) -> list[str]:
    """Every link to a page, file or place that is not there, and every id that is there twice.

    A link from the root of a host would lead astray from a disk or a path below that root.
    """
    found = sorted(out.rglob("index.html"))
    pages = {page: Anchors(page.read_text(encoding="utf-8")) for page in found}
    broken = []
    for page, anchors in pages.items():
        name = page.relative_to(out).parent.as_posix()
        twice = {ident for ident in anchors.ids if anchors.ids.count(ident) > 1}
        broken += [f"{name}: two things have the id {ident!r}" for ident in sorted(twice)]
        for link in dict.fromkeys(anchors.links):
            if unsafe(link) and not link.startswith("data:image/"):
                broken.append(f"{name}: the link {link!r} leads to no page")
                continue
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = page
            if parts.path:
                target = Path(os.path.normpath(page.parent / unquote(parts.path)))
            target = target / "index.html" if target.is_dir() else target
            place = unquote(parts.fragment)
            outside = parts.path.startswith("/") or not target.is_relative_to(out)
            lost = place and target in pages and place not in pages[target].ids
            if outside or lost or not target.is_file():
                broken.append(f"{name}: the link {link!r} leads nowhere")
    return broken
