"""Results of long runs: kept with their provenance, never overwritten, read back as one table."""

from __future__ import annotations

import base64
import json
import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from ibbook.book import runs
from ibbook.book.audit import problems
from ibbook.book.chapters import read
from ibbook.book.cli import main
from ibbook.book.collect import keep
from ibbook.book.folders import BookError, save
from ibbook.book.parameters import parameters, resolve
from ibbook.book.results import recorded, show_recorded
from ibbook.book.runs import folder, provenance, run
from tests.book.coin import RECORDING, recorded_without_a_kernel

FIGURE = """\
---
label: fig-coin
---
from ibbook.book import record
from ibbook.figures import plt, show
record("coin.bias", bias, "Bias", unit="", digits=2)
fig, ax = plt.subplots(figsize=(2, 1))
show(fig, alt=f"An empty pair of axes for a bias of {bias:.2f}.")
"""


def test_runs_are_kept_by_the_command_and_read_back_as_rows(book, write, capsys, monkeypatch):
    chapter = write("01-coin", RECORDING, 'record("coin.flips", flips, "Flips", unit="", digits=0)')
    before = folder(chapter, resolve(chapter))
    for flips in ("3", "7"):
        assert main(["run", "coin", "-p", "flips", flips]) == 0
        notebook = capsys.readouterr().out.strip()
        assert main(["keep", notebook, f"coin-flips-{flips}"]) == 0
        assert capsys.readouterr().out.strip() == f"{book}/data/results/coin-flips-{flips}.json"
    # a chapter shows results, so it depends on them
    assert folder(chapter, resolve(chapter)) != before

    monkeypatch.chdir("/")
    table = recorded("coin-flips-*")
    about = provenance(Path(notebook).parent)
    origin = ["seconds", "finished", "platform", "torch", "commit", "dirty"]
    number = ["run", "chapter", "name", "value", "unit", "least", "most"]
    assert table[["least", "most"]].isna().all(axis=None)  # no means over seeds
    assert list(table.columns) == [*number, "bias", "flips", "fair", "side", *origin]
    assert table[["run", "chapter", "name", "value", "unit", "flips"]].values.tolist() == [
        ["coin-flips-3", "01-coin", "coin.bias", 0.25, "", 3],
        ["coin-flips-3", "01-coin", "coin.flips", 3, "", 3],
        ["coin-flips-7", "01-coin", "coin.bias", 0.25, "", 7],
        ["coin-flips-7", "01-coin", "coin.flips", 7, "", 7],
    ]
    last = table.iloc[-1]
    assert {name: last[name] for name in origin[:4]} == {name: about[name] for name in origin[:4]}
    assert table[["commit", "dirty"]].isna().all(axis=None)  # this book is no git checkout
    assert list(recorded("coin-flips-7").run) == ["coin-flips-7"] * 2
    stored = json.loads((book / "data" / "results" / "coin-flips-7.json").read_text())
    rows = stored.pop("records")
    assert len(stored.pop("seal")) == 64
    assert stored == about
    assert [row["name"] for row in rows] == ["coin.bias", "coin.flips"]

    kept = book / "data" / "results" / "coin-flips-7.json"
    content = kept.read_bytes()
    assert keep(Path(notebook), kept.stem) == kept  # the same run again changes nothing
    other = next(p for p in Path(notebook).parent.parent.iterdir() if p.name not in notebook)
    with pytest.raises(BookError, match=r"flips-7\.json holds another run; choose another name"):
        keep(other, kept.stem)
    assert kept.read_bytes() == content
    kept.unlink()
    assert recorded(kept.stem).empty


def test_without_a_matching_run_the_table_is_empty_and_has_its_columns(book):
    for pattern in ("coin-*", "../*", ""):
        table = recorded(pattern)
        assert table.empty
        assert list(table.columns[:5]) == ["run", "chapter", "name", "value", "unit"]
        assert table.groupby("name").value.mean().empty
    assert not (book / "data" / "results").exists()


def test_no_parameter_can_overwrite_a_column(book, write):
    for name in recorded("*").columns:
        with pytest.raises(BookError, match=f"parameter {name} has a reserved name"):
            parameters(write(parameters=f"{name}: float = 0.25  # chance [0, 1]\n"))


@pytest.mark.parametrize("name", ["", "Coin", "../coin", "coin.json", "-coin", "a/b", "coin\n"])
def test_a_name_that_is_no_plain_file_name_is_refused(book, name):
    with pytest.raises(BookError, match="NAME must be lower-case letters"):
        keep(book, name)
    assert not (book / "data" / "results").exists()


def test_what_is_no_run_or_recorded_nothing_is_not_kept(book, write, monkeypatch):
    chapter = write("01-coin", "print('no number')")
    monkeypatch.setattr(runs, "execute", lambda _, made, *others: made)
    made = run(chapter)
    with pytest.raises(BookError, match="recorded no number; there is nothing to keep"):
        keep(made, "coin")
    shutil.rmtree(made)
    with pytest.raises(BookError, match=r"no finished run in .*`ibbook run` prints where one lies"):
        keep(made, "coin")
    assert not (book / "data" / "results").exists()


def of_two_keeps_at_once(first: Path, second: Path, name: str) -> list[str]:
    """How each of two ended: kept, or refused."""

    def attempt(run: Path) -> str:
        try:
            return keep(run, name).read_text()
        except BookError:
            return "refused"

    with ThreadPoolExecutor(2) as both:
        return list(both.map(attempt, (first, second)))


def test_a_figure_is_kept_with_the_run_and_shown_as_it_was_drawn(book, write, capsys, monkeypatch):
    made = run(write("01-coin", FIGURE))
    label, name = "fig-coin", "01-coin-0"
    with pytest.raises(BookError, match="the run has no figure 'fig-die'; it has fig-coin"):
        keep(made, name, ["fig-die"])
    with pytest.raises(BookError, match="no figure fig-coin of a run 01-coin-0 is kept"):
        show_recorded(name, label)
    assert main(["keep", str(made), name, "--figure", label]) == 0

    shown = []
    monkeypatch.setattr("IPython.display.display", lambda data, **how: shown.append((data, how)))
    show_recorded(name, label)
    drawn = next(c for c in read(made / "01-coin.ipynb").cells if c.metadata.get("label") == label)
    assert shown == [
        (drawn.outputs[-1].data, {"raw": True, "metadata": drawn.outputs[-1].metadata})
    ]
    assert shown[0][0]["text/plain"] == "An empty pair of axes for a bias of 0.25."
    assert base64.b64decode(shown[0][1]["metadata"]["ibbook"]["dark"]).startswith(b"\x89PNG")
    with pytest.raises(BookError, match="no figure fig-die of a run 01-coin-0 is kept"):
        show_recorded(name, "fig-die")
    assert len(recorded(name)) == 1


def test_of_two_runs_that_are_kept_under_one_name_at_once_one_is(book, write, monkeypatch):
    chapter = write("01-coin", RECORDING)
    monkeypatch.setattr(runs, "execute", recorded_without_a_kernel)
    pair = [run(chapter, resolve(chapter, {"flips": flips})) for flips in (1, 2)]
    folder = book / "data" / "results"
    for number in range(60):
        ended = of_two_keeps_at_once(*pair, f"coin-{number}")
        assert ended.count("refused") == 1
        assert (folder / f"coin-{number}.json").read_text() in ended
        same = of_two_keeps_at_once(pair[0], pair[0], f"same-{number}")
        assert same[0] == same[1] != "refused"
    assert not [path for path in folder.iterdir() if path.suffix != ".json"]


def test_a_file_that_appears_at_the_last_moment_is_not_overwritten(tmp_path, monkeypatch):
    path = tmp_path / "a.json"
    monkeypatch.setattr(os, "fsync", lambda _: path.write_text("of another"))
    with pytest.raises(FileExistsError):
        save(path, "ours", new=True)
    assert path.read_text() == "of another"
    assert list(tmp_path.iterdir()) == [path]


def test_a_kept_run_that_was_changed_is_named_by_check_and_by_what_reads_it(
    book, write, monkeypatch
):
    chapter = write("01-coin", RECORDING)
    monkeypatch.setattr(runs, "execute", recorded_without_a_kernel)
    kept = [keep(run(chapter, resolve(chapter, {"flips": n})), f"coin-{n}") for n in (1, 2)]
    chapter.text.unlink()
    assert problems() == []
    first, second = (json.loads(path.read_text()) for path in kept)
    for changed in (
        first | {"parameters": second["parameters"]},
        first | {"commit": "0123456789"},
        first | {"records": [first["records"][0] | {"value": 0.99}]},
        first | {"records": [first["records"][0] | {"value": float("nan")}]},
        first | {"records": []},
    ):
        kept[0].write_text(json.dumps(changed))
        (line,) = problems()
        assert "coin-1.json" in line
        with pytest.raises(BookError, match=r"coin-1\.json (was changed|is no kept run)"):
            recorded("coin-1")
        assert len(recorded("coin-2")) == 1
    del first["seal"]
    kept[0].write_text(json.dumps(first))
    assert problems() == [
        "data/results/coin-1.json: has no seal; keep the run again with `ibbook keep`"
    ]


@pytest.mark.parametrize("text", ["<<<<<<< HEAD", "{}", "[1]", '{"records": [{}]}'])
def test_a_damaged_file_is_named_and_only_where_it_is_asked_for(book, text):
    (book / "data" / "results").mkdir()
    (book / "data" / "results" / "coin.json").write_text(text)
    with pytest.raises(BookError, match=r"coin\.json is no kept run .*; restore it or delete it"):
        recorded("co*")
    assert recorded("die-*").empty
