"""Formulas as a line of text, for a search to look through: `D_KL[p ∥ q]`, `R(D) = min_p(x̂|x)`."""

from __future__ import annotations

import re
from xml.etree import ElementTree

MATH = re.compile(r"<math.*?</math>", re.DOTALL)
SIGNS = set("=≤≥≈≠<>→∥≡∝⇒±+−≪≫") | {":="}
LARGE = {"∑", "∏", "∫", " min", " max", " lim", " arg"}
LEADING = re.compile(r"(^|[(\[{,;=]\s*)− ")  # a minus sign with nothing before it
ACCENTS = {"^": "\u0302", "ˆ": "\u0302", "~": "\u0303", "˜": "\u0303", "¯": "\u0304", "ˉ": "\u0304"}
BRACES = {"⏟", "⏞"}


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
