"""Every page of the real book and of the sample book, offline, in Chromium.

The real book is the site in `IBBOOK_SITE`, or one built here from the committed notebooks.
"""

from __future__ import annotations

import gzip
import io
import json
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote, urlsplit
from urllib.request import urlopen

import pytest
import yaml
from PIL import Image
from playwright.sync_api import Locator, Page, expect

from ibbook.book import site
from ibbook.book.chapters import chapters
from ibbook.book.course import exercises
from tests.book import sample_book
from tests.book.course import leaks
from tests.book.test_copies import sound
from tests.book.test_search import answers
from tests.book.watching import watched

ROOT = Path(__file__).resolve().parents[2]
WIDE = 1248  # where the outline appears, which leaves the text the least place
PHONE = 390
WIDTHS = (320, 768, 1024, WIDE)
SHEET = 643  # the width of text on A4, 170 mm
CHECKS = Path(__file__).with_name("page_checks.js").read_text()
PAPER = {"light": [255, 255, 255], "dark": [18, 22, 27]}  # of ibbook.figures.COLOURS


class Site(NamedTuple):
    """A published site: where it lies, where it is served, and its pages."""

    folder: Path
    address: str
    pages: list[str]


@pytest.fixture(scope="session")
def sample(tmp_path_factory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("sample")
    notebooks = sample_book.write(folder)
    yield from served(site.build(notebooks, {}, source=folder))


@pytest.fixture(scope="session")
def book(tmp_path_factory) -> Iterator[Site]:
    given = os.environ.get("IBBOOK_SITE")
    if given:
        yield from served(Path(given))
        return
    toc = yaml.safe_load((ROOT / "book.yml").read_text())["project"]["toc"]
    files = [line for part in toc for line in part.get("children", [part])]
    notebooks = [ROOT / line["file"] for line in files if line["file"].endswith(".ipynb")]
    out = tmp_path_factory.mktemp("book") / "html"
    yield from served(site.build({path.stem: path for path in notebooks}, {}, out=out))


def test_no_solution_and_no_hidden_test_is_anywhere_in_the_site(book):
    """Neither on a page, in the search index, nor in a file to download."""
    sources = exercises.exercises()
    secret = set().union(*map(leaks.secrets, sources))
    shown = {line for source in sources for line in leaks.shown(source)}
    found = leaks.found(book.folder, secret | shown)
    assert {line: found[line] for line in secret & found.keys()} == {}
    endings = {Path(file).suffix for line in shown for file in found[line]}
    assert endings >= {".html", ".json", ".ipynb"}  # the search does find what is there


def without_formulas(html: str) -> str:
    """A page without what KaTeX wrote: it is most of the page, and the same everywhere."""
    kept, end = [], 0
    for formula in re.finditer('<span class="katex">', html):
        if formula.start() < end:
            continue
        kept.append(html[end : formula.start()])
        depth = 0
        for mark in re.compile(r"<(/?)span\b[^>]*>").finditer(html, formula.start()):
            depth += -1 if mark[1] else 1
            if not depth:
                end = mark.end()
                break
    return "x".join([*kept, html[end:]])


def test_a_page_is_cut_at_its_formulas_only():
    formula = '<span class="katex"><span><span>1</span></span></span>'
    assert without_formulas(f"<p>a{formula}b{formula}</p>") == "<p>axbx</p>"


# inline styles are KaTeX's and pandas', dots are in the names of numbers, code may end in blanks
HTML_RULES = {"no-inline-style": "off", "long-title": "off", "no-trailing-whitespace": "off"}
HTML_RULES |= {"valid-id": ["error", {"relaxed": True}]}


def test_every_page_is_sound_html(published, html_validate, tmp_path):
    (tmp_path / "rules.json").write_text(
        json.dumps({"root": True, "extends": ["html-validate:recommended"], "rules": HTML_RULES})
    )
    for number, file in enumerate(sorted(published.folder.rglob("*.html"))):
        name = f"{number}-{file.parent.name}-{file.name}"
        (tmp_path / name).write_text(without_formulas(file.read_text()))
    done = subprocess.run(
        [
            shutil.which("node", path=str(Path(sys.executable).parent)) or "node",
            str(html_validate),
            *("--config", "rules.json", "--formatter", "text", "*.html"),
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert (done.returncode, done.stdout) == (0, ""), done.stdout[:3000] + done.stderr


@pytest.fixture(params=["sample", "book"])
def published(request) -> Site:
    return request.getfixturevalue(request.param)


def served(folder: Path) -> Iterator[Site]:
    """The site at a free port of this machine."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    pages = sorted(
        path.parent.relative_to(folder).as_posix() for path in folder.rglob("index.html")
    )
    address = f"http://127.0.0.1:{server.server_port}"
    yield Site(folder, address, [f"/{page}/" for page in pages if page != "."])
    server.shutdown()
    server.server_close()


@pytest.fixture
def tab(browser) -> Iterator[Page]:
    """A desktop page in light mode that fails the test on an error or a foreign request."""
    yield from watched(browser, 1280, "light")


def violations(page: Page, axe: str) -> list[str]:
    """What axe-core finds, with the elements at fault."""
    page.evaluate(axe)
    found = page.evaluate("axe.run().then((result) => result.violations)")
    return [
        f"{rule['id']}: {' | '.join(str(node['target']) for node in rule['nodes'][:4])}"
        for rule in found
    ]


def settle(page: Page) -> None:
    """Open every fold, lay out what is not in view, and load every picture that can be seen."""
    page.evaluate(
        """() => {
          const all = (selector) => [...document.querySelectorAll(selector)];
          all('details').forEach((fold) => { fold.open = true; });
          all('section').forEach(({ style }) => { style.contentVisibility = 'visible'; });
          all('img').forEach((img) => { img.loading = 'eager'; });
        }"""
    )
    page.evaluate(
        """() => Promise.all(
          [...document.images].filter((img) => img.checkVisibility()).map((img) => img.decode()))"""
    )
    page.evaluate(CHECKS)


def at_width(page: Page, width: int) -> None:
    """Make the window as wide, and wait until what scrolls has been marked."""
    page.set_viewport_size({"width": width, "height": 900})
    page.evaluate("new Promise((done) => requestAnimationFrame(() => setTimeout(done, 50)))")


# ---- every page


def test_every_page(published, browser, axe):
    """One visit of each page serves all checks: what takes long is to load and to lay it out."""
    faults, cards = [], set()

    def note(check: str, when: str) -> None:
        faults.extend(f"{address}, {when}: {fault}" for fault in page.evaluate(f"checks.{check}"))

    for page in watched(browser, WIDE, "light"):
        for address in ["/", *published.pages]:
            at_width(page, PHONE)
            page.goto(published.address + address)
            weight, early = first_load(page, published.folder)
            at_width(page, WIDE)
            if weight > 250_000:  # 200 at most on a quiet machine; what comes next counts elsewhere
                faults.append(f"{address}: its first load is {weight / 1000:.0f} kB")
            if early > 120:
                faults.append(f"{address}: {early} formulas are laid out before they are in view")
            settle(page)
            for check in (
                "alts()",
                "contrast()",
                "partners('light')",
                f"corners({PAPER['light']})",
            ):
                note(check, "light")
            faults += [f"{address}: {fault}" for fault in hover(page, cards)]
            page.click("#mode")
            settle(page)
            for check in ("contrast()", "partners('dark')", f"corners({PAPER['dark']})"):
                note(check, "dark")
            page.click("#mode")
            for width in WIDTHS:
                at_width(page, width)
                note("cut()", f"{width} px")
                note("orphans()", f"{width} px")
                if width >= 1024:
                    note("formulas()", f"{width} px")
            page.emulate_media(media="print")
            at_width(page, SHEET)
            note("paper()", "paper")
            page.emulate_media(media="screen")
            at_width(page, WIDE)
            if address != "/sample/":
                page.evaluate(FLAT)
            faults += [f"{address}: {fault}" for fault in violations(page, axe)]
    assert not faults, "\n".join(faults)
    assert len(cards) > 2


def first_load(page: Page, folder: Path) -> tuple[int, int]:
    """Bytes that a page's first view needs, texts packed, and the formulas laid out by then.

    How far ahead of its reader a browser fetches lazy pictures is its own affair.
    """
    asked, early = page.evaluate(
        """[[location.href, ...performance.getEntriesByType('resource')
            .filter(({ startTime }) => startTime < performance.timing.loadEventStart
              - performance.timing.navigationStart)
            .map(({ name }) => name)
            .filter((name) => ![...document.images].some((image) => image.currentSrc === name
              && image.loading === 'lazy' && image.getBoundingClientRect().top > innerHeight))],
          [...document.querySelectorAll('main .katex')].filter((formula) => (
            formula.checkVisibility({ contentVisibilityAuto: true }))).length]"""
    )
    weight = 0
    for address in asked:
        file = folder / unquote(urlsplit(address).path).lstrip("/")
        content = (file / "index.html" if file.is_dir() else file).read_bytes()
        packed = file.suffix in {"", ".css", ".js", ".svg", ".json"}
        weight += len(gzip.compress(content, 6) if packed else content)
    return weight, early


# formulas and code are many elements of few kinds, all of which the sample's page has
FLAT = """document.querySelectorAll('.katex, code > span').forEach((part) => {
  part.replaceWith(part.textContent.slice(0, 1));
})"""


def hover(page: Page, known: set[str]) -> list[str]:
    """What is wrong with the cards of the first references of each kind not yet in `known`."""
    faults = []
    for reference in page.locator("article p > a.xref").all():
        kind = reference.evaluate(KIND)
        if kind in known or not reference.is_visible():
            continue
        known.add(kind)
        reference.scroll_into_view_if_needed()
        reference.hover()
        card = page.locator("#peek")
        expect(card).to_be_visible()
        text, left, right = card.evaluate(
            """(card) => {
              const { left, right } = card.getBoundingClientRect();
              return [card.innerText.trim(), left, right];
            }"""
        )
        if not text or left < 0 or right > WIDE:
            faults.append(f"the card of {reference.inner_text()!r} is empty or beyond the page")
        page.mouse.move(2, 2)
        expect(card).to_have_count(0)
    return faults


# what a reference leads to: its element, and whether that is on another page
KIND = """(link) => {
  const target = link.hash && document.getElementById(decodeURIComponent(link.hash.slice(1)));
  const far = link.pathname !== location.pathname;
  return far ? `far ${link.className}` : `${target?.localName} ${target?.className}`;
}"""


# the words of a page, which need not be laid out for that
PROSE = """(address) => fetch(address).then((answer) => answer.text()).then((html) => {
  const page = new DOMParser().parseFromString(html, 'text/html');
  page.querySelectorAll('.katex').forEach((formula) => formula.remove());
  return [...page.querySelectorAll('article > section > p')].map((p) => p.textContent);
})"""


def test_search_finds_a_word_of_each_chapter(published, tab):
    tab.goto(published.address + published.pages[0])
    texts = {address: set(tab.evaluate(PROSE, address)) for address in published.pages}
    words = {
        address: {
            word
            for line in lines
            for word in line.lower().split()
            if word.isalpha() and len(word) > 5 and not word.endswith("s")  # and its plural
        }
        for address, lines in texts.items()
    }
    sought = 0
    named = set(tab.locator("#contents").inner_text().lower().split())
    for address, own in words.items():
        others = named.union(*(some for other, some in words.items() if other != address))
        known = {word[:6] for word in others}
        if not (own := sorted(word for word in own if word[:6] not in known)):
            continue  # a page of a few words that others have too
        word = max(own, key=len)
        tab.keyboard.press("/")
        tab.locator("#query").fill(word)
        expect(
            tab.locator(f'#hits a[href^="..{address}"]').first, f"{word} in {address}"
        ).to_be_visible()
        expect(tab.locator("#hits mark").first).to_have_text(re.compile(word, re.IGNORECASE))
        tab.keyboard.press("Escape")
        expect(tab.locator("#search")).to_be_hidden()
        sought += 1
    assert sought > len(words) / 2


# what a reader may type, and how the title of the first hit begins or, after an ellipsis, ends
QUERIES = {
    "MI": "I(X;Y)",
    "KL": "D_KL[p ∥ q]",
    "D_KL": "D_KL[p ∥ q]",
    "beta": "β",
    "water filling": "… reverse water-filling",
    "entropy": "Entropy",
    "entopy": "Entropy",
    "Informaton botleneck": "Information bottleneck",
    "mutaul information": "I(X;Y)",
    "data procesing": "Theorem 1.2 (Data processing)",
    "eq 3.4": "Equation 3.4",
    "equation (2.1)": "Equation 2.1",
    "theorem 3.1": "Theorem 3.1",
    "Fig. 5.2": "Figure 5.2",
    "exercise 2.1": "Exercise 2.1",
}


def test_a_query_leads_where_its_reader_wants_to_go(book):
    with urlopen(f"{book.address}/search-records.js") as answer:
        index = json.loads(answer.read().decode().partition("=")[2].strip().rstrip(";"))
    spelt = answers(index, *QUERIES, "reparameterization")
    for (query, title), hits in zip(QUERIES.items(), spelt, strict=False):
        first = hits[0]["record"]["title"]
        ends = title.startswith("… ") and first.endswith(title[2:])
        assert first.startswith(title) or ends, f"{query}: {first}"
    assert all("reparameterisation" in hit["record"]["text"] for hit in spelt[-1])
    assert spelt[-1]
    for record in index["records"]:
        shown = " ".join(record.get(part, "") for part in ("title", "text", "meaning"))
        assert not re.search(r"\\|\$|^(from|import) ", shown, re.MULTILINE), record


def test_every_chapter_has_a_copy_that_any_viewer_shows(book):
    copies = list((book.folder / "notebooks").glob("*.ipynb"))
    assert {path.stem for path in copies} >= {chapter.name for chapter in chapters()}
    for path in copies:
        sound(path)


# ---- the sample book, by hand


def test_keyboard(sample, tab):
    tab.goto(f"{sample.address}/sample/")
    tab.keyboard.press("Tab")
    expect(tab.locator(".skip")).to_be_focused()
    expect(tab.locator(".skip")).to_be_in_viewport()
    tab.keyboard.press("Enter")
    expect(tab.locator("main")).to_be_focused()
    tab.keyboard.press("/")
    expect(tab.locator("#query")).to_be_focused()
    tab.keyboard.type("gibbs")
    expect(tab.locator("#hits a").first).to_be_visible()
    tab.keyboard.press("ArrowDown")
    expect(tab.locator("#hits a").first).to_be_focused()
    tab.keyboard.press("ArrowUp")
    expect(tab.locator("#query")).to_be_focused()
    tab.keyboard.press("Escape")
    expect(tab.locator("#search")).to_be_hidden()
    tab.keyboard.press("/")
    tab.locator("#query").fill("zzzz")
    expect(tab.locator("#found")).to_have_text("Nothing found")
    tab.locator("#query").fill("rate of a description")
    expect(tab.locator("#hits a").first).to_be_visible()
    tab.keyboard.press("Enter")
    tab.wait_for_url("**/second/**")


def test_a_search_while_the_index_loads_ends_with_the_last_words(sample, tab):
    # the records come a second after the first key
    tab.add_init_script(
        "const add = Element.prototype.append; Element.prototype.append = function (...all) {"
        " setTimeout(() => add.apply(this, all), /search-records/.test(all[0]?.src) ? 900 : 0) }"
    )
    tab.goto(f"{sample.address}/sample/")
    tab.keyboard.press("/")
    tab.keyboard.type("gibbs")
    tab.wait_for_timeout(1500)
    expect(tab.locator("#hits mark").first).to_have_text("gibbs", ignore_case=True)


def test_hover_card_by_keyboard_and_across_pages(sample, tab, axe):
    tab.goto(f"{sample.address}/sample/")
    reference = tab.locator('a.xref[href="../second/#eq-t-rate"]')
    reference.focus()
    tab.keyboard.press("Shift+Tab")
    tab.keyboard.press("Tab")
    expect(tab.locator("#peek .katex")).to_be_visible()
    expect(reference).to_have_attribute("aria-describedby", "peek")
    assert violations(tab, axe) == []
    tab.keyboard.press("Escape")
    expect(tab.locator("#peek")).to_have_count(0)
    expect(reference).not_to_have_attribute("aria-describedby", "peek")


@pytest.mark.parametrize("page", ["sample", "second"])
def test_a_number_in_prose_shows_what_it_is_and_leads_to_its_cell(sample, tab, axe, page):
    tab.goto(f"{sample.address}/{page}/")
    number = tab.locator("a.measured").last
    number.hover()
    card = tab.locator("#peek")
    expect(card).to_contain_text("Rate of a coin")
    expect(card).to_contain_text("0.3681 nats")
    expect(card).to_contain_text("3 seeds, 0.3500 to 0.3862, rerun ± 0.05 nats")
    assert violations(tab, axe) == []
    card.get_by_text("Go to the cell").click()
    expect(tab).to_have_url(f"{sample.address}/sample/#sample.rate")
    expect(tab.locator("tr:target")).to_be_in_viewport()


def test_the_choice_of_light_or_dark_stays(sample, tab):
    tab.goto(f"{sample.address}/")
    expect(tab.locator("html")).to_have_attribute("data-theme", "light")
    tab.click("#mode")
    tab.goto(f"{sample.address}/second/")
    expect(tab.locator("html")).to_have_attribute("data-theme", "dark")
    tab.click("#mode")
    tab.reload()
    expect(tab.locator("html")).to_have_attribute("data-theme", "light")


def test_contents_on_a_phone(sample, browser, axe):
    for page in watched(browser, 390, "light"):
        page.goto(f"{sample.address}/sample/")
        contents = page.locator("#contents")
        expect(contents).to_be_hidden()
        page.click("#menu")
        expect(contents).to_be_visible()
        assert violations(page, axe) == []
        page.keyboard.press("Escape")
        expect(contents).to_be_hidden()
        page.click("#menu")
        contents.get_by_text("The second chapter").click()
        page.wait_for_url("**/second/")
        expect(contents).to_be_hidden()


def test_the_sections_of_a_page_on_a_phone(sample, browser, axe):
    for page in watched(browser, 390, "light"):
        page.goto(f"{sample.address}/sample/")
        outline = page.locator("#outline")
        expect(outline).to_be_hidden()
        page.get_by_role("button", name="On this page").click()
        expect(outline).to_be_visible()
        assert violations(page, axe) == []
        outline.get_by_text("What we saw").click()
        expect(outline).to_be_hidden()
        expect(page.locator("#what-we-saw")).to_be_in_viewport()


def test_tabs_and_folds_answer_to_keys(sample, tab):
    tab.goto(f"{sample.address}/sample/")
    tab.locator(".tabs input").first.focus()
    expect(tab.get_by_text("Write the sum out.")).to_be_visible()
    tab.keyboard.press("ArrowRight")
    expect(tab.get_by_text("Write the sum out.")).to_be_hidden()
    expect(tab.locator(".panel code")).to_be_visible()
    answer = tab.locator("details.solution")
    expect(answer.locator(".fold-body")).to_be_hidden()
    answer.locator("summary").focus()
    tab.keyboard.press("Enter")
    expect(answer.locator(".fold-body")).to_be_visible()


def test_only_what_is_too_wide_takes_focus(sample, browser):
    for page in watched(browser, 390, "light"):
        page.goto(f"{sample.address}/sample/")
        expect(page.locator("#eq-s-long .scroll")).to_have_attribute("tabindex", "0")
        short = page.locator(".equation:not([id]) .scroll").first
        expect(short).not_to_have_attribute("tabindex", "0")
        page.locator("#eq-s-long .scroll").focus()
        page.keyboard.press("ArrowRight")
        expect(page.locator(":focus")).not_to_have_js_property("scrollLeft", 0)


def test_copy_gives_the_code_without_line_numbers(sample, tab):
    tab.goto(f"{sample.address}/sample/")
    listing = tab.locator(".code", has=tab.locator(".line-number"))
    listing.hover()
    listing.get_by_role("button").click()
    expect(listing.get_by_role("button")).to_have_text("Copied")
    copied = tab.evaluate("navigator.clipboard.readText()")
    assert copied == "def entropy(p):\n    return -(p * p.log()).nansum()"


def test_a_copied_formula_is_what_was_typed(sample, tab):
    tab.goto(f"{sample.address}/sample/")
    copied = tab.evaluate(
        """() => {
          const from = document.querySelector('#thm-s-gibbs > p:last-child');
          getSelection().selectAllChildren(from);
          document.execCommand('copy');
          return navigator.clipboard.readText();
        }"""
    )
    assert copied == (
        r"For distributions $p$ and $q$ on one set, $-\sum_x p(x) \ln q(x) \ge H(p)$, "
        r"with equality only if $q = p$."
    )
    copied = tab.evaluate(
        """() => {
          getSelection().selectAllChildren(document.querySelector('#eq-s-entropy .base'));
          document.execCommand('copy');
          return navigator.clipboard.readText();
        }"""
    )
    assert copied.startswith(r"$$H(p) = -\sum_x")
    assert copied.endswith(r"\ln |\mathcal X| .$$")


def test_a_tapped_figure_is_large_enough_to_read(sample, browser, axe):
    for page in watched(browser, 390, "dark"):
        page.goto(f"{sample.address}/sample/")
        figure = page.locator("#fig-s-curve a.picture")
        small = figure.locator(".for-dark").bounding_box()["width"]
        assert small <= 390
        figure.click()
        large = page.locator("#zoom img")
        expect(large).to_be_in_viewport()
        assert large.bounding_box()["width"] == 720
        assert large.get_attribute("src") == figure.locator(".for-dark").get_attribute("src")
        assert violations(page, axe) == []
        page.locator("#zoom .pan").evaluate("(pan) => { pan.scrollLeft = 200; }")
        page.keyboard.press("Escape")
        expect(large).to_be_hidden()
        expect(figure).to_be_focused()


def test_what_scrolls_shows_it(sample, browser):
    """A shade at the edge where there is more, and none at the end."""
    for page in watched(browser, 390, "light"):
        page.goto(f"{sample.address}/sample/")
        box = page.locator("pre.scroll", has_text="torch.linspace").first
        box.scroll_into_view_if_needed()
        shades = []
        for left in (0, 9999):
            box.evaluate(f"(box) => {{ box.scrollLeft = {left}; }}")
            shades.append([pixel(page, box, edge) for edge in ("left", "right")])
        plain, more = shades[0]
        assert luminance(plain) - luminance(more) > 25
        assert luminance(shades[1][0]) < luminance(plain) - 25
        assert abs(luminance(shades[1][1]) - luminance(plain)) < 3


def pixel(page: Page, box: Locator, edge: str) -> tuple[int, ...]:
    """The colour just inside an edge of a box, a little below its top."""
    place = box.bounding_box()
    x = place["x"] + (1 if edge == "left" else place["width"] - 2)
    clip = {"x": x, "y": place["y"] + 6, "width": 1, "height": 1}
    with Image.open(io.BytesIO(page.screenshot(clip=clip))) as picture:
        return picture.convert("RGB").getpixel((0, 0))


def luminance(colour: tuple[int, ...]) -> float:
    return sum(colour) / 3


def test_on_a_phone_a_row_of_many_words_is_a_card(book, browser):
    """Each cell says the name of its column, and nothing has to be scrolled sideways."""
    names = """(table) => [...table.querySelectorAll('tbody tr')].map((row) => [...row.cells]
      .filter((cell) => cell.checkVisibility())
      .map((cell) => getComputedStyle(cell, '::before').content.replaceAll('"', '').trim()))"""
    wide = "(table) => table.scrollWidth > table.parentElement.clientWidth"
    heads = {
        "reproduction": {"source", "claim", "reported", "ours", "verdict"},
        "results": {"run", "chapter", "finished (UTC)", "run time", "machine", "parameters"},
    }
    for page in watched(browser, PHONE, "light"):
        for address, head in heads.items():
            page.goto(f"{book.address}/{address}/")
            settle(page)
            tables = page.locator("table.stacked").all()
            shown = [cells for table in tables for cells in table.evaluate(names)]
            assert head in map(set, shown)
            assert "none" not in set().union(*shown)
            assert not any(table.evaluate(wide) for table in tables)
            assert {th.get_attribute("scope") for th in page.locator(".stacked th").all()} == {
                "col"
            }
            page.set_viewport_size({"width": WIDE, "height": 900})
            assert set(tables[0].evaluate(names)[0]) == {"none"}
            page.set_viewport_size({"width": PHONE, "height": 900})


def test_the_numbers_of_a_cell_fit_a_narrow_phone(sample, browser):
    for page in watched(browser, 320, "light"):
        page.goto(f"{sample.address}/sample/")
        settle(page)
        around = page.locator(".scroll:has(> .records)")
        assert around.evaluate("(box) => box.scrollWidth <= box.clientWidth")


def test_formulas_keep_accents_and_roots_in_forced_colours(sample, browser):
    context = browser.new_context(forced_colors="active", color_scheme="dark")
    page = context.new_page()
    page.goto(f"{sample.address}/sample/")
    drawn = page.evaluate(
        """['.katex svg', '.katex :is(.overline-line, .frac-line)'].map((kind) =>
          [...document.querySelectorAll(kind)].map((part) => {
            const { fill, borderBottomColor } = getComputedStyle(part);
            const text = getComputedStyle(part.closest('p, .equation')).color;
            return [part.localName === 'svg' ? fill : borderBottomColor, text];
          }))"""
    )
    context.close()
    for kind in drawn:
        assert len(kind) >= 4
        assert all(shown == text for shown, text in kind)


def test_figures_and_theorems_have_an_address(sample, tab):
    tab.goto(f"{sample.address}/sample/")
    for name, place in (("Figure\u00a01.1", "fig-s-curve"), ("Theorem 1.1", "thm-s-gibbs")):
        tab.locator(".permalink", has_text=name).first.click()
        expect(tab).to_have_url(f"{sample.address}/sample/#{place}")
        expect(tab.locator(":target")).to_be_in_viewport()


def test_an_address_within_a_long_page_leads_there(book, browser):
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    for place in (
        "lambda-beta-vae/#fig-lb-thresholds",
        "beta-vae/#sec-vae-metrics",
        "information-bottleneck/#sec-ib-letters",
    ):
        page.goto(f"{book.address}/{place}")
        expect(page.locator(":target")).to_be_in_viewport()
    page.close()


def test_the_outline_follows_the_reader(sample, tab):
    tab.goto(f"{sample.address}/sample/#blocks")
    expect(tab.locator("#outline .here")).to_contain_text("Blocks")


def test_paper_is_white_and_bare(sample, browser):
    for page in watched(browser, 1280, "dark"):
        page.goto(f"{sample.address}/sample/")
        settle(page)
        page.emulate_media(media="print")
        for hidden in (".top", "#contents", "#outline", ".around", ".copy >> nth=0"):
            expect(page.locator(hidden)).to_be_hidden()
        ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert ground == "rgb(255, 255, 255)"
        assert page.locator(".for-dark:visible").count() == 0


def test_the_book_can_be_read_without_scripts(sample, browser):
    context = browser.new_context(
        java_script_enabled=False,
        color_scheme="dark",
        viewport={"width": 1280, "height": 900},
    )
    page = context.new_page()
    page.goto(f"{sample.address}/sample/")
    expect(page.locator("body")).to_have_css("background-color", "rgb(18, 22, 27)")
    expect(page.locator("#fig-s-curve .for-dark")).to_be_visible()
    expect(page.locator("#fig-s-curve .for-light")).to_be_hidden()
    assert page.locator("button:visible").count() == 0
    page.emulate_media(color_scheme="light")
    expect(page.locator("#eq-s-entropy .katex-html")).to_be_visible()
    expect(page.locator("#fig-s-curve .for-light")).to_be_visible()
    expect(page.locator("#contents")).to_be_visible()
    page.locator(".tabs label").nth(1).click()
    expect(page.locator(".panel code")).to_be_visible()
    context.close()


def test_the_folder_opens_from_a_disk(sample, browser):
    """By a double click: also the search, as its records come as a script."""
    page, faults = browser.new_page(), []
    page.on("console", lambda said: faults.append(said.text))
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.goto((sample.folder / "index.html").as_uri())
    page.click("#find")
    page.locator("#query").fill("gibs")
    page.locator("#hits a").first.click()
    expect(page.locator("#thm-s-gibbs:target")).to_be_in_viewport()
    page.click("#mode")
    expect(page.locator("body")).to_have_css("background-color", "rgb(18, 22, 27)")
    page.locator("#contents").get_by_text("Start here").click()
    expect(page).to_have_title("A sample book")
    page.locator("#contents").get_by_text("The sample chapter").click()
    expect(page.locator("#fig-s-curve .picture img:visible")).to_have_js_property("complete", True)
    page.locator('a.xref[href*="eq-t-rate"]').click()
    expect(page.locator("#eq-t-rate:target .katex-html")).to_be_in_viewport()
    page.close()
    assert not faults
