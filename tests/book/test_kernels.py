"""Cells run as if nobody's settings were there, and nothing of a run outlives it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import sysconfig
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nbformat.v4 import new_output

from ibbook import _origin
from ibbook.book import kernels, runs
from ibbook.book.chapters import Chapter, read
from ibbook.book.kernels import joined
from ibbook.book.parameters import resolve
from ibbook.book.runs import executed, run
from tests.book.test_runs import gone, wait

SEEN = """\
import os, sys
from pathlib import Path
import matplotlib
from IPython.display import HTML, display
print(Path(os.environ["IBBOOK_DATA"], "here").read_text())
display(HTML("<b>x</b>"))
print("secret" in globals(), sys.flags.optimize, matplotlib.rcParams["axes.facecolor"])
print(Path(os.environ["IBBOOK_RUNS"]).is_absolute(), "\\u00e9")
import own
print(own.__name__, sys.flags.dev_mode, "inline" in matplotlib.get_backend())
"""


def another_python(top: Path) -> Path:
    """A Python with this one's packages, whose machine has IPython do something in each kernel."""
    (top / "etc" / "ipython" / "startup").mkdir(parents=True)
    (top / "etc" / "ipython" / "startup" / "00.py").write_text("secret = 1")
    (top / "etc" / "ipython" / "ipython_config.py").write_text("c.InteractiveShell.cache_size = 0")
    (top / "pyvenv.cfg").write_text(f"home = {Path(sys.base_prefix, 'bin')}")
    (top / "bin").mkdir()
    (top / "bin" / "python").symlink_to(Path(sys.executable).resolve())
    return top / "bin" / "python"


def test_the_callers_settings_do_not_reach_the_cells_and_the_callers_folders_do(
    tmp_path, monkeypatch
):
    book = tmp_path / "a {book}"
    (book / "chapters").mkdir(parents=True)
    (book / "data").mkdir()
    monkeypatch.setenv("IBBOOK_ROOT", str(book))
    home = tmp_path / "home"
    (home / "profile_default" / "startup").mkdir(parents=True)
    (home / "profile_default" / "startup" / "00.py").write_text("secret = 1")
    (tmp_path / "startup.py").write_text("secret = 1")
    (home / "matplotlibrc").write_text("axes.facecolor: red")
    (tmp_path / "sets").mkdir()
    (tmp_path / "sets" / "here").write_text("found")
    (tmp_path / "modules").mkdir()
    (tmp_path / "modules" / "own.py").touch()
    monkeypatch.setattr(sys, "executable", str(another_python(tmp_path / "venv")))
    here = [_origin.PACKAGE.parent, sysconfig.get_path("purelib"), "modules"]
    for name, value in {
        "IPYTHONDIR": home, "PYTHONSTARTUP": tmp_path / "startup.py", "MPLCONFIGDIR": home,
        "PYTHONOPTIMIZE": "1", "COLUMNS": "20", "IBBOOK_DATA": "sets", "IBBOOK_RUNS": "own",
        "LC_ALL": "C", "PYTHONIOENCODING": "latin-1", "PYTHONDEVMODE": "1", "MPLBACKEND": "pdf",
        "PYTHONPATH": os.pathsep.join(map(str, here)),
    }.items():  # fmt: skip
        monkeypatch.setenv(name, str(value))
    monkeypatch.chdir(tmp_path)
    text = "---\nkernelspec: {name: python3, display_name: a, language: python}\n---\n\nSee.\n\n"
    chapter = Chapter(book / "chapters" / "01-InfoNCE.md")
    chapter.text.write_text(f"{text}```{{code-cell}} ipython3\n{SEEN}```\n")
    outputs = read(executed(run(chapter))).cells[-1].outputs
    assert [output.output_type for output in outputs] == ["stream", "display_data", "stream"]
    assert outputs[0].text == "found\n"
    assert outputs[2].text == "False 0 white\nTrue \u00e9\nown False True\n"


def old_rule(text: str) -> str:
    """What a terminal shows, as nbclient has it: quadratic, and right."""
    while (shorter := re.sub(r".*\r(?=[^\n\r])", "", text)) != text:
        text = shorter
    while (shorter := re.sub(r"[^\n\b]\b".replace("\\b", "\x08"), "", text)) != text:
        text = shorter
    return re.sub(r"(^|\n)\x08+", r"\1", text)


@given(st.text("ab\r\n\x08"))
def test_carriage_returns_and_backspaces_do_what_they_do_in_a_terminal(text):
    parts = joined(new_output("stream", text=letter) for letter in text)
    shown = "".join(part.text for part in parts)
    assert shown == old_rule(text)


def test_a_very_long_line_is_no_work():
    begun = time.process_time()
    (one,) = joined([new_output("stream", text="x" * 400_000 + "\r" + "\x08" * 9 + "y")])
    assert one.text == "y"
    assert time.process_time() - begun < 5  # quadratic, it took two minutes


def test_a_kernel_that_dies_before_its_first_cell_is_started_once_more(write, monkeypatch):
    begun = []

    def flaky(made, *_, **__):
        begun.append(1)
        if len(begun) == 1:
            raise RuntimeError("Kernel died before replying to kernel_info")
        for cell in made.cells:
            cell.update({"execution_count": 1} if cell.cell_type == "code" else {})
        return made

    monkeypatch.setattr(kernels, "execute_notebook", flaky)
    assert run(write()).is_dir()
    assert len(begun) == 2

    def dead(*_, **__):
        raise RuntimeError("it is dead")

    monkeypatch.setattr(kernels, "execute_notebook", dead)
    with pytest.raises(kernels.ChapterError, match=r"failed before its first cell: .*it is dead"):
        run(write(prose="Toss it again."))


BUSY = """\
import os, re, subprocess
child = subprocess.Popen(["sleep", "300"])
part = {0!r} + ".part"
open(part, "w").write(f"{{os.getpid()}} {{child.pid}}")
os.rename(part, {0!r})
re.match("(a+)+$", "a" * 60 + "b")  # in C, for years
"""


def test_a_kernel_in_c_code_and_its_children_end_with_a_killed_parent(book, write):
    note = book / "pids"
    write("01-coin", BUSY.format(str(note)))
    command = [Path(sys.executable).with_name("ibbook"), "run", "coin"]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL, start_new_session=True)
    try:
        wait(note.exists)
        process.send_signal(signal.SIGKILL)
        process.wait(timeout=20)
        for pid in map(int, note.read_text().split()):
            wait(lambda pid=pid: gone(pid))
    finally:
        for pid in map(int, note.read_text().split()) if note.exists() else ():
            if not gone(pid):
                os.kill(pid, signal.SIGKILL)
        process.kill()
        process.wait()


def test_children_that_a_finished_run_left_behind_are_ended(book, write):
    note = book / "pid"
    code = f"import subprocess\nopen({str(note)!r}, 'w').write("
    code += "str(subprocess.Popen(['sleep', '300']).pid))"
    chapter = write("01-coin", code, parameters="")
    assert runs.folder(chapter, resolve(chapter)) == run(chapter)
    wait(lambda: gone(int(note.read_text())))
