"""`ibbook sweep` and `ibbook plot`: many runs of a chapter, and a picture of what they recorded."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from contextlib import ExitStack, closing, suppress
from pathlib import Path

from tqdm import tqdm

from ibbook import _origin
from ibbook._paths import expanded
from ibbook.book import chapters, collect, grids, sweeps, workers
from ibbook.book.console import add_parameters, once, positive, say
from ibbook.book.folders import BookError
from ibbook.book.kernels import threads
from ibbook.book.keys import inputs
from ibbook.book.runs import below, executed, workspace
from ibbook.book.sweeps import Outcome, Plan


def add_commands(subparsers: argparse._SubParsersAction) -> None:
    """Add `sweep` and `plot`; each sets `run`, a function of the parsed arguments.

    >>> parser = argparse.ArgumentParser()
    >>> add_commands(parser.add_subparsers())
    >>> parser.parse_args(["sweep", "04-vib", "--seeds", "5"]).seeds
    5
    """
    many = subparsers.add_parser("sweep", help="run a chapter with every combination of values")
    many.set_defaults(run=run_sweep)
    many.add_argument("chapter", metavar="CHAPTER", help="its name, number, or part of the name")
    many.add_argument(
        "--grid",
        action="append",
        default=[],
        metavar="NAME=VALUE,VALUE",
        help="values of a parameter; may be repeated: every combination is run",
    )
    many.add_argument("--seeds", type=int, metavar="N", help="each of them with N seeds")
    many.add_argument(
        "--from", dest="rows", type=expanded, metavar="FILE.csv", help="one row a run, or a grid"
    )
    many.add_argument("--profile", metavar="NAME", help="a set of parameters, such as full")
    many.add_argument(
        "--workers", type=positive, metavar="N", help="runs at a time on this machine"
    )
    many.add_argument(
        "--scheduler", metavar="tcp://HOST:8786", help="a Dask scheduler, in place of this machine"
    )
    many.add_argument(
        "--cell-timeout",
        type=positive,
        metavar="SECONDS",
        help="give up a run whose cell takes longer (default: no limit)",
    )
    picture = subparsers.add_parser("plot", help="a recorded number against a parameter, drawn")
    picture.set_defaults(run=run_plot)
    picture.add_argument("source", metavar="TABLE_OR_CHAPTER", help=".csv, .parquet or a chapter")
    for name, text in (("x", "a parameter"), ("y", "a recorded number, such as vib.test_error")):
        picture.add_argument(f"--{name}", required=True, metavar="NAME", help=text)
    picture.add_argument("--hue", metavar="NAME", help="a parameter: one line for each value")
    picture.add_argument(
        "-o", dest="output", type=expanded, metavar="FILE", help=".png or .svg (default: Y.png)"
    )
    for command, text in ((many, "set another parameter"), (picture, "only runs with that value")):
        add_parameters(command, text)


def run_sweep(options: argparse.Namespace) -> int:
    """Say what there is to do, do it, and print the notebook of each run as it comes."""
    if options.scheduler and options.workers:
        raise BookError("--workers are of this machine; a --scheduler has its own")
    chapter = chapters.find(options.chapter)
    wanted = grids.combinations(
        chapter,
        grid=once("--grid", [_axis(text) for text in options.grid]),
        seeds=options.seeds,
        rows=options.rows,
        given=once("-p", options.given),
        profile=options.profile,
    )
    if tips := grids.quicker(chapter, wanted):
        say(f"{chapter.name}: quicker in one run, side by side: {' '.join(tips)}")
    with ExitStack() as stack:
        if options.scheduler:
            client = stack.enter_context(workers.outside(options.scheduler))
            depends = workers.agreed(client, chapter)
            hands = sum(client.nthreads().values())
        else:
            client, depends = None, inputs(chapter, {})
            hands = options.workers or _usual_workers(depends)
        planned = sweeps.plan(chapter, wanted, depends)
        hands = min(hands, len(planned.missing))
        say(*_plan(planned, wanted, hands))
        for run in planned.kept:
            print(executed(run), flush=True)
        if not planned.missing:
            return 0
        if client is None:
            place = stack.enter_context(workspace(below(chapter) / "sweep"))
            client = stack.enter_context(workers.local(hands, max(1, threads() // hands), place))
        failed = _follow(client, planned, grids.varied(wanted), options.cell_timeout)
    done = len(planned.missing) - len(failed)
    say(f"{done} done, {len(planned.kept)} kept, {len(failed)} failed", *failed)
    return 1 if failed else 0


def _usual_workers(depends: dict) -> int:
    """One for each core; one alone where a GPU computes, whose memory the runs would share."""
    return threads() if depends["device"] == _origin.platform.machine() else 1


def _axis(text: str) -> tuple[str, list[str]]:
    name, equals, values = text.partition("=")
    if not (name and equals and values):
        raise BookError(f"--grid takes NAME=VALUE,VALUE, got {text!r}")
    return name, values.split(",")


def _plan(planned: Plan, wanted: Sequence[grids.Row], hands: int) -> list[str]:
    """What a sweep has to do, in lines; the time is that of the chapter's own settings."""
    name, todo = planned.chapter.name, len(planned.missing)
    over = " x ".join(f"{len({row[n] for row in wanted})} {n}" for n in grids.varied(wanted))
    lines = [f"{name}: {len(wanted)} runs ({over or 'no parameter varies'})"]
    lines += [f"{fault.partition('; remove it')[0]}; it is made again" for fault in planned.damaged]
    lines.append(f"{name}: {len(planned.kept)} kept, {todo} to make")
    if todo:
        lines[-1] += f" on {hands} worker{'s' * (hands > 1)}"
        with suppress(KeyError, ValueError):  # a chapter need not say how long it takes
            minutes = float(chapters.header(planned.chapter)["ibbook"]["minutes"])
            total = minutes * -(-todo // hands)
            lines[-1] += f", about {total:g} min ({minutes:g} min each as the chapter stands)"
    return lines


def _follow(client, planned: Plan, names: Sequence[str], cell_timeout: int | None) -> list[str]:
    """Make the missing runs; on stdout their notebooks, on stderr how it goes; who failed."""
    failed: list[str] = []
    total = len(planned.missing)
    with tqdm(total=total, disable=None, unit="run", leave=False) as bar:

        def running(count: int) -> None:
            bar.set_postfix(running=count, failed=len(failed))

        outcomes = sweeps.sweep(client, planned, cell_timeout=cell_timeout, running=running)
        with closing(outcomes):
            for number, outcome in enumerate(outcomes, 1):
                bar.update()
                told, line = _told(outcome, names), f"[{number}/{total}] "
                with tqdm.external_write_mode():
                    if outcome.folder is None:
                        failed.append(f"- {told}")
                        say(*filter(None, [outcome.traceback]))
                    else:
                        print(executed(outcome.folder), flush=True)
                    say(line + told)
    return failed


def _told(outcome: Outcome, names: Sequence[str]) -> str:
    values = " ".join(f"{name}={outcome.values[name]}" for name in names)
    what = f"{outcome.seconds:.0f} s" if outcome.folder else outcome.reason
    return f"{values}: {what}" if values else what


def run_plot(options: argparse.Namespace) -> None:
    """Draw, and print what the picture shows."""
    from ibbook.book import plots

    path = options.output or Path(f"{options.y}.png")
    table = _table(expanded(options.source), options.source)
    where = once("-p", options.given)
    print(plots.draw(table, path, options.x, options.y, options.hue, where))
    say(f"drawn in {path}")


def _table(path: Path, name: str):
    """A table that `ibbook collect` wrote, or that of a chapter's present runs."""
    import pandas as pd

    readers = {".csv": pd.read_csv, ".parquet": pd.read_parquet}
    if path.suffix not in readers:
        return collect.collect(collect.present(chapters.find(name)))
    try:
        table = readers[path.suffix](path)
    except (ValueError, OSError) as error:
        raise BookError(f"{path} is no table of `ibbook collect` ({error})") from None
    if lacking := {"chapter", "run", "name", "value"} - set(table.columns):
        raise BookError(f"{path} lacks {', '.join(sorted(lacking))}; `ibbook collect` writes them")
    return table
