"""Runs: when they are made, what they hold, and what a failed or killed one leaves behind."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import nbformat
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jupyter_client.kernelspec import KernelSpecManager
from jupyter_client.provisioning import local_provisioner

from ibbook import _origin
from ibbook._files import registry
from ibbook.book import keys, runs, site
from ibbook.book.chapters import Chapter
from ibbook.book.cli import main
from ibbook.book.collect import collect
from ibbook.book.folders import BookError
from ibbook.book.kernels import ChapterError
from ibbook.book.parameters import resolve
from ibbook.book.records import records
from ibbook.book.runs import executed, finished, folder, provenance, run
from tests.book.coin import RECORDING, recorded_without_a_kernel


@pytest.fixture
def kernels(monkeypatch):
    """The commands of the kernels that were started."""
    started = []
    launch = local_provisioner.launch_kernel

    def launch_and_note(command, *arguments, **options):
        started.append(command)
        return launch(command, *arguments, **options)

    monkeypatch.setattr(local_provisioner, "launch_kernel", launch_and_note)
    return started


def left(book: Path) -> list[str]:
    """Everything in the folder of runs except the chapters' own folders."""
    return [path.name for path in (book / "_build" / "runs").glob("*/*")]


def test_a_run_is_made_once_by_this_python_and_says_where_it_comes_from(
    book, write, kernels, monkeypatch, tmp_path
):
    # A kernel of the same name that cannot start comes first on Jupyter's path.
    spec = tmp_path / "jupyter" / "kernels" / "python3"
    spec.mkdir(parents=True)
    (spec / "kernel.json").write_text(
        '{"argv": ["false"], "display_name": "Python 3", "language": "python"}'
    )
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "jupyter"))
    assert KernelSpecManager().get_kernel_spec("python3").argv == ["false"]
    monkeypatch.chdir("/")
    monkeypatch.setenv("OMP_NUM_THREADS", "2,1")  # as OpenMP takes it

    where = 'from pathlib import Path\nprint(Path.cwd().name)\nprint("a")\nprint("b")'
    chapter = write("01-coin", RECORDING, where)
    before = datetime.now(UTC).replace(microsecond=0)
    made = run(chapter)
    assert [command[0] for command in kernels] == [sys.executable]
    assert run(chapter) == made == folder(chapter, resolve(chapter))
    assert len(kernels) == 1
    assert left(book) == [made.name]

    about = provenance(made)
    assert about["chapter"] == "01-coin"
    assert about["key"] == made.name == folder(chapter, resolve(chapter)).name
    assert about["parameters"] == {"bias": 0.25, "flips": 3, "fair": False, "side": "heads"}
    assert 0 < about["seconds"] < 60
    assert before <= datetime.fromisoformat(about["finished"]) <= datetime.now(UTC)
    assert about["python"] == sys.version.split()[0]
    assert (about["torch"], about["numpy"]) == (torch.__version__, np.__version__)
    assert about["ibbook"] == version("ibbook")
    assert about["threads"] == 2
    assert about["commit"] is None  # this book is no git checkout

    notebook = nbformat.read(executed(made), as_version=4)
    nbformat.validate(notebook)
    assert [cell.execution_count for cell in notebook.cells[1:]] == [1, 2, 3]
    assert [row["value"] for row in records(notebook)] == [0.25]
    assert [output.text for output in notebook.cells[-1].outputs] == ["chapters\na\nb\n"]
    written = executed(made).read_text()
    assert not any(word in written for word in ("papermill", "start_time", "iopub", str(book)))


def test_given_parameters_reach_the_chapter_and_the_table(book, write, monkeypatch, tmp_path):
    monkeypatch.setenv("IBBOOK_RUNS", str(tmp_path / "elsewhere"))
    chapter = write("01-coin", RECORDING, 'record("coin.flips", flips, "Flips", unit="")')
    other = write(
        "02-die", "from ibbook.book import record\nrecord('die.pi', 3.14159, 'Pi')", parameters=""
    )
    for one, values in [(chapter, {"bias": 0.5, "flips": "7"}), (chapter, {}), (other, {})]:
        made = run(one, resolve(one, values))
        assert made.is_relative_to(tmp_path / "elsewhere")
    assert not (book / "_build").exists()

    table = collect()
    assert list(table.columns[:5]) == ["chapter", "run", "name", "value", "unit"]
    coin = table[table.chapter == "01-coin"].set_index(["flips", "name"])
    assert coin.value.to_dict() == {
        (7, "coin.bias"): 0.5,
        (7, "coin.flips"): 7,
        (3, "coin.bias"): 0.25,
        (3, "coin.flips"): 3,
    }
    assert set(coin.bias) == {0.25, 0.5}
    (die,) = table[table.chapter == "02-die"].itertuples()
    assert (die.name, die.value, die.unit) == ("die.pi", 3.1416, "nats")
    assert table.bias.isna().sum() == 1  # a die has no bias
    assert set(collect([made]).name) == {"die.pi"}
    with pytest.raises(BookError, match="no run in"):
        collect([book])


def fails(chapter, **options) -> ChapterError:
    with pytest.raises(ChapterError) as caught:
        run(chapter, **options)
    assert not finished(folder(chapter, resolve(chapter)))
    assert left(chapter.book) == []
    return caught.value


def test_a_failing_cell_is_named_with_its_number_first_line_and_exception(write):
    # The parameters cell is cell 1; a cell that papermill injects is not counted.
    chapter = write("01-coin", RECORDING, "# try\nrate = flips / (bias - bias)", "print('later')")
    with pytest.raises(ChapterError) as caught:
        run(chapter, resolve(chapter, {"bias": 0.5}))
    error = caught.value
    assert str(error) == (
        "01-coin failed in code cell 3 (`rate = flips / (bias - bias)`): "
        "ZeroDivisionError: float division by zero"
    )
    assert (error.chapter, error.cell) == ("01-coin", 3)
    assert "----> 2 rate = flips / (bias - bias)" in error.traceback
    assert "\x1b" not in error.traceback
    assert left(chapter.book) == []


def test_a_cell_over_its_time_is_named(write):
    chapter = write("01-coin", "import time", "time.sleep(30)")
    start = time.monotonic()
    error = fails(chapter, cell_timeout=1)
    assert time.monotonic() - start < 20
    assert str(error).startswith("01-coin failed in code cell 3 (`time.sleep(30)`): ")
    assert "longer than 1 s" in str(error)


@pytest.mark.parametrize(
    ("cell", "reason"),
    [
        ("import os; os._exit(3)", "its kernel stopped"),
        ("raise SystemExit(0)", "it left the kernel"),
    ],
)
def test_a_chapter_that_leaves_its_kernel_is_no_run(write, cell, reason):
    error = fails(write("01-coin", cell, "print('later')"))
    assert f"code cell 2 (`{cell}`): {reason}" in str(error)


@pytest.mark.parametrize(("sent", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_run_leaves_no_folder_and_no_kernel(book, write, sent, code):
    started = book / "started"
    note = f"Path({str(started)!r}).write_text(str(os.getpid()))"
    write("01-coin", f"import os, time\nfrom pathlib import Path\n{note}", "time.sleep(60)")
    command = [Path(sys.executable).with_name("ibbook"), "run", "coin"]
    inherited = signal.signal(signal.SIGINT, signal.default_int_handler)  # in a background: ignored
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True)
    signal.signal(signal.SIGINT, inherited)
    wait(lambda: started.exists() and started.read_text())
    assert len(left(book)) == 1  # the working folder
    process.send_signal(sent)
    _, said = process.communicate(timeout=20)
    assert process.returncode == code, said
    assert "Traceback" not in said
    assert left(book) == []
    wait(lambda: gone(int(started.read_text())))


def wait(true) -> None:
    end = time.monotonic() + 20
    while not true():
        assert time.monotonic() < end
        time.sleep(0.05)


def gone(pid: int) -> bool:
    try:
        return "State:\tZ" in Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return True


def test_folders_of_killed_runs_go_and_those_of_running_ones_stay(tmp_path):
    target = tmp_path / "01-coin" / "abc"
    names = [".abc-killed", ".abc-running", ".abc-young", "abd"]
    for name in names:
        (target.parent / name).mkdir(parents=True)
        if name != ".abc-young":
            os.utime(target.parent / name, (0, 0))
    with runs._lock(target.parent / ".abc-running"), runs.workspace(target) as work:
        assert {path.name for path in target.parent.iterdir()} == {*names[1:], work.name}
        assert work.name.startswith(".abc-")
    assert not work.exists()


def test_of_two_equal_runs_at_once_the_first_stays_and_both_succeed(book, write, monkeypatch):
    chapter = write("01-coin", RECORDING)
    target = folder(chapter, resolve(chapter))

    def overtaken(_chapter, made, *_):
        target.mkdir()
        (target / runs.PROVENANCE).write_text('{"chapter": "01-coin", "first": true}')
        return made

    monkeypatch.setattr(runs, "execute", overtaken)
    assert run(chapter) == target
    assert json.loads((target / runs.PROVENANCE).read_text())["first"]
    assert left(book) == [target.name]


def test_the_key_follows_text_parameters_package_and_data_and_nothing_else(
    book, write, monkeypatch, tmp_path
):
    package = tmp_path / "package"
    package.mkdir()
    (package / "idea.py").write_text("x = 1\n")
    monkeypatch.setattr(_origin, "PACKAGE", package)
    chapter = write("01-coin", RECORDING)
    values = resolve(chapter)

    def key(chapter, values):
        return folder(chapter, values).name

    first = key(chapter, values)

    (package / "__pycache__").mkdir()
    (package / "__pycache__" / "idea.pyc").write_bytes(b"1")
    (package / ".cache").write_text("1")
    (book / "data" / "cache").mkdir()
    (book / "data" / "cache" / "set.npz").write_bytes(b"1")
    (book / "chapters" / "01-coin.ipynb").write_text("{}")
    write("02-other", RECORDING)
    os.utime(chapter.text, (0, 0))
    assert key(chapter, dict(reversed(values.items()))) == first

    seen = {first, key(chapter, values | {"bias": 0.5})}
    seen.add(key(write("03-coin", RECORDING), values))
    (package / "idea.py").write_text("x = 2\n")
    seen.add(key(chapter, values))
    (package / "idea.py").rename(package / "notion.py")
    seen.add(key(chapter, values))
    (book / "data" / "registry.toml").write_text("x = 1\n")
    seen.add(key(chapter, values))
    chapter = write("01-coin", RECORDING, prose="Toss it twice.")
    seen.add(key(chapter, values))
    for name in ("python", "torch", "numpy", "scipy"):
        with monkeypatch.context() as other:
            versions = _origin.libraries() | {name: "99"}
            other.setattr(_origin, "libraries", lambda versions=versions: versions)
            seen.add(key(chapter, values))
    with monkeypatch.context() as other:
        other.setattr(_origin, "device", lambda: "NVIDIA H100")
        seen.add(key(chapter, values))
    # the official file takes the place of pictures that are drawn
    (tmp_path / "sets" / "shapes3d").mkdir(parents=True)
    monkeypatch.setenv("IBBOOK_DATA", str(tmp_path / "sets"))
    monkeypatch.setenv("IBBOOK_CACHE", str(tmp_path / "none"))
    before = key(chapter, values)
    file = registry()["shapes3d"].files[0]
    (tmp_path / "sets" / file.folder).mkdir(exist_ok=True)
    (tmp_path / "sets" / file.folder / file.name).write_bytes(b"1")
    assert key(chapter, values) != before
    assert len(seen) == 12


def test_a_large_file_of_the_data_is_read_again_only_when_it_changed(book, write, monkeypatch):
    chapter, large, read = write(), book / "data" / "large.bin", []
    large.write_bytes(b"1" * 100)
    monkeypatch.setattr(keys, "LARGE", 100)
    plain = _origin.sha256
    monkeypatch.setattr(_origin, "sha256", lambda path: read.append(path.name) or plain(path))

    def named() -> str:
        return folder(chapter, resolve(chapter)).name

    first = named()
    assert named() == first
    assert read.count("large.bin") == 1
    (book / "_build" / "digests.json").write_text(json.dumps({str(large): 3}))
    assert named() == first
    seen = large.stat()
    large.write_bytes(b"2" * 100)
    os.utime(large, ns=(seen.st_atime_ns, seen.st_mtime_ns))  # as rsync -t leaves it
    assert named() != first
    (book / "file").touch()  # and where nothing can be written, it is read every time
    monkeypatch.setenv("IBBOOK_RUNS", str(book / "file" / "runs"))
    read.clear()
    assert named() == named()
    assert read.count("large.bin") == 2


values = st.fixed_dictionaries(
    {"bias": st.floats(0, 1), "flips": st.integers(1, 100), "fair": st.booleans()}
)


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(values, values)
def test_keys_are_equal_exactly_when_the_values_are(write, one, other):
    chapter = write()
    assert (folder(chapter, one) == folder(chapter, other)) == (
        json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)
    )


@pytest.fixture
def made(write, monkeypatch):
    """A finished run, made without a kernel."""
    chapter = write("01-coin", RECORDING)
    monkeypatch.setattr(runs, "execute", recorded_without_a_kernel)
    return run(chapter)


def edit_provenance(**changes):
    def edit(run):
        about = json.loads((run / runs.PROVENANCE).read_text())
        (run / runs.PROVENANCE).write_text(json.dumps(about | changes))

    return edit


def point_outside(run):
    """A provenance that agrees with itself, of a notebook that lies elsewhere."""
    about = json.loads((run / runs.PROVENANCE).read_text())
    shutil.copy(run / "01-coin.ipynb", run.parent / "secret.ipynb")
    about["chapter"] = "../secret"
    depends = {name: about[name] for name in ("chapter", "parameters")}
    about["key"] = keys.key(about["inputs"] | depends)
    (run / runs.PROVENANCE).write_text(json.dumps(about))


@pytest.mark.parametrize(
    "spoil",
    [
        lambda run: (run / "01-coin.ipynb").write_text(
            (run / "01-coin.ipynb").read_text().replace("0.25", "0.99")
        ),
        lambda run: (run / "01-coin.ipynb").write_text(""),
        lambda run: (run / "01-coin.ipynb").unlink(),
        lambda run: (run / runs.PROVENANCE).write_text(""),
        lambda run: (run / runs.PROVENANCE).write_text("[1]"),
        lambda run: (run / runs.PROVENANCE).write_bytes(b"\xff"),
        edit_provenance(parameters={"bias": 0.5}),
        edit_provenance(chapter="../../../../secret"),
        point_outside,
        edit_provenance(key="0123456789abcdef"),
        edit_provenance(inputs={}),
        edit_provenance(seconds="long"),
    ],
)
def test_a_damaged_run_is_served_by_no_command_and_stops_only_itself(
    book, write, made, spoil, capsys, monkeypatch
):
    spoil(made)
    with pytest.raises(BookError, match="is damaged"):
        run(Chapter(book / "chapters" / "01-coin.md"))
    other = write("02-die", RECORDING)
    notebook = str(made / "01-coin.ipynb")
    for request in (["run", "coin"], ["keep", notebook, "coin"], ["claims", str(made)]):
        assert main(request) == 2
        said = capsys.readouterr().err
        assert f"ibbook: the run in {made} is damaged" in said
        assert said.count("\n") == 1
    run(other)
    assert main(["collect"]) == 1
    table, said = capsys.readouterr()
    assert "02-die" in table
    assert "01-coin" not in table
    assert str(made) in said
    built = {}
    monkeypatch.setattr(site, "build", lambda done, *_, failures, source: built.update(failures))
    assert main(["book"]) == 1
    assert list(built) == ["01-coin"]
    shutil.rmtree(made)
    assert run(Chapter(book / "chapters" / "01-coin.md")) == made


@pytest.mark.parametrize("what", ["data", "package", "commit"])
def test_a_run_whose_inputs_changed_meanwhile_is_kept_aside_and_no_run(
    book, write, monkeypatch, tmp_path, what
):
    chapter = write("01-coin", RECORDING)
    package = tmp_path / "package"
    package.mkdir()
    monkeypatch.setattr(_origin, "PACKAGE", package)
    commits = iter("abcdefg")
    if what == "commit":
        monkeypatch.setattr(runs, "commit", lambda _: {"commit": next(commits), "dirty": False})
    target = folder(chapter, resolve(chapter))

    def meanwhile(chapter, made, *others):
        if what != "commit":
            ({"data": book / "data", "package": package}[what] / "late.py").write_text("x = 2")
        return recorded_without_a_kernel(chapter, made)

    monkeypatch.setattr(runs, "execute", meanwhile)
    with pytest.raises(BookError, match=rf"not kept as a run: {what} changed while it ran"):
        run(chapter)
    assert not target.exists()
    assert "coin.bias" in target.with_name(f"{target.name}.aside.ipynb").read_text()


def test_prose_that_is_edited_while_its_chapter_runs_does_not_matter(book, write, monkeypatch):
    chapter = write("01-coin", RECORDING)
    target = folder(chapter, resolve(chapter))

    def meanwhile(chapter, made, *others):
        write("01-coin", RECORDING, prose="Toss it twice.")
        return recorded_without_a_kernel(chapter, made)

    monkeypatch.setattr(runs, "execute", meanwhile)
    assert run(chapter) == target


@pytest.mark.parametrize(
    "put",
    [
        lambda target: target.write_text(""),
        lambda target: target.symlink_to("nowhere"),
        lambda target: target.mkdir(),
    ],
)
def test_what_is_in_the_way_is_found_before_the_work(write, monkeypatch, put):
    chapter = write("01-coin", RECORDING)
    target = folder(chapter, resolve(chapter))
    target.parent.mkdir(parents=True)
    put(target)
    monkeypatch.setattr(runs, "execute", lambda *_: pytest.fail("it began"))
    with pytest.raises(BookError, match="is in the way of this run"):
        run(chapter)


def test_a_run_waits_for_its_lock_rather_than_go_on_without(tmp_path, monkeypatch):
    """Another process that looks for stale folders holds the lock of each for a moment."""
    make, looked, threads = tempfile.mkdtemp, [], []

    def looked_at(**options):
        path = make(**options)
        handle = os.open(path, os.O_RDONLY)
        fcntl.flock(handle, fcntl.LOCK_EX)

        def leave() -> None:
            looked.append("left")
            os.close(handle)

        threads.append(threading.Timer(0.2, leave))
        threads[0].start()
        return path

    monkeypatch.setattr(tempfile, "mkdtemp", looked_at)
    with runs.workspace(tmp_path / "01-coin" / "abc") as work, runs._lock(work) as free:
        assert looked == ["left"]
        assert not free  # it is ours
    threads[0].join()


def test_a_stale_folder_that_another_run_clears_away_does_no_harm(tmp_path, monkeypatch):
    stale = tmp_path / "01-coin" / ".abc-stale"
    stale.mkdir(parents=True)

    @contextmanager
    def cleared(path, *, wait=False):
        if path == stale:
            stale.rmdir()
        yield True

    monkeypatch.setattr(runs, "_lock", cleared)
    with runs.workspace(tmp_path / "01-coin" / "abc") as work:
        assert work.is_dir()


def test_provenance_names_the_commit_and_whether_it_was_changed(book, monkeypatch, tmp_path):
    def git(*arguments):
        who = ["-c", "user.name=a", "-c", "user.email=a@b.c"]
        return subprocess.run(
            ["git", "-C", book, *who, *arguments], check=True, capture_output=True, text=True
        ).stdout.strip()

    text = book / "chapters" / "index.md"
    text.write_text("one\n")
    git("init", "-q")
    git("add", ".")
    git("commit", "-qm", "one")
    head = git("rev-parse", "HEAD")
    (book / "untracked").write_text("x")
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "another.git"))  # as a hook of git does
    monkeypatch.setenv("GIT_WORK_TREE", str(tmp_path))
    assert keys.commit(book) == {"commit": head, "dirty": False}
    text.write_text("two\n")
    assert keys.commit(book) == {"commit": head, "dirty": True}
    monkeypatch.undo()
    shutil.rmtree(book / ".git")
    assert keys.commit(book) == {"commit": None, "dirty": None}
