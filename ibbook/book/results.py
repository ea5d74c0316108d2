"""Results of long runs, kept as text in data/results with where they come from."""

from __future__ import annotations

import json
import math
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ibbook._origin import seal
from ibbook.book.folders import BookError, files, root
from ibbook.book.records import whole

if TYPE_CHECKING:
    import pandas as pd

NUMBER = ["name", "value", "unit"]
RANGE = ["least", "most"]
ORIGIN = ["seconds", "finished", "platform", "torch", "commit", "dirty"]


def recorded(pattern: str) -> pd.DataFrame:
    """The kept numbers of the runs whose names match, one row each; empty where none was run.

    The columns are the run's name (`run`), `chapter`, `name`, `value` and `unit`, the `least` and
    `most` of the seeds that a mean is over, each parameter, `seconds`, `finished` (UTC),
    `platform`, `torch`, `commit`, and whether tracked files differed from it (`dirty`).

    >>> recorded("04-vib-no-such-run-*").empty
    True
    """
    rows = []
    for path in files(results_folder(), "*.json"):
        if fnmatchcase(path.stem, pattern):
            about = kept(path)
            origin = {name: about[name] for name in ORIGIN}
            for row in about["records"]:
                first = {"run": path.stem, "chapter": about["chapter"]}
                number = {name: row[name] for name in NUMBER}
                ends = {name: row.get(name, math.nan) for name in RANGE}
                rows.append({**first, **number, **ends, **about["parameters"], **origin})
    return table(rows, ["run", "chapter", *NUMBER, *RANGE, *ORIGIN])


def show_recorded(run: str, figure: str) -> None:
    """Display a figure of a kept run, as that run drew it.

    >>> show_recorded("04-vib-no-such-run", "fig-vib-code")
    Traceback (most recent call last):
    ...
    ibbook.book.folders.BookError: no figure fig-vib-code of a run 04-vib-no-such-run is kept
    """
    from IPython.display import display

    path = results_folder() / f"{run}.json"
    drawn = kept(path).get("figures", {}) if path.exists() else {}
    if figure not in drawn:
        raise BookError(f"no figure {figure} of a run {run} is kept")
    display(drawn[figure]["data"], raw=True, metadata=drawn[figure]["metadata"])


def kept_files(book: Path) -> list[Path]:
    """The files of the kept runs, in the order of their names.

    >>> all(path.suffix == ".json" for path in kept_files(root()))
    True
    """
    return files(book / "data" / "results", "*.json")


def sealed(about: dict[str, Any]) -> dict[str, Any]:
    """What a file of a kept run holds, with the hash that tells whether it was changed since.

    >>> list(sealed({"chapter": "04-vib", "records": []}))
    ['chapter', 'records', 'seal']
    """
    return {**about, "seal": seal(about)}


def kept(path: Path) -> dict[str, Any]:
    """A kept run, verified: a file that is damaged or was changed by hand is an error."""
    try:
        about = json.loads(path.read_text(encoding="utf-8"), parse_constant=_no_number)
        for row in about["records"]:
            whole({"label": "", "digits": 0} | row)
        {name: about[name] for name in [*ORIGIN, "chapter"]}, {**about["parameters"]}
    except (ValueError, KeyError, TypeError) as error:
        raise BookError(f"{path} is no kept run ({error!r}); restore it or delete it") from None
    if about.get("seal", seal(about)) != seal(about):
        raise BookError(f"{path} was changed after it was kept; restore it, or keep the run again")
    return about


def _no_number(word: str) -> float:
    raise ValueError(f"{word} is no number")


def table(rows: list[dict[str, Any]], columns: list[str]) -> pd.DataFrame:
    """Rows of recorded numbers as a table, which has those columns where there is no row.

    A parameter that is a number in one chapter and text in another is text.

    >>> made = table([{"value": 2, "depth": 1}, {"value": 3, "depth": "deep"}], [])
    >>> made.value.dtype, made.depth.tolist()
    (dtype('float64'), ['1', 'deep'])
    """
    import pandas as pd

    made = pd.DataFrame(rows).convert_dtypes() if rows else pd.DataFrame(columns=columns)
    for name in made.select_dtypes("object").columns:
        made[name] = made[name].map(str, na_action="ignore").astype("string")
    return made.astype({"value": "float64"})


def results_folder() -> Path:
    """Where kept runs lie.

    >>> results_folder().name
    'results'
    """
    return root() / "data" / "results"
