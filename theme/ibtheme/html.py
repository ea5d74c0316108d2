"""Write HTML elements from Python, everything escaped unless it is Markup already."""

from __future__ import annotations

from collections.abc import Iterable

from markupsafe import Markup, escape

VOID = {"br", "hr", "img", "input"}


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
