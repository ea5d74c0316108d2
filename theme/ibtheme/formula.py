"""Formulas as a line of text, for a search to look through: `D_KL[p ∥ q]`, `R(D) = min_p(x̂|x)`.

And where a line may end within one.
"""

from __future__ import annotations

import re
from html import unescape
from xml.etree import ElementTree

MATH = re.compile(r"<math.*?</math>", re.DOTALL)
SIGNS = set("=≤≥≈≠<>→∥≡∝⇒±+−≪≫") | {":="}
LARGE = {"∑", "∏", "∫", " min", " max", " lim", " arg"}
LEADING = re.compile(r"(^|[(\[{,;=]\s*)− ")  # a minus sign with nothing before it
ACCENTS = {"^": "\u0302", "ˆ": "\u0302", "~": "\u0303", "˜": "\u0303", "¯": "\u0304", "ˉ": "\u0304"}
BRACES = {"⏟", "⏞"}
# KaTeX ends a piece after each sign of relation or operation; a line may end between two pieces.
PIECE = '<span class="base">'
BRACKET = re.compile(r'class="m(open|close)\b')
SHORT, LONG = 12, 28  # signs: of a formula that stays whole, and of pieces that become one


def line(html: str) -> str:
    """What a formula says, from what KaTeX wrote for screen readers.

    >>> line("<math><mfrac><mi>a</mi><mrow><mi>b</mi><mo>+</mo><mi>c</mi></mrow></mfrac></math>")
    'a/(b + c)'
    >>> line("<math><msub><mi>D</mi><mtext>KL</mtext></msub></math>, no formula")
    'D_KL'
    """
    found = MATH.search(html)
    text = _said(ElementTree.fromstring(found[0])) if found else ""
    return re.sub(r"\s+", " ", LEADING.sub(r"\1−", text)).strip()


def unbroken(html: str) -> str:
    """The same formula, where no line ends in a short one, nor within brackets that hold little.

    >>> piece = '<span class="base">{}</span>'.format
    >>> unbroken(piece("β =") + piece("1"))
    '<span class="base">β =1</span>'
    >>> bar, end = '<i class="mopen">(</i>x ∣', 'z<i class="mclose">)</i> ='
    >>> unbroken(piece("p" + bar) + piece(end) + piece("an expression")).count("base")
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


def _said(node: ElementTree.Element) -> str:
    name, own = node.tag.rpartition("}")[2], node.text or ""
    if name in ("annotation", "mphantom"):
        return ""
    if name == "mspace" or own in ("\u2061", "\u200b"):  # the sign that applies a function
        return " "
    if name == "mo" and own in SIGNS:
        return f" {own} "
    if name == "mi" and len(own) > 1 and own.isalpha():
        return f" {own}"
    parts = [_said(child) for child in node]
    if name == "mfrac":
        return "/".join(_grouped(part.strip()) for part in parts)
    if name == "msqrt":
        return "√" + _grouped("".join(parts))
    if name == "mover" and parts[1] not in BRACES:
        return parts[0] + ACCENTS.get(parts[1].strip(), f"^{parts[1]}")
    if name in ("mover", "munder") and parts[1] in BRACES:
        return parts[0]
    if name in ("msub", "munder", "msup", "msubsup", "munderover"):
        marks = "^" if name == "msup" else "_^"
        scripts = [part.replace(" ", "") for part in parts[1:]]
        whole = parts[0] + "".join(map("".join, zip(marks, scripts, strict=False)))
        return f"{whole} " if parts[0] in LARGE else whole
    return own + "".join(parts) + (" " if name == "mtr" else "")


def _grouped(text: str) -> str:
    return text if len(text) < 2 or text.isalnum() else f"({text})"
