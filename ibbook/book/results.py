"""Results of long runs, kept as text in data/results with where they come from."""

from __future__ import annotations

import json
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ibbook.book.folders import BookError, root

if TYPE_CHECKING:
    import pandas as pd

NUMBER = ["name", "value", "unit"]
ORIGIN = ["seconds", "finished", "platform", "torch", "commit", "dirty"]


def recorded(pattern: str) -> pd.DataFrame:
    """The kept numbers of the runs whose names match, one row each; empty where none was run.

    The columns are the run's name (`run`), `chapter`, `name`, `value` and `unit`, each parameter,
    `seconds`, `finished` (UTC), `platform`, `torch`, `commit`, and whether tracked files differed
    from it (`dirty`).

    >>> recorded("04-vib-no-such-run-*").empty
    True
    """
    rows = []
    for path in sorted(results_folder().glob("*.json")):
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


def table(rows: list[dict[str, Any]], columns: list[str]) -> pd.DataFrame:
    """Rows of recorded numbers as a table, which has those columns where there is no row.

    >>> table([{"name": "vib.error", "value": 2}], []).value.dtype
    dtype('float64')
    """
    import pandas as pd

    made = pd.DataFrame(rows).convert_dtypes() if rows else pd.DataFrame(columns=columns)
    return made.astype({"value": "float64"})


def results_folder() -> Path:
    """Where kept runs lie.

    >>> results_folder().name
    'results'
    """
    return root() / "data" / "results"
