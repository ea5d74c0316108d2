"""The sample book on paper, read back: pages, numbers, bookmarks, links."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from pypdf import PageObject, PdfReader

from ibbook.book import pdf, site
from ibbook.book.folders import BookError
from tests.book import sample_book
from tests.book.conftest import CHROMIUM


@pytest.fixture(scope="module")
def printed(tmp_path_factory) -> dict[str, PdfReader]:
    if not Path(CHROMIUM).exists():
        pytest.skip(f"no browser at {CHROMIUM}: install Debian's chromium, or set CHROMIUM")
    folder = tmp_path_factory.mktemp("paper")
    built = site.build(sample_book.write(folder), {}, source=folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CHROMIUM", CHROMIUM)
        made = pdf.write(built)
    assert sorted(path.name for path in (built / "pdf").iterdir()) == sorted(p.name for p in made)
    return {path.stem: PdfReader(path) for path in made}


def text(reader: PdfReader) -> str:
    return " ".join(" ".join(page.extract_text() for page in reader.pages).split())


def foot(page: PageObject) -> str:
    """What stands in the margin below the text, the last 15 mm of a sheet."""
    found = []

    def note(words: str, matrix: list[float], place: list[float], *_: object) -> None:
        if place[4] * matrix[1] + place[5] * matrix[3] + matrix[5] < 42:
            found.append(words.strip())

    page.extract_text(visitor_text=note)
    return "".join(found)


def test_the_book_and_each_chapter_have_numbered_pages(printed):
    assert list(printed) == ["book", "sample", "second"]
    for reader in printed.values():
        for number, page in enumerate(reader.pages, 1):
            assert foot(page) == str(number)
    assert len(printed["book"].pages) > len(printed["sample"].pages) > 1


def test_headings_are_bookmarks(printed):
    top = [entry for entry in printed["book"].outline if not isinstance(entry, list)]
    assert [entry.title for entry in top] == [
        "A sample book", "The sample chapter", "The second chapter", "Versions and run times",
    ]  # fmt: skip
    places = [printed["book"].get_destination_page_number(entry) for entry in top]
    assert places == sorted(set(places)), "each begins a page of its own"
    inner = next(entry for entry in printed["sample"].outline if isinstance(entry, list))
    names = [" ".join(entry.title.split()) for entry in inner if not isinstance(entry, list)]
    assert names[:2] == ["1.1 Definition and one bound", "1.2 The curve"]


def test_folds_open_and_folded_code_stays_away(printed):
    words = text(printed["sample"])
    for shown in (
        "Convexity does most of the work",
        "Derivatives of",
        "Write the sum out",
        "entropy(p)",
    ):
        assert shown in words, shown
    for hidden in ("draw_it_again", "Show code", "Copy", "Next"):
        assert hidden not in words, hidden


def test_links_lead_within_the_book_or_to_the_net(printed):
    for name, reader in printed.items():
        links = [
            link.get_object()
            for page in reader.pages
            for link in page.get("/Annots", [])
            if link.get_object()["/Subtype"] == "/Link"
        ]
        within = {str(link["/Dest"]) for link in links if "/Dest" in link}
        assert len(within) > 1, name
        assert within <= set(reader.named_destinations)
        for link in links:
            assert link.get("/A", {}).get("/URI", "https://").startswith("https://")
    assert any("sample--eq-s-entropy" in place for place in within) is (name == "book")


def test_what_is_missing_is_named(tmp_path, monkeypatch):
    (tmp_path / "index.html").write_text(
        '<title>A</title><nav id="contents"></nav><article><h1>A</h1></article>'
    )
    monkeypatch.setenv("CHROMIUM", "/no/browser")
    with pytest.raises(BookError, match="CHROMIUM is '/no/browser', which is no program"):
        pdf.write(tmp_path)
    monkeypatch.setenv("CHROMIUM", shutil.which("false"))
    with pytest.raises(BookError, match=r"printed no book\.pdf|ended with status 1"):
        pdf.write(tmp_path)
