"""Cut fonts to the letters and signs that the pages hold: less to load before a page is read.

KaTeX brings every sign of mathematics, and a text font the letters of many languages. What a page
lacks in a font a browser takes from the next one of its list.
"""

from __future__ import annotations

import hashlib
import io
import shutil
import string
from html import unescape
from pathlib import Path

from fontTools.subset import Options, Subsetter, load_font, save_font

SMALL = 6000  # bytes; a smaller font is left as it is


def cut(out: Path, kept: Path) -> None:
    """Replace the fonts of the site in `out`; what was cut before is taken from `kept`."""
    pages = [page.read_text(encoding="utf-8") for page in out.rglob("*.html")]
    pages += [script.read_text(encoding="utf-8") for script in out.glob("*/*.js")]
    letters = "".join(sorted(set(string.printable).union(*map(unescape, pages))))
    kept.mkdir(parents=True, exist_ok=True)
    for font in sorted(out.rglob("*.woff2")):
        content = font.read_bytes()
        if len(content) < SMALL:
            continue
        key = hashlib.sha256(content + letters.encode()).hexdigest()
        done = kept / f"{key}.woff2"
        if not done.is_file():
            part = kept / f"{key}.part"
            part.write_bytes(subset(content, letters))
            part.replace(done)
        shutil.copy(done, font)


def subset(font: bytes, letters: str) -> bytes:
    """A font (WOFF2) with these letters only, and the kerning between them."""
    options = Options(flavor="woff2", hinting=False, notdef_outline=True)
    options.layout_features = ["kern", "liga", "ccmp", "locl", "mark", "mkmk"]
    loaded = load_font(io.BytesIO(font), options)
    cutter = Subsetter(options)
    cutter.populate(text=letters)
    cutter.subset(loaded)
    made = io.BytesIO()
    save_font(loaded, made, options)
    return made.getvalue()
