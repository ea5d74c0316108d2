"""`ibbook course check`: the exercises, proved."""

from __future__ import annotations

import argparse
import sys

from ibbook.book.course import bank, exercises
from ibbook.book.course.exercises import Chapter


def add_commands(subparsers: argparse._SubParsersAction) -> None:
    """Add `course` and its commands; each sets `run`, a function of the parsed arguments."""
    course = subparsers.add_parser("course", help="exercises for nbgrader: release, grade, check")
    commands = course.add_subparsers(required=True, metavar="COMMAND")

    def add(name: str, do, text: str) -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
        command.set_defaults(run=do)
        return command

    checking = add(
        "check",
        _check,
        "whether the reference gets full marks, the released file none, wrong answers fewer",
    )
    checking.add_argument("chapters", nargs="*", metavar="CHAPTER", help="default: every chapter")


def _chosen(names: list[str]) -> list[Chapter]:
    return [exercises.find(name) for name in names] if names else exercises.exercises()


def _check(options: argparse.Namespace) -> int:
    from ibbook.book.course import proof

    failed = 0
    for source in _chosen(options.chapters):
        made = exercises.notebook(source)
        for fault in [
            *exercises.faults(source),
            *bank.faults(made, bank.wrong(source.name)),
        ]:
            failed += 1
            print(fault)
        for trial in proof.trials(source):
            failed += not trial.holds
            verdict = "" if trial.holds else f"   FAILS: {trial.wanted} of the points are due"
            print(
                f"{source.name}  {trial.exercise:<24} {trial.got:g} of {trial.points:g}  "
                f"{trial.what}{verdict}"
            )
    if failed:
        print(f"{failed} failed", file=sys.stderr)
    return int(failed > 0)
