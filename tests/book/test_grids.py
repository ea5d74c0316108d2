"""Which runs a sweep asks for, and what is refused before anything starts."""

from __future__ import annotations

import itertools

import pytest

from ibbook.book import grids
from ibbook.book.cli import main
from ibbook.book.folders import BookError
from ibbook.book.grids import combinations, quicker
from ibbook.book.parameters import resolve

MODELS = """\
betas: str = "1 4 10"  # weights of the rate
beta: float = 4.0  # weight of the rate [0, 100]
seeds: int = 5  # models of each kind [1, 50]
first_seed: int = 0  # the others follow it [0, 100]
label: str = ""  # what to call it
"""


def test_every_combination_is_a_run_and_what_is_left_open_stays(write):
    chapter = write()
    found = combinations(
        chapter, grid={"bias": ["0.1", "1"], "flips": ["2", "3"]}, given={"side": "tails"}
    )
    assert found == [
        {"bias": bias, "flips": flips, "fair": False, "side": "tails"}
        for bias, flips in itertools.product((0.1, 1.0), (2, 3))
    ]
    assert grids.varied(found) == ["bias", "flips"]
    assert quicker(chapter, found) == []


def test_rows_of_a_file_meet_the_grid(write, tmp_path):
    chapter = write()
    path = tmp_path / "runs.csv"
    path.write_text('\ufeffbias, flips\n0.5, 7\n\n"0.25", 8\n')
    found = combinations(chapter, rows=path, grid={"fair": ["true", "false"]})
    assert [(row["bias"], row["flips"], row["fair"]) for row in found] == [
        (0.5, 7, True), (0.5, 7, False), (0.25, 8, True), (0.25, 8, False)
    ]  # fmt: skip


def test_seeds_of_two_runs_are_never_the_same(write):
    chapter = write(parameters=MODELS)
    for asked in ({}, {"given": {"seeds": 7}}, {"grid": {"seeds": ["2", "9"]}}):
        found = combinations(chapter, seeds=4, **asked)
        for width in {row["seeds"] for row in found}:
            firsts = [row["first_seed"] for row in found if row["seeds"] == width]
            used = [first + k for first in firsts for k in range(width)]
            assert len(firsts) == 4
            assert len(used) == len(set(used))
    one = write("02-die", parameters="seed: int = 3  # of chance [0, 9]\n")
    assert [row["seed"] for row in combinations(one, seeds=2)] == [3, 4]


def test_what_one_run_trains_side_by_side_is_said(write):
    chapter = write(parameters=MODELS)
    found = combinations(chapter, grid={"betas": ["16", "1 4"], "beta": ["1", "2"]}, seeds=3)
    assert quicker(chapter, found) == ['-p betas "1 4 16"', "-p seeds 15"]
    for tip in quicker(chapter, found):
        name, value = tip.removeprefix("-p ").split(" ", 1)
        resolve(chapter, {name: value.strip('"')})  # the option is one that a run takes


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("", "a sweep needs values"),
        ("--grid bias=", "--grid takes NAME=VALUE,VALUE, got 'bias='"),
        ("--grid bias", "--grid takes NAME=VALUE,VALUE, got 'bias'"),
        ("--grid bias=0.1,,0.2", "--grid bias: bias must be of type float, got ''"),
        ("--grid bias=0.1,1.5", "--grid bias: bias must be in [0, 1], got 1.5"),
        ("--grid bais=0.1", "--grid bais: 01-coin has no parameter 'bais'; did you mean bias?"),
        ("--grid bias=0.1,1e-1", "--grid bias: 0.1 is given twice"),
        ("--grid bias=0.1 --grid bias=0.2", "--grid sets bias more than once"),
        ("--grid bias=0.1 -p bias 0.2", "bias set twice"),
        ("--grid bias=0.1 -p flips 2 -p flips 2", "-p sets flips more than once"),
        ("--grid bias=0.1 --profile ful", "01-coin has no profile 'ful'"),
        ("--seeds 2", "01-coin has no seed to vary"),
        ("--from {rows} --grid flips=1", "flips set twice"),
        ("--grid bias=0.1 --workers 2 --scheduler tcp://x:1", "--workers are of this machine"),
    ],
)
def test_a_sweep_that_cannot_be_is_one_line(write, capsys, tmp_path, arguments, message):
    write()
    (tmp_path / "rows.csv").write_text("flips\n3\n")
    arguments = arguments.format(rows=tmp_path / "rows.csv")
    assert main(["sweep", "coin", *arguments.split()]) == 2
    out, said = capsys.readouterr()
    assert said.startswith(f"ibbook: {message}")
    assert said.count("\n") == 1
    assert out == ""


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "its first line must name each parameter once"),
        ("bias,bias\n0.1,0.2\n", "its first line must name each parameter once"),
        ("bias\n", "has no row below its first line"),
        ("bias,flips\n0.1,2\n0.2\n", "line 3: 1 values for 2 parameters"),
        ("bias\n0.1\n2\n", "line 3: bias must be in [0, 1], got 2"),
        ("bias\n0.1\n0.2\n1e-1\n", "line 4: the same run as line 2"),
        ("tilt\n0.1\n", "line 2: 01-coin has no parameter 'tilt'"),
        ('bias\n"0.1\n', "unexpected end of data"),
        ("bias\n0.1\x00\n", "has a NUL character in line 2"),
    ],
)
def test_a_bad_file_is_named_with_its_line(write, tmp_path, content, message):
    path = tmp_path / "runs.csv"
    path.write_text(content)
    with pytest.raises(BookError) as caught:
        combinations(write(), rows=path)
    assert str(path) in str(caught.value)
    assert message in str(caught.value)


def test_seeds_stay_in_their_range(write):
    one = write(parameters="seed: int = 3  # of chance [0, 9]\n")
    with pytest.raises(BookError, match=r"--seeds: seed must be in \[0, 9\], got 10"):
        combinations(one, seeds=8)
    with pytest.raises(BookError, match="at least 1, got 0"):
        combinations(one, seeds=0)
    with pytest.raises(BookError, match="no value; write --grid seed="):
        combinations(one, grid={"seed": []})
