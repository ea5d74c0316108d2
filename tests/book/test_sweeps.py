"""Sweeps with real processes: workers, kernels and clients that are killed, and what is left.

The scheduler and its workers are started as the page on rerunning says, and its commands run here.
"""

from __future__ import annotations

import contextlib
import os
import re
import resource
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import nbformat
import psutil
import pytest

from ibbook.book import runs, workers
from ibbook.book.chapters import find, notebook, numbers_in, read
from ibbook.book.cli import main
from ibbook.book.parameters import resolve
from ibbook.book.runs import folder
from tests.book.coin import written

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
PAGE = (ROOT / "chapters" / "rerun.md").read_text(encoding="utf-8")
LINES = [
    line for block in re.findall(r"```bash\n(.*?)```", PAGE, re.S) for line in block.splitlines()
]
SCHEDULER, WORKER = (line for line in LINES if line.startswith("dask "))
SHOWN = set(re.findall(r"--y (\S+\.\w+)", PAGE))  # numbers that are drawn
ADDRESS = "tcp://127.0.0.1:8786"
# Each execution leaves a file: kind and number, its process, and in it the worker's process.
PARAMETERS = """\
kind: str = "good"  # what happens {"good", "raises", "hangs", "hangs-once", "waits"}
number: int = 0  # of the run [0, 100]
notes: str = ""  # where executions leave their notes
"""
CELLS = (
    """\
import os, time
from pathlib import Path
from ibbook.book import record
begun = Path(notes) / f"{kind}.{number}.{os.getpid()}"
begun.with_suffix(".part").write_text(str(os.getppid()))
begun.with_suffix(".part").rename(begun)
""",
    """\
if kind == "raises":
    1 / (number - number)
times = len(list(Path(notes).glob(f"{kind}.{number}.*")))
if kind == "hangs" or kind == "hangs-once" and times == 1:
    time.sleep(600)
while kind == "waits" and number > 1 and not Path(notes, f"go{number}").exists():
    time.sleep(0.1)
record("coin.number", number, "Number", unit="")
print(Path.cwd())
""",
)


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("sweeps")


@pytest.fixture(scope="module")
def shared(place) -> Path:
    """A book, which a copy of it, the workers' own, must agree with."""
    book = place / "book"
    (book / "chapters").mkdir(parents=True)
    (book / "data").mkdir()
    written(book, "01-coin", *CELLS, parameters=PARAMETERS)
    for name in ("03-information-bottleneck", "05-beta-vae"):  # as the page names them
        (cell,) = (
            c
            for c in notebook(find(name, ROOT)).cells
            if "parameters" in c.metadata.get("tags", ())
        )
        records = "".join(f"record('{name}', 1, 'Number')\n" for name in sorted(SHOWN))
        imported = "from ibbook.book import record\n"
        made = written(book, name, imported + records, parameters=cell.source + "\n")
        nbformat.write(notebook(made), made.stored)
    shutil.copytree(ROOT / "chapters" / "profiles", book / "chapters" / "profiles")
    shutil.copy(ROOT / "Makefile", book)
    return book


@pytest.fixture
def coin(shared, monkeypatch, tmp_path):
    """The sweep command of that book's chapter; its runs and notes are the test's own."""
    monkeypatch.setenv("IBBOOK_ROOT", str(shared))
    monkeypatch.setenv("IBBOOK_RUNS", str(tmp_path / "runs"))
    (tmp_path / "notes").mkdir()
    return ["sweep", "coin", "-p", "notes", str(tmp_path / "notes")]


def where(values: dict, tmp_path: Path) -> Path:
    chapter = runs.Chapter(Path(os.environ["IBBOOK_ROOT"], "chapters", "01-coin.md"))
    return folder(chapter, resolve(chapter, {"notes": str(tmp_path / "notes"), **values}))


def wait(true, seconds: float = 120):
    """What `true` returns once it does."""
    end = time.monotonic() + seconds
    while not (found := true()):
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.05)
    return found


def begun(tmp_path: Path, kind: str, number: int) -> list[tuple[int, int]]:
    """The kernel and the worker of each execution of a run, oldest first."""
    found = sorted((tmp_path / "notes").glob(f"{kind}.{number}.[0-9]*"), key=os.path.getmtime)
    return [(int(path.suffix[1:]), int(path.read_text())) for path in found]


def gone(*pids: int) -> bool:
    """Whether none of those processes runs any more."""
    for pid in pids:
        with contextlib.suppress(psutil.NoSuchProcess):
            if psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
                return False
    return True


def started(command: list[str], **options) -> subprocess.Popen:
    inherited = signal.signal(signal.SIGINT, signal.default_int_handler)  # in a background: ignored
    try:
        return subprocess.Popen(command, text=True, start_new_session=True, **options)
    finally:
        signal.signal(signal.SIGINT, inherited)


def end(*processes: subprocess.Popen) -> None:
    for process in processes:
        below = psutil.Process(process.pid).children(recursive=True)
        process.kill()
        process.communicate()
        for one in below:
            with contextlib.suppress(psutil.NoSuchProcess):
                one.kill()


def free_port() -> int:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return server.getsockname()[1]


def answers(address: str) -> bool:
    host, port = address.removeprefix("tcp://").split(":")
    with socket.socket() as caller:
        return caller.connect_ex((host, int(port))) == 0


@pytest.fixture(scope="module")
def scheduler(place):
    """The address of a scheduler without workers, started by hand as the page says."""
    address = f"tcp://127.0.0.1:{free_port()}"
    command = SCHEDULER.replace("8786", address.rpartition(":")[2]).split()
    process = started([BIN / "dask", *command[1:]], cwd=place, stderr=subprocess.DEVNULL)
    yield address
    end(process)


def hired(scheduler: str, at: Path, count: int, **environment: str) -> subprocess.Popen:
    """Workers that start in a folder of their own, knowing nothing of the caller's variables."""
    at.mkdir()
    known = {name: value for name, value in os.environ.items() if name != "IBBOOK_RUNS"}
    command = WORKER.replace(ADDRESS, scheduler).replace("--nworkers 2", f"--nworkers {count}")
    return started(
        [BIN / "dask", *command.split()[1:]],
        cwd=at,
        env=known | {"TMPDIR": str(at)} | environment,
        stderr=subprocess.DEVNULL,
    )


@pytest.fixture(scope="module")
def cluster(scheduler, shared, place):
    """That scheduler with two workers, whose book is a copy."""
    shutil.copytree(shared, place / "copy")
    process = hired(scheduler, place / "elsewhere", 2, IBBOOK_ROOT=str(place / "copy"))
    yield scheduler
    end(process)


def test_a_scheduler_that_does_not_answer_or_has_no_worker_is_named(
    coin, scheduler, monkeypatch, capsys
):
    monkeypatch.setattr(workers, "ANSWER_SECONDS", 1)
    closed = f"tcp://127.0.0.1:{free_port()}"
    for address, message in [
        (closed, f"no scheduler answers at {closed}"),
        ("smoke://signal", "no scheduler answers at smoke://signal"),
    ]:
        assert main([*coin, "--grid", "number=1", "--scheduler", address]) == 2
        said = capsys.readouterr().err
        assert said.startswith(f"ibbook: {message}")
        assert said.count("\n") == 1
    monkeypatch.setattr(workers, "ANSWER_SECONDS", 5)
    wait(lambda: answers(scheduler))
    assert main([*coin, "--grid", "number=1", "--scheduler", scheduler]) == 2
    assert f"the scheduler at {scheduler} has no worker; start some" in capsys.readouterr().err


def test_what_came_back_is_kept_here_and_not_run_again_unless_it_is_damaged(
    coin, cluster, place, tmp_path, capsys
):
    request = [*coin, "--grid", "number=4,5", "--scheduler", cluster]
    assert main(request) == 0
    out, said = capsys.readouterr()
    assert (
        "01-coin: 2 runs (2 number)\n01-coin: 0 kept, 2 to make on 2 workers, about 1 min" in said
    )
    assert "2 done, 0 kept, 0 failed" in said
    folders = [where({"number": number}, tmp_path) for number in (4, 5)]
    assert sorted(out.split()) == sorted(str(run / "01-coin.ipynb") for run in folders)
    for run in folders:
        about = runs.provenance(run)
        assert about["threads"] == int(os.environ.get("OMP_NUM_THREADS", about["threads"]))
        # no disk is shared: cells ran in the workers' own book
        assert read(runs.executed(run)).cells[-1].outputs[-1].text == f"{place}/copy/chapters\n"
        (notebook,) = run.glob("*.ipynb")
    assert not list((place / "copy").rglob("_build/runs/*/*"))

    notebook.write_text(notebook.read_text().replace("coin.number", "coin.doctored"))
    assert main(request) == 0
    out, said = capsys.readouterr()
    assert len(out.split()) == 2
    assert f"the run in {folders[1]} is damaged (its notebook or its parameters" in said
    assert "it is made again" in said
    assert "1 done, 1 kept, 0 failed" in said
    assert "doctored" not in runs.executed(folders[1]).read_text()
    aside = folders[1].with_name(f"{folders[1].name}.aside.ipynb")
    assert "doctored" in aside.read_text()
    assert [len(begun(tmp_path, "good", number)) for number in (4, 5)] == [1, 2]


def test_a_failing_a_hanging_and_a_killed_run_leave_the_rest(coin, cluster, tmp_path, capsys):
    rows = "kind,number\ngood,1\nraises,2\nhangs,3\nhangs-once,4\ngood,5\n"
    (tmp_path / "runs.csv").write_text(rows)
    killed = []

    def kill() -> None:
        killed.extend(wait(lambda: begun(tmp_path, "hangs-once", 4))[0])
        os.kill(killed[1], signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    request = [*coin, "--from", str(tmp_path / "runs.csv"), "--scheduler", cluster]
    assert main([*request, "--cell-timeout", "15"]) == 1
    killer.join()
    out, said = capsys.readouterr()
    assert "3 done, 0 kept, 2 failed" in said
    assert len(out.split()) == 3
    assert "ZeroDivisionError: division by zero" in said
    assert "----> 2     1 / (number - number)" in said  # the traceback, with its cell
    assert "kind=hangs number=3: 01-coin failed in code cell 3" in said
    assert "it ran longer than 15 s" in said
    first, second = begun(tmp_path, "hangs-once", 4)
    assert list(first) == killed
    wait(lambda: gone(*killed))  # the kernel died with its worker
    assert second[1] != killed[1]
    assert [len(begun(tmp_path, "good", number)) for number in (1, 5)] == [1, 1]
    assert len(begun(tmp_path, "raises", 2)) == 1  # a failing cell is not tried again
    kept = [where({"kind": k, "number": n}, tmp_path) for k, n in [("hangs", 3), ("raises", 2)]]
    assert not any(run.exists() for run in kept)
    wait(lambda: gone(*(pid for pid, _ in begun(tmp_path, "hangs", 3))))


def test_a_disk_that_is_full_is_named_and_nothing_half_written_is_served(coin, cluster, tmp_path):
    request = [BIN / "ibbook", *coin, "--grid", "number=7", "--scheduler", cluster]

    def full() -> None:  # files of this client alone may not grow beyond it
        resource.setrlimit(resource.RLIMIT_FSIZE, (2000, resource.RLIM_INFINITY))

    with started(request, preexec_fn=full, stderr=subprocess.PIPE) as process:
        _, said = process.communicate(timeout=300)
    assert process.returncode == 2
    target = where({"number": 7}, tmp_path)
    assert said.splitlines()[-1].startswith("ibbook: ")
    assert "File too large; make room there" in said
    assert "Traceback" not in said
    assert [path.name for path in target.parent.iterdir()] == [".claims"]
    assert main([*coin, "--grid", "number=7", "--scheduler", cluster]) == 0
    assert runs.whole(target)


def test_the_kernels_of_a_client_that_left_are_stopped_and_its_workers_stay(
    coin, cluster, tmp_path
):
    request = [BIN / "ibbook", *coin, "-p", "kind", "hangs", "--grid", "number=6"]
    process = started([*request, "--scheduler", cluster], stderr=subprocess.PIPE)
    kernel, worker = wait(lambda: begun(tmp_path, "hangs", 6))[0]
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=120)
    assert process.returncode == 143
    assert "Traceback" not in said
    wait(lambda: gone(kernel))
    assert not gone(worker)


def test_a_worker_of_another_version_is_named_before_anything_runs(
    coin, cluster, place, tmp_path, capsys
):
    other = place / "other"
    package = Path(runs.__file__).parents[1]
    shutil.copytree(package, other / "ibbook")
    (other / "data").symlink_to(package.parent / "data")
    with (other / "ibbook" / "_numbers.py").open("a") as module:
        module.write("# changed\n")
    process = hired(
        cluster, place / "third", 1, IBBOOK_ROOT=str(place / "copy"), PYTHONPATH=str(other)
    )
    try:
        request = [*coin, "--grid", "number=8", "--scheduler", cluster]
        from distributed import Client

        with Client(cluster, set_as_default=False) as client:
            client.wait_for_workers(3, timeout=120)
        assert main(request) == 2
        said = capsys.readouterr().err
        assert "ibbook: worker tcp://127.0.0.1:" in said
        assert "has another ibbook; start it with the book and the ibbook that are here" in said
        assert not begun(tmp_path, "good", 8)
    finally:
        end(process)


def test_sweeps_share_the_work_and_go_on_where_one_was_killed_or_interrupted(
    coin, cluster, tmp_path, capsys
):
    request = [*coin, "-p", "kind", "waits", "--grid", "number=0,1,2,3,4,5"]
    options = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}
    two = [started([BIN / "ibbook", *request, "--workers", "1"], **options) for _ in range(2)]
    # 0 and 1 end by themselves, 2 and 3 wait, one in each sweep
    wait(lambda: begun(tmp_path, "waits", 2) and begun(tmp_path, "waits", 3))
    below = [psutil.Process(one.pid).children(recursive=True) for one in two]
    held = {begun(tmp_path, "waits", number)[0][1]: number for number in (2, 3)}
    (lost,) = (held[one.pid] for one in below[0] if one.pid in held)

    two[0].kill()
    two[0].communicate()
    wait(lambda: gone(*(one.pid for one in below[0])))

    for number in (2, 3, 4):
        (tmp_path / "notes" / f"go{number}").touch()
    wait(lambda: begun(tmp_path, "waits", 5))
    below = psutil.Process(two[1].pid).children(recursive=True)
    two[1].send_signal(signal.SIGINT)
    _, said = two[1].communicate(timeout=120)
    assert two[1].returncode == 130
    assert said.splitlines()[-1] == "ibbook: interrupted; nothing half-written was left"
    assert "Traceback" not in said
    assert "Warning" not in said
    wait(lambda: gone(*(one.pid for one in below)))
    done = [where({"kind": "waits", "number": number}, tmp_path) for number in range(6)]
    assert [runs.whole(run) for run in done] == [True] * 5 + [False]

    (tmp_path / "notes" / "go5").touch()
    assert main([*request, "--scheduler", cluster]) == 0
    assert "1 done, 5 kept, 0 failed" in capsys.readouterr().err
    assert all(map(runs.whole, done))
    times = [len(begun(tmp_path, "waits", number)) for number in range(6)]
    assert times == [1 + (number in (lost, 5)) for number in range(6)]


def test_each_command_of_the_page_runs(cluster, shared, monkeypatch, capsys):
    """On chapters of the same names and parameters, whose cells are short."""
    monkeypatch.setenv("IBBOOK_ROOT", str(shared))
    monkeypatch.delenv("IBBOOK_RUNS", raising=False)
    monkeypatch.chdir(shared)
    (rows,) = re.findall(r":filename: runs.csv\n(.*?)```", PAGE, re.S)
    Path("runs.csv").write_text(rows)
    table = re.findall(r"^\| .* \| `(ibbook .*)` \|$", PAGE, re.M)
    assert (len(table), len(LINES)) == (5, 16)
    for line in [*table, *LINES]:
        program, *arguments = shlex.split(line.replace(ADDRESS, cluster))
        if program == "ibbook":
            if arguments[0] == "sweep" and not {"--scheduler", "--workers"} & set(arguments):
                arguments += ["--scheduler", cluster]
            assert main(arguments) in (0, None), line
        elif program != "dask":
            program = BIN / program if (BIN / program).exists() else program
            subprocess.run([program, *arguments], check=True, capture_output=True)
        if line.startswith("rm "):
            left = {path.name for path in Path("_build", "runs").iterdir()}
            assert left == {"05-beta-vae"}
    assert not Path("_build").exists()
    made = {path.name for path in shared.iterdir()}
    assert {"out.ipynb", "table.csv", "starts.svg", "ib.bit_critical_beta.png"} <= made
    out, said = capsys.readouterr()
    assert "ib.random_best (nats) against starts (mean of 2 runs" in out
    assert "quicker in one run" not in said


def test_the_page_draws_numbers_that_the_chapter_records():
    stored = find("03-information-bottleneck", ROOT).stored
    assert {row["name"] for row in numbers_in(stored)} >= SHOWN != set()


def test_the_pages_recipe_asks_slurm_for_one_run_on_eight_cores_and_a_gpu(tmp_path):
    recipe = re.findall(r"```python\n(.*?)```", PAGE, re.S)[0]
    (tmp_path / "recipe.py").write_text(recipe)
    known = os.environ | {"HOME": str(tmp_path)}  # dask-jobqueue writes its settings there
    command = [sys.executable, "recipe.py"]
    done = subprocess.run(
        command, cwd=tmp_path, env=known, check=True, capture_output=True, text=True, timeout=300
    )
    for part in (
        "#SBATCH -p gpu\n", "#SBATCH -A ib\n", "#SBATCH --cpus-per-task=8\n", "#SBATCH --mem=15G\n",
        "#SBATCH -t 04:00:00\n", "#SBATCH --gres=gpu:1\n", "source .venv/bin/activate\n",
        "export OMP_NUM_THREADS=8\n", " --nthreads 1 ", " --lifetime 3h50m ",
    ):  # fmt: skip
        assert part in done.stdout, part
