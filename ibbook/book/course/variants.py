"""Each student's own numbers: a seed from a hash of the student's id.

The hash is keyed by a secret of the course, so that a seed, which leaves the course's folder in a
student's notebook, does not tell whose it is.
"""

from __future__ import annotations

import copy
import csv
import hmac
import io
import re
import secrets
from pathlib import Path

from nbformat import NotebookNode

from ibbook.book.course.exercises import SEED
from ibbook.book.folders import BookError, save, text_of

KEY = "variants.key"


def roster(path: Path) -> list[str]:
    """The ids of a roster: a CSV file with a column `id`, as `nbgrader db student import` reads.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp(), "roster.csv")
    >>> _ = path.write_text("id,first_name\\nann,Ann\\nbob,Bob\\n")
    >>> roster(path)
    ['ann', 'bob']
    """
    rows = list(csv.DictReader(io.StringIO(text_of(path))))
    if not rows or "id" not in rows[0]:
        raise BookError(f"{path} must be CSV with a column id in its first line and students below")
    ids = [(row["id"] or "").strip() for row in rows]
    for line, name in enumerate(ids, 2):
        if not re.fullmatch(r"\w[\w.@-]*", name):
            raise BookError(
                f"{path}, line {line}: id must be letters, digits, and . @ - within, got {name!r}"
            )
    if twice := sorted({name for name in ids if ids.count(name) > 1}):
        raise BookError(f"{path} has {', '.join(twice)} more than once; delete one of the lines")
    return ids


def seed(course: Path, student: str) -> int:
    """The student's seed in this course, from 1 to 2**31 - 1; the same in every assignment."""
    path = course / KEY
    if not path.exists():
        save(path, secrets.token_hex(32))
        path.chmod(0o600)
    digest = hmac.digest(bytes.fromhex(text_of(path).strip()), student.encode(), "sha256")
    return 1 + int.from_bytes(digest[:8], "big") % (2**31 - 1)


def variant(released: NotebookNode, number: int) -> NotebookNode:
    """A released notebook whose parameter `seed` is another."""
    made = copy.deepcopy(released)
    for cell in made.cells:
        if "parameters" in cell.metadata.get("tags", ()):
            cell.source = cell.source.replace(SEED, f"seed: int = {number}", 1)
    return made
