"""The ledger: what the sources claim, what we measured, and the verdict that follows.

data/ledger.toml has one entry a claim. A verdict is computed from the records of the chapters or
from kept runs, and held against the one that the entry states: a number that turns it is an error.
"""

from __future__ import annotations

import re
import tomllib
from collections import Counter
from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

from ibbook.book import expressions
from ibbook.book.folders import BookError, text_of
from ibbook.book.results import kept, kept_files

FILE = "data/ledger.toml"
KINDS = ("theorem", "number", "trend", "picture")
MEASURED = ("reproduced", "bounded", "needs a condition", "differs")
VERDICTS = (*MEASURED, "not run")
# A verdict in the prose of a chapter: [needs a condition](reproduction.md#gao-wider)
PAGE = "reproduction"
STATED = re.compile(rf"\[([^\[\]]*)\]\({PAGE}\.md#([\w-]+)\)")
BARE = re.compile(rf"\*\*({'|'.join(VERDICTS)})\*\*")
KEY = re.compile(r"^@\w+\{([^,\s]+),", re.MULTILINE)


class Source(NamedTuple):
    """The titles of a source's sections; and of those without an entry, why they have none."""

    sections: tuple[str, ...]
    without: Mapping[str, str]


class Entry(NamedTuple):
    """A claim of a source, in our words.

    `holds`: the claim as an expression over records. `exactly`: the same to the precision of the
    source, where `holds` is less than that. `condition`: what the claim needs and the source does
    not say; `holds` then states both sides. `runs`: a pattern of kept runs and a record of theirs,
    which expressions call `runs.mean`, `runs.least`, `runs.most` and `runs.count`. `verdict`: what
    followed when the entry was written. `why`: why this tolerance, or this comparison. `unrun`:
    why nothing of ours speaks to it.
    """

    source: str
    section: str
    statement: str
    kind: str
    place: str = ""
    reported: float | str | None = None
    unit: str = ""
    chapter: str | None = None
    holds: str | None = None
    exactly: str | None = None
    condition: str | None = None
    runs: Mapping[str, str] | None = None
    verdict: str | None = None
    why: str | None = None
    unrun: str | None = None


class Ledger(NamedTuple):
    """Sources by their key in the bibliography, entries by their name."""

    sources: Mapping[str, Source]
    entries: Mapping[str, Entry]


def read(book: Path) -> Ledger:
    """The ledger of a book; empty where it has none.

    >>> import tempfile
    >>> read(Path(tempfile.mkdtemp()))
    Ledger(sources={}, entries={})
    """
    path = book / FILE
    if not path.exists():
        return Ledger({}, {})
    try:
        tables = tomllib.loads(text_of(path))
    except tomllib.TOMLDecodeError as error:
        raise BookError(f"{FILE} is broken: {error}") from None
    if extra := tables.keys() - {"sources", "claims"}:
        raise BookError(f"{FILE} has tables of sources and claims, got {', '.join(sorted(extra))}")
    return Ledger(
        {key: _source(key, given) for key, given in tables.get("sources", {}).items()},
        {name: _entry(name, given) for name, given in tables.get("claims", {}).items()},
    )


def _source(key: str, given: Any) -> Source:
    where = f"{FILE}: [sources.{key}]"
    if not isinstance(given, dict) or not {"sections"} <= given.keys() <= {"sections", "without"}:
        raise BookError(f"{where} must be a table of sections and without, got {given!r}")
    titles = given["sections"]
    if not isinstance(titles, list) or not all(isinstance(title, str) for title in titles):
        raise BookError(f"{where} must list its sections by their titles, got {titles!r}")
    without = given.get("without", {})
    if not isinstance(without, dict) or not all(
        isinstance(reason, str) and reason.strip() for reason in without.values()
    ):
        raise BookError(f"{where}: without must give each title its reason, got {without!r}")
    return Source(tuple(titles), without)


def _entry(name: str, given: Any) -> Entry:
    where = f"{FILE}: [claims.{name}]"
    needed = {"source", "section", "statement", "kind"}
    if not isinstance(given, dict) or not needed <= given.keys() <= set(Entry._fields):
        raise BookError(
            f"{where} must be a table of {', '.join(Entry._fields)}, the first four in every "
            f"entry, got {given!r}"
        )
    for field, value in given.items():
        kinds = {"reported": (int, float, str), "runs": dict}.get(field, str)
        if not isinstance(value, kinds) or value == "":
            raise BookError(f"{where}: {field} is {value!r}")
    entry = Entry(**given)
    if entry.kind not in KINDS:
        raise BookError(f"{where}: kind must be one of {', '.join(KINDS)}, got {entry.kind!r}")
    if (entry.holds is None) == (entry.unrun is None):
        raise BookError(f"{where} needs either holds, or unrun with the reason, and not both")
    if entry.holds and not (entry.verdict and entry.why and entry.chapter):
        raise BookError(f"{where} has holds, so it needs verdict, why and chapter")
    if entry.holds and entry.verdict not in MEASURED:
        raise BookError(f"{where}: verdict is one of {', '.join(MEASURED)}, got {entry.verdict!r}")
    if entry.unrun and (entry.condition or entry.exactly or entry.runs or entry.verdict):
        raise BookError(f"{where} is not run, so it has no condition, exactly, runs or verdict")
    if entry.runs and entry.runs.keys() != {"pattern", "name"}:
        raise BookError(f"{where}: runs must give pattern and name, got {entry.runs!r}")
    for expression in filter(None, (entry.holds, entry.exactly)):
        try:
            expressions.holds(expression, dict.fromkeys(expressions.names(expression), 1.0))
        except (ValueError, AttributeError) as error:
            raise BookError(f"{where}: {error}") from None
    if bool(entry.runs) != any(name.startswith("runs.") for name in quantities(entry)):
        raise BookError(f"{where} needs runs if it speaks of runs.mean or the like, and only then")
    return entry


def quantities(entry: Entry) -> list[str]:
    """The records, and the statistics of kept runs, that an entry speaks of.

    >>> quantities(Entry("gao2019", "6.3", "Wider.", "trend", holds="corex.variance_low > 1.1"))
    ['corex.variance_low']
    """
    both = (expressions.names(one) for one in (entry.holds, entry.exactly) if one)
    return list(dict.fromkeys(name for names in both for name in names))


def of_runs(entry: Entry, book: Path) -> dict[str, float]:
    """The number that an entry takes from kept runs, by the name of each run."""
    if not entry.runs:
        return {}
    return {
        path.stem: row["value"]
        for path in kept_files(book)
        if fnmatchcase(path.stem, entry.runs["pattern"])
        for row in kept(path)["records"]
        if row["name"] == entry.runs["name"]
    }


def known(entry: Entry, records: Mapping[str, float], book: Path) -> dict[str, float]:
    """The values of an entry's quantities, as far as there are any."""
    values = dict(records)
    if found := list(of_runs(entry, book).values()):
        values |= {"runs.mean": fmean(found), "runs.count": len(found)}
        values |= {"runs.least": min(found), "runs.most": max(found)}
    return {name: values[name] for name in quantities(entry) if name in values}


def verdict(entry: Entry, values: Mapping[str, float]) -> str:
    """What follows from the values of an entry's quantities.

    >>> entry = Entry("gao2019", "6.3", "A fifth is wider.", "number", holds="corex.above > 15")
    >>> verdict(entry, {"corex.above": 19.0}), verdict(entry, {"corex.above": 3.0})
    ('reproduced', 'differs')
    >>> verdict(entry, {})
    'not run'
    >>> verdict(entry._replace(condition="beta < 1"), {"corex.above": 19.0})
    'needs a condition'
    >>> verdict(entry._replace(exactly="corex.above == 20"), {"corex.above": 19.0})
    'bounded'
    """
    if entry.holds is None or not values.keys() >= set(quantities(entry)):
        return "not run"
    if not expressions.holds(entry.holds, values):
        return "differs"
    if entry.condition:
        return "needs a condition"
    if entry.exactly and not expressions.holds(entry.exactly, values):
        return "bounded"
    return "reproduced"


def verdicts(ledger: Ledger, records: Mapping[str, float], book: Path) -> dict[str, str]:
    """The verdict of each entry, by its name."""
    return {
        name: verdict(entry, known(entry, records, book)) for name, entry in ledger.entries.items()
    }


def turned(ledger: Ledger, records: Mapping[str, float], book: Path) -> list[str]:
    """The entries whose verdict no longer follows from the numbers, each with what does and why.

    >>> told = {"holds": "corex.above > 15", "verdict": "reproduced"}
    >>> entry = Entry("gao2019", "6.3", "A fifth is wider.", "number", **told)
    >>> turned(Ledger({}, {"wide": entry}), {"corex.above": 3.0}, Path())
    ["wide: its verdict is 'reproduced', and 'differs' follows from corex.above = 3"]
    """
    found = []
    for name, entry in ledger.entries.items():
        values = known(entry, records, book)
        now = verdict(entry, values)
        if entry.verdict and now != entry.verdict:
            basis = (
                ", ".join(f"{what} = {value:g}" for what, value in values.items()) or "no number"
            )
            found.append(
                f"{name}: its verdict is {entry.verdict!r}, and {now!r} follows from {basis}"
            )
    return found


def misstated(texts: Mapping[Path, str], book: Path, records: Mapping[str, float]) -> Iterator[str]:
    """Verdicts in the prose of chapters that are not those of the ledger."""
    ledger = read(book)
    given = verdicts(ledger, records, book)
    for path, text in texts.items():
        where = f"chapters/{path.name}: says"
        for link, told, name in ((m[0], m[1], m[2]) for m in STATED.finditer(text)):
            if name not in given:
                yield f"{where} {link}, but {FILE} has no [claims.{name}]"
            elif told != given[name]:
                yield f"{where} {link}, and the ledger {given[name]!r}"
        if path.stem != PAGE:
            for bold, told in ((m[0], m[1]) for m in BARE.finditer(text)):
                link = f"[{told}]({PAGE}.md#NAME)"
                yield f"{where} {bold}; write whose verdict that is, as {link}"


def lines(ledger: Ledger, records: Mapping[str, float], book: Path) -> Iterator[str]:
    """Each entry with its verdict and the numbers that it follows from."""
    for name, entry in ledger.entries.items():
        values = known(entry, records, book)
        found = verdict(entry, values)
        basis = entry.unrun or ", ".join(f"{what} = {value:g}" for what, value in values.items())
        if found == "needs a condition":
            basis = f"{entry.condition}; {basis}"
        yield f"{found:<17}  {name}: {entry.statement} ({basis})"


def summary(found: Mapping[str, str]) -> str:
    """How many entries have each verdict.

    >>> summary({"a": "differs", "b": "reproduced", "c": "differs"})
    '3 entries in the ledger: 1 reproduced, 0 bounded, 0 needs a condition, 2 differs, 0 not run'
    """
    count = Counter(found.values())
    shares = ", ".join(f"{count[one]} {one}" for one in VERDICTS)
    entries = "entry" if len(found) == 1 else "entries"
    return f"{len(found)} {entries} in the ledger: {shares}"


def faults(
    book: Path, homes: Mapping[str, str], chapters: set[str], records: Mapping[str, float]
) -> Iterator[str]:
    """What is wrong with the ledger of a book.

    Args:
        book: its folder.
        homes: the chapter that records each number, by the number's name.
        chapters: the names of the chapters.
        records: the numbers themselves.
    """
    try:
        ledger = read(book)
    except ValueError as error:
        yield str(error)
        return
    path = book / "chapters" / "references.bib"
    keys = set(KEY.findall(text_of(path))) if path.exists() else set()
    for key, source in ledger.sources.items():
        yield from (f"{FILE}: [sources.{key}]: {fault}" for fault in _gaps(key, source, ledger))
        if key not in keys:
            yield f"{FILE}: [sources.{key}]: no such key in chapters/references.bib; add it there"
    for name, entry in ledger.entries.items():
        yield from (f"{FILE}: [claims.{name}]: {f}" for f in _amiss(entry, ledger, homes, chapters))
        try:
            values = known(entry, records, book)
        except BookError:  # a damaged run, which `ibbook check` names anyway
            continue
        missing = [one for one in quantities(entry) if one not in values]
        for one in missing:
            yield f"{FILE}: [claims.{name}]: nothing records {one}; record it or mend the entry"
        if not missing:
            yield from (f"{FILE}: {fault}" for fault in turned(_only(name, entry), records, book))


def _only(name: str, entry: Entry) -> Ledger:
    return Ledger({}, {name: entry})


def _gaps(key: str, source: Source, ledger: Ledger) -> Iterator[str]:
    """Sections of a source that nobody went through, or that are said to have no claim and do."""
    used = {entry.section for entry in ledger.entries.values() if entry.source == key}
    for title in source.sections:
        if title not in used and title not in source.without:
            yield f"section {title!r} has no entry; add one, or its reason to without"
        if title in used and title in source.without:
            yield f"section {title!r} has an entry and a reason for none; delete the reason"
    for title in source.without:
        if title not in source.sections:
            yield f"without names {title!r}, which is none of its sections"


def _amiss(
    entry: Entry, ledger: Ledger, homes: Mapping[str, str], chapters: set[str]
) -> Iterator[str]:
    source = ledger.sources.get(entry.source)
    if source is None:
        yield f"no [sources.{entry.source}]; add it with its sections"
    elif entry.section not in source.sections:
        yield f"section {entry.section!r} is none of the sections of {entry.source}"
    if entry.chapter is None:
        return
    if entry.chapter not in chapters:
        yield f"no chapter {entry.chapter!r}; give a name such as {min(chapters, default='')!r}"
        return
    lie = {homes[name] for name in quantities(entry) if name in homes}
    if lie and entry.chapter not in lie:
        yield f"chapter {entry.chapter} records none of its numbers, {min(lie)} does"
