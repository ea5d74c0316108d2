"""Chapters found by name, and their parameters: read, checked, resolved."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ibbook.book.chapters import Chapter, chapters, find, title
from ibbook.book.folders import BookError
from ibbook.book.parameters import Parameter, parameters, resolve


def test_chapters_are_the_texts_with_a_kernel_in_reading_order(book, write):
    for name in ("10-last", "02-two", "01-one"):
        write(name)
    (book / "chapters" / "index.md").write_text("---\ntitle: Front\n---\nHello.\n")
    (book / "chapters" / "notes.md").write_text("No front matter.\n")
    assert [chapter.name for chapter in chapters()] == ["01-one", "02-two", "10-last"]


@pytest.mark.parametrize(
    "wanted",
    [
        "05-beta-vae",
        "5",
        "05",
        "beta-vae",
        "Beta-VAE",
        "05-beta-vae.md",
        "chapters/05-beta-vae.ipynb",
    ],
)
def test_a_chapter_is_found_by_name_number_or_part(write, wanted):
    for name in ("04-vib", "05-beta-vae", "07-lambda-beta-vae", "15-other"):
        write(name)
    assert find(wanted).name == "05-beta-vae"


def test_capitals_in_a_name_do_not_hide_it(write):
    write("06-InfoNCE")
    for wanted in ("06-InfoNCE", "infonce", "InfoNCE", "6", "info"):
        assert find(wanted).name == "06-InfoNCE"


def test_a_mark_of_the_byte_order_or_windows_line_ends_do_not_hide_a_chapter(write):
    chapter = write()
    text = chapter.text.read_text()
    chapter.text.write_bytes(text.replace("\n", "\r\n").encode("utf-8-sig"))
    assert [one.name for one in chapters()] == ["01-coin"]
    assert list(resolve(chapter)) == ["bias", "flips", "fair", "side"]
    assert title(chapter) == "A coin"


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ("vae", "could be 05-beta-vae or 07-lambda-beta-vae; say which"),
        ("beta-vea", "did you mean 05-beta-vae"),
        ("6", "there are 05-beta-vae, 07-lambda-beta-vae"),
        ("", "no chapter"),
    ],
)
def test_an_unclear_chapter_is_an_error_that_lists_what_there_is(write, wanted, message):
    for name in ("05-beta-vae", "07-lambda-beta-vae"):
        write(name)
    with pytest.raises(BookError, match=message):
        find(wanted)


def test_without_a_book_the_error_says_where_one_was_looked_for(tmp_path, monkeypatch):
    monkeypatch.setenv("IBBOOK_ROOT", str(tmp_path))
    with pytest.raises(BookError, match=f"no book in {tmp_path}.*IBBOOK_ROOT"):
        chapters()


def test_parameters_are_read_with_types_defaults_help_and_domain(write):
    assert list(parameters(write()).values()) == [
        Parameter("bias", "float", 0.25, "chance of heads", low=0, high=1),
        Parameter("flips", "int", 3, "number of flips", low=1, high=100),
        Parameter("fair", "bool", False, "whether to use a fair coin instead"),
        Parameter("side", "str", "heads", "side to count", choices=("heads", "tails")),
    ]


def test_a_whole_number_is_a_float_default_and_negative_ranges_are_read(write):
    (shift,) = parameters(write(parameters="shift: float = 1  # shift [-2, 1e3]\n")).values()
    assert (shift.low, shift.high, repr(shift.default)) == (-2, 1000, "1.0")


def test_a_chapter_without_parameters_has_none(write):
    chapter = write(parameters="")
    assert parameters(chapter) == resolve(chapter) == {}
    with pytest.raises(BookError, match="no parameter 'bias'; its parameters are none"):
        resolve(chapter, {"bias": 1})


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("bias = 0.25  # chance [0, 1]", "bias has type None; annotate it"),
        ("bias: list = 0.25  # chance [0, 1]", "bias has type list; annotate it"),
        ("bias: float = 0.25  # chance", r"bias needs a closed range \[low, high\]"),
        ("bias: float = 0.25", "bias needs a closed range"),
        ("bias: float = 0.25  # [0, 1]", "bias needs a comment"),
        ("bias: float = 0.25  # chance [0, half]", "bias has a default or a domain"),
        ("bias: float = 0.25  # chance [0, 1, 2]", "bias needs a range of two numbers"),
        ("bias: float = 1 / 4  # chance [0, 1]", "bias has a default or a domain"),
        ("bias: float = 2.0  # chance [0, 1]", r"bias has a default .*must be in \[0, 1\]"),
        ("flips: int = 2.5  # flips [0, 9]", "flips has a default .*of type int"),
        ("side: str = 'edge'  # side {'heads', 'tails'}", "side has a default .*must be one of"),
        ("bias: float = 0.25  # chance, p=bias [0, 1]", "a line of the parameters cell cannot"),
        ('side: str = "b"  # one of {"a", "b"}.', "side has a domain that would not be checked"),
        ('side: str = "b"  # {"a", "b"} are sides', "side has a domain that would not be checked"),
        ("fair: bool = True  # fair {true} or not", "fair has a domain that would not be checked"),
        ("import math", "a line of the parameters cell cannot"),
        ("bias: float = ", "bias has a default or a domain"),
        ("value: float = 0.25  # chance [0, 1]", "value has a reserved name"),
    ],
)
def test_a_line_that_cannot_be_enforced_is_an_error_that_names_file_and_remedy(
    write, line, message
):
    with pytest.raises(BookError, match=f"01-coin.md: .*{message}"):
        parameters(write(parameters=line + "\n"))


def test_two_parameters_cells_are_refused(write):
    second = ":tags: [parameters]\nmore: int = 1  # more [0, 1]"
    with pytest.raises(BookError, match="2 cells are tagged parameters"):
        parameters(write("01-coin", second))


COUNT = Parameter("count", "int", 1, "how many", low=-5, high=5)
RATE = Parameter("rate", "float", 1.0, "how fast", low=-5, high=5)


@given(st.integers(-10, 10))
def test_an_integer_parses_from_text_and_value_alike_exactly_within_its_closed_range(value):
    for parameter in (COUNT, RATE):
        for given_value in (value, str(value)):
            if -5 <= value <= 5:
                parsed = parameter.parse(given_value)
                assert parsed == value
                assert type(parsed).__name__ == parameter.type
            else:
                with pytest.raises(BookError, match=r"must be in \[-5, 5\]"):
                    parameter.parse(given_value)


@given(st.floats())
def test_only_finite_floats_in_range_parse(value):
    for given_value in (value, repr(value)):
        if math.isfinite(value) and abs(value) <= 5:
            assert RATE.parse(given_value) == value
        else:
            with pytest.raises(BookError, match="rate must be"):
                RATE.parse(given_value)


def test_values_of_numpy_are_values():
    assert RATE.parse(np.float64(0.5)) == RATE.parse(np.float32(0.5)) == 0.5
    assert type(RATE.parse(np.int64(2))) is float
    assert type(COUNT.parse(np.int64(2))) is int
    assert Parameter("fair", "bool", False, "fair").parse(np.True_) is True
    for value in (np.float64(2.0), np.nan, np.array([2])):
        with pytest.raises(BookError):
            COUNT.parse(value)


@pytest.mark.parametrize("value", ["\udcff", "a\0b"])
def test_what_no_file_can_hold_is_no_text(value):
    with pytest.raises(BookError, match="side must be of type str"):
        Parameter("side", "str", "a", "side").parse(value)


@pytest.mark.parametrize("value", ["2.0", "two", "", 2.0, True, None, [2]])
def test_an_int_takes_nothing_else(value):
    with pytest.raises(BookError, match="count must be of type int"):
        COUNT.parse(value)


def test_booleans_are_true_and_false_only():
    fair = Parameter("fair", "bool", False, "fair")
    assert [fair.parse(x) for x in ("true", "False", True)] == [True, False, True]
    for value in ("yes", "1", 1, ""):
        with pytest.raises(BookError, match="fair must be true or false"):
            fair.parse(value)


def test_a_choice_outside_the_set_gets_the_nearest_one():
    side = Parameter("side", "str", "heads", "side", choices=("heads", "tails"))
    with pytest.raises(BookError, match=r'one of {"heads", "tails"}, got .*mean \'tails\''):
        side.parse("tail")


def test_an_unknown_parameter_gets_the_nearest_name(write):
    with pytest.raises(BookError, match=r"no parameter .bais.; did you mean bias.*flips, fair"):
        resolve(write(), {"bais": "0.5"})


def profile(chapter: Chapter, name: str, text: str) -> None:
    folder = chapter.book / "chapters" / "profiles" / name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{chapter.name}.yaml").write_text(text)


def test_given_values_win_over_the_profile_and_the_profile_over_defaults(write):
    chapter = write()
    profile(chapter, "full", "bias: 1e-1\nflips: 99\n")
    values = resolve(chapter, {"flips": "5"}, "full")
    assert values == {"bias": 0.1, "flips": 5, "fair": False, "side": "heads"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("bais: 0.5", "profile full: .*did you mean bias"),
        ("bias: 2", r"profile full: bias must be in \[0, 1\]"),
        ("- bias", "must hold `name: value` lines"),
        ("bias: [", "broken YAML"),
        ("bias: 0.5\nbias: 0.6", "bias stands there more than once"),
        ("flips: 1:30", "profile full: flips must be of type int, got '1:30'"),
        ("fair: yes", "profile full: fair must be true or false, got 'yes'"),
    ],
)
def test_a_wrong_profile_is_an_error(write, text, message):
    chapter = write()
    profile(chapter, "full", text)
    with pytest.raises(BookError, match=message):
        resolve(chapter, profile="full")


def test_a_profile_means_what_stands_there(write):
    chapter = write(parameters='flips: int = 3  # flips [0, 99]\nside: str = "a"  # a side\n')
    profile(chapter, "full", "flips: 010\nside: 1:30\n")
    assert resolve(chapter, profile="full") == {"flips": 10, "side": "1:30"}


def test_an_unknown_profile_lists_those_there_are(write):
    chapter = write()
    with pytest.raises(BookError, match="no profile 'ful'; it has none"):
        resolve(chapter, profile="ful")
    profile(chapter, "full", "flips: 9")
    profile(chapter, "tiny", "flips: 1")
    with pytest.raises(BookError, match="no profile 'ful'; there is full or tiny"):
        resolve(chapter, profile="ful")
