"""Recorded numbers: what is shown, what is stored, what is refused."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from ibbook.book.records import MIME, record, records


@pytest.fixture(scope="module", autouse=True)
def shell():
    """What a kernel has and plain Python has not."""
    yield InteractiveShell.instance()
    InteractiveShell.clear_instance()


def shown(*arguments, **options) -> dict:
    """The MIME bundle that one call displays."""
    with capture_output() as captured:
        record(*arguments, **options)
    (output,) = captured.outputs
    return output.data


@given(
    value=st.floats(-1e6, 1e6),
    digits=st.integers(0, 9),
    unit=st.sampled_from(["nats", "bits", ""]),
)
def test_text_and_stored_value_are_the_same_rounded_number(value, digits, unit):
    bundle = shown("coin.bias", value, "Bias", unit=unit, digits=digits)
    stored = bundle[MIME]["value"]
    assert abs(stored - value) <= 0.5 * 10**-digits + 1e-9
    label, _, rest = bundle["text/plain"].partition(": ")
    number, _, shown_unit = rest.partition(" ")
    assert (label, float(number), shown_unit) == ("Bias", stored, unit)
    assert math.copysign(1, stored) == 1 or stored < 0  # never minus zero


@pytest.mark.parametrize(
    "value", [0.25, np.float32(0.25), np.array(0.25), torch.tensor(0.25)], ids=type
)
def test_numbers_of_every_library_are_recorded_alike(value):
    bundle = shown("coin.bias", value, "Bias")
    assert bundle[MIME] == {
        "name": "coin.bias", "value": 0.25, "unit": "nats", "label": "Bias", "digits": 4,
    }  # fmt: skip
    assert type(bundle[MIME]["value"]) is float


def test_a_number_says_over_how_many_seeds_and_an_error_from_what():
    bundle = shown("coin.bias", -2e-3, "Bias", seeds=5, against="the closed form")
    assert (bundle[MIME]["seeds"], bundle[MIME]["against"]) == (5, "the closed form")
    assert bundle["text/plain"] == "Bias: -0.0020 nats from the closed form"
    bundle = shown("coin.bias", -4e-5, "Bias", against="the closed form")
    assert bundle["text/plain"] == "Bias: agrees with the closed form to 4 decimals"


@pytest.mark.parametrize(
    "kind", [list, tuple, np.array, torch.tensor], ids=["list", "tuple", "array", "tensor"]
)
def test_of_values_of_seeds_the_mean_is_recorded_and_between_what_they_lie(kind):
    bundle = shown("coin.bias", kind([0.25, 0.5, 0.125]), "Bias", digits=2)
    assert bundle["text/plain"] == "Bias: 0.29 nats"
    row = {name: bundle[MIME][name] for name in ("value", "seeds", "least", "most")}
    assert row == {"value": 0.29, "seeds": 3, "least": 0.12, "most": 0.5}
    assert "least" not in shown("coin.bias", kind([0.25]), "Bias")[MIME]
    with pytest.raises(ValueError, match=r"seeds of coin\.bias are its 3 values; leave seeds out"):
        record("coin.bias", kind([0.25, 0.5, 0.125]), "Bias", seeds=3)


@pytest.mark.parametrize("label", ["", "  ", "two\nlines", None, 4])
def test_a_label_is_one_line(label):
    with pytest.raises(ValueError, match=r"label of coin\.bias must say on one line"):
        record("coin.bias", 1.0, label)


@pytest.mark.parametrize(
    "value",
    [
        *(math.nan, math.inf, None, "x", "3", [], [1, None], ["3"], [1.0, math.nan]),
        *(1j, np.complex128(1 + 2j), np.ma.masked, np.ma.masked_array([1.0, 2.0], [True, False])),
        torch.zeros(2, 2),
    ],
    ids=str,
)
def test_a_value_that_is_no_finite_number_is_refused_by_name(value):
    with pytest.raises(ValueError, match=r"value of coin\.bias must be"):
        record("coin.bias", value, "Bias")


@pytest.mark.parametrize(
    "name", ["bias", "Coin.bias", "coin.", ".bias", "coin.b.c", "coin bias", "coin.bias\n", "", 3]
)
def test_a_name_that_is_not_chapter_dot_what_is_refused(name):
    with pytest.raises(ValueError, match="name must read chapter"):
        record(name, 1.0, "Bias")


@pytest.mark.parametrize("part", [{"label": r"$\beta$"}, {"unit": "$m$"}, {"against": "$x$"}])
def test_a_formula_in_the_words_of_a_record_would_stay_raw(part):
    with pytest.raises(ValueError, match="must be plain words, without a formula"):
        record("coin.bias", 1.0, **{"label": "Bias"} | part)


@pytest.mark.parametrize("digits", [-1, 16, 2.0, "4"])
def test_digits_are_checked(digits):
    with pytest.raises(ValueError, match="digits must be a whole number from 0 to 15"):
        record("coin.bias", 1.0, "Bias", digits=digits)


def test_records_are_read_in_order_with_repeats_and_other_outputs_passed_over():
    def cell(*values):
        about = {"name": "coin.bias", "unit": "", "label": "Bias", "digits": 2}
        rows = [{**about, "value": value} for value in values]
        outputs = [new_output("display_data", {MIME: row, "text/plain": "x"}) for row in rows]
        return new_code_cell(outputs=[new_output("stream", text="noise"), *outputs])

    other = new_code_cell(outputs=[new_output("execute_result", {"text/plain": "3"})])
    notebook = new_notebook(cells=[cell(0.5, 0.25), new_markdown_cell("prose"), other, cell(0.5)])
    assert [row["value"] for row in records(notebook)] == [0.5, 0.25, 0.5]
