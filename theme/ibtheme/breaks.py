"""Where a line may end: not in a short formula, nor before a unit, nor in a date or an option."""

from __future__ import annotations

import re
from html import unescape

from markupsafe import Markup

from .html import join, tag

# KaTeX ends a piece after each sign of relation or operation; a line may end between two pieces.
PIECE = '<span class="base">'
BRACKET = re.compile(r'class="m(open|close)\b')
SHORT, LONG = 12, 28  # signs: of a formula that stays whole, and of pieces that become one
UNIT = re.compile(r"(?<=\d) (?=(?:%|s|kB|MB|GB|GiB)(?!\w))|^ (?=(?:%|nats)(?!\w))|(?<=±) (?=\d)")
DATE = re.compile(r"(\b\d{4}-\d\d-\d\d\b)")
OPTION = re.compile(r"((?<!\S)-[\w-]+)")


def prose(words: str) -> Markup:
    """Words, with units held to their numbers, and dates whole.

    >>> prose("1.2 s on 2026-11-27")
    Markup('1.2\xa0s on <span class="held">2026-11-27</span>')
    """
    return _whole(DATE, UNIT.sub("\u00a0", words))


def code(words: str) -> Markup:
    """A line of code, with its options whole.

    >>> code("run --seeds 2")
    Markup('run <span class="held">--seeds</span> 2')
    """
    return _whole(OPTION, words)


def formula(html: str) -> str:
    """The same formula, where no line ends in a short one, nor within brackets that hold little.

    >>> piece = '<span class="base">{}</span>'.format
    >>> formula(piece("β =") + piece("1"))
    '<span class="base">β =1</span>'
    >>> bar, end = '<i class="mopen">(</i>x ∣', 'z<i class="mclose">)</i> ='
    >>> formula(piece("p" + bar) + piece(end) + piece("an expression")).count("base")
    2
    """
    pieces = html.split("</span>" + PIECE)
    drawn = [pieces[0].rpartition(PIECE)[2], *pieces[1:]]
    sizes = [len(unescape(re.sub(r"<[^>]*>|[\s\u200b]", "", part))) for part in drawn]
    joined = set(range(1, len(pieces))) if sum(sizes) <= SHORT else set()
    opened: list[int] = []
    for last, part in enumerate(drawn):
        for bracket in BRACKET.finditer(part):
            if bracket[1] == "open":
                opened.append(last)
                continue
            first = opened.pop() if opened else last
            start = first
            while start in joined:
                start -= 1
            if sum(sizes[start : last + 1]) <= LONG:
                joined |= set(range(first + 1, last + 1))
    ends = [("" if k in joined else "</span>" + PIECE) for k in range(1, len(pieces))]
    return pieces[0] + "".join(end + part for end, part in zip(ends, pieces[1:], strict=True))


def _whole(pattern: re.Pattern[str], words: str) -> Markup:
    parts = pattern.split(words)
    return join(tag("span", p, class_="held") if k % 2 else p for k, p in enumerate(parts))
