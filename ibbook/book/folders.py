"""Where the book's things lie, and how a file of it is read and written."""

from __future__ import annotations

import os
from pathlib import Path
from uuid import uuid4

from ibbook._paths import expanded, given


class BookError(ValueError):
    """Something that the person at the keyboard can put right; the message says how."""


def root() -> Path:
    """The book's folder: the checkout that this package lies in, or `$IBBOOK_ROOT`.

    >>> (root() / "chapters").is_dir()
    True
    """
    book = (given("IBBOOK_ROOT") or Path(__file__).parents[2]).resolve()
    if not (book / "chapters").is_dir():
        raise BookError(
            f"no book in {book}: it has no folder chapters/. "
            "Clone the repository, or set IBBOOK_ROOT to where it is"
        )
    return book


def run_store(book: Path) -> Path:
    """The folder of all runs: `_build/runs` of the book, or `$IBBOOK_RUNS`, seen from the book.

    >>> run_store(root()).is_absolute()
    True
    """
    return (book / expanded(os.environ.get("IBBOOK_RUNS") or "_build/runs")).resolve()


def checkpoints() -> Path:
    """The folder for the checkpoints of long runs, beside the folder of runs.

    A full run that was interrupted goes on from there when it is run again. A default run must
    not use it: a test that starts from a finished checkpoint trains nothing.

    >>> checkpoints().name
    'checkpoints'
    """
    return run_store(root()).with_name("checkpoints")


def files(folder: Path, pattern: str) -> list[Path]:
    """The files that a pattern finds, in order, without the hidden ones of editors and systems.

    >>> import tempfile
    >>> top = Path(tempfile.mkdtemp())
    >>> (top / "b.md").touch(), (top / "a.md").mkdir(), (top / ".#b.md").symlink_to("me@host.1")
    (None, None, None)
    >>> [path.name for path in files(top, "*.md")]
    ['b.md']
    """
    return sorted(p for p in folder.glob(pattern) if p.is_file() and p.name[0] != ".")


def text_of(path: Path) -> str:
    """The text of a file, without the mark that some editors put before it.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp(), "marked.md")
    >>> _ = path.write_bytes("A title".encode("utf-8-sig"))
    >>> text_of(path)
    'A title'
    """
    content = path.read_bytes()
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        bad = f"byte {error.start} is {content[error.start]:#x}"
        raise BookError(f"{path} is not UTF-8: {bad}; save it as UTF-8") from None
    before, nul, _ = text.partition("\0")
    if nul:
        line = before.count("\n") + 1
        raise BookError(f"{path} has a NUL character in line {line}; delete it")
    return text.replace("\r\n", "\n")


def save(path: Path, text: str, *, new: bool = False) -> None:
    """Write a text file whole or not at all; where it must be `new`, a file in its place stays.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp(), "note.txt")
    >>> save(path, "kept")
    >>> path.read_text(), len(list(path.parent.iterdir()))
    ('kept', 1)
    """
    part = path.with_name(f".{path.name}.{uuid4().hex}.part")
    try:
        with part.open("w", encoding="utf-8", newline="\n") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        if new:
            os.link(part, path)
        else:
            part.replace(path)
    finally:
        part.unlink(missing_ok=True)
