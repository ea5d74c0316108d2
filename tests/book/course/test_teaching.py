"""A course of three students, from start to finish, by the commands of the teacher's page."""

from __future__ import annotations

import csv
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from ibbook.book.course import bank, exercises
from ibbook.book.folders import root

PAGE = (root() / "chapters" / "teaching.md").read_text(encoding="utf-8")
COMMANDS = re.findall(r"^```bash\n(.*?)^```", PAGE, re.M | re.S)
ROSTER = re.search(r"^```\n(id,.*?)^```", PAGE, re.M | re.S)[1]
NAME = "01-entropy"
COURSE = "ib-2027"


@pytest.fixture(scope="module")
def desk(tmp_path_factory):
    """A folder to work in, and a shell in it."""
    folder = tmp_path_factory.mktemp("desk")
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"

    def shell(command: str) -> subprocess.CompletedProcess:
        done = subprocess.run(
            ["bash", "-ec", command], cwd=folder, capture_output=True, text=True,
            env=os.environ | {"PATH": path},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done

    return folder, shell


def answered(path: Path, answers: dict[str, str]) -> nbformat.NotebookNode:
    made = nbformat.read(path, as_version=4)
    for cell in made.cells:
        cell.source = answers.get(cell.get("id"), cell.source)
    return made


def table(folder: Path) -> dict[str, dict[str, str]]:
    with (folder / COURSE / "grades" / f"{NAME}.csv").open() as stream:
        return {row["student"]: row for row in csv.DictReader(stream)}


def test_a_course_from_roster_to_feedback(desk):
    folder, shell = desk
    (folder / "roster.csv").write_text(ROSTER)
    release, grade = COMMANDS
    shell(release)
    given = {name: folder / COURSE / "variants" / name / NAME for name in ("ann", "bob", "cem")}

    source = exercises.find(NAME)
    right = exercises.notebook(source)
    ours = {c.id: c.source for c in right.cells if exercises.kind(c) in ("", exercises.WRITTEN)}
    wrong = {name: row.source for name, row in bank.columns(bank.wrong(NAME))[0].items()}
    work = {
        "ann": answered(given["ann"] / f"{NAME}.ipynb", ours),
        "bob": answered(given["bob"] / f"{NAME}.ipynb", wrong),
        "cem": answered(given["cem"] / f"{NAME}.ipynb", {}),
    }
    for cell in work["cem"].cells:  # as some tools leave it
        cell.metadata = {}
    files = {"ann": f"{NAME}.ipynb", "bob": "My solution (2).ipynb", "cem": f"{NAME}.ipynb"}
    for name, made in work.items():
        place = folder / COURSE / "submitted" / name / NAME
        place.mkdir(parents=True)
        nbformat.write(made, place / files[name])

    shell(grade)
    rows = table(folder)
    assert {row["status"] for row in rows.values()} == {"graded"}
    automatic = sum(c.metadata.nbgrader.points for c in right.cells if _is_test(c))
    assert float(rows["ann"]["score"]) == automatic
    assert 0 < float(rows["bob"]["score"]) < automatic
    assert float(rows["cem"]["score"]) == 0
    (written,) = [c.id for c in right.cells if exercises.kind(c) == exercises.WRITTEN]
    assert [rows[name]["waiting"] for name in work] == [written, "", ""]
    assert "the file was called My solution (2).ipynb" in rows["bob"]["repairs"]

    _read_by_a_person(folder / COURSE, written)
    shell(grade)
    again = table(folder)
    assert float(again["ann"]["score"]) == automatic + 1.5
    assert again["ann"]["waiting"] == ""
    assert again["bob"] == rows["bob"]
    page = (folder / COURSE / "feedback" / "ann" / NAME / f"{NAME}.html").read_text()
    assert "A fair point, half made." in page


def _is_test(cell) -> bool:
    return exercises.kind(cell) in (exercises.TEST, exercises.HIDDEN)


def _read_by_a_person(course: Path, written: str) -> None:
    """What the form of nbgrader does when a teacher gives points and writes a comment."""
    from nbgrader.api import Gradebook

    with Gradebook(f"sqlite:///{course / 'gradebook.db'}") as book:
        grade = book.find_grade(written, NAME, NAME, "ann")
        grade.manual_score, grade.needs_manual_grade = 1.5, False
        book.find_comment(written, NAME, NAME, "ann").manual_comment = "A fair point, half made."
        book.db.commit()


def test_nbgraders_own_commands_work_in_the_same_folder(desk):
    folder, shell = desk
    if not (folder / COURSE).is_dir():
        pytest.skip("the course was not made")
    shutil.rmtree(folder / COURSE / "feedback")
    shell(f"cd {COURSE} && nbgrader autograde {NAME} --student ann --force")
    shell(f"cd {COURSE} && nbgrader generate_feedback {NAME} --student ann")
    page = (folder / COURSE / "feedback" / "ann" / NAME / f"{NAME}.html").read_text()
    hidden = exercises.regions(
        "\n".join(c.source for c in exercises.notebook(exercises.find(NAME)).cells), "HIDDEN TESTS"
    )
    assert hidden
    assert not any(line.strip() in page for part in hidden for line in part.splitlines()[:2])
