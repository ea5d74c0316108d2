"""Where the book's things lie, and how a file of it is written."""

from __future__ import annotations

import os
from pathlib import Path


class BookError(ValueError):
    """Something that the person at the keyboard can put right; the message says how."""


def root() -> Path:
    """The book's folder: the checkout that this package lies in, or `$IBBOOK_ROOT`.

    >>> (root() / "chapters").is_dir()
    True
    """
    book = Path(os.environ.get("IBBOOK_ROOT") or Path(__file__).parents[2]).resolve()
    if not (book / "chapters").is_dir():
        raise BookError(
            f"no book in {book}: it has no folder chapters/. "
            "Clone the repository, or set IBBOOK_ROOT to where it is"
        )
    return book


def run_store(book: Path) -> Path:
    """The folder of all runs: `_build/runs` of the book, or `$IBBOOK_RUNS`.

    >>> run_store(root()).is_absolute()
    True
    """
    return (book / (os.environ.get("IBBOOK_RUNS") or "_build/runs")).resolve()


def checkpoints() -> Path:
    """The folder for the checkpoints of long runs, beside the folder of runs.

    A full run that was interrupted goes on from there when it is run again. A default run must
    not use it: a test that starts from a finished checkpoint trains nothing.

    >>> checkpoints().name
    'checkpoints'
    """
    return run_store(root()).with_name("checkpoints")


def save(path: Path, text: str) -> None:
    """Write a text file whole or not at all.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp(), "note.txt")
    >>> save(path, "kept")
    >>> path.read_text(), len(list(path.parent.iterdir()))
    ('kept', 1)
    """
    part = path.with_name(f".{path.name}.part")
    part.write_text(text, encoding="utf-8")
    part.replace(path)
