"""Many runs of one chapter, on Dask: each is made once, and kept as soon as it comes back."""

from __future__ import annotations

import errno
import fcntl
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any

from ibbook.book.chapters import Chapter
from ibbook.book.folders import BookError
from ibbook.book.grids import Row
from ibbook.book.keys import key
from ibbook.book.parameters import resolve
from ibbook.book.runs import below, finished, provenance, receive, whole
from ibbook.book.workers import attempt

if TYPE_CHECKING:
    from distributed import Client, Future

ATTEMPTS = 2  # of a run whose kernel never answered; a failing cell is not tried again
LOOK_SECONDS = 1.0  # between two looks at runs that another sweep is making


@dataclass(frozen=True)
class Plan:
    """The runs of a sweep by their folders: those that exist, and those to be made.

    `depends` is what all of them depend on, their parameters apart; `damaged` says what is wrong
    with a folder that is no whole run, and is made again.
    """

    chapter: Chapter
    depends: Mapping[str, Any]
    kept: dict[Path, Row]
    missing: dict[Path, Row]
    damaged: list[str]


@dataclass(frozen=True)
class Outcome:
    """What became of one run: its folder, or why there is none.

    `again` says that its kernel never answered: no cell of it failed.
    """

    values: Row
    folder: Path | None = None
    seconds: float = 0.0
    reason: str = ""
    traceback: str = ""
    again: bool = False


def plan(chapter: Chapter, wanted: Sequence[Row], depends: Mapping[str, Any]) -> Plan:
    """What a sweep has to do, `depends` being what runs depend on where they will be made."""
    kept, missing, damaged = {}, {}, []
    for values in wanted:
        target = below(chapter) / key({**depends, "parameters": values})
        if finished(target):
            try:
                provenance(target)
            except BookError as error:
                damaged.append(str(error))
            else:
                kept[target] = values
                continue
        missing[target] = values
    return Plan(chapter, depends, kept, missing, damaged)


def sweep(
    client: Client,
    planned: Plan,
    *,
    cell_timeout: int | None = None,
    running: Callable[[int], Any] = lambda count: None,
) -> Iterator[Outcome]:
    """Make the missing runs of a plan, and tell of each when it is kept or has failed.

    As many are under way as there are workers; `running` is told how many. One that another sweep
    is making is waited for.
    """
    chapter, own = planned.chapter, resolve(planned.chapter)
    waiting = deque(planned.missing)
    under_way: dict[str, tuple[Future, Path, int]] = {}
    back: SimpleQueue[str] = SimpleQueue()

    def submit(target: Path, number: int) -> None:
        values = planned.missing[target]
        depends = {**planned.depends, "parameters": values}
        changed = {name: value for name, value in values.items() if value != own[name]}
        future = client.submit(
            attempt,
            str(chapter.book),
            chapter.name,
            depends,
            changed,
            cell_timeout,
            key=f"{chapter.name}-{target.name}-{number}",
            pure=False,
        )
        under_way[future.key] = future, target, number
        future.add_done_callback(lambda done: back.put(done.key))

    with _claims(below(chapter)) as (claim, leave):
        while waiting or under_way:
            free = _workers(client) - len(under_way)
            for target in [waiting.popleft() for _ in range(len(waiting))]:
                if free <= 0 or not claim(target):
                    waiting.append(target)
                elif whole(target):
                    leave(target)
                    yield _kept(planned.missing[target], target)
                else:
                    submit(target, 1)
                    free -= 1
            running(len(under_way))
            try:
                future, target, number = under_way.pop(back.get(timeout=LOOK_SECONDS))
            except Empty:
                continue
            told = _answer(client, future)
            future.release()  # who still wants it would have it made again if its worker dies
            if told.get("again") and number < ATTEMPTS:
                submit(target, number + 1)
                continue
            if "about" in told:
                receive(target, told["about"], told["notebook"])
                outcome = _kept(planned.missing[target], target)
            else:
                outcome = Outcome(planned.missing[target], None, **told)
            leave(target)
            yield outcome


def _kept(values: Row, folder: Path) -> Outcome:
    return Outcome(values, folder, provenance(folder)["seconds"])


def _workers(client: Client) -> int:
    """How many runs the workers that are there now can make at a time."""
    try:
        return sum(client.nthreads().values())
    except (OSError, RuntimeError, TimeoutError) as error:
        raise _lost(client) from error


def _answer(client: Client, future: Future) -> dict[str, Any]:
    """What a worker said of its run; the reason where none could say anything."""
    if future.status == "finished":
        return future.result()
    if future.status != "error":
        raise _lost(client)
    error = future.exception()
    if type(error).__name__ == "KilledWorker":
        reason = "each worker that began it was killed (out of memory? fewer --workers need less)"
    else:
        reason = f"{type(error).__name__}: {error}"
    return {"reason": reason}


def _lost(client: Client) -> BookError:
    return BookError(
        f"the scheduler at {client.scheduler.address} went away; finished runs are kept, and the "
        "same command goes on with the others"
    )


@contextmanager
def _claims(folder: Path) -> Iterator[tuple[Callable[[Path], bool], Callable[[Path], None]]]:
    """Claim a run, and leave it: of sweeps that share a disk one at a time has it.

    A claim is a lock on one byte of a file, and ends with the process that holds it. On a disk
    without locks every claim is granted.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".claims").open("ab") as file:

        def claim(run: Path) -> bool:
            try:
                fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, int(run.name, 16) >> 2)
            except OSError as error:
                return error.errno not in (errno.EACCES, errno.EAGAIN)
            return True

        def leave(run: Path) -> None:
            with suppress(OSError):
                fcntl.lockf(file, fcntl.LOCK_UN, 1, int(run.name, 16) >> 2)

        yield claim, leave
