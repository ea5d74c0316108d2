"""`ibbook course release | grade | check | solutions`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

from ibbook._paths import expanded
from ibbook.book.chapters import Chapter
from ibbook.book.course import bank, exercises, sandbox
from ibbook.book.course.sandbox import Limits
from ibbook.book.folders import BookError


def add_commands(subparsers: argparse._SubParsersAction) -> None:
    """Add `course` and its commands; each sets `run`, a function of the parsed arguments.

    >>> parser = argparse.ArgumentParser()
    >>> add_commands(parser.add_subparsers())
    >>> parser.parse_args(["course", "release", "3", "--course", "ib-2027"]).chapters
    ['3']
    """
    course = subparsers.add_parser("course", help="exercises for nbgrader: release, grade, check")
    commands = course.add_subparsers(required=True, metavar="COMMAND")

    def add(name: str, do: Callable, text: str) -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
        command.set_defaults(run=do)
        command.add_argument("chapters", nargs="*", metavar="CHAPTER", help="default: every one")
        return command

    releasing = add("release", run_release, "make nbgrader's assignments in a course's folder")
    releasing.add_argument(
        "--roster", type=expanded, metavar="FILE", help="CSV with a column id: a variant for each"
    )
    grading = add("grade", run_grade, "grade what students handed in: a table, and feedback")
    grading.add_argument(
        "--submissions", type=expanded, metavar="FOLDER", help="default: submitted in the course"
    )
    grading.add_argument(
        "--cell-timeout", type=float, default=Limits().cell, metavar="SECONDS", help="%(default)g"
    )
    grading.add_argument(
        "--memory", type=float, default=Limits().memory, metavar="GIB", help="default: %(default)g"
    )
    for command in (releasing, grading):
        command.add_argument(
            "--course", type=expanded, default=Path("course"), metavar="FOLDER", help="its folder"
        )
    add(
        "check", run_check, "right answers get all points, the released file none, wrong ones fewer"
    )
    solved = add("solutions", run_solutions, "pages with the solutions, apart from the book's site")
    solved.add_argument("-o", dest="out", type=expanded, metavar="FOLDER")


def run_release(options: argparse.Namespace) -> int:
    """Make the assignments, and print where each notebook lies."""
    _needs_nbgrader()
    from ibbook.book.course import release, variants

    students = variants.roster(options.roster) if options.roster else []
    course = options.course.resolve()
    course.mkdir(parents=True, exist_ok=True)
    for source in _chosen(options.chapters):
        for path in release.release(source, course, students):
            print(path)
    return 0


def run_grade(options: argparse.Namespace) -> int:
    """Grade every student's work; 1 where something could not be graded."""
    _needs_nbgrader()
    sandbox.limited()
    from ibbook.book.course import grade, release, report

    if not sandbox.closed():
        print(sandbox.OPEN, file=sys.stderr)
    course = options.course.resolve()
    submissions = (options.submissions or course / "submitted").resolve()
    limits = Limits(cell=options.cell_timeout, memory=options.memory)
    known = [s for s in _chosen(options.chapters) if release.released(course, s.name).exists()]
    if not known:
        raise BookError(f"{course} has no such assignment; make it with `ibbook course release`")
    failed = 0
    for source in known:
        rows = []
        for row in grade.batch(course, source.name, submissions, limits):
            rows.append(row)
            failed += row.status.startswith("not graded")
            print(*report.lines(source.name, row), sep="\n", flush=True)
        print(report.write(course, source.name, rows))
    return int(failed > 0)


def run_check(options: argparse.Namespace) -> int:
    """Prove the exercises; 1 where one of them does not notice what it should."""
    _needs_nbgrader()
    sandbox.limited()
    from ibbook.book.course import proof

    failed = 0
    for source in _chosen(options.chapters):
        found = [*exercises.faults(source), *bank.faults(source)]
        for fault in found:
            print(fault)
        failed += len(found)
        for trial in proof.trials(source):
            verdict = "" if trial.holds else f"  FAILS: {trial.wanted} of the points are due"
            print(f"{source.name}  {trial.exercise}: {trial.got:g} of {trial.points:g}", end="  ")
            print(f"{trial.what}{verdict}")
            failed += not trial.holds
    print(f"{failed} failed" if failed else "every exercise notices what it should")
    return int(failed > 0)


def run_solutions(options: argparse.Namespace) -> int:
    """Build the pages with the solutions, and print where they are."""
    from ibbook.book.course import solutions

    print(solutions.build(_chosen(options.chapters), options.out))
    return 0


def _chosen(names: list[str]) -> list[Chapter]:
    return [exercises.find(name) for name in names] if names else exercises.exercises()


def _needs_nbgrader() -> None:
    if find_spec("nbgrader") is None:
        raise BookError(
            "nbgrader is not installed; `pip install -c constraints.txt -e '.[course]'` brings it"
        )
