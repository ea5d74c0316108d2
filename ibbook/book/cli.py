"""The command `ibbook`: each subcommand is a few calls of the package."""

from __future__ import annotations

import argparse
import errno
import io
import os
import signal
import sys
from collections.abc import Iterable, Sequence
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from ibbook._paths import PathError, expanded
from ibbook.book import (
    audit,
    chapters,
    collect,
    crate,
    data,
    ledger,
    models,
    parameters,
    rerun,
    runs,
    verify,
)
from ibbook.book.chapters import Chapter
from ibbook.book.claims import broken, claims, unrecorded
from ibbook.book.console import add_parameters, aligned, once, positive, say
from ibbook.book.course import commands as course
from ibbook.book.folders import BookError, files, root
from ibbook.book.kernels import ChapterError
from ibbook.book.parameters import Value
from ibbook.book.records import Record

PORT = 8000
# A cell of a chapter's default run takes seconds; one that takes longer than this hangs.
CELL_TIMEOUT = 600


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; the result is the exit code.

    0: done. 1: a chapter failed or a check found something. 2: a request that cannot be met.

    >>> main(["run", "no-such-chapter"])
    2
    """
    options = _parser().parse_args(arguments)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a letter that a terminal lacks stops no command
            stream.reconfigure(errors="backslashreplace")
    before = signal.signal(signal.SIGTERM, _terminate)
    try:
        return options.run(options) or 0
    except (BookError, PathError) as error:
        return say(f"ibbook: {error}", code=2)
    except ChapterError as error:
        return say(*filter(None, [error.traceback]), f"ibbook: {error}", code=1)
    except BrokenPipeError:
        # The reader of our output, such as `head`, has left; nothing more can be written.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        return say(f"ibbook: {_fault(error)}", code=2)
    except KeyboardInterrupt as interrupt:
        code = 128 + (interrupt.args or (signal.SIGINT,))[0]
        return say("ibbook: interrupted; nothing half-written was left", code=code)
    finally:
        signal.signal(signal.SIGTERM, before)


REMEDIES = {
    errno.ENOSPC: "make room there, or set IBBOOK_RUNS or IBBOOK_CACHE to a folder elsewhere",
    errno.ENOENT: "make that folder or file, or name another",
    errno.ENOTDIR: "a part of that path is a file; remove it or name another folder",
}
REMEDIES |= dict.fromkeys((errno.EDQUOT, errno.EFBIG), REMEDIES[errno.ENOSPC])
REMEDIES[errno.EEXIST] = REMEDIES[errno.ENOTDIR]
WRITABLE = "make it writable, or set IBBOOK_RUNS or IBBOOK_CACHE to a folder that is"


def _fault(error: OSError) -> str:
    """A fault of the system in one line: which file, what, and what helps."""
    if error.errno is None:
        return str(error)
    where = " -> ".join(str(name) for name in (error.filename, error.filename2) if name)
    what = f"{where}: {error.strerror}" if where else error.strerror
    return f"{what}; {REMEDIES.get(error.errno, WRITABLE)}"


def _terminate(number: int, _: object) -> None:
    """A scheduler's request to stop ends a run as Ctrl-C does."""
    raise KeyboardInterrupt(number)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="ibbook", description=__doc__.partition(":")[0] + ".")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def add(name: str, do, text: str) -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
        command.set_defaults(run=do)
        return command

    add("list", _list, "chapters, their parameters with types, defaults and ranges, their minutes")
    one = add("run", _run, "run one chapter with other parameters, or show where that run lies")
    one.add_argument("chapter", metavar="CHAPTER", help="its name, number, or part of the name")
    add_parameters(one, "set a parameter of the chapter")
    one.add_argument("--profile", metavar="NAME", help="a set of parameters, such as full")
    table = add("collect", _collect, "every recorded number of the runs, as one table")
    table.add_argument("runs", nargs="*", metavar="RUNS", help="run folders, or chapters")
    table.add_argument("-o", dest="output", type=expanded, metavar="FILE", help=".csv or .parquet")
    kept = add(
        "keep", _keep, "put what a finished run recorded into data/results, which chapters show"
    )
    kept.add_argument(
        "source", type=expanded, metavar="RUN", help="the path that `ibbook run` printed"
    )
    kept.add_argument("name", metavar="NAME", help="such as 04-vib-full-seed-0")
    kept.add_argument(
        "--figure",
        action="append",
        default=[],
        metavar="LABEL",
        help="keep the picture of the cell of that label, too",
    )
    book = add("book", _book, "run the chapters that changed and build the site")
    book.add_argument("--pdf", action="store_true", help="print it too, with Chromium")
    stored = add("notebooks", _notebooks, "write chapters' runs into chapters/, with outputs")
    stored.add_argument("chapters", nargs="*", metavar="CHAPTER", help="default: every chapter")
    for command, limit in ((one, None), (book, CELL_TIMEOUT), (stored, CELL_TIMEOUT)):
        command.add_argument(
            "--cell-timeout",
            type=positive,
            default=limit,
            metavar="SECONDS",
            help=f"stop a chapter whose cell runs longer (default: {limit or 'no limit'})",
        )
    serve = add("serve", _serve, "serve the built site on this machine")
    serve.add_argument("--port", type=int, default=PORT, help="default: %(default)s")
    held = add("claims", _claims, "whether sentences that compare numbers hold; verdicts")
    held.add_argument(
        "runs", nargs="*", type=expanded, metavar="RUN", help="what `ibbook run` printed"
    )
    add("check", _check, "whether texts, notebooks and claims agree")
    data.add_commands(commands)
    models.add_commands(commands)
    crate.add_commands(commands)
    verify.add_commands(commands)
    course.add_commands(commands)
    rerun.add_commands(commands)
    return parser


def _list(_: argparse.Namespace) -> int:
    failures = {}
    for chapter in chapters.chapters():
        try:
            about = chapters.header(chapter).get("ibbook", {})
            title = chapters.title(chapter)
            declared = parameters.parameters(chapter).values()
        except BookError as error:
            failures[chapter.name] = str(error)
            continue
        minutes, device = (about.get(name, "?") for name in ("minutes", "device"))
        print(f"{chapter.name}: {title} ({minutes} min, {device})")
        rows = [(p.name, p.type, str(p.default), p.domain, p.help) for p in declared]
        for line in aligned(rows):
            print("   ", line)
    return _summary(failures)


def _run(options: argparse.Namespace) -> None:
    chapter = chapters.find(options.chapter)
    values = parameters.resolve(chapter, once("-p", options.given), options.profile)
    print(runs.executed(_report(chapter, values, options.cell_timeout)))


def _report(chapter: Chapter, values: dict[str, Value], cell_timeout: int | None) -> Path:
    """Run a chapter and say on stderr how that went."""
    folder = runs.folder(chapter, values)
    if runs.finished(folder):
        say(f"{chapter.name}: unchanged, kept the run of {runs.provenance(folder)['finished']}")
        return folder
    say(f"{chapter.name}: running")
    folder = runs.run(chapter, values, cell_timeout=cell_timeout, progress=sys.stderr.isatty())
    say(f"{chapter.name}: done in {runs.provenance(folder)['seconds']:.0f} s")
    return folder


def _run_all(
    cell_timeout: int, wanted: Iterable[Chapter] | None = None
) -> tuple[dict[str, Path], dict[str, str]]:
    """The run of each chapter with its defaults; and why those that failed did."""
    done, failures = {}, {}
    for chapter in wanted or chapters.chapters():
        try:
            done[chapter.name] = _report(chapter, parameters.resolve(chapter), cell_timeout)
        except (ChapterError, BookError, OSError) as error:
            failures[chapter.name] = _fault(error) if isinstance(error, OSError) else str(error)
            say(f"ibbook: {failures[chapter.name]}")
    return done, failures


def _collect(options: argparse.Namespace) -> int:
    writers = {".csv": "to_csv", ".parquet": "to_parquet"}
    if options.output and options.output.suffix not in writers:
        raise BookError(f"-o must end in .csv or .parquet, got {options.output}")
    table, damaged = collect.gather([_place(name) for name in options.runs] or None)
    if options.output:
        if not options.output.parent.is_dir():
            raise BookError(f"no folder {options.output.parent} for {options.output.name}; make it")
        getattr(table, writers[options.output.suffix])(options.output, index=False)
        say(f"{len(table)} numbers in {options.output}")
    else:
        table.to_csv(sys.stdout, index=False)
    return _summary(dict(enumerate(damaged)))


def _place(name: str) -> Path:
    """A folder of runs, given as such or as a chapter."""
    if expanded(name).is_dir():
        return expanded(name)
    if os.sep in name:
        raise BookError(f"no folder {name}")
    return runs.below(chapters.find(name))


def _keep(options: argparse.Namespace) -> None:
    print(collect.keep(options.source, options.name, options.figure))


def _book(options: argparse.Namespace) -> int:
    from ibbook.book import pdf, site

    done, failures = _run_all(options.cell_timeout)
    try:
        pages = site.build(
            {name: runs.executed(folder) for name, folder in done.items()},
            {name: runs.provenance(folder) for name, folder in done.items()},
            failures=failures,
            source=root(),
        )
    except site.SiteError as error:
        failures["the site"] = str(error)
    else:
        say(f"The book is in {pages}. To read it: make serve")
        if options.pdf:
            say(f"On paper: {len(pdf.write(pages))} files in {pages / 'pdf'}")
        rows = chapters.recorded_in(map(runs.executed, done.values()))
        lost = broken(claims(root()), rows.values())
        if not failures:  # else numbers of the ledger are missing for a reason that is named
            values = {name: row["value"] for name, row in rows.items()}
            turned = ledger.turned(ledger.read(root()), values, root())
            failures |= {f"ledger: {fault}": f"in this run {fault}" for fault in turned}
        failures |= {fault.name: f"not so in this run: {fault}" for fault in lost}
    return _summary(failures)


def _notebooks(options: argparse.Namespace) -> int:
    done, failures = _run_all(
        options.cell_timeout, [chapters.find(name) for name in options.chapters]
    )
    every = chapters.chapters()
    executed = {name: chapters.read(runs.executed(folder)) for name, folder in done.items()}
    known = _recorded([c.stored for c in every if c.name not in done], failures)
    known |= chapters.recorded_in(map(runs.executed, done.values()))
    names = {chapter.name for chapter in every}
    for page in files(root() / "chapters", "*.md"):
        try:
            if page.stem not in names and chapters.refresh(page, known):
                say(f"{page.stem}: brought its numbers up to date")
        except BookError as error:
            failures[page.stem] = str(error)
    for name, made in executed.items():
        chapter = chapters.find(name)
        try:
            written = chapters.store(chapter, made, known)
        except BookError as error:
            say(f"ibbook: {error}")
            failures[name] = str(error)
        else:
            if written:
                say(f"{name}: wrote chapters/{chapter.stored.name}")
    return _summary(failures)


def _recorded(stored: Iterable[Path], failures: dict[str, str]) -> dict[str, Record]:
    """The numbers of those stored notebooks that can be read; of the others, why not."""
    known: dict[str, Record] = {}
    for path in stored:
        try:
            known |= chapters.recorded_in([path] if path.exists() else [])
        except BookError as error:
            failures[path.stem] = str(error)
    return known


def _summary(failures: dict[Any, str]) -> int:
    if not failures:
        return 0
    return say(f"{len(failures)} failed:", *(f"- {why}" for why in failures.values()), code=1)


def _serve(options: argparse.Namespace) -> None:
    site = root() / "_build" / "html"
    if not (site / "index.html").is_file():
        raise BookError(f"no site in {site}; build it with `make book`")
    handler = partial(SimpleHTTPRequestHandler, directory=str(site))
    try:
        server = ThreadingHTTPServer(("127.0.0.1", options.port), handler)
    except (OSError, OverflowError) as error:
        in_use = isinstance(error, OSError) and error.errno == errno.EADDRINUSE
        reason = "is in use" if in_use else f"cannot be opened ({error})"
        raise BookError(f"port {options.port} {reason}; choose another with --port") from None
    with server:
        say(f"The book is at http://127.0.0.1:{server.server_port}/ (Ctrl-C stops)")
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            say("")


def _claims(options: argparse.Namespace) -> int:
    """Claims and verdicts on the committed notebooks; where a run is given, on its numbers."""
    failures: dict[str, str] = {}
    rows = _recorded([chapter.stored for chapter in chapters.chapters()], failures)
    rows |= chapters.recorded_in(map(_verified, options.runs))
    known = {name: claim for name, claim in claims(root()).items() if claim.holds}
    lost, unasked = broken(known, rows.values()), unrecorded(known, rows)
    faulty = {fault.name for fault in lost} | unasked.keys()
    for name in (name for name in known if name not in faulty):
        print(f"holds   {name}: {known[name].claim}")
    for fault in lost:
        print(f"broken  {fault}")
    for fault in unasked.values():
        print(f"open    {fault}")
    say(f"{len(known) - len(faulty)} of {len(known)} claims hold")
    turned = _verdicts({name: row["value"] for name, row in rows.items()})
    return _summary(failures) or bool(lost or unasked or turned)


def _verdicts(values: dict[str, float]) -> list[str]:
    """What the sources claim, and what follows from these numbers; verdicts that do not."""
    found = ledger.read(root())
    for line in ledger.lines(found, values, root()):
        print(line)
    turned = ledger.turned(found, values, root())
    for line in turned:
        print(f"turned  {line}")
    if found.entries:
        said = ledger.summary(ledger.verdicts(found, values, root()))
        say(f"{said}; {len(turned)} turned")
    return turned


def _verified(run: Path) -> Path:
    """The notebook of a run, given as its folder or itself; of another notebook, only that."""
    folder = run if run.is_dir() else run.parent
    return runs.executed(folder) if run.is_dir() or runs.finished(folder) else run


def _check(_: argparse.Namespace) -> int:
    found = audit.problems()
    if not found:
        return say(f"{len(chapters.chapters())} pairs agree")
    print(*found, sep="\n")
    return 1
