"""`ibbook data list | fetch NAME | check [NAME]`."""

from __future__ import annotations

import argparse
import sys

from ibbook._files import Entry, fetch, find, registry, verify
from ibbook.book.console import aligned


def add_commands(subparsers: argparse._SubParsersAction) -> None:
    """Add `data` and its three commands; each sets `run`, a function of the parsed arguments.

    >>> parser = argparse.ArgumentParser()
    >>> add_commands(parser.add_subparsers())
    >>> parser.parse_args(["data", "fetch", "mnist"]).name
    'mnist'
    """
    data = subparsers.add_parser("data", help="data sets: list, fetch, check")
    commands = data.add_subparsers(required=True, metavar="COMMAND")
    listing = commands.add_parser("list", help="every set, its licence, and whether it is here")
    listing.set_defaults(run=run_list)
    fetching = commands.add_parser("fetch", help="download a set into the cache, with checksums")
    fetching.add_argument("name", metavar="NAME")
    fetching.set_defaults(run=run_fetch)
    checking = commands.add_parser("check", help="read the files again and compare checksums")
    checking.add_argument("name", metavar="NAME", nargs="?")
    checking.set_defaults(run=run_check)


def run_list(_: argparse.Namespace) -> int:
    """Print one line for each set.

    >>> run_list(argparse.Namespace()) # doctest: +ELLIPSIS
    name ...
    0
    """
    rows = [("name", "images", "size", "licence", "from", "here")]
    for e in registry().values():
        rows.append((e.name, f"{e.images:,}", e.shape, e.licence, _from(e), _here(e)))
    print(*aligned(rows), sep="\n")
    return 0


def run_fetch(arguments: argparse.Namespace) -> int:
    """Download what is missing of one set; say where it is, or what went wrong.

    >>> run_fetch(argparse.Namespace(name="digits"))
    1
    """
    from ibbook.datasets._load import entry

    try:
        for path in fetch(entry(arguments.name)):
            print(path)
    except (OSError, ValueError) as error:
        if getattr(error, "filename", None):  # of the system: `main` says what helps
            raise
        print(error, file=sys.stderr)
        return 1
    return 0


def run_check(arguments: argparse.Namespace) -> int:
    """Check one set, or all that are here; 0 when nothing is wrong.

    >>> run_check(argparse.Namespace(name="digits"))
    digits: whole (scikit-learn)
    0
    """
    from ibbook.datasets._load import entry  # it brings torch, which other commands do without

    try:
        chosen = [entry(name) for name in ([arguments.name] if arguments.name else registry())]
    except ValueError as error:
        print(error, file=sys.stderr)
        return 1
    wrong = False
    for e in chosen:
        try:
            print(f"{e.name}: {_check(e)}")
        except FileNotFoundError as error:
            wrong |= arguments.name is not None
            print(error if arguments.name else f"{e.name}: not here")
        except (OSError, ValueError) as error:
            wrong = True
            print(f"{e.name}: WRONG. {error}")
    return int(wrong)


def _check(e: Entry) -> str:
    """Read the files again, and as pictures; what is there, in words."""
    from ibbook.datasets import dsprites
    from ibbook.datasets._load import PARTS, load

    paths = [find(file) for file in e.files]
    for path, file in zip(paths, e.files, strict=True):
        if path is not None:
            verify(path, file, again=True)
    parts = PARTS if e.name in ("mnist", "fashion-mnist") else (None,)
    for part in parts:
        data = load(e.name, **({"part": part} if part else {}))
        if None not in paths:
            data.batch([0, -1])
    if e.name == "dsprites" and paths[0] is not None:
        number = dsprites.check(paths[0])
        return (
            f"whole (official file; {number} of its pixels differ from the rendered ones, "
            "about 50 are expected)"
        )
    if not e.files or None in paths:
        return f"whole ({data.source})"
    return f"whole ({', '.join(str(path) for path in paths)})"


def _from(e: Entry) -> str:
    size = sum(f.megabytes or 0 for f in e.files)
    sizes = f", {size:.0f} MB" if size else ""
    if e.origin == "rendered":
        return f"rendered; official file{sizes}"
    return "download" + sizes if e.origin == "fetched" else e.origin


def _here(e: Entry) -> str:
    found = [find(file) for file in e.files]
    if found and None not in found:
        return str(found[0].parent)
    return "no" if e.origin == "fetched" else e.origin
