"""Every page of the real book and of the sample book, offline, in Chromium.

The real book is the site in `IBBOOK_SITE`, or one built here from the committed notebooks.
"""

from __future__ import annotations

import json
import os
import re
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import NamedTuple
from urllib.request import urlopen

import pytest
import yaml
from playwright.sync_api import Browser, Page, expect

from ibbook.book import site
from ibbook.book.course import exercises
from tests.book import sample_book
from tests.book.course import leaks
from tests.book.test_search import answers

ROOT = Path(__file__).resolve().parents[2]
VARIANTS = [(width, mode) for width in (390, 1280) for mode in ("light", "dark")]
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


def watched(browser: Browser, width: int, mode: str) -> Iterator[Page]:
    context = browser.new_context(
        viewport={"width": width, "height": 900}, color_scheme=mode, reduced_motion="reduce"
    )
    context.grant_permissions(["clipboard-read", "clipboard-write"])
    page, faults = context.new_page(), []
    page.on("console", lambda said: said.type == "error" and faults.append(said.text))
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on(
        "requestfailed",  # what was still under way when the page was left is no fault
        lambda request: (
            request.failure == "net::ERR_ABORTED"
            or faults.append(f"{request.url}: {request.failure}")
        ),
    )
    page.on("response", lambda got: got.status < 400 or faults.append(f"{got.url}: {got.status}"))
    page.on(
        "request",
        lambda request: (
            request.url.startswith(("http://127.0.0.1:", "data:"))
            or faults.append(f"asks another host: {request.url}")
        ),
    )
    yield page
    context.close()
    assert not faults


def violations(page: Page, axe: str) -> list[str]:
    """What axe-core finds, with the elements at fault."""
    page.evaluate(axe)
    found = page.evaluate("axe.run().then((result) => result.violations)")
    return [
        f"{rule['id']}: {' | '.join(str(node['target']) for node in rule['nodes'][:4])}"
        for rule in found
    ]


def settle(page: Page) -> None:
    """Open every fold and load every picture that can be seen."""
    page.evaluate("document.querySelectorAll('details').forEach((fold) => { fold.open = true; })")
    page.evaluate("document.querySelectorAll('img').forEach((img) => { img.loading = 'eager'; })")
    page.wait_for_function(
        """[...document.images].filter((img) => img.checkVisibility())
           .every((img) => img.complete && img.naturalWidth)"""
    )
    page.wait_for_load_state("networkidle")


# ---- every page


@pytest.mark.parametrize(("width", "mode"), VARIANTS)
def test_every_page(width, mode, published, browser, axe):
    faults = []
    for page in watched(browser, width, mode):
        for address in ["/", *published.pages]:
            page.goto(published.address + address)
            settle(page)
            here = f"{address} at {width} px, {mode}"
            faults += [f"{here}: {fault}" for fault in violations(page, axe)]
            wide = page.evaluate("document.documentElement.scrollWidth")
            if wide > width:
                faults.append(f"{here}: {wide} px wide")
            for alt in page.locator("main img:visible").evaluate_all(
                "all => all.map((i) => i.alt)"
            ):
                if len(alt.split()) <= 5:
                    faults.append(f"{here}: alt text {alt!r}")
            for name, colour in page.evaluate(CORNERS):
                if max(abs(a - b) for a, b in zip(colour, PAPER[mode], strict=True)) > 2:
                    faults.append(f"{here}: {name} stands on {colour}, the page on {PAPER[mode]}")
    assert not faults


# the colour of a corner of each figure that is shown
CORNERS = """[...document.querySelectorAll('.for-light, .for-dark')]
  .filter((img) => img.checkVisibility())
  .map((img) => {
    const canvas = Object.assign(document.createElement('canvas'), { width: 1, height: 1 });
    const brush = canvas.getContext('2d');
    brush.drawImage(img, 0, 0);
    return [img.alt, [...brush.getImageData(0, 0, 1, 1).data].slice(0, 3)];
  })"""


def test_figures_have_a_dark_partner(published, tab):
    shown = 0
    light, dark = (f".for-{mode}:not(.live .for-{mode})" for mode in ("light", "dark"))
    for address in published.pages:
        tab.goto(published.address + address)
        pairs = tab.locator(light).count()
        assert pairs == tab.locator(dark).count()
        assert tab.locator(f"{dark}:visible").count() == 0
        tab.click("#mode")
        assert tab.locator(f"{dark}:visible").count() == tab.locator(dark).count()
        assert tab.locator(f"{light}:visible").count() == 0
        tab.click("#mode")
        shown += pairs
    assert shown


def test_search_finds_a_word_of_each_chapter(published, tab):
    texts = {}
    for address in published.pages:
        tab.goto(published.address + address)
        texts[address] = set(tab.locator("article > p").all_inner_texts())
    words = {
        address: {
            word for line in lines for word in line.split() if word.isalpha() and len(word) > 5
        }
        for address, lines in texts.items()
    }
    for address, own in words.items():
        others = set().union(*(some for other, some in words.items() if other != address))
        word = max(sorted(own - others), key=len)
        tab.keyboard.press("/")
        tab.locator("#query").fill(word)
        expect(
            tab.locator(f'#hits a[href^="..{address}"]').first, f"{word} in {address}"
        ).to_be_visible()
        singular = re.compile(word.removesuffix("s").removesuffix("ie"), re.IGNORECASE)
        expect(tab.locator("#hits mark").first).to_have_text(singular)
        tab.keyboard.press("Escape")
        expect(tab.locator("#search")).to_be_hidden()


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


def test_hover_cards_show_what_a_reference_means(published, tab):
    seen = 0
    for address in published.pages:
        tab.goto(published.address + address)
        for reference in tab.locator("article > p a.xref").all()[:4]:
            reference.scroll_into_view_if_needed()
            reference.hover()
            card = tab.locator("#peek")
            expect(card).to_be_visible()
            assert card.inner_text().strip()
            box = card.bounding_box()
            assert box["x"] >= 0
            assert box["x"] + box["width"] <= 1280
            tab.mouse.move(2, 2)
            expect(card).to_have_count(0)
            seen += 1
    assert seen


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
    expect(card).to_contain_text("5 seeds, rerun ± 0.05 nats")
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
        short = page.locator(".equation:not([id]) .scroll")
        expect(short).not_to_have_attribute("tabindex", "0")
        page.locator("#eq-s-long .scroll").focus()
        page.keyboard.press("ArrowRight")
        page.wait_for_function("document.activeElement.scrollLeft > 0")


def test_copy_gives_the_code_without_line_numbers(sample, tab):
    tab.goto(f"{sample.address}/sample/")
    listing = tab.locator(".code", has=tab.locator(".line-number"))
    listing.hover()
    listing.get_by_role("button").click()
    expect(listing.get_by_role("button")).to_have_text("Copied")
    copied = tab.evaluate("navigator.clipboard.readText()")
    assert copied == "def entropy(p):\n    return -(p * p.log()).nansum()"


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
