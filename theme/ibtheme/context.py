"""What a renderer knows about the page it renders, and what it hands back besides HTML."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from markupsafe import Markup

from .html import unsafe

Node = dict[str, Any]
ASSET = re.compile(r"[-/][0-9a-f]{32}\.\w+$")  # mystmd names copied files by their content


class Assets(Protocol):
    """Where pictures and long outputs are read from, and where the page finds them."""

    def url(self, path: str) -> str:
        """The address of a file that mystmd copied, as a page writes it."""

    def read(self, path: str) -> bytes:
        """Its content."""

    def save(self, content: bytes, suffix: str) -> str:
        """Keep a file that the theme itself took out of a page, and return its address."""


class Heading(NamedTuple):
    """An entry of the outline."""

    level: int
    ident: str
    html: Markup


@dataclass
class Context:
    """One page while it is being rendered."""

    assets: Assets
    base: str = (
        ""  # the way from this page to the root of the site: "." or "..", or its path on a host
    )
    index: str = "index"
    slug: str = ""
    chapter: str | None = None  # its number, where it has one
    absent: frozenset[str] = frozenset()  # labels of a chapter that is missing from this build
    numbers: Mapping[str, str] = field(default_factory=dict)  # the page that records each
    tolerances: Mapping[str, float] = field(default_factory=dict)
    broken: Sequence[Mapping[str, Any]] = ()  # claims: names, claim, numbers
    outline: list[Heading] = field(default_factory=list)
    footnotes: dict[str, Markup] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    tab_sets: int = 0
    tags: frozenset[str] = frozenset()  # of the cell being rendered

    def href(self, url: str) -> str:
        """The address of a page or file of this book; other addresses as they are."""
        if unsafe(url):
            self.problems.append(f"the link {url!r} leads to no page")
            return "#"
        if not url.startswith("/"):
            return url
        path, mark, fragment = url.partition("#")
        if ASSET.search(path):
            return self.assets.url(path)
        slug = path.strip("/")
        page = f"{self.base}/" if slug in ("", self.index) else f"{self.base}/{slug}/"
        return page + mark + fragment
