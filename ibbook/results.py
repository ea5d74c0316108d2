"""Results of long runs, kept as text in data/results with where they come from."""

from __future__ import annotations

import json
import re
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING

from ibbook.chapters import BookError, read, root, save
from ibbook.records import records
from ibbook.runs import executed, finished, provenance, table

if TYPE_CHECKING:
    import pandas as pd

NAME = re.compile(r"[a-z0-9][a-z0-9_-]*")
NUMBER = ["name", "value", "unit"]
ORIGIN = ["seconds", "finished", "platform", "torch", "commit", "dirty"]


def keep(run: Path, name: str) -> Path:
    """Store a finished run's numbers and provenance as data/results/NAME.json.

    `run` is a run's folder or its notebook. A file of another run is not overwritten.

    >>> keep(Path("nowhere"), "04-vib-full-seed-0")
    Traceback (most recent call last):
    ...
    ibbook.chapters.BookError: no finished run in nowhere; `ibbook run` prints where one lies
    """
    if not NAME.fullmatch(name):
        raise BookError(f"NAME must be lower-case letters, digits, - and _, got {name!r}")
    folder = run.parent if run.suffix == ".ipynb" else run
    if not finished(folder):
        raise BookError(f"no finished run in {folder}; `ibbook run` prints where one lies")
    rows = list(records(read(executed(folder))))
    if not rows:
        raise BookError(f"the run in {folder} recorded no number; there is nothing to keep")
    path = _results() / f"{name}.json"
    text = json.dumps({**provenance(folder), "records": rows}, indent=1) + "\n"
    if path.exists() and path.read_text(encoding="utf-8") != text:
        raise BookError(f"{path} holds another run; choose another name, or delete it first")
    path.parent.mkdir(parents=True, exist_ok=True)
    save(path, text)
    return path


def recorded(pattern: str) -> pd.DataFrame:
    """The kept numbers of the runs whose names match, one row each; empty where none was run.

    The columns are the run's name (`run`), `chapter`, `name`, `value` and `unit`, each parameter,
    `seconds`, `finished` (UTC), `platform`, `torch`, `commit`, and whether tracked files differed
    from it (`dirty`).

    >>> recorded("04-vib-no-such-run-*").empty
    True
    """
    rows = []
    for path in sorted(_results().glob("*.json")):
        if fnmatchcase(path.stem, pattern):
            try:
                about = json.loads(path.read_text(encoding="utf-8"))
                origin = {name: about[name] for name in ORIGIN}
                for row in about["records"]:
                    first = {"run": path.stem, "chapter": about["chapter"]}
                    number = {name: row[name] for name in NUMBER}
                    rows.append({**first, **number, **about["parameters"], **origin})
            except (ValueError, KeyError, TypeError) as error:
                raise BookError(
                    f"{path} is no kept run ({error!r}); restore it or delete it"
                ) from None
    return table(rows, ["run", "chapter", *NUMBER, *ORIGIN])


def _results() -> Path:
    return root() / "data" / "results"
