"""Dask's workers: started here or elsewhere, and what each does for a run."""

from __future__ import annotations

import logging
import shutil
import tempfile
import threading
import traceback
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ibbook import _origin
from ibbook._paths import given
from ibbook.book.chapters import Chapter
from ibbook.book.folders import BookError, root
from ibbook.book.kernels import ChapterError, stop
from ibbook.book.keys import inputs
from ibbook.book.parameters import Value
from ibbook.book.runs import Changed, make

if TYPE_CHECKING:
    from distributed import Client

ANSWER_SECONDS = 30  # for a scheduler to answer, and for its first worker to come
LOOK_SECONDS = 1.0  # between two looks at whether a run is still wanted
# One run at a time is assigned to a worker, so that none is blamed for the death of another's;
# a run that kills its worker twice is given up; no variable of threads is set behind our back.
OPTIONS = {
    "distributed.scheduler.worker-saturation": 1.0,
    "distributed.scheduler.allowed-failures": 1,
    "distributed.nanny.pre-spawn-environ": {},
}


@contextmanager
def local(count: int, threads: int, folder: Path) -> Iterator[Client]:
    """A cluster of this machine: `count` processes whose kernels have `threads` threads each.

    It keeps its files in `folder`, and is gone when we are, however we end.
    """
    import dask
    from distributed import Client, LocalCluster

    with ExitStack() as stack:
        stack.enter_context(dask.config.set(OPTIONS))
        cluster = stack.enter_context(
            LocalCluster(
                n_workers=count,
                threads_per_worker=1,
                memory_limit=0,  # it would not count the kernel, which has most of the memory
                env={"OMP_NUM_THREADS": str(threads)},
                local_directory=str(folder),
                dashboard_address="127.0.0.1:0",  # a free port, for this machine alone
                silence_logs=logging.CRITICAL,
            )
        )
        yield stack.enter_context(Client(cluster, set_as_default=False))


@contextmanager
def outside(address: str) -> Iterator[Client]:
    """A scheduler that exists already, with at least one worker."""
    from distributed import Client

    logging.getLogger("distributed").setLevel(logging.CRITICAL)
    try:
        client = Client(address, timeout=ANSWER_SECONDS, set_as_default=False)
    except (OSError, ValueError, TypeError) as error:
        raise BookError(
            f"no scheduler answers at {address} ({error}); "
            "start one with `dask scheduler`, and give the address that it prints"
        ) from None
    with client:
        try:
            client.wait_for_workers(1, timeout=ANSWER_SECONDS)
        except TimeoutError:
            raise BookError(
                f"the scheduler at {address} has no worker; start some with `dask worker {address}`"
            ) from None
        yield client


def agreed(client: Client, chapter: Chapter) -> dict[str, Any]:
    """What runs of a chapter depend on at a scheduler's workers: as here, but for their device."""
    here = inputs(chapter, {})
    try:
        package = client.run_on_scheduler(_package)
    except Exception as error:
        fault = f"the scheduler cannot load this ibbook: {_told(error)}"
        raise BookError(f"{fault}; {REMEDY}") from None
    if package != here["package"]:
        raise BookError(f"the scheduler has another ibbook; {REMEDY}")
    answers = client.run(_inputs, str(chapter.book), chapter.name, on_error="return")
    devices: dict[str, str] = {}
    for address, there in answers.items():
        if isinstance(there, BaseException):
            raise BookError(f"worker {address} cannot run {chapter.name}: {_told(there)}; {REMEDY}")
        if found := differences(here | {"device": there["device"]}, there):
            raise BookError(f"worker {address} has {found}; {REMEDY}")
        devices[there["device"]] = address
    if len(devices) > 1:
        both = " and ".join(f"{device} ({address})" for device, address in devices.items())
        raise BookError(f"the workers compute on {both}; give each device its own scheduler")
    return here | {"device": next(iter(devices))}


REMEDY = "start it with the book and the ibbook that are here (IBBOOK_ROOT, IBBOOK_DATA)"


def differences(here: Mapping[str, Any], there: Mapping[str, Any]) -> str:
    """In what inputs of a run differ, in words; empty where they are the same.

    >>> one = {"package": "ab", "libraries": {"torch": "2.9"}}
    >>> differences(one, one | {"libraries": {"torch": "2.8"}})
    'torch 2.8 in place of 2.9'
    """
    told = []
    for name in here:
        if name == "libraries":
            names = sorted({*here[name], *there[name]})
            pairs = [(n, there[name].get(n), here[name].get(n)) for n in names]
            told += [f"{n} {other} in place of {own}" for n, other, own in pairs if other != own]
        elif here[name] != there[name]:
            known = {"text": "another text", "package": "another ibbook", "data": "other data"}
            told.append(known.get(name, f"{name} {there[name]} in place of {here[name]}"))
    return ", ".join(told)


def attempt(
    book: str,
    name: str,
    depends: Mapping[str, Any],
    changed: Mapping[str, Value],
    cell_timeout: int | None,
) -> dict[str, Any]:
    """One run on a worker: its provenance and notebook, or the reason why there is none."""
    from distributed import get_worker

    work = Path(tempfile.mkdtemp(prefix="run-", dir=get_worker().local_directory))
    try:
        chapter = _chapter(book, name)
        if found := differences(depends, inputs(chapter, depends["parameters"])):
            raise Changed(f"worker {get_worker().address} has {found}; {REMEDY}")
        with _while_wanted():
            about = make(chapter, depends, changed, work, cell_timeout=cell_timeout)
        return {"about": about, "notebook": (work / f"{name}.ipynb").read_bytes()}
    except ChapterError as error:
        return {"reason": str(error), "traceback": error.traceback, "again": error.cell == 0}
    except BookError as error:
        return {"reason": str(error)}
    except OSError as error:  # such as a full disk, of which a traceback tells no more
        return {"reason": _told(error)}
    except Exception as error:  # whatever befalls one run, the others go on
        return {"reason": _told(error), "traceback": traceback.format_exc()}
    finally:
        shutil.rmtree(work, ignore_errors=True)


@contextmanager
def _while_wanted() -> Iterator[None]:
    """End the kernel of this task when nobody waits for it: its client was stopped, or is lost."""
    from distributed import get_worker

    worker, thread = get_worker(), threading.get_ident()
    task, over = worker.get_current_task(), threading.Event()

    def watch() -> None:
        while not over.wait(LOOK_SECONDS):
            known = worker.state.tasks.get(task)
            if known is None or known.state == "cancelled":
                stop(thread)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        over.set()
        watcher.join()


def _inputs(book: str, name: str) -> dict[str, Any]:
    return inputs(_chapter(book, name), {})


def _package() -> str:
    return _origin.digest(_origin.PACKAGE)


def _chapter(book: str, name: str) -> Chapter:
    """A chapter of the book that the worker was given, or of the caller's where that is there."""
    there = Path(book, "chapters").is_dir() and not given("IBBOOK_ROOT")
    return Chapter((Path(book) if there else root()) / "chapters" / f"{name}.md")


def _told(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"
