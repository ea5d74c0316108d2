"""Student code has limits everywhere, and where the system allows it a world of its own."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import pytest
from nbformat.v4 import new_code_cell, new_notebook

from ibbook.book.cli import main
from ibbook.book.course import sandbox
from ibbook.book.course.execute import execute
from ibbook.book.course.sandbox import Limits

MARKS = {"grade": True, "grade_id": "a", "locked": True, "points": 2, "solution": False}


def run(*sources: str, closed: bool = False, **limits: float) -> list:
    """The outputs of cells that run in this order; each is a test."""
    made = new_notebook()
    made.cells = [new_code_cell(source, metadata={"nbgrader": MARKS}) for source in sources]
    execute(made, Limits(**limits), closed=closed)
    return [cell.outputs for cell in made.cells]


def test_limits_hold_where_nothing_else_does():
    found = run(
        "x = bytearray(2**33)",
        "big = open('big', 'wb', 0); big.seek(2**27); big.write(b'x')",
        "print('x' * 200_000)",
        "while True: pass",
        "import warnings; warnings.warn('a right answer may warn'); 1.5",
        "raise ValueError('no')\n3",
        cell=1,
    )
    assert [outputs[-1].get("ename") for outputs in found[:4]] == [
        "MemoryError",
        "OSError",
        "TooMuchOutput",
        "Timeout",
    ]
    assert [output.get("name", output.output_type) for output in found[4]] == [
        "stdout",
        "execute_result",
    ]
    assert [output.output_type for output in found[5]] == ["error"]


def test_a_notebook_has_a_time_as_well():
    found = run("import time; time.sleep(1.2)", "1", notebook=1, cell=5)
    assert found[0] == []
    assert found[1][0].evalue == "the notebook took longer than 1 s"


@pytest.mark.skipif(not sandbox.closed(), reason="`unshare` closes nothing in here")
def test_closed_in_it_has_no_rights_and_finds_nothing():
    names = ["/home", "/work", "/root", "/var", "/run", "/mnt", "/srv", str(sandbox.PACKAGE.parent)]
    (outputs,) = run(
        f"""
        import os, pathlib, subprocess, socket
        status = pathlib.Path("/proc/self/status").read_text()
        assert "CapEff:\\t0000000000000000" in status and "NoNewPrivs:\\t1" in status
        for name in {names}:
            beyond = {{path.name for path in pathlib.Path(name).glob("*")}}
            assert not beyond & {{"chapters", "tests", "submitted", "lib"}}, (name, beyond)
        assert len(list(pathlib.Path("/proc").glob("[0-9]*"))) < 4
        assert [i[1] for i in socket.if_nameindex()] == ["lo"]
        for command in ("unshare -r true", "mount -o remount,rw /", "mount -t tmpfs none /tmp"):
            assert subprocess.run(command.split(), capture_output=True).returncode, command
        for place in ("/usr", "/etc/passwd", {str(sandbox.PACKAGE)!r}, "/proc/sys/kernel/hostname"):
            assert not os.access(place, os.W_OK), place
        pathlib.Path("mine").write_text("a folder of its own"); None
        """.replace("\n        ", "\n").strip(),
        closed=True,
    )
    assert outputs == []


def test_where_code_cannot_be_closed_in_the_grader_says_so_loudly(course, monkeypatch, capsys):
    monkeypatch.setattr(sandbox, "closed", lambda: False)
    (course / "submitted" / "nobody").mkdir(parents=True)
    assert main(["course", "grade", "1", "--course", str(course)]) == 0
    said = capsys.readouterr().err
    assert said.startswith("WARNING")
    assert "CAN use the network, read every file" in said


GRADER = """
import sys, tempfile
from nbformat.v4 import new_code_cell, new_notebook
from ibbook.book.course.execute import execute
from ibbook.book.course.sandbox import Limits
tempfile.tempdir, closed = sys.argv[1], sys.argv[2] == "closed"
cell = new_code_cell("open('begun', 'w').close(); sum(range(10**12))")
execute(new_notebook(cells=[cell]), Limits(cell=60), closed=closed)
"""


@pytest.mark.parametrize("kind", ["closed", "open"])
def test_a_grader_that_is_killed_leaves_nothing_running(kind):
    """Not even code that no signal of the kernel's own reaches."""
    if kind == "closed" and not sandbox.closed():
        pytest.skip("`unshare` closes nothing in here")
    with tempfile.TemporaryDirectory(prefix="ib-", ignore_cleanup_errors=True) as top:

        def running() -> list[str]:
            found = []
            for process in Path("/proc").glob("[0-9]*"):
                with suppress(OSError):
                    if top.encode() in (process / "cmdline").read_bytes():
                        found.append(process.name)
            return found

        def wait(until) -> None:
            end = time.monotonic() + 20
            while not until():
                assert time.monotonic() < end, running()
                time.sleep(0.05)

        grader = subprocess.Popen([sys.executable, "-c", GRADER, top, kind])
        try:
            wait(lambda: list(Path(top).glob("*/work/begun")))
        finally:
            grader.kill()
            grader.wait()
        wait(lambda: not running())
