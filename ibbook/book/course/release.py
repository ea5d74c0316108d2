"""Assignments as nbgrader makes them, and each student's own variant of them."""

from __future__ import annotations

from pathlib import Path

import nbformat

from ibbook.book.chapters import Chapter
from ibbook.book.course import exercises, folder, variants
from ibbook.book.folders import BookError


def release(source: Chapter, course: Path, students: list[str]) -> list[Path]:
    """Make an assignment of a chapter's exercises in a course's folder; the released notebooks.

    `release/NAME/` holds what all students get. Where students are named, `variants/STUDENT/NAME/`
    holds what each of them gets instead.
    """
    if found := list(exercises.faults(source)):
        raise BookError("; ".join(found))
    folder.prepare(course, source.name, exercises.notebook(source))
    if fault := folder.call(course, "generate_assignment", source.name):
        raise BookError(
            f"nbgrader does not release {source.name}: {fault}; where submissions of an older "
            "release are graded already, use a new course folder"
        )
    common = released(course, source.name)
    made = nbformat.read(common, as_version=4)
    paths = [common]
    for student in students:
        path = own(course, student, source.name)
        folder.store(path, variants.variant(made, variants.seed(course, student)))
        paths.append(path)
    return paths


def released(course: Path, name: str) -> Path:
    """The notebook of an assignment that all students get."""
    return course / "release" / name / f"{name}.ipynb"


def own(course: Path, student: str, name: str) -> Path:
    """A student's own variant of an assignment."""
    return course / "variants" / student / name / f"{name}.ipynb"


def given(course: Path, student: str, name: str) -> Path:
    """The notebook that a student got."""
    path = own(course, student, name)
    return path if path.exists() else released(course, name)
