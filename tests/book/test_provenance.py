"""Where numbers come from: what a run notes, and what pages show of it."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import numpy as np
import scipy
import torch

from ibbook._origin import PACKAGE, digest, sha256
from ibbook.book import markup, provenance
from ibbook.book.cli import main
from ibbook.book.collect import keep
from ibbook.book.parameters import resolve
from ibbook.book.results import kept
from ibbook.book.runs import executed, run
from ibbook.book.runs import provenance as of_run
from tests.book.coin import RECORDING

ROOT = Path(__file__).parents[2]


def test_a_run_notes_what_made_it_and_what_is_kept_of_it_shows_that(
    book, write, monkeypatch, capsys
):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    chapter = write("01-coin", RECORDING)
    made = run(chapter, resolve(chapter, {"bias": "0.5", "side": "tails"}))
    about = of_run(made)
    assert (about["torch"], about["numpy"]) == (torch.__version__, np.__version__)
    assert about["scipy"] == scipy.__version__
    assert about["threads"] == 1
    assert about["instructions"]
    assert about["processor"]
    assert about["device"]
    assert about["inputs"]["package"] == digest(PACKAGE)
    assert re.fullmatch(r"[0-9a-f]{64}", about["inputs"]["data"])
    assert about["sha256"] == sha256(executed(made))

    settings, _, arguments = about["command"].partition("ibbook ")
    assert "OMP_NUM_THREADS=1" in settings
    assert main(shlex.split(arguments)) == 0
    assert capsys.readouterr().out.strip() == str(executed(made))  # the same run, by its key

    kept_as = kept(keep(made, "01-coin-tails"))
    assert about.items() <= kept_as.items()
    page = provenance.kept_runs(book)
    assert list(markup.faults(page)) == []
    for name, value in {**about["parameters"], "coin.bias": 0.5}.items():
        assert f"`{name}" in page
        assert str(value) in page
    for name in provenance.SHOWN:
        assert about[name] is None or str(about[name]) in page, name
    assert provenance.again(about) in page


def test_a_run_that_noted_less_is_shown_with_what_it_has():
    about = kept(ROOT / "data" / "results" / "04-vib-older-0.json")
    shown = dict(provenance.facts(about))
    assert shown["torch"] == about["torch"]
    assert "scipy" not in shown
    assert "threads" not in shown
    assert provenance.again(about) == ""


def test_every_kept_run_has_its_row_and_its_section():
    page = provenance.kept_runs(ROOT)
    for path in (ROOT / "data" / "results").glob("*.json"):
        name = path.stem
        assert page.count(f"[{name}](#run-{name})") == page.count(f"(run-{name})=") == 1
        row = next(line for line in page.splitlines() if line.startswith(f"| [{name}]"))
        for parameter, value in json.loads(path.read_text())["parameters"].items():
            shown = '""' if value == "" else value
            assert f"`{parameter} = {shown}`" in row, (name, parameter)


def test_without_a_kept_run_the_page_says_so(book):
    assert provenance.kept_runs(book) == "\nNo run is kept.\n"
