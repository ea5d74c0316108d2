"""The theme renders every node or says that it cannot, and the gate lets no fault through."""

from __future__ import annotations

import base64
import doctest
import importlib
import io
import json
import re
import shutil
import struct
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import nbformat
import pandas as pd
import pytest
import yaml
from fontTools.ttLib import TTFont
from hypothesis import given, settings
from hypothesis import strategies as st
from ibtheme import (
    addresses,
    boxes,
    context,
    formula,
    html,
    links,
    nodes,
    outputs,
    page,
    prepare,
    records,
    search,
    serve,
    symbols,
    tree,
)
from PIL import Image

from ibbook.book import markup, site
from tests.book import sample_book
from tests.book.test_runs import gone, wait

ROOT = Path(__file__).resolve().parents[2]

PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
RUN = {
    "chapter": "01-sample",
    "parameters": {"grid_size": 201, "seed": 0},
    "seconds": 61.4,
    "finished": "2026-11-21T07:00:00Z",
    "commit": "9c9073defb1e957a0e6b",
    "dirty": True,
    "ibbook": "0.1.0",
    "python": "3.11.2",
    "torch": "2.9.0",
    "numpy": "2.1.0",
    "scipy": "1.14.1",
    "command": "OMP_NUM_THREADS=2 ibbook run 01-sample -p seed 0",
    "processor": "A Processor 5000",
    "instructions": "AVX2",
    "threads": 2,
    "device": "x86_64",
    "inputs": {"text": "11" * 32, "package": "22" * 32, "data": "33" * 32},
    "key": "0123456789abcdef",
    "cached": False,
}


class Memory:
    """The assets of a page in a dictionary."""

    def __init__(self, **files: bytes) -> None:
        self.files = files

    def url(self, path: str) -> str:
        return f"/build{path}"

    def read(self, path: str) -> bytes:
        return self.files[path.lstrip("/")]

    def save(self, content: bytes, suffix: str) -> str:
        self.files[f"saved{len(self.files)}{suffix}"] = content
        return f"/build/saved{len(self.files) - 1}{suffix}"


@pytest.fixture
def ctx() -> context.Context:
    return context.Context(Memory(), base="/book")


def text(value: str) -> context.Node:
    return {"type": "text", "value": value}


# ---- the renderer


MODULES = [
    addresses,
    formula,
    html,
    search,
    symbols,
    tree,
    boxes,
    nodes,
    outputs,
    page,
    records,
    links,
    prepare,
    site,
    sample_book,
]


@pytest.mark.parametrize("module", MODULES)
def test_examples_in_docstrings(module):
    assert doctest.testmod(module).failed == 0


@settings(deadline=None, max_examples=50)
@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\x00")))
def test_text_comes_back_from_the_page_as_it_went_in(value):
    class Reader(HTMLParser):
        found = ""

        def handle_data(self, data: str) -> None:
            self.found += data

        def handle_starttag(self, tag: str, attrs: list) -> None:
            assert tag == "p"

    reader = Reader()
    here = context.Context(Memory())
    reader.feed(nodes.render({"type": "paragraph", "children": [text(value)]}, here))
    reader.close()
    assert reader.found == value
    assert not here.problems


def shown(kind: str, value: str) -> context.Node:
    """An output of a cell, with the words that every display has."""
    data = {"text/plain": {"content": "words"}, kind: {"content": value}}
    return {"type": "output", "jupyter_data": {"output_type": "display_data", "data": data}}


def test_a_table_of_pandas_is_plain(ctx):
    frame = pd.DataFrame({"b": [1.5, 2]}, index=pd.Index(["a&b", "c"], name="i"))
    for made in (frame.to_html(), frame._repr_html_(), frame.style.to_html()):
        nodes.render(shown("text/html", made), ctx)
    nodes.render(shown("text/markdown", "A **word**, `code`, 3 < 4, costs $5.\n\n- one"), ctx)
    assert ctx.problems == []


@pytest.mark.parametrize(
    ("node", "complaint"),
    [
        ({"type": "novelty", "children": [text("kept")]}, "no renderer for node type 'novelty'"),
        ({"type": "mystDirective", "name": "x", "value": ""}, "mystDirective"),
        ({"type": "inlineMath", "value": r"\fra", "error": True, "message": "bad"}, "KaTeX"),
        ({"type": "math", "value": r"\fra", "html": "<span>", "error": True}, "KaTeX"),
        ({"type": "_lift", "source": {"label": "fig-a"}}, "nothing to show for 'fig-a'"),
        ({"type": "embed", "source": {"label": "fig-a"}, "children": []}, "nothing to show"),
        ({"type": "crossReference", "identifier": "eq-a"}, "nothing is labelled 'eq-a'"),
        ({"type": "image", "url": "/a.png"}, "no alt text"),
        ({"type": "output", "jupyter_data": {"output_type": "error", "ename": "E", "evalue": "v"}},
         "a cell failed: E: v"),
        ({"type": "output", "jupyter_data": {"output_type": "display_data", "data": {"x/y": {}}}},
         r"holds only \['x/y'\]"),
        ({"type": "output", "jupyter_data": {"output_type": "display_data", "data": {
            "text/html": {"content": "<script>1</script>"}}}}, "has the element <script>"),
        ({"type": "link", "url": "java\nscript:alert(1)"}, "leads to no page"),
        ({"type": "card", "url": " JavaScript:alert(1)", "children": []}, "leads to no page"),
        ({"type": "image", "url": "data:text/html,1", "alt": "a"}, "leads to no page"),
        *((shown(kind, value), complaint) for kind, value, complaint in [
            ("text/html", "<SCRIPT>1</SCRIPT>", "has the element <script>"),
            ("text/html", "<td onclick=alert(1)>", "has the attribute onclick"),
            ("text/html", "<img src=x onerror=alert(1)>", "has the element <img>"),
            ("text/html", "<IFRAME src=x></IFRAME>", "has the element <iframe>"),
            ("text/html", "<svg/onload=alert(1)>", "has the element <svg>"),
            ("text/html", "<table><tr><td>1", "leaves <td> open"),
            ("text/html", "<div><p>1</div>", "closes <div> where it is not open"),
            ("text/html", "</div></main>", "closes <div> where it is not open"),
            ("text/html", "<b>1</b", "leaves <b> open"),
            ("text/html", "<!-- <b>", "has a comment|ends within a tag"),
            ("text/html", "<a href='java&#10;script:alert(1)'>1</a>", "has the attribute href"),
            ("text/html", "<!-- a -->", "has a comment"),
            ("text/html", "<!DOCTYPE html>", "has a declaration"),
            ("text/html", "<?x>", "has a declaration"),
            ("text/html", "<div/>", "leaves <div> open"),
            ("text/html", "<p style='position: fixed'>1</p>", "has the style"),
            ("text/html", "<p style='background: URL(//a.org)'>1</p>", "has the style"),
            ("text/html", r"<p style='p\6f sition: fixed'>1</p>", "has the style"),
            ("text/html", "<STYLE>p {}</STYLE><link rel=x>", "has the element <link>"),
            ("text/latex", "$a$", "which a page cannot show"),
            ("text/markdown", "so $x$ it is", "has a formula"),
            ("text/markdown", "[a](javascript:alert(1)) \\(x\\)", "has a formula"),
            ("text/markdown", "![a](b.png)", "has the element <img>"),
            ("text/plain", "<IPython.core.display.Math object>", "says nothing"),
            ("text/plain", "<a.b.C object at 0x7f00>", "says nothing"),
        ]),
    ],
)  # fmt: skip
def test_what_cannot_be_shown_is_a_problem(node, complaint, ctx):
    nodes.render(node, ctx)
    assert len(ctx.problems) == 1
    assert re.search(complaint, ctx.problems[0])


@pytest.mark.parametrize(
    "node",
    [
        {"type": "_lift", "source": {"label": "fig-a"}},
        {"type": "crossReference", "identifier": "fig-a"},
        {"type": "link", "url": "#fig-a", "children": [text("it")]},
    ],
)
def test_labels_of_a_missing_chapter_are_named_but_not_linked(node):
    here = context.Context(Memory(), absent=frozenset({"fig-a"}))
    shown = nodes.render(node, here)
    assert not here.problems
    assert 'class="absent"' in shown
    assert "href" not in shown


def picture(data: dict, metadata: dict, here: context.Context) -> str:
    shown = {"output_type": "display_data", "data": data, "metadata": metadata}
    return nodes.render({"type": "output", "jupyter_data": shown}, here)


def test_a_figure_has_one_picture_for_light_and_one_for_dark_pages():
    dark = io.BytesIO()
    Image.new("RGB", (1, 1), (18, 22, 27)).save(dark, "PNG")
    here = context.Context(Memory(**{"a.png": PIXEL}))
    alt = "A curve that falls from 1 to 0."
    data = {"image/png": {"path": "/a.png"}, "text/plain": {"content": alt}}
    shown = picture(
        data,
        {
            "image/png": {"width": 720},
            "ibbook": {"dark": base64.b64encode(dark.getvalue()).decode()},
        },
        here,
    )
    saved = [here.assets.files[f"saved{i}.webp"] for i in (1, 2)]
    for made, source in zip(saved, (PIXEL, dark.getvalue()), strict=True):
        assert b"VP8L" in made[:20], "lossless"
        shown_pixel, pixel = (
            Image.open(io.BytesIO(file)).convert("RGBA") for file in (made, source)
        )
        assert shown_pixel.tobytes() == pixel.tobytes()
    images = re.findall(r"<img[^>]*>", shown)
    assert [re.search('class="([^"]*)"', image)[1] for image in images] == ["for-light", "for-dark"]
    assert all(f'alt="{alt}"' in image and 'width="720"' in image for image in images)
    assert struct.unpack(">II", PIXEL[16:24]) == (1, 1)
    assert all('height="720"' in image for image in images)  # square, as the pixel is
    assert not here.problems


@pytest.mark.parametrize("alt", ["", "<Figure size 640x480>", "only five words are here"])
def test_a_picture_needs_a_sentence(alt):
    here = context.Context(Memory(**{"a.png": PIXEL}))
    picture({"image/png": {"path": "/a.png"}, "text/plain": {"content": alt}}, {}, here)
    assert "alt text must be a sentence" in here.problems[0]


def test_published_data_hold_neither_removed_cells_nor_dark_pictures():
    output = {"jupyter_data": {"metadata": {"ibbook": {"dark": "QUJD"}, "keep": 1}}}
    root = {
        "type": "root",
        "children": [
            {"type": "block", "children": [{"type": "output", **output}]},
            {"type": "block", "visibility": "remove", "children": [text("secret")]},
        ],
    }
    before = json.dumps(root)
    assert "QUJD" not in json.dumps(tree.published(root))
    assert "secret" not in json.dumps(tree.published(root))
    assert '"keep": 1' in json.dumps(tree.published(root))
    assert json.dumps(root) == before, "the page itself is rendered from this tree"


def test_a_fold_title_holds_no_link(ctx):
    title = {
        "type": "crossReference",
        "resolved": True,
        "html_id": "ex-a",
        "children": [text("E 1")],
    }
    node = {
        "type": "solution",
        "class": "dropdown",
        "children": [{"type": "admonitionTitle", "children": [title]}, text("body")],
    }
    assert "<summary>E 1</summary>" in nodes.render(node, ctx)


def test_stream_colours_and_tags_are_not_markup(ctx):
    data = {"output_type": "stream", "name": "stdout", "text": "\x1b[31m<b>red</b>\x1b[0m\n"}
    shown = nodes.render({"type": "output", "jupyter_data": data}, ctx)
    assert "&lt;b&gt;red&lt;/b&gt;</pre>" in shown


@pytest.mark.parametrize(
    ("kind", "value"),
    [("text/html", "<b><img src=x onerror=alert(1)></b>"), ("text/markdown", "![a](b.png)")],
)
def test_an_output_that_is_refused_is_not_shown(kind, value, ctx):
    """The live server shows a page with its problems, which the gate would refuse."""
    assert "<img" not in nodes.render(shown(kind, value), ctx)
    assert "&lt;b&gt;" in nodes.render(shown("text/markdown", "<b>bold</b>"), ctx)


def test_an_expected_error_shows_its_last_line_only(ctx):
    data = {
        "output_type": "error",
        "ename": "ValueError",
        "evalue": "beta is -1",
        "traceback": ["/x"],
    }
    node = {
        "type": "block",
        "kind": "notebook-code",
        "data": {"tags": ["raises-exception"]},
        "children": [{"type": "output", "jupyter_data": data}],
    }
    shown = nodes.render(node, ctx)
    assert "ValueError: beta is -1" in shown
    assert "/x" not in shown
    assert not ctx.problems


@pytest.mark.parametrize("index_name", [None, "beta"])
def test_a_data_frame_becomes_a_table_with_one_header_row(index_name, ctx):
    frame = pd.DataFrame({"rate": [0.5, 0.1], "<gap>": [1, 2]}, [1.0, 2.0])
    shown = outputs.html_table(frame.rename_axis(index_name)._repr_html_(), ctx)
    assert "<style" not in shown
    assert "<th></th>" not in shown
    head = re.search("<thead>.*</thead>", shown, re.DOTALL)[0]
    assert head.count("<tr") == 1
    cells = re.findall("<t[hd][^>]*>(.*?)</t[hd]>", head)
    assert cells == [index_name or "", "rate", "&lt;gap&gt;"]
    assert head.count('<th scope="col">') == 2 + (index_name is not None)
    assert shown.count('<th scope="row">') == 2
    assert shown.count("<td>") == 4 + (index_name is None)


@pytest.mark.parametrize(("columns", "stacked"), [("abcde", True), ("abcd", False)])
def test_cells_of_a_wide_table_of_words_know_their_columns(columns, stacked, ctx):
    head, row = (
        [{"type": "tableCell", "header": header, "children": [text(name)]} for name in columns]
        for header in (True, False)
    )
    rows = [{"type": "tableRow", "children": cells} for cells in (head, row)]
    shown = nodes.render({"type": "table", "children": rows}, ctx)
    assert ('<table class="stacked">' in shown) is stacked
    assert re.findall(r'<td data-column="(.)">', shown) == list(columns if stacked else "")


def test_a_work_on_arxiv_has_a_doi():
    works = (ROOT / "chapters" / "references.bib").read_text(encoding="utf-8").split("\n@")
    given = {work: re.search(r"\bdoi = {(10\.\d+/\S+)}", work) for work in works}
    assert [work for work, doi in given.items() if not doi and "arxiv" in work.lower()] == []
    for work, doi in given.items():
        if doi and "arXiv." in doi[1]:
            assert re.search(f"(abs/|arXiv:){doi[1].partition('arXiv.')[2]}\\b", work), work


def test_sections_carry_the_number_of_their_chapter(ctx):
    ctx.chapter = "3"
    for number, wrong in (("3.1", 0), ("1.4", 1)):
        section = {"type": "heading", "depth": 2, "identifier": "a", "enumerator": number}
        nodes.render(section | {"children": [text("A")]}, ctx)
        assert len(ctx.problems) == wrong
    assert "heading_1: {start: 3}" in ctx.problems[0]


def test_another_version_of_the_page_data_is_refused(ctx):
    with pytest.raises(ValueError, match="version 4, the theme knows 3"):
        page.full_page({"version": 4}, {}, ctx)


@pytest.mark.parametrize(
    ("body", "fault"),
    [
        ('<a href="./gone/">', "the link './gone/' leads nowhere"),
        ('<a href="/two/">', "the link '/two/' leads nowhere"),
        ('<a href="../">', "the link '../' leads nowhere"),
        ('<a href="#gone">', "the link '#gone' leads nowhere"),
        ('<a href="./two/#gone">', "leads nowhere"),
        ('<img src="./build/gone.png">', "leads nowhere"),
        ('<p id="a"></p><p id="a">', "two things have the id 'a'"),
        ('<a href="java&#10;script:1">', "leads to no page"),
        ('<a href="./two/#here"><a href="#"><a href="https://example.org/">', None),
        ('<img src="data:image/png;base64,AA==">', None),
    ],
)
def test_links_are_followed(tmp_path, body, fault):
    (tmp_path / "two").mkdir()
    (tmp_path / "index.html").write_text(body)
    (tmp_path / "two" / "index.html").write_text('<p id="here">')
    found = links.broken_links(tmp_path)
    assert len(found) == (fault is not None)
    assert not fault or fault in found[0]


# ---- a whole book


@pytest.fixture(scope="session")
def sources(tmp_path_factory):
    """The sample book's sources and its notebooks."""
    folder = tmp_path_factory.mktemp("sample")
    return folder, sample_book.write(folder)


@pytest.fixture
def book(sources, tmp_path):
    """A copy of the sample book that a test may spoil."""
    folder = tmp_path / "book"
    shutil.copytree(sources[0], folder)
    return folder, {name: folder / "executed" / path.name for name, path in sources[1].items()}


@pytest.fixture(scope="session")
def built(sources):
    folder, notebooks = sources
    return site.build(notebooks, dict.fromkeys(notebooks, RUN), source=folder)


def test_every_page_is_written(built):
    pages = {path.parent.relative_to(built).as_posix() for path in built.rglob("index.html")}
    assert pages == {".", "sample", "second", "provenance"}
    assert (built / "katex" / "katex.min.css").is_file()
    assert not list(built.parent.glob("html.*"))


def test_numbers_run_within_the_chapter(built):
    sample = (built / "sample" / "index.html").read_text()
    for number in ("Theorem 1.1", "Definition 1.1", "Exercise 1.1", "Figure\xa01.1", ">(1.1)</a>"):
        assert number in sample, number
    assert '<span class="number">1.1 </span>Definition and one bound' in sample
    assert '<p class="chapter">Chapter 1</p>' in sample
    assert '<a class="xref" href="../second/#eq-t-rate">' in sample


def test_a_chapter_says_how_it_ran_and_how_to_rerun_it(built):
    sample = (built / "sample" / "index.html").read_text()
    assert "<code>ibbook run 01-sample</code>" in sample
    line = re.search(r'<p class="provenance".*?</p>', sample, re.DOTALL)[0]
    for part in (
        "61 s",
        "2026-11-21",
        "9c9073defb</code> (with changes)",
        "torch 2.9.0",
        "grid_size = 201",
    ):
        assert part in line
    fold = re.search(r'<details class="[^"]*exactly">.*?</details>', sample, re.DOTALL)[0]
    assert "Reproduce this exactly" in fold
    assert f"git checkout {RUN['commit']}" in fold
    for name in ("command", "scipy", "processor", "instructions", "threads", "device"):
        assert str(RUN[name]) in fold, name
    for found in RUN["inputs"].values():
        assert found in fold
    versions = (built / "provenance" / "index.html").read_text()
    assert '<a href="../sample/">The sample chapter</a>' in versions
    assert "<code>01234567</code>" in versions
    assert "<code>9c9073defb</code> (with changes)" in versions
    assert 'class="provenance"' not in versions


def test_the_notebook_is_there_to_download(built):
    sample = (built / "sample" / "index.html").read_text()
    (href,) = re.findall(r'<a href="([^"]*)" download>', sample)
    assert "cells" in json.loads((built / "sample" / href).read_text())
    assert not list((built / "build").glob("*.ipynb"))


def test_a_chapter_says_how_to_set_up_and_run_it(built):
    sample = (built / "sample" / "index.html").read_text()
    box = re.search(r'<details class="fold" id="set-up">(.*?)</details>', sample, re.DOTALL)[1]
    for part in (
        "about 1 minute on two CPU cores",
        "git clone https://github.com/ada/sample ibbook",
        "ibbook run 01-sample\n",
        "ibbook run 01-sample --profile full",
    ):
        assert part in box
    home = (built / "index.html").read_text()
    assert 'id="set-up"' not in home
    assert (built / "second" / "index.html").read_text().count("--profile") == 0


# ---- what others read: search engines, previews of links, a reader who is lost

HOME = "https://ada.example/sample"


class Head(HTMLParser):
    """The meta and link elements of a page, by their name or relation."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: dict[str, str] = {}
        self.feed(html)

    def handle_starttag(self, tag: str, attributes: list) -> None:
        given = dict(attributes)
        name = given.get("property") or given.get("name") or given.get("http-equiv")
        if tag == "meta" and name:
            self.found[name] = given["content"]
        if tag == "link":
            self.found[given["rel"]] = given["href"]


def test_a_page_says_where_it_is_and_shows_a_picture_when_it_is_shared(built):
    head = Head((built / "sample" / "index.html").read_text()).found
    assert head["canonical"] == head["og:url"] == f"{HOME}/sample/"
    assert head["og:title"] == "The sample chapter"
    assert head["og:description"] == head["description"]
    assert head["og:type"] == "article"
    assert head["twitter:card"] == "summary_large_image"
    picture = built / head["og:image"].removeprefix(f"{HOME}/")
    size = struct.unpack(">II", picture.read_bytes()[16:24])
    assert size == (int(head["og:image:width"]), int(head["og:image:height"]))
    assert head["og:image:alt"]
    home = Head((built / "index.html").read_text()).found
    assert home["canonical"] == f"{HOME}/"
    assert home["og:type"] == "website"


def test_without_an_address_of_the_site_nothing_is_made_up():
    assert addresses.site_url({"options": {}}) == addresses.site_url({}) == ""
    assert "Sitemap" not in addresses.robots("")


def test_the_map_names_every_page(built):
    site_map = ElementTree.fromstring((built / "sitemap.xml").read_text())
    named = {place.text for place in site_map.iter(f"{{{addresses.MAPS}}}loc")}
    pages = {path.parent.relative_to(built).as_posix() for path in built.rglob("index.html")}
    assert named == {f"{HOME}/" if page == "." else f"{HOME}/{page}/" for page in pages}
    assert (built / "robots.txt").read_text().endswith(f"Sitemap: {HOME}/sitemap.xml\n")


def test_a_reader_who_is_lost_finds_a_way_from_any_address(built):
    lost = (built / "404.html").read_text()
    assert "There is no such page</h1>" in lost
    assert "canonical" not in Head(lost).found
    ways = [link for link in links.Anchors(lost).links if not link.startswith("#")]
    assert "/sample/second/" in ways
    for way in (way for way in ways if "://" not in way):
        target = built / way.removeprefix("/sample/")
        assert way.startswith("/sample/")
        assert (target / "index.html" if way.endswith("/") else target).is_file(), way


def test_a_page_loads_nothing_but_its_own_site(built):
    for file in built.rglob("*.html"):
        policy = Head(file.read_text()).found["Content-Security-Policy"]
        rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
        assert rules["default-src"] == rules["base-uri"] == rules["form-action"] == "'none'"
        assert rules["script-src"] == rules["style-src"] == rules["connect-src"] == "'self'"
        assert rules["style-src-attr"] == "'unsafe-inline'"  # KaTeX places signs by it
        assert not re.search(r"<script(?![^>]*(src=|application/json))", file.read_text())


def test_cells_are_folded_or_removed_as_their_tags_say(built):
    sample = (built / "sample" / "index.html").read_text()
    assert "secret = 42" not in re.sub("<[^>]*>", "", sample)
    assert "invisible_code" not in sample
    assert sample.count("<summary>Show code</summary>") == 1
    assert sample.count("<summary>Show output</summary>") == 1
    assert sample.count("<summary>Show cell</summary>") == 1
    assert "secret" not in (built / "sample.json").read_text()


def test_a_number_in_prose_is_that_of_the_run_and_leads_to_its_row(built):
    sample = (built / "sample" / "index.html").read_text()
    link = '<a class="xref measured" href="{}#sample.rate">{}</a>'
    prose, caption = (link.format("", shown) for shown in ("0.4 nats", "0.4"))
    assert f"The rate is {prose}, and" in sample
    assert f"infinite slope, and its rate is {caption}." in sample
    second = (built / "second" / "index.html").read_text()
    assert f"at one point it is {link.format('../sample/', '0.37')}." in second
    for file in ("second.json", "search-records.js"):
        content = (built / file).read_text()
        assert "0.37" in content
        assert "1.00" not in content


def test_the_numbers_of_a_cell_are_one_table_below_what_it_prints(built):
    sample = (built / "sample" / "index.html").read_text()
    rows = re.search(r'<table class="records">(.*?)</table>', sample)[1]
    assert re.findall(r'<tr id="([^"]*)"', rows) == ["sample.rate", "sample.gap"]
    assert sample.index("tensor([0.5000") < sample.index(rows)
    words = re.sub("<[^>]*>", " ", rows).split()
    assert " ".join(words) == (
        "Rate of a coin # 0.3681 nats 3 seeds, 0.3500 to 0.3862, rerun ± 0.05 nats "
        "Its gap # agrees with the closed form to 4 decimals"
    )
    assert sample.count('class="records"') == 1


def test_a_claim_that_a_run_breaks_is_marked_beside_its_number(built):
    sample = (built / "sample" / "index.html").read_text()
    note = re.search(r'<div class="margin broken" role="note">(.*?)</div>', sample)[1]
    words = re.sub("<[^>]*>", "", note)
    assert words == ("Not so in this run: “more than half a nat, not 0.37 nats” (0.3681 &gt; 0.5)")
    assert sample.index(note) < sample.index('id="sample.rate"')
    assert 'class="margin broken"' not in (built / "second" / "index.html").read_text()


def test_numbers_of_a_missing_chapter_are_named_but_not_linked(book):
    folder, notebooks = book
    shutil.copy(notebooks.pop("01-sample"), folder / "chapters")
    out = site.build(notebooks, {}, source=folder, failures={"01-sample": "it failed"})
    assert '<span class="absent">1.00</span>' in (out / "second" / "index.html").read_text()


def test_a_site_can_live_under_any_path(built):
    for file, way in (("index.html", "./"), ("sample/index.html", "../")):
        html = (built / file).read_text()
        assert f'href="{way}second/"' in html
        assert not re.search(r'(?:href|src|data-base)="/', html)


FAULTS = {
    "See [](#eq-nowhere).": 'No target for internal reference "#eq-nowhere"',
    "As {cite:t}`nobody1900` says.": "nobody1900",
    "See [this](03-nowhere.ipynb).": "the link '03-nowhere.ipynb' leads nowhere",
    "See [this](02-second.ipynb#sec-nowhere).": "nothing is labelled 'sec-nowhere'",
    "```{nodirective}\n```": "unknown directive: nodirective",
    "{norole}`x`": "unknown role: norole",
    "$$\\fra{1}{2}$$": "KaTeX cannot read",
    "![](#fig-nowhere)": "nothing to show for 'fig-nowhere'",
    "![what it shows](nowhere.png)": 'Cannot find image "nowhere.png"',
    ":::{card} A\n:link: javascript:alert(1)\nx\n:::": "javascript:alert(1)",
    "{button}`press <javascript:alert(2)>`": "javascript:alert(2)",
    "| a | b |\n|---|---|\n| $p(x|y)$ | 1 |": "a bar within a cell of a table ends it",
    "Of all,\n% of them": "it begins with %, so it is a comment",
    "$$x$$ (eq-s-entropy)": 'Duplicate identifier in project "eq-s-entropy"',
}


def test_the_gate_names_every_fault_and_keeps_the_old_site(book):
    folder, notebooks = book
    old = folder / "_build" / "html"
    old.mkdir(parents=True, exist_ok=True)
    (old / "mark").write_text("the site of the build before")
    index = folder / "chapters" / "index.md"
    sound = index.read_text().replace("title:", "colour: blue\ntitle:", 1)
    index.write_text("\n\n".join([sound, *FAULTS]) + "\n")
    with pytest.raises(site.SiteError) as caught:
        site.build(notebooks, {}, source=folder)
    for complaint in ["extra key ignored: colour", *FAULTS.values()]:
        assert complaint in str(caught.value)
    assert (old / "mark").exists()


@pytest.mark.parametrize("fault", ["```{nodirective}\n```", "See [this](03-nowhere.ipynb)."])
def test_one_fault_is_enough(fault, book):
    """The first is a line of mystmd's, the second passes it without a word."""
    folder, notebooks = book
    index = folder / "chapters" / "index.md"
    index.write_text(f"{index.read_text()}\n{fault}\n")
    with pytest.raises(site.SiteError, match=r"nodirective|03-nowhere"):
        site.build(notebooks, {}, source=folder)


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("| a | b |\n|---|---|\n| $p(x|y)$ |", [3]),
        ("| a | b |\n|---|---|\n| `x|y` |", [3]),
        ("| $p(x|y)$ | b |\n|---|---|\n| 1 | 2 |", [1]),
        ("| $p(x\\|y)$ | `b` |\n|---|---|\n| $1$ | 2 |", []),
        ("---\nshort_title: $a$\n---\ntitle: $a$", [2, 4]),
        ("```\ntitle: $a$\n% of it\n| a | b |\n|---|---|\n| $p(x|y)$ | 1 |\n```", []),
    ],
)
def test_what_mystmd_would_drop_is_found_where_it_stands(text, lines, tmp_path):
    assert [fault.partition(":")[0] for fault in markup.faults(text)] == [
        f"line {number}" for number in lines
    ]
    (tmp_path / "chapters").mkdir()
    (tmp_path / "chapters" / "a.md").write_text(text)
    cells = [nbformat.v4.new_markdown_cell(text), nbformat.v4.new_code_cell("% no comment")]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), tmp_path / "chapters" / "b.ipynb")
    places = [fault.partition(":")[0] for fault in site._misread(tmp_path)]
    assert places == ["a"] * len(lines) + ["b"] * len(lines)


def test_colours_and_controls_of_a_parameter_are_left_out():
    assert markup.cell("\x1b[31mred\x1b[0m\x07") == "`red`"


def test_a_failed_chapter_leaves_the_rest_of_the_book(book):
    folder, notebooks = book
    del notebooks["02-second"]
    reason = "cell 3 (fig-s-extra): NameError: <draw> is not defined"
    out = site.build(notebooks, {}, source=folder, failures={"02-second": reason})
    notice = (out / "second" / "index.html").read_text()
    assert "The second chapter</h1>" in notice
    assert "This chapter could not be run" in notice
    assert "NameError: &lt;draw&gt;" in re.sub(r"</?span[^>]*>", "", notice)
    sample = (out / "sample" / "index.html").read_text()
    assert '<span class="absent">the second chapter</span>' in sample
    index = folder / "chapters" / "index.md"
    index.write_text(index.read_text() + "\nSee [](#eq-nowhere).\n")
    with pytest.raises(site.SiteError, match="eq-nowhere"):
        site.build(notebooks, {}, source=folder, failures={"02-second": reason})


HARD = {
    "bar": "a|b",
    "tick": "`x` and ``y",
    "role": "{math}`x` [a](javascript:x) <b>",
    "line": "one\n\n# two\n| 3 |",
}


def test_what_a_run_says_stays_in_its_place(book, monkeypatch):
    """Parameters and the message of a failed chapter are text, whatever marks they hold."""
    for name, value in {
        "FORCE_COLOR": "1",
        "PYTHONWARNDEFAULTENCODING": "1",
        "PYTHONWARNINGS": "error",
    }.items():
        monkeypatch.setenv(name, value)
    folder, notebooks = book
    del notebooks["02-second"]
    reason = "E: \x1b[31mred\x1b[0m\n```\n# up\n````\n::::\n:::::\n<b>{math}`x` \u00e9"
    index = folder / "chapters" / "index.md"
    index.write_bytes(b"\xef\xbb\xbf" + index.read_bytes())
    provenance = {"01-sample": RUN | {"parameters": HARD | {"last": "seen"}}}
    out = site.build(notebooks, provenance, source=folder, failures={"02-second": reason})
    notice = (out / "second" / "index.html").read_text(encoding="utf-8")
    block = re.search(r"could not be run.*?<pre[^>]*>(.*?)</pre>", notice, re.DOTALL)[1]
    words = unescape(re.sub("<[^>]*>", "", block))
    assert words.strip() == reason.replace("\x1b[31m", "").replace("\x1b[0m", "")
    table = (out / "provenance" / "index.html").read_text(encoding="utf-8")
    cells = [unescape(code) for code in re.findall(r"<code>(.*?)</code>", table)]
    for name, value in HARD.items():
        assert f"{name} = {' '.join(value.split())}" in cells
    assert "last = seen" in cells
    assert "The second chapter" in notice
    assert "<html" in (out / "index.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "name", ["PYTHONDEVMODE", "PYTHONPROFILEIMPORTTIME", "NODE_OPTIONS", "NODE_DEBUG", "DEBUG"]
)
def test_no_switch_of_the_caller_makes_a_tool_say_more(monkeypatch, name):
    monkeypatch.setenv(name, "1")
    monkeypatch.setenv("HOME", "/home/ada")
    seen = site._environment()
    assert name not in seen
    assert seen["HOME"] == "/home/ada"


def test_a_text_that_cannot_be_read_leaves_a_page_that_says_so(tmp_path):
    chapter = tmp_path / "02-second.md"
    for content in (b"---\ntitle: [\n---\nA", b"R\xe9nyi", b"---\nkernelspec: 3\n---\n\nA", b""):
        chapter.write_bytes(content)
        (cell,) = site.failure_notice(chapter, "it is broken").cells
        assert "title:" in cell.source
        assert "it is broken" in cell.source
        assert site.labels([chapter]) == set()


def test_two_builds_take_turns(book, monkeypatch):
    folder, _ = book
    inside, most = [], []

    def slow(*arguments):
        inside.append(1)
        most.append(len(inside))
        time.sleep(0.1)
        inside.pop()
        return folder

    monkeypatch.setattr(site, "_build", slow)
    with ThreadPoolExecutor(4) as four:
        list(four.map(lambda _: site.build({}, {}, source=folder), range(4)))
    assert most == [1, 1, 1, 1]


def test_a_build_that_was_killed_between_its_renames_leaves_the_site_of_before(book, monkeypatch):
    folder, notebooks = book
    built = folder / "_build" / "html.old"
    shutil.rmtree(folder / "_build", ignore_errors=True)
    built.mkdir(parents=True)
    (built / "mark").touch()
    monkeypatch.setattr(site, "run_tool", lambda *_: "")
    with pytest.raises(site.SiteError, match="mystmd wrote nothing"):
        site.build(notebooks, {}, source=folder)
    assert (folder / "_build" / "html" / "mark").exists()


def test_a_build_clears_away_what_a_killed_one_left(book, monkeypatch):
    """Of one killed after its second rename the old pages lie about, of another half its new."""
    folder, notebooks = book
    shutil.rmtree(folder / "_build", ignore_errors=True)
    for name in ("html", "html.old", "html.new"):
        (folder / "_build" / name).mkdir(parents=True)
        (folder / "_build" / name / "mark").touch()

    def tool(command, stage, timeout):
        if "ibtheme.export" in command:
            Path(command[-1]).mkdir()
            (Path(command[-1]) / "index.html").touch()
        else:
            (stage / "_build" / "site").mkdir(parents=True)
            (stage / "_build" / "site" / "config.json").touch()
        return ""

    monkeypatch.setattr(site, "run_tool", tool)
    out = site.build(notebooks, {}, source=folder)
    assert [path.name for path in out.parent.glob("html*")] == ["html"]
    assert [path.name for path in out.iterdir()] == ["index.html"]


def test_a_build_that_hangs_is_ended_with_its_children(tmp_path):
    script = "import subprocess, sys, time; subprocess.Popen(['sleep', '60']); time.sleep(60)"
    start = time.monotonic()
    with pytest.raises(site.SiteError, match=r"took more than 0\.5 s"):
        site.run_tool([sys.executable, "-c", script], tmp_path, 0.5)
    assert time.monotonic() - start < 20


CHILD = """
import sys
from pathlib import Path
from ibbook.book import site
site.run_tool(["sh", "-c", f"sleep 300 & echo $$ $! > {sys.argv[1]}.part; mv {sys.argv[1]}.part "
           f"{sys.argv[1]}; wait"], Path("."), 300)
"""


def test_what_a_killed_build_started_ends_too(tmp_path):
    note = tmp_path / "pids"
    with subprocess.Popen([sys.executable, "-c", CHILD, str(note)]) as process:
        wait(note.exists)
        process.kill()
    for pid in map(int, note.read_text().split()):
        wait(lambda pid=pid: gone(pid))


def test_a_silent_failure_is_still_one(tmp_path):
    with pytest.raises(site.SiteError, match="ended with status 3"):
        site.run_tool([sys.executable, "-c", "raise SystemExit(3)"], tmp_path, 30)


def test_the_live_server_shows_the_same_pages(built, tmp_path, monkeypatch):
    """`myst start` and the exporter share a renderer: pages differ in addresses only."""
    content = built.parent / "stage" / "_build" / "site"
    monkeypatch.setattr(serve, "CONTENT", "http://content")
    monkeypatch.setattr(serve, "STATIC", True)
    folder = {"config.json": content, "content": content}

    def read(self, path: str) -> bytes:
        name = path.lstrip("/")
        return (folder.get(name.split("/")[0], content / "public") / name).read_bytes()

    monkeypatch.setattr(serve.Content, "read", read)
    kind, body = serve.answer("/sample")
    assert kind.startswith("text/html")
    live = body.decode().replace("/myst_assets_folder/", "/build/")
    static = (built / "sample" / "index.html").read_text()
    static = static.replace('="../', '="/').replace('data-base=".."', 'data-base=""')
    cut = r'<p class="provenance".*?</p>|<img[^>]*>|\s+|<details [^>]*id="set-up">.*?</details>'
    cut += r'|<details [^>]*exactly".*?</details>|<div class="margin broken".*?</div>'
    cut += r'|, rerun ±[^<]*|href="(data:image|/build/)[^"]*"'
    assert re.sub(cut, "", live, flags=re.DOTALL) == re.sub(cut, "", static, flags=re.DOTALL)
    for path in (
        "/theme/book.css",
        "/search-records.js",
        "/sitemap.xml",
        "/robots.txt",
        "/favicon.ico",
    ):
        assert serve.answer(path)[1]
    assert "QUJD" not in serve.answer("/sample.json")[1].decode()


def glyphs(font: Path) -> set[int]:
    with TTFont(font) as opened:
        return set(opened.getBestCmap())


def test_fonts_hold_the_letters_of_the_pages_and_no_more(built):
    letters = set(map(ord, unescape((built / "sample" / "index.html").read_text())))
    whole = ROOT / "theme" / "public"
    for font in (
        *(built / "fonts").glob("*.woff2"),
        built / "katex/fonts/KaTeX_Main-Regular.woff2",
    ):
        was, now = glyphs(whole / font.relative_to(built)), glyphs(font)
        assert letters & was <= now < was
    text = [font.stat().st_size for font in (built / "fonts").glob("*.woff2")]
    assert len(text) == 3
    assert sum(text) < 50_000
    assert "Open Font License" in (built / "fonts" / "LICENSE").read_text()
    styles = (built / "theme" / "book.css").read_text()
    for url in re.findall(r'url\("?(.*?)"?\)', styles):
        assert (built / "theme" / url).is_file(), url


# ---- configuration


def test_katex_is_the_version_that_mystmd_renders_with():
    myst = Path(importlib.util.find_spec("mystmd_py").origin).with_name("myst.cjs").read_text()
    wanted = json.loads((ROOT / "theme" / "package.json").read_text())["dependencies"]["katex"]
    assert f"/katex@{wanted}/" in myst


def test_both_configurations_extend_the_book():
    book = yaml.safe_load((ROOT / "book.yml").read_text())
    rules = {rule["rule"]: rule["severity"] for rule in book["project"]["error_rules"]}
    assert set(rules) == {
        "reference-target-resolves", "citation-renders", "link-text-exists", "identifier-is-unique",
    }  # fmt: skip
    assert set(rules.values()) == {"error"}
    for name, template in (("myst.yml", "./theme"), ("myst.stock.yml", "book-theme")):
        config = yaml.safe_load((ROOT / name).read_text())
        assert config["extends"] == "book.yml"
        assert config["site"]["template"] == template


def test_nothing_in_the_theme_names_another_host():
    files = [
        *(
            f
            for f in (ROOT / "theme" / "public").glob("[!k]*/*.*")
            if f.suffix in (".css", ".js", ".svg")
        ),
        ROOT / "theme" / "ibtheme" / "page.html",
    ]
    for file in files:
        hosts = set(re.findall(r"https?://[\w.-]+", file.read_text()))
        assert hosts <= {"http://www.w3.org"}, file
    assert not list((ROOT / "theme").glob("package-lock.json"))


def npm(tmp_path, monkeypatch, script):
    """Put a stand-in for npm where the theme looks first."""
    (tmp_path / "npm").write_text(f"#!/bin/sh\n{script}\n")
    (tmp_path / "npm").chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    monkeypatch.setattr(prepare, "THEME", tmp_path)


def test_what_npm_says_is_no_fault_of_the_site(tmp_path, monkeypatch, capfd):
    npm(tmp_path, monkeypatch, "echo added 2 packages; echo npm warn unknown config >&2")
    prepare.install()
    assert capfd.readouterr() == ("", "")


def test_npm_that_fails_is_named_with_its_reason(tmp_path, monkeypatch):
    npm(tmp_path, monkeypatch, "echo registry cannot be reached >&2; exit 1")
    with pytest.raises(RuntimeError, match=r"npm could not install(.|\n)*cannot be reached"):
        prepare.install()
