"""The sample book on paper, read back: pages, numbers, bookmarks, links."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from pypdf import PageObject, PdfReader

from ibbook.book import pdf, site
from ibbook.book.folders import BookError
from tests.book import sample_book
from tests.book.conftest import CHROMIUM


@pytest.fixture(scope="module")
def paper(tmp_path_factory) -> Path:
    """The folder of the sample book's site, printed."""
    if not Path(CHROMIUM).exists():
        pytest.skip(f"no browser at {CHROMIUM}: install Debian's chromium, or set CHROMIUM")
    folder = tmp_path_factory.mktemp("paper")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        built = site.build(sample_book.write(folder), {}, source=folder, out=Path("site"))
        assert not list(pages_that_offer(built))
        patch.setenv("CHROMIUM", CHROMIUM)
        made = pdf.write(built)
    assert sorted(path.name for path in (built / "pdf").iterdir()) == sorted(p.name for p in made)
    return built


@pytest.fixture(scope="module")
def printed(paper) -> dict[str, PdfReader]:
    return {path.stem: PdfReader(path) for path in sorted((paper / "pdf").glob("*.pdf"))}


def pages_that_offer(built: Path) -> Iterator[tuple[str, str]]:
    """The pages with a link to a PDF, and where it leads."""
    for page in sorted(built.rglob("index.html")):
        for href in re.findall(r'href="([^"]*\.pdf)"', page.read_text(encoding="utf-8")):
            yield page.parent.relative_to(built).as_posix(), href


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


def test_pages_offer_what_was_printed(paper):
    found = list(pages_that_offer(paper))
    assert found == [
        (".", "./pdf/book.pdf"),
        ("sample", "../pdf/sample.pdf"),
        ("second", "../pdf/second.pdf"),
    ]
    assert all((paper / page / href).is_file() for page, href in found)


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


def test_formulas_have_the_fonts_of_what_is_far_down_the_page(printed):
    found = set()
    for page in printed["book"].pages:
        fonts = page["/Resources"].get("/Font", {}).values()
        found |= {font.get_object()["/BaseFont"].partition("+")[2] for font in fonts}
    assert found >= {"KaTeX_Main-Regular", "KaTeX_Math-Italic", "KaTeX_Size2-Regular"}


def test_folds_open_and_folded_code_stays_away(printed):
    words = text(printed["sample"])
    for shown in (
        "Convexity does most of the work",
        "Derivatives of",
        "Write the sum out",
        "entropy(p)",
    ):
        assert shown in words, shown
    for hidden in ("draw_it_again", "Show code", "Copy", "Next", "Download notebook", "as PDF"):
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
