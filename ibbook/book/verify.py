"""`ibbook verify`: every chapter rerun from a clean state, each number beside the committed one."""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import platform
import shutil
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple
from xml.sax.saxutils import escape

from ibbook.book import chapters, ledger, runs
from ibbook.book.chapters import Chapter
from ibbook.book.claims import Claim, broken, claims, unrecorded
from ibbook.book.console import aligned, positive
from ibbook.book.folders import BookError, files, root, save, text_of
from ibbook.book.kernels import ChapterError
from ibbook.book.keys import commit
from ibbook.book.machine import machine, processor
from ibbook.book.markup import cell
from ibbook.book.parameters import resolve
from ibbook.book.provenance import commit as at
from ibbook.book.provenance import table, when
from ibbook.book.records import Record

FOLDER, CLEAN = Path("_build", "verify"), "clean"
KINDS = ("identical", "within tolerance", "different")
# A cell of a chapter's default run takes seconds; one that takes longer than this hangs.
CELL_TIMEOUT = 900


class Number(NamedTuple):
    """One recorded number: committed, rerun, and which of KINDS that makes it."""

    chapter: str
    name: str
    unit: str
    committed: float | None
    rerun: float | None
    tolerance: float | None
    kind: str


def compare(
    chapter: str, stored: Iterable[Record], fresh: Iterable[Record], known: Mapping[str, Claim]
) -> list[Number]:
    """Each number that was committed or recorded by a rerun; one that only one has is different.

    >>> row = lambda value: Record(name="vib.error", value=value, unit="%", label="", digits=1)
    >>> known = {"vib.error": Claim("At most 4 per cent.", tolerance=0.6)}
    >>> [compare("04-vib", [row(1.9)], [row(v)], known)[0].kind for v in (1.9, 2.5, 2.6)]
    ['identical', 'within tolerance', 'different']
    >>> compare("04-vib", [row(1.9)], [], known)[0].kind
    'different'
    """
    before, after = ({row["name"]: row for row in rows} for rows in (stored, fresh))
    found = []
    for name in dict.fromkeys([*before, *after]):
        old, new = before.get(name), after.get(name)
        tolerance = known[name].tolerance if name in known else None
        kind = _kind(old, new, tolerance)
        values = (row["value"] if row else None for row in (old, new))
        found.append(Number(chapter, name, (old or new)["unit"], *values, tolerance, kind))
    return found


def _kind(old: Record | None, new: Record | None, tolerance: float | None) -> str:
    if old is None or new is None or old["unit"] != new["unit"]:
        return "different"
    if old["value"] == new["value"]:
        return "identical"
    apart = abs(Decimal(repr(old["value"])) - Decimal(repr(new["value"])))
    within = tolerance is not None and apart <= Decimal(repr(tolerance))
    return "within tolerance" if within else "different"


def verify(chosen: Iterable[Chapter], book: Path, cell_timeout: int) -> dict[str, Any]:
    """Rerun chapters with their defaults, and hold what they record against the committed numbers.

    Claims and verdicts are those of the fresh numbers, with committed ones for other chapters.
    """
    known, rows = claims(book), {}
    for chapter in chapters.chapters(book):
        rows |= chapters.recorded_in([chapter.stored] if chapter.stored.exists() else [])
    ran: dict[str, Any] = {}
    numbers: list[Number] = []
    with _clean(book):
        for chapter in chosen:
            print(f"{chapter.name}: running", file=sys.stderr, flush=True)
            stored = chapters.numbers_in(chapter.stored) if chapter.stored.exists() else []
            try:
                made = runs.run(chapter, resolve(chapter), cell_timeout=cell_timeout)
                fresh = chapters.numbers_in(runs.executed(made))
                ran[chapter.name] = {"seconds": runs.provenance(made)["seconds"]}
            except (ChapterError, BookError, OSError) as error:
                fresh, ran[chapter.name] = [], {"error": str(error)}
            numbers += compare(chapter.name, stored, fresh, known)
            rows |= {row["name"]: row for row in fresh}
    testable = [claim for claim in known.values() if claim.holds]
    lost = [*map(str, broken(known, rows.values())), *unrecorded(known, rows).values()]
    entries = ledger.read(book)
    turned = ledger.turned(entries, {name: row["value"] for name, row in rows.items()}, book)
    return {
        **commit(book),
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "system": machine(),
        "processor": processor(),
        "chapters": ran,
        "numbers": [number._asdict() for number in numbers],
        "claims": len(testable),
        "broken": lost,
        "entries": sum(entry.holds is not None for entry in entries.entries.values()),
        "turned": turned,
    }


@contextmanager
def _clean(book: Path) -> Iterator[None]:
    """No run and no checkpoint is there before, and none of the book's own is touched."""
    store = book / FOLDER / CLEAN
    store.parent.mkdir(parents=True, exist_ok=True)
    before = os.environ.get("IBBOOK_RUNS")
    os.environ["IBBOOK_RUNS"] = str(store / "runs")
    try:
        with (store.parent / "lock").open("w") as alone:
            fcntl.flock(alone, fcntl.LOCK_EX)  # two would share the folder of one
            shutil.rmtree(store, ignore_errors=True)
            yield
    finally:
        if before is None:
            del os.environ["IBBOOK_RUNS"]
        else:
            os.environ["IBBOOK_RUNS"] = before


def good(report: Mapping[str, Any]) -> bool:
    """Whether all ran, no number is different, and every claim and verdict holds."""
    kinds = {number["kind"] for number in report["numbers"]}
    failed = any("error" in ran for ran in report["chapters"].values())
    return not (failed or "different" in kinds or report["broken"] or report["turned"])


def summary(report: Mapping[str, Any]) -> str:
    """The report in one line.

    >>> summary({"chapters": {"a": {"seconds": 3}}, "numbers": [{"kind": "identical"}],
    ...          "claims": 2, "broken": ["x"], "entries": 1, "turned": []})
    '1 of 1 chapters ran; 1 identical, 0 within tolerance, 0 different; 1 of 2 claims hold'
    """
    ran = report["chapters"].values()
    count = Counter(number["kind"] for number in report["numbers"])
    parts = [
        f"{sum('error' not in one for one in ran)} of {len(ran)} chapters ran",
        ", ".join(f"{count[kind]} {kind}" for kind in KINDS),
        f"{report['claims'] - len(report['broken'])} of {report['claims']} claims hold",
    ]
    return "; ".join(parts)


def lines(report: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    """A row for each chapter: its time, and how many of its numbers are of each kind."""
    for name, ran in report["chapters"].items():
        count = Counter(n["kind"] for n in report["numbers"] if n["chapter"] == name)
        time = "failed" if "error" in ran else f"{ran['seconds']:.0f} s"
        yield (name, time, *(str(count[kind]) for kind in KINDS))


def faults(report: Mapping[str, Any]) -> Iterator[str]:
    """What is wrong, one line each."""
    for name, ran in report["chapters"].items():
        if "error" in ran:
            yield f"{name}: {ran['error']}"
    for n in report["numbers"]:
        if n["kind"] == "different":
            admitted = "" if n["tolerance"] is None else f", and {n['tolerance']:g} is admitted"
            now = f"{n['rerun']} {n['unit']}".rstrip()
            yield f"{n['name']}: committed {n['committed']}, now {now}{admitted}"
    yield from (f"not so: {fault}" for fault in report["broken"])
    yield from (f"turned: {fault}" for fault in report["turned"])


def badge(report: Mapping[str, Any]) -> str:
    """The report as a small picture with its words inside."""
    count = Counter(number["kind"] for number in report["numbers"])
    ran = sum("error" not in one for one in report["chapters"].values())
    right = (
        f"{ran}/{len(report['chapters'])} chapters, {count['identical']} numbers identical, "
        f"{count['within tolerance']} within tolerance, {count['different']} different, "
        f"{report['claims'] - len(report['broken'])}/{report['claims']} claims"
    )
    left, colour = "rerun", "#1a7f37" if good(report) else "#b3261e"
    split, wide = 7 * len(left) + 12, 6 * len(right) + 12
    words = escape(f"Rerun {report['finished'][:10]}: {right}")
    return f"""\
<svg xmlns="http://www.w3.org/2000/svg" width="{split + wide}" height="20" role="img">
<title>{words}</title>
<rect width="{split}" height="20" fill="#444"/>
<rect x="{split}" width="{wide}" height="20" fill="{colour}"/>
<g fill="#fff" font-family="Verdana, DejaVu Sans, sans-serif" font-size="11">
<text x="6" y="14" textLength="{split - 12}">{left}</text>
<text x="{split + 6}" y="14" textLength="{wide - 12}">{escape(right)}</text>
</g>
</svg>
"""


def reports(book: Path) -> dict[Path, dict[str, Any]]:
    """What `ibbook verify` last found, here or elsewhere, by file; damaged files are named."""
    found = {}
    for path in files(book / FOLDER, "**/*.json"):
        if CLEAN in path.parts:
            continue
        try:
            report = json.loads(text_of(path))
            summary(report), [*lines(report)], [*faults(report)], when(report), at(report)
            path.with_suffix(".svg").stat()
        except (ValueError, KeyError, TypeError, AttributeError, OSError):
            print(f"{path} is damaged; run `ibbook verify` again", file=sys.stderr)
        else:
            found[path] = report
    return found


def section(book: Path) -> str:
    """The reports and their badges as a section of a page; "" where nothing was verified yet."""
    found = reports(book)
    text = ""
    for path, report in found.items():
        text += f"![{summary(report)}]({path.with_suffix('.svg').name})\n\n"
        where = f"{cell(report['system'])}, {cell(report['processor'])}"
        text += f"{where}; {when(report)} UTC, commit {at(report)}. "
        text += f"[Every number]({path.name}).\n\n"
        text += table(["chapter", "run time", *KINDS], lines(report)) + "\n"
        text += "".join(f"- {cell(fault)}\n" for fault in faults(report)) + "\n"
    head = "\n## Verified\n\nEvery chapter was rerun from nothing, and each number that it records "
    head += "was held against the committed one.\n\n"
    return head + text if found else ""


def add_commands(subparsers: argparse._SubParsersAction) -> None:
    """Add `verify`, which sets `run`, a function of the parsed arguments.

    >>> parser = argparse.ArgumentParser()
    >>> add_commands(parser.add_subparsers())
    >>> parser.parse_args(["verify", "04-vib"]).chapters
    ['04-vib']
    """
    text = "rerun every chapter from a clean state and compare each number with the committed one"
    command = subparsers.add_parser("verify", help=text, description=text.capitalize() + ".")
    command.add_argument("chapters", nargs="*", metavar="CHAPTER", help="default: every chapter")
    command.add_argument(
        "--cell-timeout",
        type=positive,
        default=CELL_TIMEOUT,
        metavar="SECONDS",
        help="stop a chapter whose cell runs longer (default: %(default)s)",
    )
    command.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    book = root()
    chosen = [chapters.find(name) for name in options.chapters] or chapters.chapters(book)
    report = verify(chosen, book, options.cell_timeout)
    (book / FOLDER).mkdir(parents=True, exist_ok=True)
    path = book / FOLDER / f"{platform.system()}-{platform.machine()}.json".lower()
    save(path, json.dumps(report, indent=1) + "\n")
    save(path.with_suffix(".svg"), badge(report))
    rows = [("chapter", "run time", *KINDS), *lines(report)]
    print(*aligned(rows), sep="\n")
    print(*faults(report), sep="\n", end="\n" if any(faults(report)) else "")
    print(f"{summary(report)}. {path} and {path.with_suffix('.svg').name} have all of it.")
    return int(not good(report))
