"""Which runs a sweep asks for: every combination of values, checked before anything runs."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

from ibbook.book.chapters import Chapter
from ibbook.book.folders import BookError, text_of
from ibbook.book.parameters import Parameter, Value, admitted, parameters, resolve

# Parameters of chapters whose runs differ by chance alone: one model's seed, or the first of many.
SEED, FIRST_SEED, SEEDS = "seed", "first_seed", "seeds"
Row = dict[str, Value]


def combinations(
    chapter: Chapter,
    *,
    grid: Mapping[str, Sequence[Any]] | None = None,
    seeds: int | None = None,
    rows: Path | None = None,
    given: Mapping[str, Any] | None = None,
    profile: str | None = None,
) -> list[Row]:
    """Every parameter's value in each run of a sweep.

    Each row of the CSV file `rows`, with each combination of the values of `grid`, with each of as
    many `seeds`; what they leave open is `given`, or the profile's, or the chapter's own.
    """
    declared = parameters(chapter)
    base = resolve(chapter, given, profile)
    axes: list[list[Row]] = []
    if rows is not None:
        axes.append(_read(chapter, declared, rows))
    for name, values in (grid or {}).items():
        axes.append(_axis(chapter, declared, name, values))
    if seeds is not None:
        axes.append(_seeds(chapter, declared, base, seeds, axes))
    if not axes:
        raise BookError("a sweep needs values: --grid NAME=VALUE,VALUE, --seeds N or --from FILE")
    varied = [*(given or {}), *(name for axis in axes for name in axis[0])]
    if twice := sorted({name for name in varied if varied.count(name) > 1}):
        raise BookError(f"{' and '.join(twice)} set twice; give each parameter in one place")
    return [base | {n: v for row in rows for n, v in row.items()} for rows in product(*axes)]


def varied(wanted: Sequence[Row]) -> list[str]:
    """The parameters in which those runs differ.

    >>> varied([{"beta": 1, "seed": 0}, {"beta": 1, "seed": 1}])
    ['seed']
    """
    return [name for name in wanted[0] if len({row[name] for row in wanted}) > 1]


def quicker(chapter: Chapter, wanted: Sequence[Row]) -> list[str]:
    """Options of one run that would train what a sweep trains in many, side by side."""
    declared, tips = parameters(chapter), []
    for name in varied(wanted):
        values = list(dict.fromkeys(str(row[name]) for row in wanted))
        if name == FIRST_SEED and SEEDS in declared:
            total = len(values) * max(row[SEEDS] for row in wanted)
            high = declared[SEEDS].high
            tips.append(f"-p {SEEDS} {min(total, int(high or total))}")
        elif _lists_numbers(declared[name]):
            numbers = sorted({number for value in values for number in value.split()}, key=float)
            tips.append(f"-p {name} {json.dumps(' '.join(numbers))}")
    return tips


def _lists_numbers(parameter: Parameter) -> bool:
    """Whether a parameter is a text of several numbers, such as the betas of one ensemble."""
    words = parameter.default.split() if parameter.type == "str" else ()
    try:
        return len([float(word) for word in words]) > 1
    except ValueError:
        return False


def _axis(
    chapter: Chapter, declared: Mapping[str, Parameter], name: str, values: Iterable[Any]
) -> list[Row]:
    source = f"--grid {name}: "
    axis = [admitted(chapter, declared, {name: value}, source) for value in values]
    if not axis:
        raise BookError(f"{source}no value; write --grid {name}=VALUE,VALUE")
    for number, row in enumerate(axis):
        if row in axis[:number]:
            raise BookError(f"{source}{row[name]} is given twice; give each value once")
    return axis


def _seeds(
    chapter: Chapter,
    declared: Mapping[str, Parameter],
    base: Row,
    count: int,
    axes: Sequence[Sequence[Row]],
) -> list[Row]:
    """As many runs that share no seed: of models of one seed, or of `seeds` from the first."""
    name = next((name for name in (SEED, FIRST_SEED) if name in declared), None)
    if name is None:
        raise BookError(f"{chapter.name} has no seed to vary; leave out --seeds")
    if count < 1:
        raise BookError(f"--seeds must be at least 1, got {count}")
    step = 1
    if name == FIRST_SEED:
        asked = [row[SEEDS] for axis in axes for row in axis if SEEDS in row]
        step = max(asked, default=base.get(SEEDS, 1))
    values = (base[name] + step * number for number in range(count))
    return [admitted(chapter, declared, {name: value}, "--seeds: ") for value in values]


def _read(chapter: Chapter, declared: Mapping[str, Parameter], path: Path) -> list[Row]:
    """The rows of a CSV file whose first line names parameters."""
    lines = csv.reader(io.StringIO(text_of(path)), strict=True, skipinitialspace=True)
    seen: dict[tuple[Value, ...], int] = {}
    axis: list[Row] = []
    try:
        names = next(lines, [])
        if len(set(names)) < len(names) or not names:
            raise BookError(f"{path}: its first line must name each parameter once, got {names}")
        for cells in lines:
            if not cells:
                continue
            source = f"{path}, line {lines.line_num}: "
            if len(cells) != len(names):
                raise BookError(f"{source}{len(cells)} values for {len(names)} parameters")
            row = admitted(chapter, declared, dict(zip(names, cells, strict=True)), source)
            first = seen.setdefault(tuple(row.values()), lines.line_num)
            if first != lines.line_num:
                raise BookError(f"{source}the same run as line {first}; give each once")
            axis.append(row)
    except csv.Error as error:
        raise BookError(f"{path}, line {lines.line_num}: {error}") from None
    if not axis:
        raise BookError(f"{path} has no row below its first line; write one row a run")
    return axis
