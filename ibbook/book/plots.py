"""A recorded number of many runs against a parameter: a picture, and the sentence that says it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from ibbook import figures
from ibbook.book.folders import BookError
from ibbook.book.grids import FIRST_SEED, SEED
from ibbook.book.parameters import RESERVED

BY_CHANCE = {SEED, FIRST_SEED}


def chosen(
    table: pd.DataFrame, x: str, y: str, hue: str | None = None, where: Mapping[str, str] = {}
) -> pd.DataFrame:
    """The rows of a table of runs that a picture of `y` against `x` shows.

    `table` is that of `collect`; `where` are values of parameters. What else the runs differ in,
    seeds apart, must be said: a mean over it would be taken for chance.
    """
    names = sorted(set(table.columns) - RESERVED)
    for name in filter(None, [x, hue, *where]):
        if name not in names:
            raise BookError(f"no parameter {name!r} in these runs; there are {', '.join(names)}")
    rows = table[table["name"] == y]
    if rows.empty:
        there = ", ".join(sorted(set(table["name"])))
        raise BookError(f"no run recorded {y!r}; they recorded {there or 'nothing'}")
    for name, value in where.items():
        same = rows[name].map(lambda cell, value=value: _same(cell, value))
        if not same.any():
            there = ", ".join(map(str, sorted(rows[name].dropna().unique())))
            raise BookError(f"no run has {name} {value}; they have {there}")
        rows = rows[same]
    rows = rows.dropna(subset=[name for name in (x, hue) if name])
    if rows.empty:
        both = f"{x} and {hue}" if hue else x
        raise BookError(f"the runs that recorded {y!r} have no {both}")
    if len(set(rows["chapter"])) > 1:
        both = " and ".join(sorted(set(rows["chapter"])))
        raise BookError(f"{y!r} was recorded in {both}; name one chapter in place of a table")
    for name in names:
        if name not in {x, hue, *BY_CHANCE} and rows[name].nunique(dropna=False) > 1:
            there = ", ".join(map(str, rows[name].unique()))
            raise BookError(
                f"the runs also differ in {name} ({there}); choose with -p {name} VALUE, or show "
                f"it with --hue {name}"
            )
    repeated = rows[rows.duplicated(names, keep=False)]
    if not repeated.empty:
        some = " and ".join(repeated["run"].unique()[:2])
        raise BookError(
            f"runs {some} have the same parameters, and differ in what they were made with; "
            "remove the older, or name the chapter, whose present runs are shown"
        )
    return rows


def _same(cell: Any, value: str) -> bool:
    """Whether a table's cell holds what the command line says."""
    try:
        return float(cell) == float(value)
    except (TypeError, ValueError):
        return str(cell).lower() == value.lower()


def plot(rows: pd.DataFrame, x: str, hue: str | None = None) -> Figure:
    """Means over seeds as points and lines, with bands from the least to the greatest."""
    figures.use_house_style()
    fig, ax = plt.subplots()
    numeric = pd.api.types.is_numeric_dtype(rows[x]) and rows[x].dtype != bool
    data = rows.assign(**{x: rows[x] if numeric else rows[x].astype(str)})
    groups = {"hue": data[hue].astype(str), "hue_order": _names(data, hue)} if hue else {}
    if hue:
        groups["palette"] = sns.color_palette(figures.PALETTE, len(groups["hue_order"]))
    sns.lineplot(data, x=x, y="value", errorbar=("pi", 100), marker="o", ax=ax, **groups)
    if numeric and rows[x].min() > 0 and rows[x].max() >= 100 * rows[x].min():
        ax.set_xscale("log")
    ax.set(xlabel=x, ylabel=_label(rows))
    if hue:
        ax.legend(title=hue)
    return fig


def sentence(rows: pd.DataFrame, x: str, hue: str | None = None) -> str:
    """What the picture shows, with its numbers."""
    counts = rows.groupby([x, *([hue] if hue else [])])["value"].size()
    least, most = counts.min(), counts.max()
    runs = f"{least}" if least == most else f"{least} to {most}"
    shown = f"mean of {runs} runs, band from least to greatest" if most > 1 else "one run a point"
    parts = []
    for name in _names(rows, hue) if hue else [None]:
        own = rows if name is None else rows[rows[hue].astype(str) == name]
        means = own.groupby(x)["value"].mean()
        points = [f"{mean:.4g} at {place}" for place, mean in means.items()]
        if len(points) > 6:
            low, high = means.idxmin(), means.idxmax()
            points = [points[0], f"least {means[low]:.4g} at {low}"]
            points += [f"greatest {means[high]:.4g} at {high}", f"{means.iloc[-1]:.4g} at "]
            points[-1] += str(means.index[-1])
        parts.append((f"{hue} {name}: " if name is not None else "") + ", ".join(points))
    return f"{_label(rows)} against {x} ({shown}). {'; '.join(parts)}."


def _names(rows: pd.DataFrame, hue: str) -> list[str]:
    return [str(value) for value in sorted(rows[hue].unique())]


def _label(rows: pd.DataFrame) -> str:
    unit = rows["unit"].iloc[0]
    return rows["name"].iloc[0] + (f" ({unit})" if isinstance(unit, str) and unit else "")


def draw(
    table: pd.DataFrame,
    path: Path,
    x: str,
    y: str,
    hue: str | None = None,
    where: Mapping[str, str] = {},
) -> str:
    """Write the picture to `path`, a PNG or SVG file, and return its sentence."""
    if path.suffix not in (".png", ".svg"):
        raise BookError(f"-o must end in .png or .svg, got {path}")
    if not path.parent.is_dir():
        raise BookError(f"no folder {path.parent} for {path.name}; make it")
    rows = chosen(table, x, y, hue, where)
    fig = plot(rows, x, hue)
    text = sentence(rows, x, hue)
    # the picture carries its sentence along
    title = "Title" if path.suffix == ".svg" else "Description"
    fig.savefig(path, dpi=figures.DPI, facecolor=figures.PAPER, metadata={title: text})
    plt.close(fig)
    return text
