"""The solutions are pages of their own."""

from __future__ import annotations

import html
import re
import shutil

import pytest

from ibbook.book.cli import main
from ibbook.book.folders import root
from tests.book.course import coin

FILES = [root() / name for name in ("book.yml", "myst.yml")]


@pytest.fixture
def with_site(in_book):
    for file in FILES:
        shutil.copy(file, in_book)
    return in_book


def test_the_pages_show_answers_that_ran_and_no_hidden_test(with_site, tmp_path, capsys):
    out = tmp_path / "solutions"
    assert main(["course", "solutions", "1", "-o", str(out)]) == 0
    assert capsys.readouterr().out.strip() == str(out)
    page = (out / f"exercises-{coin.NAME}" / "index.html").read_text(encoding="utf-8")
    text = html.unescape(re.sub(r"<[^>]+>", "", page))
    for name, _, answer, visible, hidden, _ in coin.EXERCISES:
        assert f"def {name}" in text
        assert answer in text
        assert visible in text
        assert hidden not in text
    assert "SOLUTION" not in text
    assert "HIDDEN" not in text
    assert "NotImplementedError" not in text
    assert not (with_site / "_build" / "html").exists()


def test_they_are_never_put_into_the_books_site(with_site, capsys):
    out = with_site / "_build" / "html" / "solutions"
    assert main(["course", "solutions", "1", "-o", str(out)]) == 2
    assert "which is public; choose another folder" in capsys.readouterr().err
    assert not out.exists()


def test_an_answer_that_fails_is_named_and_nothing_is_built(with_site, tmp_path, capsys):
    source = with_site / "chapters" / "exercises" / f"{coin.NAME}.md"
    text = source.read_text(encoding="utf-8")
    answer = coin.EXERCISES[0][2]
    source.write_text(text.replace(answer, "return 1 / 0"), encoding="utf-8")
    try:
        assert main(["course", "solutions", "1", "-o", str(tmp_path / "out")]) == 2
    finally:
        source.write_text(text, encoding="utf-8")
    assert "01-coin: heads-test ends in ZeroDivisionError" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
