"""What several commands share: options, tables of text, words that are no result."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterator, Sequence

from ibbook.book.folders import BookError


def positive(text: str) -> int:
    """A whole number from 1 on, as the type of an option.

    >>> positive("3")
    3
    """
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"must be a whole number from 1 on, got {text!r}")
    return int(text)


def add_parameters(command: argparse.ArgumentParser, text: str) -> None:
    """Add `-p NAME VALUE`, whose pairs are `given`; a negative number is a value.

    >>> parser = argparse.ArgumentParser()
    >>> add_parameters(parser, "set a parameter")
    >>> parser.parse_args(["-p", "shift", "-.5"]).given
    [['shift', '-.5']]
    """
    command._negative_number_matcher = re.compile(r"-(\.?\d|inf|nan)")
    command.add_argument(
        "-p",
        dest="given",
        nargs=2,
        action="append",
        default=[],
        metavar=("NAME", "VALUE"),
        help=f"{text}; may be repeated",
    )


def once(option: str, pairs: Sequence[Sequence]) -> dict:
    """Names and values, of which no name may come twice.

    >>> once("-p", [["beta", "1"], ["seed", "0"]])
    {'beta': '1', 'seed': '0'}
    """
    names = [name for name, _ in pairs]
    if twice := {name for name in names if names.count(name) > 1}:
        raise BookError(f"{option} sets {', '.join(sorted(twice))} more than once")
    return dict(pairs)


def aligned(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Rows as lines of text, whose columns stand below each other.

    >>> list(aligned([("a", "bc", "d"), ("ef", "g", "")]))
    ['a   bc  d', 'ef  g']
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        yield "  ".join(cells).rstrip()


def say(*lines: str, code: int = 0) -> int:
    """Print to stderr, which leaves stdout to results; the code is handed through."""
    for line in lines:
        print(line, file=sys.stderr, flush=True)
    return code
