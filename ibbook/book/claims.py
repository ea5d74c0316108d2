"""Claims: what the book says of its numbers, and how far a new run may move them.

A number that comes out of training may move from one processor to another. Its cell is tagged
`nbval-ignore-output`, and its entry in data/claims.toml states how far it may move. A sentence that
compares numbers has an entry with `holds`, an expression that every run must satisfy.
"""

from __future__ import annotations

import math
import re
import tomllib
from collections.abc import Iterable, Mapping
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from ibbook.book import expressions
from ibbook.book.folders import BookError, text_of
from ibbook.book.numbers import blank
from ibbook.book.records import Record


class Claim(NamedTuple):
    """A sentence of the book. `tolerance`, in its unit: how far the number of this name may move.
    `holds`: what must be true of the records for the sentence to be."""

    claim: str
    tolerance: float | None = None
    holds: str | None = None


class Broken(NamedTuple):
    """A sentence that does not hold on some run, and the comparison that fails."""

    name: str
    claim: Claim
    numbers: str

    def __str__(self) -> str:
        return f"{self.name}: {self.claim.claim!r} needs {self.claim.holds}, got {self.numbers}"


def claims(book: Path) -> dict[str, Claim]:
    """The book's claims by name, from data/claims.toml.

    >>> import tempfile
    >>> book = Path(tempfile.mkdtemp())
    >>> claims(book)
    {}
    >>> (book / "data").mkdir()
    >>> lines = '[vib.error]', 'claim = "At most 4 per cent."', 'tolerance = 0.6'
    >>> _ = (book / "data" / "claims.toml").write_text("\\n".join(lines))
    >>> claims(book)
    {'vib.error': Claim(claim='At most 4 per cent.', tolerance=0.6, holds=None)}
    """
    path = book / "data" / "claims.toml"
    if not path.exists():
        return {}
    try:
        tables = tomllib.loads(text_of(path))
    except tomllib.TOMLDecodeError as error:
        raise BookError(f"data/claims.toml is broken: {error}") from None
    found = {}
    for chapter, table in tables.items():
        for what, claim in table.items() if isinstance(table, dict) else [("", table)]:
            found[f"{chapter}.{what}"] = _claim(f"data/claims.toml: [{chapter}.{what}]", claim)
    return found


def _claim(where: str, given: Any) -> Claim:
    if not isinstance(given, dict) or not {"claim"} < set(given) <= set(Claim._fields):
        raise BookError(
            f"{where} must be a table of claim and tolerance, or holds, or both, got {given!r}"
        )
    found = Claim(**given)
    if not isinstance(found.claim, str) or not found.claim.strip():
        raise BookError(f"{where} must state its claim in a sentence, got {found.claim!r}")
    tolerance = found.tolerance
    if tolerance is not None and (
        type(tolerance) not in (int, float) or not 0 < tolerance < math.inf
    ):
        raise BookError(f"{where} needs a tolerance above 0, in its unit, got {tolerance!r}")
    if found.holds is not None:
        try:
            expressions.holds(found.holds, dict.fromkeys(expressions.names(found.holds), 1.0))
        except (ValueError, AttributeError) as error:
            raise BookError(f"{where}: holds {error}") from None
    return found


def broken(known: Mapping[str, Claim], rows: Iterable[Record]) -> list[Broken]:
    """The claims that these records break; those of which a record is missing are left out.

    >>> known = {"vib.better": Claim(claim="It errs less.", holds="vib.error < vib.plain")}
    >>> row = lambda name, value: Record(name=name, value=value, unit="%", label="", digits=1)
    >>> print(*broken(known, [row("vib.error", 1.9), row("vib.plain", 1.7)]))
    vib.better: 'It errs less.' needs vib.error < vib.plain, got 1.9 < 1.7
    >>> broken(known, [row("vib.error", 1.9)])
    []
    """
    values = {row["name"]: row["value"] for row in rows}
    found = []
    open_ones = unrecorded(known, values)
    for name, claim in known.items():
        if claim.holds and name not in open_ones and not expressions.holds(claim.holds, values):
            found.append(Broken(name, claim, expressions.with_numbers(claim.holds, values)))
    return found


def unrecorded(known: Mapping[str, Claim], recorded: Iterable[str]) -> dict[str, str]:
    """The claims that compare a number which is not recorded, and so do not hold: each in words.

    >>> known = {"vib.better": Claim(claim="It errs less.", holds="vib.error < vib.plain")}
    >>> unrecorded(known, ["vib.error", "vib.plain"])
    {}
    >>> unrecorded(known, ["vib.error"])["vib.better"]
    'vib.better: a number that it compares is not recorded'
    """
    there = set(recorded)
    return {
        name: f"{name}: a number that it compares is not recorded"
        for name, claim in known.items()
        if claim.holds and not there.issuperset(expressions.names(claim.holds))
    }


def said(claim: Claim, texts: Iterable[str]) -> bool:
    """Whether the book says a claim in these words, line breaks and numbers apart.

    >>> said(Claim("It errs on [1 %](#vib.error)."), ["So:\\nIt errs\\non [2 %](#vib.error)."])
    True
    """
    return any(_plain(claim.claim) in _plain(text) for text in texts)


@cache  # each text is asked for once a claim
def _plain(text: str) -> str:
    return re.sub(r"\s+", " ", blank(text)).strip()


def drift(
    stored: Iterable[Record], fresh: Iterable[Record], known: Mapping[str, Claim]
) -> list[str]:
    """Where a new run's numbers leave the stored ones by more than their claims admit.

    Numbers are compared in decimal, as they are written: a difference that equals the tolerance is
    within it.

    >>> known = {"vib.error": Claim("At most 4 per cent.", tolerance=0.6)}
    >>> row = lambda value: Record(name="vib.error", value=value, unit="%", label="", digits=1)
    >>> stored = [row(1.9)]
    >>> drift(stored, [row(2.5)], known)
    []
    >>> drift(stored, [row(2.6)], known)
    ['vib.error: now 2.6 %, stored 1.9 %; 0.7 apart, and its claim admits 0.6']
    >>> drift(stored, [], known)
    ['vib.error: now missing, stored 1.9 %']
    """
    stored, fresh = list(stored), list(fresh)
    found = []
    for name in dict.fromkeys(row["name"] for row in [*stored, *fresh]):
        old, new = ([row for row in rows if row["name"] == name] for rows in (stored, fresh))
        both = f"{name}: now {_shown(new)}, stored {_shown(old)}"
        if (len(old), len(new)) != (1, 1):
            found.append(both)
        elif old[0]["unit"] != new[0]["unit"]:
            found.append(f"{both}; another unit")
        elif name not in known or known[name].tolerance is None:
            found.append(f"{both}; it has no tolerance in data/claims.toml")
        else:
            apart = abs(_decimal(new[0]["value"]) - _decimal(old[0]["value"]))
            admitted = _decimal(known[name].tolerance)
            if apart > admitted:
                found.append(f"{both}; {apart} apart, and its claim admits {admitted}")
    return found


def _shown(rows: list[Record]) -> str:
    return " and ".join(f"{row['value']} {row['unit']}".rstrip() for row in rows) or "missing"


def _decimal(number: float) -> Decimal:
    return Decimal(repr(number))
