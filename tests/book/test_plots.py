"""A picture of many runs: what is drawn, what is said of it, and what is refused."""

from __future__ import annotations

import re

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex

from ibbook import figures
from ibbook.book import runs
from ibbook.book.cli import main
from ibbook.book.folders import BookError
from ibbook.book.parameters import resolve
from ibbook.book.plots import chosen, draw, plot, sentence
from tests.book.coin import RECORDING, recorded_without_a_kernel


def table(**columns) -> pd.DataFrame:
    """Two betas, two penalties, three seeds each; the value is beta + penalty + seed / 10."""
    grid = [(b, p, s) for b in (1.0, 100.0) for p in (0, 8) for s in (0, 1, 2)]
    made = pd.DataFrame(grid, columns=["beta", "l2", "seed"])
    made["value"] = made.beta + made.l2 + made.seed / 10
    made["run"] = [f"{k:02d}" for k in range(len(made))]
    return made.assign(**{"chapter": "04-vib", "name": "vib.error", "unit": "%"} | columns)


def test_the_picture_shows_means_and_bands_and_its_sentence_says_them(tmp_path):
    rows = chosen(table(), "beta", "vib.error", "l2")
    fig = plot(rows, "beta", "l2")
    (ax,) = fig.axes
    drawn = [line for line in ax.lines if len(line.get_xdata())]
    assert [list(line.get_xdata()) for line in drawn] == [[1, 100]] * 2
    means = [[1.1, 100.1], [9.1, 108.1]]
    assert np.allclose([line.get_ydata() for line in drawn], means)
    assert [to_hex(line.get_color()) for line in drawn] == figures.PALETTE[:2]
    bands = [band.get_paths()[0].vertices for band in ax.collections]
    assert [(band[:, 1].min(), band[:, 1].max()) for band in bands] == [(1, 100.2), (9, 108.2)]
    assert ax.get_xscale() == "log"
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("beta", "vib.error (%)")
    plt.close(fig)
    text = sentence(rows, "beta", "l2")
    assert text == (
        "vib.error (%) against beta (mean of 3 runs, band from least to greatest). "
        "l2 0: 1.1 at 1.0, 100.1 at 100.0; l2 8: 9.1 at 1.0, 108.1 at 100.0."
    )
    for name in ("a.png", "a.svg"):
        assert draw(table(), tmp_path / name, "beta", "vib.error", "l2") == text
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    assert "l2 8: 9.1 at 1.0" in (tmp_path / "a.svg").read_text()


def test_of_many_points_the_sentence_says_ends_and_extremes():
    many = pd.DataFrame({"beta": range(9), "value": [(k - 3) ** 2 for k in range(9)]})
    many = many.assign(chapter="a", run=many.beta.astype(str), name="a.b", unit="")
    rows = chosen(many, "beta", "a.b")
    assert sentence(rows, "beta") == (
        "a.b against beta (one run a point). 9 at 0, least 0 at 3, greatest 25 at 8, 25 at 8."
    )
    plt.close(plot(rows, "beta"))
    words = many.assign(beta=[f"kind {k}" for k in range(9)])
    fig = plot(chosen(words, "beta", "a.b"), "beta")
    assert fig.axes[0].get_xscale() == "linear"
    plt.close(fig)


@pytest.mark.parametrize(
    ("columns", "asked", "message"),
    [
        ({}, {"x": "bata"}, "no parameter 'bata' in these runs; there are beta, l2, seed"),
        ({}, {"x": "value"}, "no parameter 'value'"),
        ({}, {"y": "vib.err"}, "no run recorded 'vib.err'; they recorded vib.error"),
        (
            {},
            {},
            r"the runs also differ in l2 (0, 8); choose with -p l2 VALUE, or show it with --hue l2",
        ),
        ({}, {"where": {"l2": "3"}}, "no run has l2 3; they have 0, 8"),
        ({"chapter": ["a", "b"] * 6}, {"hue": "l2"}, "was recorded in a and b"),
        ({"seed": 0}, {"hue": "l2"}, "runs 00 and 01 have the same parameters"),
        ({"l2": None}, {"hue": "l2"}, "have no beta and l2"),
    ],
)
def test_what_would_mislead_is_refused(columns, asked, message):
    with pytest.raises(BookError, match=re.escape(message)):
        chosen(table(**columns), **{"x": "beta", "y": "vib.error"} | asked)


def test_only_a_chapters_present_runs_are_drawn(book, write, monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(runs, "execute", recorded_without_a_kernel)
    monkeypatch.chdir(tmp_path)
    request = ["plot", "coin", "--x", "flips", "--y", "coin.bias"]
    write("01-coin", RECORDING, "# as it was")
    assert main(request) == 2
    assert "no run of 01-coin as it is now" in capsys.readouterr().err
    old = runs.run(write("01-coin", RECORDING, "# as it was"))
    chapter = write("01-coin", RECORDING)
    for flips in (3, 5):
        runs.run(chapter, resolve(chapter, {"flips": flips}))
    assert main(request) == 0
    out, said = capsys.readouterr()
    assert out == "coin.bias against flips (one run a point). 0.25 at 3, 0.25 at 5.\n"
    assert "drawn in coin.bias.png" in said
    assert (tmp_path / "coin.bias.png").is_file()

    assert main(["collect", "-o", "table.csv"]) == 0
    assert old.name in (tmp_path / "table.csv").read_text()
    by_table = ["plot", "table.csv", "--x", "flips", "--y", "coin.bias", "-o", "x.svg"]
    assert main(by_table) == 2  # two runs of the same parameters
    assert "have the same parameters" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("table.csv -o x.pdf", "-o must end in .png or .svg, got x.pdf"),
        ("table.csv -o nowhere/x.png", "no folder nowhere for x.png"),
        ("none.csv", "none.csv is no table of `ibbook collect`"),
        ("bad.csv", "bad.csv lacks chapter, name, run, value"),
        ("bad.parquet", "bad.parquet is no table"),
        ("coin", "no run of 01-coin as it is now"),
    ],
)
def test_a_picture_that_cannot_be_is_one_line(
    write, monkeypatch, capsys, tmp_path, arguments, message
):
    write()
    monkeypatch.chdir(tmp_path)
    table().to_csv("table.csv", index=False)
    (tmp_path / "bad.csv").write_text("a,b\n1,2\n")
    (tmp_path / "bad.parquet").write_text("no")
    asked = arguments.split()
    assert main(["plot", *asked, "--x", "beta", "--y", "vib.error", "-p", "l2", "0"]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"ibbook: {message}")
    assert said.count("\n") == 1
