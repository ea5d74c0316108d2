"""The ledger as a page: a table a chapter, the claim beside our numbers, and lists by verdict."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from statistics import fmean
from typing import NamedTuple

from ibbook.book import ledger
from ibbook.book.claims import claims
from ibbook.book.ledger import STATED, VERDICTS, Entry, of_runs, quantities, verdicts
from ibbook.book.markup import cell
from ibbook.book.provenance import anchor, table
from ibbook.book.records import Record, over

ELSEWHERE = "No chapter"
SIGN = re.compile(r"[\\`*_\[\]<>|$#{}]")
MEANING = {
    "reproduced": "The claim holds on our numbers, within the tolerance.",
    "bounded": "It holds less precisely than the source has it.",
    "needs a condition": "It holds under a condition that the source leaves out.",
    "differs": "Our numbers say otherwise.",
    "not run": "Nothing was measured.",
}


class _Numbers(NamedTuple):
    """What entries are held against, and how far another machine may move it."""

    book: Path
    rows: Mapping[str, Record]
    tolerances: Mapping[str, float]


def page(book: Path, rows: Mapping[str, Record], titles: Mapping[str, str]) -> str:
    """Every entry with its verdict, by chapter and by verdict, as Markdown.

    Args:
        book: its folder, where the ledger and kept runs lie.
        rows: the numbers of the chapters' runs, by their names.
        titles: the title of each chapter, by its name.
    """
    read = ledger.read(book)
    tolerances = {n: c.tolerance for n, c in claims(book).items() if c.tolerance is not None}
    numbers = _Numbers(book, rows, tolerances)
    found = verdicts(read, {name: row["value"] for name, row in rows.items()}, book)
    parts: dict[str, list[str]] = {name: [] for name in sorted(titles)} | {"": []}
    for name, entry in read.entries.items():
        parts[entry.chapter if entry.chapter in titles else ""].append(name)
    parts = {chapter: names for chapter, names in parts.items() if names}
    text = _counts(parts, found, titles)
    for chapter, names in parts.items():
        text += f"\n(ledger-of-{chapter or 'none'})=\n## {titles.get(chapter, ELSEWHERE)}\n\n"
        lines = [tuple(_row(n, read.entries[n], found[n], numbers)) for n in names]
        text += table(["source", "claim", "reported", "ours", "verdict"], lines)
    text += "\n## By verdict\n"
    for one in VERDICTS:
        text += f"\n(ledger-{_slug(one)})=\n### {one.capitalize()}\n\n{MEANING[one]}\n\n"
        for chapter, names in parts.items():
            chosen = [name for name in names if found[name] == one]
            group = f'<span id="{_group(one, chapter)}">{titles.get(chapter, ELSEWHERE)}</span>'
            text += f"{group}:\n\n" if chosen else ""
            text += "".join(f"- {_link(name, read.entries[name])}\n" for name in chosen)
            text += "\n" if chosen else ""
    left = [
        (f"{{cite:t}}`{key}`", _plain(title), _plain(reason))
        for key, source in read.sources.items()
        for title, reason in source.without.items()
    ]
    head = "\n## Sections without a claim\n\n"
    return text + (head + table(["source", "section", "why"], left) if left else "")


def of_chapters(book: Path, rows: Mapping[str, Record]) -> dict[str, str]:
    """Of each chapter that has any, its entries with their verdicts, folded, for its foot."""
    read = ledger.read(book)
    found = verdicts(read, {name: row["value"] for name, row in rows.items()}, book)
    lines: dict[str, list[tuple[str, ...]]] = {}
    for name, entry in read.entries.items():
        if entry.chapter:
            told = f"[{found[name]}](#{place(name)})"
            row = _plain(entry.statement), f"{{cite:t}}`{entry.source}`", told
            lines.setdefault(entry.chapter, []).append(row)
    title, head = "What the sources claim, and what we found", ["claim", "source", "verdict"]
    return {
        chapter: f":::{{dropdown}} {title}\n\n{table(head, own)}\n:::\n"
        for chapter, own in lines.items()
    }


def linked(text: str) -> str:
    """The text of a chapter with each verdict that it states leading to its row.

    >>> linked("It [differs](reproduction.md#gao-wider).")
    'It [differs](#ledger-entry-gao-wider).'
    """
    return STATED.sub(lambda match: f"[{match[1]}](#{place(match[2])})", text)


def place(name: str) -> str:
    """Where the page shows the entry of that name."""
    return f"ledger-entry-{name}"


def _slug(one: str) -> str:
    return one.replace(" ", "-")


def _group(one: str, chapter: str) -> str:
    return f"ledger-{_slug(one)}-of-{chapter or 'none'}"


def _counts(
    parts: Mapping[str, list[str]], found: Mapping[str, str], titles: Mapping[str, str]
) -> str:
    """How many entries of each chapter have each verdict; each count leads to them."""
    lines = []
    for chapter, names in parts.items():
        counts = [sum(found[name] == one for name in names) for one in VERDICTS]
        links = [
            f"[{count}](#{_group(one, chapter)})" if count else "0"
            for one, count in zip(VERDICTS, counts, strict=True)
        ]
        title = titles.get(chapter, ELSEWHERE)
        lines.append((f"[{title}](#ledger-of-{chapter or 'none'})", *links))
    total = [f"[{list(found.values()).count(one)}](#ledger-{_slug(one)})" for one in VERDICTS]
    return "\n" + table(["chapter", *VERDICTS], [*lines, ("all", *total)])


def _link(name: str, entry: Entry) -> str:
    return f"[{_plain(entry.statement)}](#{place(name)}) {{cite:p}}`{entry.source}`"


def _row(name: str, entry: Entry, found: str, numbers: _Numbers) -> Iterator[str]:
    where = f"{entry.section}, {entry.place}" if entry.place else entry.section
    yield f"{{cite:t}}`{entry.source}`: {_plain(where)}"
    yield f'<span id="{place(name)}">{_plain(entry.statement)}</span>'
    number = f"{entry.reported} {entry.unit}".rstrip()
    yield _plain(f"a\u00a0{entry.kind}" if entry.reported is None else number)
    ours = [_number(n, numbers) for n in quantities(entry) if n in numbers.rows]
    ours += [_runs(entry, numbers)] if entry.runs else []
    yield "; ".join(ours) or _plain(entry.unrun or "")
    told = f"**{found}**" + (f": {_plain(entry.condition or '')}" if "condition" in found else "")
    turned = entry.verdict not in (None, found)
    yield told + (f" in this run, and {entry.verdict} in the ledger" if turned else "")


def _number(name: str, numbers: _Numbers) -> str:
    """A record under its label, linked to the cell that made it."""
    row = numbers.rows[name]
    digits = row["digits"] if row["value"] else 0
    number = f"[{row['value']:.{digits}f}](#{name})"
    if name in numbers.tolerances:
        number += f" ± {numbers.tolerances[name]:g}"
    number += f" {_plain(row['unit'])}".rstrip()
    after = f" from {_plain(row['against'])}" if "against" in row else ""
    after += f" to {row['digits']} decimals" if after and not row["value"] else ""
    after += f" ({over(row)})" if row.get("seeds", 1) > 1 else ""
    return f"{_plain(row['label'])}: {number}{after}"


def _runs(entry: Entry, numbers: _Numbers) -> str:
    """The kept runs of an entry: their mean, their range, and a link to each."""
    found = of_runs(entry, numbers.book)
    if not found:
        return f"no kept run `{entry.runs['pattern']}`"
    links = ", ".join(f"[{name}](#{anchor(name)})" for name in found)
    mean, least, most = (f"{of(found.values()):.4g}" for of in (fmean, min, max))
    return f"kept runs: mean {mean}, from {least} to {most} ({links})"


def _plain(text: str) -> str:
    """Words in which no sign of Markdown has a meaning, nor a bar ends a cell; but code is code.

    >>> print(_plain("`ibbook verify` says I_m, a|b, and one `"))
    `ibbook verify` says I\\_m, a\\|b, and one \\`
    """
    return "".join(
        cell(part[1:-1]) if part[:1] == "`" and part[1:] else SIGN.sub(r"\\\g<0>", part)
        for part in re.split(r"(`[^`]+`)", text)
    )
