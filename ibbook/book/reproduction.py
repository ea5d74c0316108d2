"""The ledger as a page: a table a chapter, the source's claim beside our numbers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

from ibbook.book.ledger import VERDICTS, Entry, Ledger, known, quantities, verdict
from ibbook.book.records import Record

ELSEWHERE = "No chapter"


def page(ledger: Ledger, rows: Mapping[str, Record], book: Path, titles: Mapping[str, str]) -> str:
    """Every entry with its verdict, as Markdown.

    Args:
        ledger: what the sources claim.
        rows: the numbers of the chapters' runs, by their names.
        book: its folder, where kept runs lie.
        titles: the title of each chapter, by its name.
    """
    values = {name: row["value"] for name, row in rows.items()}
    found = {
        name: verdict(entry, known(entry, values, book)) for name, entry in ledger.entries.items()
    }
    parts: dict[str, list[str]] = {name: [] for name in sorted(titles)} | {"": []}
    for name, entry in ledger.entries.items():
        place = entry.chapter if entry.chapter in titles else ""
        parts[place or ""].append(name)
    parts = {chapter: names for chapter, names in parts.items() if names}
    counts = [
        (
            f"[]({chapter}.ipynb)" if chapter else ELSEWHERE,
            *(str(Counter(found[n] for n in names)[one]) for one in VERDICTS),
        )
        for chapter, names in parts.items()
    ]
    total = Counter(found.values())
    counts.append(("all", *(str(total[one]) for one in VERDICTS)))
    text = "\n" + _table(["chapter", *VERDICTS], counts)
    for chapter, names in parts.items():
        text += f"\n## {titles.get(chapter, ELSEWHERE)}\n\n"
        lines = [tuple(_row(ledger.entries[n], found[n], rows, values, book)) for n in names]
        text += _table(["source", "claim", "reported", "ours", "verdict"], lines)
    left = [
        (f"{{cite:t}}`{key}`", _plain(title), _plain(reason))
        for key, source in ledger.sources.items()
        for title, reason in source.without.items()
    ]
    head = "\n## Sections without a claim\n\n"
    return text + (head + _table(["source", "section", "why"], left) if left else "")


def _row(
    entry: Entry,
    found: str,
    rows: Mapping[str, Record],
    values: Mapping[str, float],
    book: Path,
) -> Iterator[str]:
    where = f"{entry.section}, {entry.place}" if entry.place else entry.section
    yield f"{{cite:t}}`{entry.source}`: {_plain(where)}"
    yield _plain(entry.statement)
    yield _plain("" if entry.reported is None else f"{entry.reported} {entry.unit}".rstrip())
    numbers = [_number(rows[name]) for name in quantities(entry) if name in rows]
    if entry.runs:
        kept = known(entry, values, book)
        means = [f"{name[5:]} {kept[name]:.4g}" for name in kept if name.startswith("runs.")]
        numbers.append(f"kept runs `{entry.runs['pattern']}`: {', '.join(means)}")
    yield "; ".join(numbers) or _plain(entry.unrun or "")
    yield (
        f"**{found}**: {_plain(entry.condition or '')}" if "condition" in found else f"**{found}**"
    )


def _number(row: Record) -> str:
    """A record under its label, linked to the cell that made it."""
    digits = row["digits"] if row["value"] else 0
    number = f"{row['value']:.{digits}f} {row['unit']}".rstrip()
    after = f" from {_plain(row['against'])}" if "against" in row else ""
    after += f" to {row['digits']} decimals" if after and not row["value"] else ""
    after += f" ({row['seeds']} seeds)" if row.get("seeds", 1) > 1 else ""
    return f"{_plain(row['label'])}: [{number}](#{row['name']}){after}"


def _plain(text: str) -> str:
    """Words in which no sign of Markdown has a meaning, nor a bar ends a cell."""
    return "".join(f"\\{sign}" if sign in "\\`*_[]<>|$#{}" else sign for sign in text)


def _table(head: list[str], rows: list[tuple[str, ...]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)
