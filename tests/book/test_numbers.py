"""Numbers in prose: read, compared at their digits, brought up to date."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ibbook.book.chapters import notebook, read, store
from ibbook.book.cli import main
from ibbook.book.numbers import blank, problems, refreshed, written
from ibbook.book.parameters import resolve
from ibbook.book.records import Record, records
from ibbook.book.runs import executed, folder, run
from tests.book.coin import RECORDING


def row(value: float, unit: str = "%", digits: int = 4) -> Record:
    return Record(name="coin.bias", value=value, unit=unit, label="Bias", digits=digits)


@pytest.mark.parametrize(
    ("shown", "value", "now"),
    [
        ("1.31 %", 1.3064, "1.31 %"),
        ("9", 1.5, "2"),
        ("9.9", 0.25, "0.3"),
        ("-9", 0.4, "0"),
        ("9.9", -0.04, "0.0"),
        ("9.9 %", -2.25, "-2.3 %"),
        ("\u22129.9", -2.25, "\u22122.3"),
        ("1", 12345.6, "12,346"),
        ("1,000", 999.7, "1,000"),
        ("three", 11.0, "eleven"),
        ("Three", 4.0, "Four"),
        ("three", 21.0, "21"),
        ("three", 2.5, "2.5"),
        ("9\n%", 3.0, "3\n%"),
    ],
)
def test_a_number_keeps_its_form(shown, value, now):
    assert written(shown, row(value)) == now


@pytest.mark.parametrize(
    ("shown", "message"),
    [
        ("1.31234", "it has 5 decimals, the record 4"),
        ("1.3 nats", "its unit is 'nats', the record's '%'"),
        ("many", "write a number, in figures or in words up to twenty"),
        ("", "write a number"),
    ],
)
def test_what_is_no_such_number_is_said(shown, message):
    (fault,) = problems(f"It is [{shown}](#coin.bias).", {"coin.bias": row(1.3)})
    assert message in fault
    assert refreshed(f"[{shown}](#coin.bias)", {"coin.bias": row(1.3)}) == f"[{shown}](#coin.bias)"


@given(st.floats(-1e5, 1e5), st.integers(0, 4), st.floats(-1e5, 1e5))
def test_a_refreshed_number_is_right_and_within_half_a_digit(value, digits, before):
    known = {"coin.bias": row(round(value, 4) + 0.0)}
    text = refreshed(f"Now [{before:.{digits}f} %](#coin.bias).", known)
    assert list(problems(text, known)) == []
    assert refreshed(text, known) == text
    number = float(text[len("Now [") : text.index(" %")].replace(",", ""))
    assert abs(number - known["coin.bias"]["value"]) <= 0.5 * 10**-digits + 1e-9
    assert blank(text) == "Now [](#coin.bias)."


def test_other_links_are_left_alone():
    text = "[a](#sec-a), [b](b.md#coin.bias), `[c](x)`, ![d](#fig-d), [e](#Coin.bias)"
    assert list(problems(text, {})) == []
    assert blank(text) == text


def test_notebooks_brings_numbers_up_to_date_without_another_run(book, write, capsys):
    prose = "Heads: [0.9](#coin.bias), caption [0.99](#coin.bias)."
    chapter = write("01-coin", RECORDING, prose=prose)
    front = book / "chapters" / "index.md"
    front.write_text("# Front\n\nAs in [0.777](#coin.bias).\n")
    before = folder(chapter, resolve(chapter))
    assert main(["notebooks"]) == 0
    assert "index: brought its numbers up to date" in capsys.readouterr().err
    assert "Heads: [0.3](#coin.bias), caption [0.25](#coin.bias)." in chapter.text.read_text()
    assert "[0.250](#coin.bias)" in front.read_text()
    assert "[0.25](#coin.bias)" in read(chapter.stored).cells[0].source
    assert folder(chapter, resolve(chapter)) == before
    assert main(["notebooks"]) == 0
    assert "unchanged" in capsys.readouterr().err
    assert main(["check"]) == 0


def test_edits_of_a_notebook_are_not_lost_to_fresh_numbers(book, write):
    chapter = write("01-coin", RECORDING, prose="Heads: [0.9](#coin.bias).")
    made = read(executed(run(chapter)))
    assert store(chapter, made, {r["name"]: r for r in records(made)})
    assert "[0.3](#coin.bias)" in chapter.text.read_text()
    assert [c.source for c in read(chapter.stored).cells] == [
        c.source for c in notebook(chapter).cells
    ]
