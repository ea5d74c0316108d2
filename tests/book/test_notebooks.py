"""The pairs of text and notebook: kept in step, held against a new run, safe in JupyterLab."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_output

from ibbook.book import runs
from ibbook.book.audit import problems
from ibbook.book.chapters import notebook, read, store
from ibbook.book.cli import main
from ibbook.book.folders import BookError
from ibbook.book.parameters import resolve
from ibbook.book.records import MIME, records
from ibbook.book.runs import executed, run
from tests.book.coin import RECORDING, recorded_without_a_kernel

PICTURE = """\
import matplotlib.pyplot as plt
from ibbook.figures import show
figure, axes = plt.subplots()
axes.plot([0, 1])
show(figure, alt="A line that rises from 0 at the left to 1 at the right.")
"""


def test_every_chapter_of_the_book_agrees_with_its_notebook():
    assert problems() == []


@pytest.fixture
def pair(write):
    """A chapter and its notebook as `ibbook notebooks` writes it, made without a kernel."""
    chapter = write("01-coin", RECORDING)
    made = notebook(chapter)
    for count, cell in enumerate((c for c in made.cells if c.cell_type == "code"), 1):
        cell.execution_count = count
    made.cells[-1].outputs = [new_output("stream", text="flips: 3\n")]
    assert store(chapter, made)
    assert problems() == []
    return chapter


def change(chapter, edit) -> None:
    stored = read(chapter.stored)
    edit(stored)
    nbformat.write(stored, chapter.stored)


def fresh_outputs(stored) -> None:
    for cell in stored.cells[1:]:
        cell.update(outputs=[], execution_count=None)


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (fresh_outputs, "has no outputs"),
        (lambda nb: nb.cells[1].update(execution_count=None), "code cell 1 (`bias: float = 0.25"),
        (lambda nb: nb.cells[0].update(source="Else."), "cell 1 (`---`) differs from its text"),
        (lambda nb: nb.cells[2].update(source="x = 1"), "cell 3 (`from ibbook.book"),
        (lambda nb: nb.cells[1].metadata.update(tags=[]), "the metadata of cell 2"),
        (lambda nb: nb.metadata.pop("ibbook"), "its metadata differ"),
        (lambda nb: nb.cells.pop(), "has 2 cells, its text has 3"),
        (lambda nb: nb.cells.clear(), "has 0 cells, its text has 3"),
        (lambda nb: nb.cells[2].outputs.append(new_output("error")), "ended in an error"),
        (lambda nb: nb.cells[2].outputs[0].update(name="stderr"), "wrote to stderr"),
        (
            lambda nb: nb.cells[2].outputs.append(new_output("stream", text="slope -0.00\n")),
            "shows a rounded zero with a minus sign",
        ),
    ],
)
def test_a_stale_or_empty_notebook_is_named_with_its_remedy(pair, edit, message, capsys):
    change(pair, edit)
    assert main(["check"]) == 1
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("chapters/01-coin.ipynb: ")
    assert message in line
    assert "run `make notebooks`" in line


def test_a_missing_broken_or_orphaned_file_is_named(pair, book):
    pair.stored.write_text("<<<<<<< HEAD\n")
    (line,) = problems()
    assert "01-coin.ipynb is not a notebook" in line
    pair.stored.unlink()
    assert problems() == ["chapters/01-coin.ipynb: missing; run `make notebooks`"]
    pair.text.rename(book / "chapters" / "02-coin.md")
    (book / "chapters" / "01-coin.ipynb").write_text("{}")
    (book / "chapters" / "bare.md").write_text("```{code-cell} ipython3\nx = 1\n```\n")
    (book / "chapters" / "profiles" / "full").mkdir(parents=True)
    (book / "chapters" / "profiles" / "full" / "01-coin.yaml").write_text("bias: 1.0\n")
    (book / "chapters" / "profiles" / "full" / "02-coin.yaml").write_text("bias: 2.0\n")
    text = "\n".join(problems())
    assert "chapters/01-coin.ipynb: no text" in text
    assert "chapters/bare.md: has code but names no kernelspec" in text
    assert "full/01-coin.yaml: no chapter has this name" in text
    assert "chapters/02-coin.md: profile full: bias must be in [0, 1], got 2.0" in text
    assert len(problems()) == 4


def test_what_a_page_would_lose_of_a_text_is_named(pair, book):
    (book / "chapters" / "more.md").write_text("Of all,\n% of them\n")
    (line,) = problems()
    assert line.startswith("chapters/more.md: line 2: it begins with %")


def test_a_chapter_says_how_long_it_takes_and_on_what(pair):
    text = pair.text.read_text()
    pair.text.write_text(text.replace("ibbook: {minutes: 1, device: cpu}\n", ""))
    assert any("its top must say ibbook: {minutes: ..., device: ...}" in p for p in problems())


@pytest.mark.parametrize("older", ["text", "stored"])
def test_edits_of_the_notebook_are_not_overwritten_whatever_the_dates(pair, older):
    """After `git pull` a text is newer than the notebook that somebody edited."""
    change(pair, lambda nb: nb.cells[2].update(source="x = 'an afternoon of work'"))
    os.utime(getattr(pair, older), (0, 0))
    with pytest.raises(BookError, match=r"01-coin\.ipynb was edited, and differs from 01-coin\.md"):
        store(pair, notebook(pair))
    assert "an afternoon of work" in pair.stored.read_text()
    pair.stored.unlink()
    assert store(pair, notebook(pair))


def test_a_notebook_that_nobody_edited_follows_its_text_whatever_the_dates(pair):
    pair.text.write_text(pair.text.read_text().replace("Toss it.", "Toss it twice."))
    os.utime(pair.text, (0, 0))
    assert store(pair, notebook(pair))
    assert "Toss it twice." in pair.stored.read_text()


@pytest.mark.parametrize("cells", [[RECORDING + "x = 1"], [RECORDING, "x = 1"]])
def test_no_code_is_stored_over_what_other_code_has_put_out(write, monkeypatch, cells):
    chapter = write("01-coin", RECORDING)

    def meanwhile(chapter, made, *_):
        write("01-coin", *cells)
        return recorded_without_a_kernel(chapter, made)

    monkeypatch.setattr(runs, "execute", meanwhile)
    assert main(["notebooks"]) == 1
    assert not chapter.stored.exists()
    monkeypatch.setattr(runs, "execute", recorded_without_a_kernel)
    assert main(["notebooks"]) == 0


def test_a_pasted_picture_is_neither_passed_nor_lost(pair):
    pasted = {"a.png": {"image/png": "iVBORw0KGgo="}}
    change(pair, lambda nb: nb.cells[0].update(attachments=pasted))
    (line,) = problems()
    assert "cell 1 holds a pasted picture" in line
    os.utime(pair.stored, (0, 0))
    with pytest.raises(BookError, match="save pasted pictures as files"):
        store(pair, notebook(pair))
    assert read(pair.stored).cells[0].attachments == pasted


@pytest.mark.parametrize(
    "edit",
    [
        lambda nb: nb.cells[2].outputs[0].update(text="flips: 4\n"),
        lambda nb: nb.cells[1].update(execution_count=7),
        lambda nb: nb.metadata.pop("ibbook_seal"),
    ],
)
def test_an_output_that_was_changed_by_hand_or_by_a_bad_disk_is_named(pair, edit):
    change(pair, edit)
    assert problems() == [
        "chapters/01-coin.ipynb: was changed after it was written; run `make notebooks`"
    ]


def test_a_recorded_number_that_is_none_is_named(pair):
    row = {"name": "coin.bias", "value": float("nan"), "unit": "", "label": "B", "digits": 2}
    change(pair, lambda nb: nb.cells[2].outputs.append(new_output("display_data", {MIME: row})))
    (line,) = problems()
    assert "no whole record" in line


def test_notebooks_writes_only_what_changed_and_keeps_ids(book, write, capsys):
    chapter = write("01-coin", RECORDING, PICTURE)
    text = chapter.text.read_bytes()
    assert main(["notebooks"]) == 0
    assert "wrote chapters/01-coin.ipynb" in capsys.readouterr().err
    first = chapter.stored.read_bytes()
    assert problems() == []
    shutil.rmtree(book / "_build")  # run again rather than keep the run
    os.utime(chapter.stored, (0, 0))
    assert main(["notebooks"]) == 0
    assert "wrote" not in capsys.readouterr().err
    assert chapter.stored.read_bytes() == first
    assert chapter.stored.stat().st_mtime == 0
    assert chapter.text.read_bytes() == text
    stored = read(chapter.stored)
    nbformat.validate(stored)
    assert [row["name"] for row in records(stored)] == ["coin.bias"]
    for word in (b"papermill", b"iopub", b'execution"', b"default_lexer", b"language_info"):
        assert word not in first

    ids = [cell.id for cell in stored.cells]
    write("01-coin", RECORDING, "print('new')", PICTURE, prose="Toss it again.")
    made = [cell.id for cell in notebook(chapter).cells]
    assert (made[:3], made[4]) == (ids[:3], ids[3])
    assert made[3] not in ids


def test_plain_papermill_runs_the_stored_notebook(book, write):
    chapter = write("01-coin", RECORDING)
    store(chapter, read(executed(run(chapter))))
    papermill = Path(sys.executable).with_name("papermill")
    subprocess.run(
        [papermill, "chapters/01-coin.ipynb", "out.ipynb", "-p", "bias", "0.75"],
        cwd=book, check=True, capture_output=True,
    )  # fmt: skip
    assert [row["value"] for row in records(read(book / "out.ipynb"))] == [0.75]


def nbval(path: Path) -> subprocess.CompletedProcess:
    """The comparison of `make test`, on one notebook."""
    options = ["-c", os.devnull, "-p", "no:cacheprovider", "--nbval", "--nbval-current-env"]
    return subprocess.run(
        [sys.executable, "-m", "pytest", *options, path],
        capture_output=True, text=True, cwd=path.parent,
    )  # fmt: skip


def test_nbval_fails_when_one_number_or_one_word_of_a_picture_changes(write):
    chapter = write("01-coin", RECORDING, PICTURE)
    store(chapter, read(executed(run(chapter))))
    assert nbval(chapter.stored).returncode == 0
    good = read(chapter.stored)

    def flips(nb):
        nb.cells[2].outputs[-1].text = "flips: 4\n"

    def recorded(nb):
        nb.cells[2].outputs[0].data[MIME]["value"] = 0.251

    def spoken(nb):
        data = nb.cells[3].outputs[0].data
        data["text/plain"] = data["text/plain"].replace("rises", "falls")

    # All three at once: three failing cells would hide each other only if they shared a cell.
    for edits, failed in (((flips, spoken), 2), ((recorded,), 1)):
        nbformat.write(good, chapter.stored)
        for edit in edits:
            change(chapter, edit)
        result = nbval(chapter.stored)
        assert result.returncode == 1
        assert f"{failed} failed, {3 - failed} passed" in result.stdout


def test_jupyterlab_pairs_without_losing_what_tools_need(book, write):
    # What JupyterLab's pairing does on saving, through the same configuration.
    shutil.copy(Path(__file__).parents[2] / "pyproject.toml", book)
    grading = "grade: true\n  grade_id: coin-1\n  locked: true\n  points: 2"
    exercise = f"---\nlabel: fig-coin\ncaption: A coin.\nnbgrader:\n  {grading}\n---\nassert True"
    chapter = write("01-coin", RECORDING, exercise)
    store(chapter, notebook(chapter))

    def edit(nb):
        nb.cells[2].source += "\nprint('edited')"
        nb.cells[2].metadata.update(execution={"iopub.status.busy": "now"}, trusted=True)
        nb.metadata.update(language_info={"name": "python", "version": "3.99"})

    change(chapter, edit)
    os.utime(chapter.text, (0, 0))
    jupytext = [Path(sys.executable).with_name("jupytext"), "--sync", chapter.stored]
    subprocess.run(jupytext, check=True, capture_output=True)
    text = chapter.text.read_text()
    assert "print('edited')" in text
    assert not any(word in text for word in ("iopub", "trusted", "3.99", "text_representation"))
    after = notebook(chapter)
    assert after.metadata["ibbook"] == {"minutes": 1, "device": "cpu"}
    assert after.cells[3].metadata["nbgrader"]["points"] == 2
    assert after.cells[3].metadata["label"] == "fig-coin"
    assert resolve(chapter)["bias"] == 0.25
    assert set(json.loads(nbformat.writes(after))["metadata"]) == {"ibbook", "kernelspec"}

    subprocess.run(jupytext, check=True, capture_output=True)
    assert chapter.text.read_text() == text
