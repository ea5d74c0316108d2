"""Damaged submissions, repaired where the intent is clear, without a kernel."""

from __future__ import annotations

import copy
import json

import nbformat
import pytest
from nbformat import v3
from nbformat.v4 import new_code_cell, new_markdown_cell

from ibbook.book.course import assemble, exercises, grade
from ibbook.book.course.assemble import read
from ibbook.book.folders import BookError
from tests.book.course import coin

WORK = coin.RIGHT | {"fair-why": "Because."}


@pytest.fixture(scope="module")
def given(in_book):
    return exercises.released(exercises.notebook(exercises.find("coin")))


@pytest.fixture
def work(given):
    """The notebook as an able student hands it in."""
    made = copy.deepcopy(given)
    for cell in made.cells:
        cell.source = WORK.get(cell.id, cell.source)
    return made


def at(made, name):
    return next(n for n, cell in enumerate(made.cells) if cell.get("id") == name)


def inserted(made):
    made.cells.insert(at(made, "share"), new_code_cell("x = 1", id="mine"))
    made.cells.insert(at(made, "runs"), new_markdown_cell("Let me think.", id="note"))


def deleted(made):
    del made.cells[at(made, "heads-test")], made.cells[at(made, "share-hidden")]


def edited(made):
    made.cells[at(made, "heads-test")].source = "assert True"
    made.cells[at(made, "share-hidden")].metadata.nbgrader.points = 99
    made.cells[1].source = "seed: int = 7"


def copied(made):
    """A test twice, and an answer once more as it was given."""
    made.cells.insert(0, copy.deepcopy(made.cells[at(made, "heads-test")]))
    stub = copy.deepcopy(made.cells[at(made, "heads")])
    stub.source = "def heads(tosses):\n    # YOUR CODE HERE\n    raise NotImplementedError()"
    made.cells.append(stub)


def halves(made, *, named):
    """The editor's split: the second half keeps the metadata, or loses it."""
    place = at(made, "runs")
    first, second = made.cells[place].source.split("\n")
    rest = new_code_cell(second)
    if named:
        rest.metadata = made.cells[place].metadata
    made.cells[place].source = first
    made.cells.insert(place + 1, rest)


def split(made):
    halves(made, named=True)


def split_and_nameless(made):
    halves(made, named=False)


def retyped(made):
    made.cells[at(made, "share")].cell_type = "markdown"
    made.cells[at(made, "fair-why")].cell_type = "code"


def without_metadata(made):
    for cell in made.cells:
        cell.metadata = {}


def without_ids(made):
    for cell in made.cells:
        del cell["id"]
    made.nbformat_minor = 4


def without_either(made):
    without_metadata(made)
    without_ids(made)


def same_ids(made):
    for cell in made.cells:
        cell.id = "same"


def other_kernel(made):
    made.metadata.kernelspec = {"name": "julia-1.9", "display_name": "Julia", "language": "julia"}


def strange_metadata(made):
    for cell in made.cells:
        cell.metadata = {"nbgrader": "gone", "tags": 3, "colab": {"id": "x"}}


def shuffled(made):
    made.cells.reverse()


DAMAGE = [
    inserted, deleted, edited, copied, split, split_and_nameless, retyped, without_metadata,
    without_ids, without_either, same_ids, other_kernel, strange_metadata, shuffled,
]  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGE, ids=lambda damage: damage.__name__)
def test_answers_are_found_and_the_rest_is_as_it_was_given(given, work, damage, tmp_path):
    damage(work)
    path = tmp_path / "a.ipynb"
    path.write_text(json.dumps(work))
    whole = assemble.assemble(given, read(path)[0])
    nbformat.validate(whole.notebook)
    cells = {cell.id: cell for cell in whole.notebook.cells}
    for cell in given.cells:
        expected = WORK.get(cell.id, cell.source)
        assert cells[cell.id].source == expected
        assert (cells[cell.id].cell_type, cells[cell.id].metadata) == (
            cell.cell_type,
            cell.metadata,
        )
    order = [cell.id for cell in whole.notebook.cells]
    assert [name for name in order if name in {c.id for c in given.cells}] == [
        c.id for c in given.cells
    ]
    if damage is inserted:
        place = order.index("share")
        assert whole.notebook.cells[place - 1].source == "x = 1"
        assert "Let me think." in [cell.source for cell in whole.notebook.cells]
    if damage in (deleted, edited, split, retyped, without_either):
        assert whole.repairs


def test_an_older_format_is_read(given, work, tmp_path):
    path = tmp_path / "old.ipynb"
    path.write_text(v3.writes_json(nbformat.convert(work, 3)))
    made, notes = read(path)
    assert notes == ["was in notebook format 3.0"]
    whole = assemble.assemble(given, made)
    assert {c.id: c.source for c in whole.notebook.cells if c.id in WORK} == WORK


def test_an_answer_that_is_gone_counts_as_none(given, work):
    del work.cells[at(work, "share")]
    whole = assemble.assemble(given, work)
    assert "share was missing: counts as not answered" in whole.repairs
    assert "NotImplementedError" in whole.notebook.cells[at(given, "share")].source


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "is empty"),
        ("<<<<<<< HEAD", "is not a notebook"),
        ("[]", "is not a notebook"),
        ('{"nbformat": 99, "cells": []}', "is not a notebook"),
        ('{"nbformat": 4, "cells": "none"}', "is not a notebook"),
    ],
)
def test_what_is_no_notebook_is_named(tmp_path, text, reason):
    path = tmp_path / "work.ipynb"
    path.write_text(text)
    with pytest.raises(BookError, match=f"work.ipynb {reason}"):
        read(path)


def test_code_that_can_cheat_is_listed_for_a_person():
    found = grade.SUSPICIOUS.findall("%%bash\nimport sys\nsys.modules['numpy']\nplain = 3 % 2")
    assert [one.strip() for one in found] == ["%", "sys.modules"]
