"""The book on paper: the site's own pages, printed by Chromium, with numbered pages and bookmarks.

Pages of a PDF are one document: every id takes the name of its page, links between pages become
links within, and a link to what is not printed becomes its words.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

from ibbook.book.folders import BookError, save
from ibbook.book.site import SiteError, run_tool

CHROMIUM = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
FLAGS = ("--headless", "--disable-gpu", "--no-first-run", "--disable-background-networking")
SETTINGS = ("--no-pdf-header-footer", "--generate-pdf-document-outline")
CONTENTS = re.compile(r'<nav id="contents".*?</nav>', re.DOTALL)
ARTICLE = re.compile(r"<article.*?</article>", re.DOTALL)
STYLES = re.compile(r'<link rel="stylesheet"[^>]*>')
# Before it prints, Chromium loads only the fonts of what it has laid out for a screen.
SHOWN = "<style>section { content-visibility: visible !important; }</style>"
CHAPTER = '<p class="chapter">'
LINKS = '<p class="links">'


def write(site: Path, *, timeout: float = 600) -> list[Path]:
    """Print a built site into its folder `pdf`: `book.pdf`, and each chapter by itself.

    The front page and the chapters' pages then offer them.
    Needs Chromium or Chrome on the PATH, or its path in the environment variable CHROMIUM.
    `timeout` is in seconds, for each file.

    >>> write(Path("/nowhere"))
    Traceback (most recent call last):
    ibbook.book.folders.BookError: no site in /nowhere; build it with `ibbook book`
    """
    if not (site / "index.html").is_file():
        raise BookError(f"no site in {site}; build it with `ibbook book`")
    chromium, pages = _chromium(), pages_of(site)
    out = site / "pdf"
    out.mkdir(exist_ok=True)
    jobs = {"book": pages}
    jobs |= {slug: {slug: html} for slug, html in pages.items() if CHAPTER in html}
    made = []
    for name, chosen in jobs.items():
        sheet, target = out / f"{name}.html", out / f"{name}.pdf"
        target.unlink(missing_ok=True)
        sheet.write_text(document(chosen), encoding="utf-8")
        try:
            said = _print(chromium, sheet, target, timeout)
        except SiteError as error:
            raise BookError(str(error)) from None
        finally:
            sheet.unlink()
        if not target.is_file():
            reason = said.strip().splitlines()[-1:] or ["without a word"]
            raise BookError(f"{chromium} printed no {target.name}: {reason[0]}")
        made.append(target)
    for name in jobs:
        _offer(site, name)
    return made


def _offer(site: Path, name: str) -> None:
    """Put the link to a printed file into its page, with the links that are there."""
    page = site / "index.html" if name == "book" else site / name / "index.html"
    html = page.read_text(encoding="utf-8")
    base = "." if name == "book" else ".."
    words = "The whole book as PDF" if name == "book" else "PDF"
    link = f'<a href="{base}/pdf/{name}.pdf">{words}</a>'
    if link in html:
        return
    old, new = LINKS, f"{LINKS}\n{link}"
    if old not in html:
        old, new = "</header>\n", f"{LINKS}{link}</p>\n</header>\n"
    head, opening, rest = html.partition('<header class="opening">')
    save(page, head + opening + rest.replace(old, new, 1))


def _print(chromium: str, sheet: Path, target: Path, timeout: float) -> str:
    """Print one file with a browser that knows nothing of its user; what it said."""
    root = ["--no-sandbox"] if os.geteuid() == 0 else []  # Chromium refuses to run otherwise
    with tempfile.TemporaryDirectory() as profile:
        command = [chromium, *FLAGS, *SETTINGS, *root, f"--user-data-dir={profile}"]
        command += [f"--print-to-pdf={target}", sheet.as_uri()]
        return run_tool(command, sheet.parent, timeout)


def _chromium() -> str:
    given = os.environ.get("CHROMIUM")
    found = next(filter(None, map(shutil.which, [given] if given else CHROMIUM)), None)
    if not found:
        missing = f"CHROMIUM is {given!r}, which is no program" if given else "no Chromium here"
        raise BookError(f"{missing}; install Chromium or Chrome, or set CHROMIUM to its path")
    return found


def pages_of(site: Path) -> dict[str, str]:
    """The HTML of each page by its name, in reading order; that of the front page is `index`."""
    front = (site / "index.html").read_text(encoding="utf-8")
    pages = {"index": front}
    for href in re.findall(r'href="\./([^"#]+)/"', CONTENTS.search(front)[0]):
        pages[href] = (site / href / "index.html").read_text(encoding="utf-8")
    return pages


def document(pages: Mapping[str, str]) -> str:
    """One page to print, from the pages of the site: their texts one after the other.

    >>> page = '<title>A</title><article><h1 id="x">A</h1><a href="../b/#y">b</a></article>'
    >>> print(document({"a": page}).splitlines()[-1])
    <article id="a--" ><h1 id="a--x">A</h1><a>b</a></article></body></html>
    """
    first = next(iter(pages.values()))
    head = re.search(r"<title>.*?</title>", first, re.DOTALL)[0]
    head += "".join(STYLES.findall(first)).replace('href="./', 'href="../') + SHOWN
    articles = "\n".join(_article(slug, html, pages) for slug, html in pages.items())
    start = f'<!DOCTYPE html><html lang="en"><head><meta charset="utf-8">{head}</head><body>'
    return f"{start}\n{articles}</body></html>"


def _article(slug: str, html: str, pages: Mapping[str, str]) -> str:
    text = ARTICLE.search(html)[0].replace("<article", f'<article id="{slug}--" ', 1)
    text = re.sub(r' (id|for|name)="([^"]*)"', rf' \1="{slug}--\2"', text).replace(
        f'id="{slug}--{slug}--"', f'id="{slug}--"'
    )
    text = text.replace('src="./', 'src="../').replace(' loading="lazy"', "")

    def link(match: re.Match[str]) -> str:
        """Where a link leads on paper."""
        path, _, place = match[1].partition("#")
        if "://" in path or path.startswith("mailto:"):
            return match[0]
        other = path.strip("./") or ("index" if path else slug)
        return f' href="#{other}--{place}"' if other in pages else ""

    return re.sub(r' href="([^"]*)"', link, text)
