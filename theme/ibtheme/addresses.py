"""What others need to know where the site is: its map, and whole addresses in the head of a page.

They are written once `site_url` in book.yml, or the variable SITE_URL, says where it is read.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from xml.sax.saxutils import escape

from .context import Node

MAPS = "http://www.sitemaps.org/schemas/sitemap/0.9"


def site_url(config: Node) -> str:
    """The address of the front page without a slash at its end; empty where it is not known.

    >>> site_url({"options": {"site_url": "https://a.org/book/"}})
    'https://a.org/book'
    """
    known = (config.get("options") or {}).get("site_url") or ""
    return (os.environ.get("SITE_URL") or known).rstrip("/")


def address(url: str, slug: str, home: str) -> str:
    """The whole address of a page.

    >>> address("https://a.org", "vib", "index"), address("https://a.org", "index", "index")
    ('https://a.org/vib/', 'https://a.org/')
    """
    return f"{url}/" if slug == home else f"{url}/{slug}/"


def sitemap(addresses: Iterable[str]) -> str:
    """The map of the site, for search engines.

    >>> sitemap(["https://a.org/?b&c"]).partition('0.9">')[2]
    '<url><loc>https://a.org/?b&amp;c</loc></url></urlset>'
    """
    rows = "".join(f"<url><loc>{escape(one)}</loc></url>" for one in addresses)
    return f'<?xml version="1.0" encoding="UTF-8"?>\n<urlset xmlns="{MAPS}">{rows}</urlset>'


def robots(url: str) -> str:
    """All may read all; where the site is known, the place of its map."""
    return "User-agent: *\nAllow: /\n" + (f"Sitemap: {url}/sitemap.xml\n" if url else "")
