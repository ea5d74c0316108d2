"""What a sweep costs beside the runs that it makes: 64 short ones, and naps on 64 workers.

Run with `pytest -s tests/benchmarks/bench_sweeps.py` on a machine with two idle cores. A short run
sleeps for two seconds in its cell. Goals: less than 0.3 s a run beside the time that its kernel
takes, and 90 % of twice the speed on 2 workers. Naps are taken in place of a kernel, on 64 workers
that are threads; all else is as in a sweep. What was measured is in chapters/rerun.md.
"""

from __future__ import annotations

import os
import shutil
import statistics
import time
from pathlib import Path

import dask
import pytest
from distributed import Client, LocalCluster, get_worker

from ibbook.book import grids, runs, sweeps, workers
from ibbook.book.keys import inputs
from tests.book.coin import recorded_without_a_kernel, written

RUNS = int(os.environ.get("IBBOOK_RUNS_COUNT", "64"))
CELL = """\
import time
from ibbook.book import record
time.sleep(2)
record("nap.number", number, "Number", unit="")
"""
PARAMETERS = "number: int = 0  # of the run [0, 1000000]\nnap: float = 0.0  # of it [0, 60]\n"


@pytest.fixture
def chapter(tmp_path, monkeypatch):
    book = tmp_path / "book"
    (book / "chapters").mkdir(parents=True)
    (book / "data").mkdir()
    monkeypatch.setenv("IBBOOK_ROOT", str(book))
    monkeypatch.delenv("IBBOOK_RUNS", raising=False)
    return written(book, "01-nap", CELL, parameters=PARAMETERS)


def planned(chapter, numbers, **given) -> sweeps.Plan:
    grid = {"number": numbers}
    wanted = grids.combinations(chapter, grid=grid, given=given)
    return sweeps.plan(chapter, wanted, inputs(chapter, {}))


def swept(client, plan) -> tuple[float, list[float]]:
    """Seconds of a sweep, and those that each kernel took."""
    start = time.monotonic()
    outcomes = list(sweeps.sweep(client, plan))
    assert all(outcome.folder for outcome in outcomes), outcomes
    return time.monotonic() - start, [outcome.seconds for outcome in outcomes]


def test_short_runs_on_one_worker_and_on_two(chapter, tmp_path):
    taken = {}
    for count in (1, 2):
        start = time.monotonic()
        with workers.local(count, 1, tmp_path / str(count)) as client:
            up = time.monotonic() - start
            swept(
                client, planned(chapter, range(1000 * count, 1000 * count + 2 * count))
            )  # imports
            plan = planned(chapter, range(count * 10000, count * 10000 + RUNS))
            seconds, kernels = swept(client, plan)
        taken[count] = seconds
        each, kernel = seconds * count / RUNS, statistics.mean(kernels)
        print(
            f"\n{count} workers: {RUNS} runs in {seconds:.1f} s, {each:.2f} s of a worker each; "
            f"kernel {kernel:.2f}, beside it {each - kernel:.2f} s; cluster up in {up:.1f} s"
        )
    print(f"efficiency on 2 workers: {taken[1] / 2 / taken[2]:.2f}; load {os.getloadavg()}")


def spent() -> float:
    """Seconds of a core that this process and those that it started have had."""
    return sum(os.times()[:4])


def test_seconds_of_a_core_beside_the_kernel(chapter, tmp_path, monkeypatch):
    """Of all that a worker and the client do for a run, a kernel and Dask apart."""
    monkeypatch.setattr(runs, "execute", recorded_without_a_kernel)
    (values,) = planned(chapter, [1]).missing.values()
    depends = inputs(chapter, values)
    target = runs.below(chapter) / runs.key(depends)
    start, count = spent(), 20
    for number in range(count):
        work = tmp_path / str(number)
        work.mkdir()
        assert workers.differences(depends, inputs(chapter, values)) == ""
        about = runs.make(chapter, depends, {}, work)
        runs.receive(target, about, (work / "01-nap.ipynb").read_bytes())
        assert runs.executed(target)
        shutil.rmtree(target)
    print(f"\n{(spent() - start) / count:.3f} s of a core a run")


def napping(book, name, depends, changed, cell_timeout):
    """In place of `attempt`: as long as asked, and then the notebook of a run made before."""
    time.sleep(depends["parameters"]["nap"])
    assert get_worker()
    about = {**TEMPLATE["about"], "parameters": depends["parameters"]}
    made = {**about["inputs"], "chapter": name, "parameters": depends["parameters"]}
    return {"about": {**about, "key": runs.key(made)}, "notebook": TEMPLATE["notebook"]}


TEMPLATE: dict = {}


@pytest.mark.filterwarnings("default")  # clusters of threads leave event loops open
@pytest.mark.parametrize("nap", [0.5, 2.0, 10.0])
def test_naps_on_64_workers(chapter, monkeypatch, nap):
    made = runs.run(chapter)
    TEMPLATE["about"] = runs.provenance(made)
    TEMPLATE["notebook"] = Path(runs.executed(made)).read_bytes()
    monkeypatch.setattr(sweeps, "attempt", napping)
    count = 64
    rounds = 10 if nap < 5 else 4
    with (
        dask.config.set(workers.OPTIONS),
        LocalCluster(
            n_workers=count, threads_per_worker=1, processes=False, dashboard_address=None,
            memory_limit=0,
        ) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):  # fmt: skip
        plan = planned(chapter, range(1, count * rounds + 1), nap=nap)
        seconds, _ = swept(client, plan)
    print(
        f"\n64 workers, naps of {nap} s: {count * rounds} in {seconds:.1f} s, efficiency "
        f"{nap * rounds / seconds:.2f}, {seconds / (count * rounds) * 1000:.0f} ms between two; "
        f"load {os.getloadavg()}"
    )
