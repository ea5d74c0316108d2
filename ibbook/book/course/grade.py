"""Submissions, graded one by one: whatever one of them does, the next has its turn."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from ibbook.book.course import assemble, exercises, folder, preprocessors, release
from ibbook.book.course.sandbox import Limits
from ibbook.book.folders import BookError

ASSEMBLED = "assembled"
STAMP = "timestamp.txt"
# Ways around a test that runs in the student's own process; a person should read what uses them.
SUSPICIOUS = re.compile(
    r"get_ipython|sys\.modules|\bbuiltins\b|__builtins__|\bctypes\b|_getframe|\bgc\.|\binspect\b"
    r"|^\s*[%!]|\bsubprocess\b|\bos\.(?:system|kill|_exit|fork|popen)|\bIn\[|\bsettrace\b|__import__"
    r"|\bimportlib\b|\bexec\(|\beval\(",
    re.M,
)


@dataclass
class Graded:
    """What became of one student's work on an assignment."""

    student: str
    status: str = "graded"
    scores: dict[str, float | None] = field(default_factory=dict)  # None: waits for a person
    points: dict[str, float] = field(default_factory=dict)
    repairs: list[str] = field(default_factory=list)
    look: list[str] = field(default_factory=list)
    feedback: Path | None = None

    @property
    def waiting(self) -> list[str]:
        """Answers that a person has to grade."""
        return [name for name, score in self.scores.items() if score is None]

    @property
    def score(self) -> float | None:
        """The points so far; None where nothing was graded."""
        return sum(s or 0 for s in self.scores.values()) if self.status == "graded" else None


def students(submissions: Path, course: Path) -> list[str]:
    """Everyone who handed something in, or has a variant of the assignment."""
    places = [place for place in (submissions, course / "variants") if place.is_dir()]
    return sorted({f.name for place in places for f in place.iterdir() if _folder(f)})


def _folder(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink() and not path.name.startswith(".")


def grade(course: Path, name: str, student: str, submissions: Path, limits: Limits) -> Graded:
    """Grade one student's work on one assignment; every fault ends in the status."""
    done = Graded(student)
    try:
        given = nbformat.read(release.given(course, student, name), as_version=4)
        path = _handed_in(submissions / student, name, given, done)
        if path is None:
            done.status = "nothing handed in"
            return done
        whole = _assembled(path, given, done)
        place = course / ASSEMBLED / student / name
        folder.store(place / f"{name}.ipynb", whole)
        if (stamp := path.with_name(STAMP)).is_file():  # nbgrader reads there what came late
            shutil.copy(stamp, place)
        _autograde(course, name, student, limits)
        _read_scores(course, name, student, done)
        _feedback(course, name, student, done)
    except BookError as error:
        done.status = f"not graded: {error}"
    except Exception as error:  # one submission must not stop the others
        reason = " ".join(str(error).split())[:200]
        done.status = f"not graded: {type(error).__name__}: {reason}"
    return done


def _handed_in(place: Path, name: str, given: NotebookNode, done: Graded) -> Path | None:
    """The notebook of an assignment in a student's folder, whatever its name."""
    own = place / name
    found = sorted(own.glob("*.ipynb")) if own.is_dir() else sorted(place.glob("*.ipynb"))
    found = [p for p in found if p.is_file() and not p.is_symlink()]
    exact = [path for path in found if path.name == f"{name}.ipynb"]
    if exact:
        path = exact[0]
    else:
        missing = {}
        for path in found:
            try:
                missing[path] = assemble.missing(given, assemble.read(path)[0])
            except BookError:
                continue
        wanted = len([c for c in given.cells if exercises.grade_id(c)])
        likely = [p for p, count in missing.items() if count < wanted]
        if not likely and not (own.is_dir() and len(found) == 1):
            return None
        path = min(likely, key=missing.get) if likely else found[0]
        done.repairs.append(f"the file was called {path.name}")
    if own.is_dir():
        others = sorted(p.name for p in own.iterdir() if p != path and p.name != STAMP)
        if others:
            done.repairs.append(f"left out: {', '.join(others)}")
    return path


def _assembled(path: Path, given: NotebookNode, done: Graded) -> NotebookNode:
    submitted, notes = assemble.read(path)
    whole = assemble.assemble(given, submitted)
    done.repairs += notes + whole.repairs
    done.look = sorted({match.strip() for match in SUSPICIOUS.findall(whole.code)})
    return whole.notebook


def _autograde(course: Path, name: str, student: str, limits: Limits) -> None:
    shutil.rmtree(course / "autograded" / student / name, ignore_errors=True)
    fault = folder.call(
        course,
        "autograde",
        name,
        student,
        CourseDirectory={"submitted_directory": ASSEMBLED},
        Autograde={"autograde_preprocessors": preprocessors.AUTOGRADE},
        Run=limits._asdict(),
    )
    if fault:
        raise BookError(fault)


def _read_scores(course: Path, name: str, student: str, done: Graded) -> None:
    """Each cell's points, manual ones over automatic ones, from nbgrader's own gradebook."""
    from nbgrader.api import Gradebook

    with folder.here(course), Gradebook(f"sqlite:///{course / 'gradebook.db'}") as book:
        for grade in book.find_submission_notebook(name, name, student).grades:
            waits = grade.needs_manual_grade and grade.manual_score is None
            done.scores[grade.name] = None if waits else grade.score
            done.points[grade.name] = grade.max_score


def _feedback(course: Path, name: str, student: str, done: Graded) -> None:
    fault = folder.call(
        course,
        "generate_feedback",
        name,
        student,
        GenerateFeedback={"preprocessors": preprocessors.FEEDBACK},
    )
    done.feedback = course / "feedback" / student / name / f"{name}.html"
    if fault or not done.feedback.exists():
        done.feedback = None
        done.repairs.append(f"no feedback: {fault}")


def batch(course: Path, name: str, submissions: Path, limits: Limits) -> Iterator[Graded]:
    """Every student's work on an assignment, in the order of the ids."""
    known = students(submissions, course)
    if not known:
        raise BookError(f"no folder of a student in {submissions}; it needs STUDENT/{name}/")
    for student in known:
        yield grade(course, name, student, submissions, limits)
