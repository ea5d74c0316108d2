"""Ten hostile and some damaged submissions among honest ones: each gets its own grade."""

from __future__ import annotations

import csv
import json
import time
from datetime import datetime
from pathlib import Path

import pytest
from nbformat.v4 import new_code_cell, new_notebook, new_output

from ibbook.book.cli import main
from ibbook.book.course import sandbox
from ibbook.book.course.preprocessors import Discreet
from tests.book.course import coin

FULL = {"heads": 3.0, "share": 3.0, "runs": 3.0}
CLOSED = pytest.mark.skipif(not sandbox.closed(), reason="`unshare` closes nothing in here")


def answers(**bodies: str) -> dict[str, str]:
    return {name: coin.answer(name, "tosses", body) for name, body in bodies.items()}


def loops_for_ever():
    return answers(share="while True: pass"), FULL | {"share": 0}


def loops_where_no_signal_reaches():
    return answers(runs="return sum(range(10**13))"), FULL | {"runs": 0}


def prints_a_gigabyte():
    body = "for _ in range(10**6): print('x' * 1000)"
    return answers(share=body), FULL | {"share": 0}


def eats_memory():
    return answers(share="return bytearray(2**34)"), FULL | {"share": 0}


def kills_its_kernel():
    return answers(share="import os; os._exit(0)"), {"heads": 3.0, "share": 0, "runs": 0}


def kills_the_grader():
    body = "import os; os.kill(os.getppid(), 9); os.kill(-1, 9); return tosses.count('H')"
    return answers(heads=body), {"heads": None, "share": None, "runs": None}


def empties_every_later_cell():
    trick = "get_ipython().input_transformers_cleanup.append(lambda _: [])"
    return {"heads": trick}, {"heads": 0, "share": 0, "runs": 0}


def displays_its_own_grade():
    trick = "get_ipython().displayhook(3)"
    return answers(heads=f"{trick}; return 0"), FULL | {"heads": 0}


def leaves_a_process():
    body = "import subprocess; subprocess.Popen(['sleep', '4242']); return tosses.count('H')"
    return answers(heads=body), FULL


def reads_and_writes(course: Path):
    """Tells whether it sees anything of the course, or reaches anything beyond this machine."""
    body = f"""import glob, socket, os
    found = [p for p in ('{course}', '{course.parent}') if os.path.exists(p)]
    found += glob.glob('**/*.ipynb', recursive=True)
    for path in ('{course}/gradebook.db', '{sandbox.PACKAGE}/x', '/usr/x'):
        try: open(path, 'ab'); found.append(path)
        except OSError: pass
    try: socket.create_connection(('127.0.0.1', {{port}}), 1); found.append('network')
    except OSError: pass
    if found: raise ValueError(found)
    return tosses.count('H')"""
    return body


HOSTILE = [
    loops_for_ever, loops_where_no_signal_reaches, prints_a_gigabyte, eats_memory,
    kills_its_kernel, empties_every_later_cell, displays_its_own_grade,
]  # fmt: skip
CAGED = [kills_the_grader, leaves_a_process]


@pytest.fixture(scope="module")
def graded(course, fill, hand_in, request):
    """One batch with all of them, and its table, by student."""
    import socket

    hand_in("ann", fill("ann"))
    wrong = fill("bob", answers(share="return 0.5"))
    wrong.cells[-1].source = "Because."
    hand_in("bob", wrong)
    hand_in("released", fill("", dict.fromkeys(coin.RIGHT, "")))
    for trick in [*HOSTILE, *(CAGED if sandbox.closed() else [])]:
        hand_in(trick.__name__, fill("", trick()[0]))
    body = reads_and_writes(course)
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = str(server.getsockname()[1])
        if sandbox.closed():
            hand_in("reads", fill("", answers(heads=body.replace("{port}", port))))
        hand_in("broken", "<<<<<<< HEAD")
        hand_in("elsewhere", fill(), "My solution (2).ipynb")
        gone = fill()
        gone.cells = [c for c in gone.cells if not c.id.endswith(("-test", "-hidden"))]
        gone.cells.append(new_code_cell("heads_test = 3"))
        hand_in("deletes_tests", gone)
        (course / "submitted" / "empty-handed").mkdir()
        stamp = course / "submitted" / "elsewhere" / coin.NAME / "timestamp.txt"
        stamp.write_text("2027-01-31 23:59:00 UTC")
        start = time.monotonic()
        code = main(["course", "grade", "1", "--course", str(course), "--cell-timeout", "3"])
    assert code == 1  # one file is no notebook
    assert time.monotonic() - start < 300
    with (course / "grades" / f"{coin.NAME}.csv").open() as stream:
        return {row["student"]: row for row in csv.DictReader(stream)}


def scores(row: dict[str, str]) -> dict[str, float]:
    return {name: float(row[f"{name}-test"]) + float(row[f"{name}-hidden"]) for name in FULL}


def test_honest_work_gets_what_it_deserves(graded):
    assert scores(graded["ann"]) == FULL
    assert scores(graded["bob"]) == FULL | {"share": 1}
    assert graded["bob"]["waiting"] == "fair-why"
    assert set(scores(graded["released"]).values()) == {0}
    assert (graded["ann"]["score"], graded["ann"]["points"]) == ("9", "11")


@pytest.mark.parametrize("trick", HOSTILE, ids=lambda trick: trick.__name__)
def test_a_hostile_submission_loses_its_own_points_only(graded, trick):
    assert scores(graded[trick.__name__]) == trick()[1]


@CLOSED
def test_the_grader_and_the_machine_outlive_what_students_start(graded):
    assert graded["kills_the_grader"]["status"] == "graded"
    assert scores(graded["leaves_a_process"]) == FULL
    running = [path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline") if path.exists()]
    assert not any(b"4242" in command for command in running)


@CLOSED
def test_student_code_sees_neither_the_course_nor_the_network(graded):
    assert scores(graded["reads"]) == FULL


def test_what_was_repaired_or_could_not_be_is_named(graded, course):
    assert scores(graded["elsewhere"]) == FULL
    assert "left out" not in graded["elsewhere"]["repairs"]
    assert _came(course, "elsewhere") == datetime(2027, 1, 31, 23, 59)
    assert "the file was called My solution (2).ipynb" in graded["elsewhere"]["repairs"]
    assert scores(graded["deletes_tests"]) == FULL
    assert "heads-hidden was missing: put back" in graded["deletes_tests"]["repairs"]
    assert "01-coin.ipynb is not a notebook" in graded["broken"]["status"]
    assert graded["empty-handed"]["status"] == "nothing handed in"
    assert graded["broken"]["score"] == graded["empty-handed"]["score"] == ""
    assert "get_ipython" in graded["displays_its_own_grade"]["look"]


def _came(course: Path, student: str) -> datetime:
    """When nbgrader thinks that this work was handed in."""
    from nbgrader.api import Gradebook

    with Gradebook(f"sqlite:///{course / 'gradebook.db'}") as book:
        return book.find_submission(coin.NAME, student).timestamp


def test_variants_keep_their_numbers_and_the_course_keeps_the_ids(graded, course):
    seeds = set()
    for student in ("ann", "bob"):
        text = (course / "variants" / student / coin.NAME / f"{coin.NAME}.ipynb").read_text()
        assert f'"{student}"' not in text
        done = json.loads(
            (course / "autograded" / student / coin.NAME / f"{coin.NAME}.ipynb").read_text()
        )
        (line,) = [s for c in done["cells"] for s in c["source"] if s.startswith("seed: int = ")]
        assert json.dumps(line.strip())[1:-1] in text
        seeds.add(line)
    assert len(seeds) == 2
    assert "seed: int = 0" not in seeds


def test_feedback_has_scores_and_no_hidden_test(graded, course):
    pages = {p.parts[-3]: p.read_text() for p in course.glob("feedback/*/*/*.html")}
    assert {"ann", "bob", "loops_for_ever", "kills_its_kernel"} <= set(pages)
    for page in pages.values():
        for _, _, _, _, hidden, _ in coin.EXERCISES:
            assert hidden.partition(",")[0] not in page.replace("&#39;", "'")
    assert "a share of all tosses" in pages["bob"]  # what the author says of the mistake
    assert "Score: 3.0 / 3.0" not in pages["bob"]


def test_feedback_says_what_is_not_right_and_nothing_else():
    source = """### BEGIN HIDDEN TESTS
verdicts = {f"{rows} rows, some empty": 1, "no secret number": answer == 0.243099}
print(*(f"not right: {part}" for part, fine in verdicts.items() if not fine), sep="\\n")
### END HIDDEN TESTS"""
    about = {"schema_version": 3, "grade_id": "share-hidden", "grade": True, "points": 2}
    about |= {"solution": False, "locked": True, "task": False}
    own = ["not right: 5 rows, some empty", "not right: no secret number"]
    learnt = ["not right: 0.243099", "not right: five or six rows, some empty", "verdicts = 1"]
    said = [new_output("stream", text="\n".join(own + learnt))]
    cell = new_code_cell(source, metadata={"nbgrader": about}, outputs=said)
    Discreet().preprocess(new_notebook(cells=[cell]), {})
    assert cell.outputs[0].text.splitlines() == own
    assert "0.243099" not in cell.source


def test_no_source_of_the_grades_lies_in_what_students_get(course):
    given = b"".join(p.read_bytes() for p in course.glob("release/**/*") if p.is_file())
    given += b"".join(p.read_bytes() for p in course.glob("variants/**/*") if p.is_file())
    for _, _, solution, _, hidden, _ in coin.EXERCISES:
        assert solution.encode() not in given
        assert hidden.partition(",")[0].encode() not in given
    assert b"keeps its secret" not in given
