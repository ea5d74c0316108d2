"""A course's folder, laid out as nbgrader has it, and nbgrader's own steps on it."""

from __future__ import annotations

import os
import shutil
import sys
import warnings
from collections.abc import Iterator
from contextlib import chdir, contextmanager
from pathlib import Path
from typing import Any

import nbformat
from nbformat import NotebookNode

from ibbook.book.folders import save

CONFIG = """\
# Made once by `ibbook course release`; edit it as you like. nbgrader's own commands and buttons
# read it: autograding runs in the book's sandbox, and feedback shows no hidden test.
c = get_config()  # noqa: F821
c.CourseDirectory.course_id = "ibbook"
from ibbook.book.course.preprocessors import AUTOGRADE, FEEDBACK  # noqa: E402

c.Autograde.autograde_preprocessors = AUTOGRADE
c.GenerateFeedback.preprocessors = FEEDBACK
"""


@contextmanager
def here(course: Path) -> Iterator[None]:
    """nbgrader works in the course's folder, and calls alembic by its name."""
    before = os.environ.get("PATH", os.defpath)
    os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), before])
    try:
        with chdir(course):
            yield
    finally:
        os.environ["PATH"] = before


def prepare(course: Path, name: str, made: NotebookNode) -> None:
    """Put an assignment's source into the course, and nothing else: all of it would be released."""
    folder = course / "source" / name
    shutil.rmtree(folder, ignore_errors=True)
    store(folder / f"{name}.ipynb", made)
    if not (course / "nbgrader_config.py").exists():
        save(course / "nbgrader_config.py", CONFIG)


def store(path: Path, made: NotebookNode) -> None:
    """Write a notebook, and the folders that it lies in."""
    path.parent.mkdir(parents=True, exist_ok=True)
    save(path, nbformat.writes(made) + "\n")


def call(course: Path, step: str, *arguments: Any, **settings: dict[str, Any]) -> str:
    """One step of nbgrader (`generate_assignment`, `autograde`); empty, or why it failed.

    `settings` are traits of its classes, as in `Autograde={"create_student": True}`.
    """
    from nbgrader.apps import NbGraderAPI
    from nbgrader.coursedir import CourseDirectory
    from traitlets.config import Config

    directory = {"root": str(course), "course_id": "ibbook"}
    directory |= settings.pop("CourseDirectory", {})
    config = Config(CourseDirectory=directory, **settings)
    with here(course), warnings.catch_warnings():
        # nbgrader looks grades up through objects that SQLAlchemy has not yet stored
        warnings.filterwarnings("ignore", "Object of type <Submitted")
        api = NbGraderAPI(coursedir=CourseDirectory(config=config), config=config)
        answer = getattr(api, step)(*arguments)
    if answer["success"]:
        return ""
    said = [line for line in (answer.get("error") or answer.get("log") or "").splitlines() if line]
    return said[-1] if said else f"nbgrader's {step} failed and did not say why"
