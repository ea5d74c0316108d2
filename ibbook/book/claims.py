"""Claims: what the book says of a trained number, and how far a new run may move it.

A number that comes out of training may move from one processor to another. Its cell is tagged
`nbval-ignore-output`, and its claim in data/claims.toml states how far it may move.
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Iterable, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any, TypedDict

from ibbook.book.records import Record


class Claim(TypedDict):
    """What the book says of a recorded number, and how far a new run may move it, in its unit."""

    claim: str
    tolerance: float


def claims(book: Path) -> dict[str, Claim]:
    """The book's claims by the name of their number, from data/claims.toml.

    >>> import tempfile
    >>> book = Path(tempfile.mkdtemp())
    >>> claims(book)
    {}
    >>> (book / "data").mkdir()
    >>> lines = '[vib.error]', 'claim = "At most 4 per cent."', 'tolerance = 0.6'
    >>> _ = (book / "data" / "claims.toml").write_text("\\n".join(lines))
    >>> claims(book)
    {'vib.error': {'claim': 'At most 4 per cent.', 'tolerance': 0.6}}
    """
    path = book / "data" / "claims.toml"
    if not path.exists():
        return {}
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"data/claims.toml is broken: {error}") from None
    found = {}
    for chapter, table in tables.items():
        for what, claim in table.items() if isinstance(table, dict) else [("", table)]:
            found[f"{chapter}.{what}"] = _claim(f"data/claims.toml: [{chapter}.{what}]", claim)
    return found


def _claim(where: str, given: Any) -> Claim:
    if not isinstance(given, dict) or set(given) != set(Claim.__annotations__):
        raise ValueError(f"{where} must be a table of claim and tolerance, got {given!r}")
    text, tolerance = given["claim"], given["tolerance"]
    if not isinstance(text, str) or not text.strip():
        raise ValueError(f"{where} must state its claim in a sentence, got {text!r}")
    if type(tolerance) not in (int, float) or not 0 < tolerance < math.inf:
        raise ValueError(f"{where} needs a tolerance above 0, in its unit, got {tolerance!r}")
    return Claim(claim=text, tolerance=tolerance)


def drift(
    stored: Iterable[Record], fresh: Iterable[Record], known: Mapping[str, Claim]
) -> list[str]:
    """Where a new run's numbers leave the stored ones by more than their claims admit.

    Numbers are compared in decimal, as they are written: a difference that equals the tolerance is
    within it.

    >>> known = {"vib.error": Claim(claim="At most 4 per cent.", tolerance=0.6)}
    >>> stored = [Record(name="vib.error", value=1.9, unit="%")]
    >>> drift(stored, [Record(name="vib.error", value=2.5, unit="%")], known)
    []
    >>> drift(stored, [Record(name="vib.error", value=2.6, unit="%")], known)
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
        elif name not in known:
            found.append(f"{both}; it has no claim in data/claims.toml")
        else:
            apart = abs(_decimal(new[0]["value"]) - _decimal(old[0]["value"]))
            admitted = _decimal(known[name]["tolerance"])
            if apart > admitted:
                found.append(f"{both}; {apart} apart, and its claim admits {admitted}")
    return found


def _shown(rows: list[Record]) -> str:
    return " and ".join(f"{row['value']} {row['unit']}".rstrip() for row in rows) or "missing"


def _decimal(number: float) -> Decimal:
    return Decimal(repr(number))
