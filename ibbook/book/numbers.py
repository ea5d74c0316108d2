"""Numbers in prose: each is a link to its record, `[1.31 %](#vib.test_error)`.

They are written at the digits that the sentence needs. GitHub and JupyterLab show a plain number,
the site the number of its own run, with a card.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from decimal import ROUND_HALF_UP, Decimal

from ibbook.book.records import NAME, Record

LINK = re.compile(rf"\[([^\[\]]*)\]\(#({NAME.pattern})\)")
FORM = re.compile(
    r"(?P<sign>[-\u2212]?)(?P<whole>[\d,]+)(?:\.(?P<part>\d+))?(?P<space>\s*)(?P<unit>.*)"
)
SMALL = [
    "zero",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
    "thirteen",
    "fourteen",
    "fifteen",
    "sixteen",
    "seventeen",
    "eighteen",
    "nineteen",
    "twenty",
]


def problems(text: str, known: Mapping[str, Record]) -> Iterator[str]:
    """What is wrong with the numbers of a text: those that no cell records, or that are stale.

    >>> known = {"vib.rate": Record(name="vib.rate", value=14.68, unit="nats", label="", digits=2)}
    >>> list(problems("R is [14.7 nats](#vib.rate), or [14.68](#vib.rate).", known))
    []
    >>> for line in problems("R is [14.6 nats](#vib.rate), not [3](#vib.rat).", known):
    ...     print(line)
    says [14.6 nats](#vib.rate), but the run recorded 14.7 nats
    says [3](#vib.rat), but no chapter records vib.rat
    """
    for link, shown, name in ((m[0], m[1], m[2]) for m in LINK.finditer(text)):
        if name not in known:
            yield f"says {link}, but no chapter records {name}"
            continue
        try:
            now = written(shown, known[name])
        except ValueError as error:
            yield f"says {link}: {error}"
            continue
        if now != shown:
            yield f"says {link}, but the run recorded {now}"


def refreshed(text: str, known: Mapping[str, Record]) -> str:
    """The text with every number that is recorded as it is now.

    >>> known = {"vib.rate": Record(name="vib.rate", value=14.68, unit="nats", label="", digits=2)}
    >>> refreshed("R is [3.1 nats](#vib.rate), and [2](#vib.other).", known)
    'R is [14.7 nats](#vib.rate), and [2](#vib.other).'
    """

    def now(match: re.Match[str]) -> str:
        try:
            return f"[{written(match[1], known[match[2]])}](#{match[2]})"
        except (KeyError, ValueError):
            return match[0]

    return LINK.sub(now, text)


def blank(text: str) -> str:
    """The text without the values of its numbers, which a rerun may change.

    >>> blank("R is [14.7 nats](#vib.rate).")
    'R is [](#vib.rate).'
    """
    return LINK.sub(r"[](#\2)", text)


def unlinked(text: str) -> str:
    """The text with its numbers as plain words.

    >>> unlinked("R is [14.7 nats](#vib.rate).")
    'R is 14.7 nats.'
    """
    return LINK.sub(r"\1", text)


def written(shown: str, row: Record) -> str:
    """A record's number in the form of `shown`: its digits, its unit or none, a word or figures.

    >>> row = Record(name="vae.apart", value=11.0, unit="", label="Seeds apart", digits=0)
    >>> written("three", row), written("3", row)
    ('eleven', '11')
    """
    number = Decimal(repr(row["value"]))
    if shown.lower() in SMALL:
        if number not in range(len(SMALL)):
            return str(number.normalize())
        word = SMALL[int(number)]
        return word.capitalize() if shown[0].isupper() else word
    form = FORM.fullmatch(shown)
    if not form:
        raise ValueError(
            "write a number, in figures or in words up to twenty, and its unit or none"
        )
    digits = len(form["part"] or "")
    if digits > row["digits"]:
        raise ValueError(f"it has {digits} decimals, the record {row['digits']}")
    if form["unit"] and form["unit"] != row["unit"]:
        raise ValueError(f"its unit is {form['unit']!r}, the record's {row['unit']!r}")
    number = number.quantize(Decimal(1).scaleb(-digits), ROUND_HALF_UP)
    figures = f"{abs(number):,}" if "," in shown or abs(number) >= 10_000 else f"{abs(number)}"
    sign = (form["sign"] or "-") if number < 0 else ""
    return sign + figures + form["space"] + form["unit"]
