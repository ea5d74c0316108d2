"""The house style: one look for every figure, readable on white paper, on dark paper and aloud.

`show` stores two pictures of a figure, for light and for dark pages, and a sentence computed from
the data. The sentence is what a screen reader speaks and what a test compares. A figure may also be
`Live`: the site then draws it anew while a reader moves what it depends on.
"""

from __future__ import annotations

import base64
import io
import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import matplotlib.pyplot as plt
import seaborn as sns
from IPython.display import display
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.colors import to_hex, to_rgba, to_rgba_array
from matplotlib.figure import Figure
from matplotlib.text import Text

from ibbook._zeros import unsigned_zeros

# name: (on white, on dark); Okabe and Ito's colours, each set to at least 3:1 against its paper
COLOURS = {
    "ink": ("#1b2530", "#e6eaef"),
    "muted": ("#5c6773", "#a3afbb"),
    "grid": ("#dfe4e9", "#333c46"),
    "paper": ("#ffffff", "#12161b"),
    "blue": ("#0072b2", "#56b4e9"),
    "orange": ("#b85c00", "#f0a030"),
    "green": ("#005a43", "#2fc79b"),
    "purple": ("#a8477f", "#df8fbd"),
    "sky": ("#2f7399", "#8accf2"),
    "yellow": ("#8a7400", "#e0cf3c"),
}
PALETTE = [COLOURS[name][0] for name in ("blue", "orange", "green", "purple", "yellow", "sky")]
INK, MUTED, GRID, PAPER = (COLOURS[name][0] for name in ("ink", "muted", "grid", "paper"))
SEQUENTIAL = "viridis"
WIDTH, DPI = 7.2, 150
LIVE_MIME = "application/vnd.ibbook.live+json"
LIVE_BYTES = 300_000  # what a page may ask a reader to load for one figure


class Live(NamedTuple):
    """What makes a figure live: the module that draws it on the site, and its data from the run.

    `module` names a file of the theme, `public/live/MODULE.js`. `data` holds what that module asks
    for: numbers, texts, and lists or arrays of them, under names. Numbers are kept to six digits.
    """

    module: str
    data: Mapping[str, Any]


def use_house_style() -> None:
    """Set seaborn and matplotlib to the book's look; a chapter calls it once, in its first cell."""
    sns.set_theme(
        context="notebook",
        style="ticks",
        palette=PALETTE,
        rc={
            "figure.figsize": (WIDTH, 3.6),
            "figure.dpi": 72,
            "figure.constrained_layout.use": True,
            "figure.facecolor": PAPER,
            "axes.facecolor": "none",
            "axes.edgecolor": MUTED,
            "axes.labelcolor": INK,
            "axes.titlesize": 11,
            "axes.titleweight": "bold",
            "axes.titlelocation": "left",
            "axes.labelsize": 10.5,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.grid": False,
            "grid.color": GRID,
            "text.color": INK,
            "xtick.color": MUTED,
            "ytick.color": MUTED,
            "xtick.labelsize": 9.5,
            "ytick.labelsize": 9.5,
            "lines.linewidth": 2.0,
            "legend.frameon": False,
            "font.family": "DejaVu Sans",
            "font.size": 10,
            "mathtext.fontset": "cm",
        },
    )


def label_end(ax: Axes, x: float, y: float, text: str, color: str = INK, **options) -> None:
    """Write `text` beside a curve, in place of a legend, a little to the right of (x, y)."""
    options = {"xytext": (6, 0), "textcoords": "offset points", "va": "center"} | options
    ax.annotate(text, (x, y), color=color, annotation_clip=False, **options)


def chain(
    boxes: Sequence[str], arrows: Sequence[str], *, notes: Sequence[str] = (), height: float = 1.5
) -> Figure:
    """The set-up of a chapter: boxes in a row, joined by arrows that say what leads on.

    Each label may have several lines, and formulas between $; `notes` stand below the boxes.

    >>> fig = chain(["Y\\nsky", "X\\nphotograph", "T\\ncode"], ["$p(x|y)$", "$p(t|x)$"])
    >>> len(fig.axes[0].texts)  # three boxes, two arrows and what they say
    7
    >>> plt.close(fig)
    """
    if len(arrows) != len(boxes) - 1:
        raise ValueError(f"{len(boxes)} boxes need {len(boxes) - 1} arrows, got {len(arrows)}")
    fig, ax = plt.subplots(figsize=(WIDTH, height))
    ax.set(xlim=(-0.6, len(boxes) - 0.4), ylim=(-1, 0.8))
    ax.axis("off")
    frame = {"boxstyle": "round,pad=0.55", "facecolor": "none", "edgecolor": PALETTE[0]}
    drawn = [
        ax.text(x, 0, text, ha="center", va="center", bbox=frame) for x, text in enumerate(boxes)
    ]
    line = {"arrowstyle": "-|>", "color": MUTED, "shrinkA": 0, "shrinkB": 0}
    for x, text in enumerate(arrows):
        ends = {"patchA": drawn[x].get_bbox_patch(), "patchB": drawn[x + 1].get_bbox_patch()}
        ax.annotate("", (x + 1, 0), (x, 0), arrowprops=line | ends)
        ax.text(x + 0.5, 0.16, text, ha="center", va="bottom", color=MUTED, fontsize=9.5)
    for x, text in enumerate(notes):
        ax.text(x, -0.95, text, ha="center", va="bottom", color=MUTED, fontsize=9)
    return fig


def show(fig: Figure, *, alt: str, live: Live | None = None) -> None:
    """Display a figure with `alt`: a sentence saying what it shows, with numbers from the data.

    With `live`, the site lets its readers move the figure; everywhere else they see the picture.
    """
    if len(alt.split()) < 6:
        raise ValueError(f"alt must say in a sentence what the figure shows, got {alt!r}")
    alt = unsigned_zeros(alt)
    moving = {} if live is None else {LIVE_MIME: _bundle(live)}
    light = _png(fig)
    _repaint(fig)
    dark = _png(fig)
    plt.close(fig)
    display(
        {"image/png": light, "text/plain": alt} | moving,
        raw=True,
        metadata={"image/png": {"width": int(fig.get_figwidth() * 100)}, "ibbook": {"dark": dark}},
    )


def _bundle(live: Live) -> dict[str, Any]:
    """What the notebook carries of a live figure."""
    if not re.fullmatch(r"[a-z][a-z0-9-]*", live.module):
        raise ValueError(
            f"module must be the name of a file in theme/public/live, got {live.module!r}"
        )
    bundle = {"module": live.module, "data": _plain(live.data, "data")}
    size = len(json.dumps(bundle))
    if size > LIVE_BYTES:
        raise ValueError(f"data must stay below {LIVE_BYTES:,} bytes, got {size:,}; pass fewer")
    return bundle


def _plain(value: Any, name: str) -> Any:
    """The same in JSON's types: arrays as lists, numbers rounded to six digits."""
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, Mapping):
        return {str(key): _plain(part, f"{name}.{key}") for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part, f"{name}[{k}]") for k, part in enumerate(value)]
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError(f"{name} must be finite, got {value}")
        rounded = float(f"{value:.6g}")
        return int(rounded) if rounded.is_integer() else rounded
    if isinstance(value, bool | int | str):
        return value
    raise ValueError(f"{name} must be numbers, texts or lists of them, got {value!r}")


def _png(fig: Figure) -> str:
    buffer = io.BytesIO()
    fig.savefig(buffer, format="png", dpi=DPI, metadata={"Software": None})
    return base64.b64encode(buffer.getvalue()).decode()


def _around_texts(fig: Figure) -> Iterator[Artist]:
    """The frames and arrows of texts, which matplotlib does not count among a figure's artists."""
    for text in fig.findobj(Text):
        around = text.get_bbox_patch(), getattr(text, "arrow_patch", None)
        yield from (patch for patch in around if patch is not None)


def _on_dark(colour):
    """The partner of a house colour, with its alpha; every other colour unchanged."""
    partner = dict(COLOURS.values())
    rgba = to_rgba_array(colour)
    swapped = [to_rgba(partner.get(to_hex(c), to_hex(c)), c[3]) for c in rgba]
    return swapped if len(swapped) > 1 else (swapped or [colour])[0]


def _repaint(fig: Figure) -> None:
    """Exchange every house colour of a drawn figure for its partner on dark paper."""
    for artist in [*fig.findobj(), *_around_texts(fig)]:
        if getattr(artist, "get_array", lambda: None)() is not None:
            continue
        for name in ("color", "facecolor", "edgecolor", "markerfacecolor", "markeredgecolor"):
            read, write = (getattr(artist, f"{verb}_{name}", None) for verb in ("get", "set"))
            if read and write and len(read()):
                write(_on_dark(read()))
