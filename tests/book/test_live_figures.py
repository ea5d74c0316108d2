"""Live figures in Chromium, with the data that the stored notebooks carry: moved, read, printed."""

from __future__ import annotations

import json
import re
import sys
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from markupsafe import Markup
from playwright.sync_api import Browser, Locator, Page, expect

from ibbook.book.chapters import chapters, read
from ibbook.figures import COLOURS, LIVE_MIME
from ibbook.information import entropy, mutual_information
from tests.book.test_browser import axe, browser, violations, watched  # noqa: F401

ROOT = Path(__file__).resolve().parents[2]
PUBLIC = ROOT / "theme" / "public"
sys.path.insert(0, str(ROOT / "theme"))

from ibtheme import context, live, outputs  # noqa: E402

PAGE = """<!DOCTYPE html><html lang="en" data-theme="{mode}"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1"><title>{module}</title>
<link rel="icon" href="/theme/icon.svg"><link rel="stylesheet" href="/theme/book.css">
<link rel="stylesheet" href="/live/live.css"><script defer src="/live/start.js"></script>
</head><body><main><h1>{module}</h1><figure>{figure}</figure></main></body></html>"""


class Memory:
    """Where a renderer keeps files, when there is no folder."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}

    def url(self, path: str) -> str:
        return path

    def read(self, path: str) -> bytes:
        raise FileNotFoundError(path)

    def save(self, content: bytes, suffix: str) -> str:
        path = f"/saved/{len(self.files)}{suffix}"
        self.files[path] = content
        return path


def stored() -> Iterator[tuple[dict, dict]]:
    """Bundle and metadata of every live figure of the book."""
    for chapter in chapters(ROOT):
        for cell in read(chapter.stored).cells:
            for output in cell.get("outputs", []):
                if LIVE_MIME in output.get("data", {}):
                    yield output.data, output.metadata


FIGURES = {data[LIVE_MIME]["module"]: (data, metadata) for data, metadata in stored()}


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """A page for each figure and mode, as the theme writes the figure: /MODULE/MODE."""
    memory, pages = Memory(), {}
    for module, (data, metadata) in FIGURES.items():
        parts = {
            kind: {"content": json.dumps(part) if kind == LIVE_MIME else part}
            for kind, part in data.items()
        }
        here = context.Context(memory)
        figure = outputs.bundle(parts, metadata, here)
        assert not here.problems
        for mode in ("light", "dark"):
            pages[f"/{module}/{mode}"] = PAGE.format(module=module, mode=mode, figure=figure)

    class Handler(SimpleHTTPRequestHandler):
        def do_GET(self) -> None:
            body = memory.files.get(self.path) or pages.get(self.path, "").encode()
            if not body:
                super().do_GET()
                return
            self.send_response(200)
            self.send_header("Content-Type", self.guess_type(self.path))
            self.end_headers()
            self.wfile.write(body)

        def guess_type(self, path: str) -> str:
            return "text/html" if path in pages else super().guess_type(path)

        def log_message(self, *arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(PUBLIC)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def tab(browser: Browser) -> Iterator[Page]:  # noqa: F811
    """One page for all tests; it fails on an error or a foreign request."""
    yield from watched(browser, 1000, "light")


def opened(tab: Page, address: str, module: str, mode: str = "light") -> Page:
    tab.goto(f"{address}/{module}/{mode}")
    expect(tab.locator(".live.on .stage output")).to_have_text(re.compile(r"\d"))
    return tab


def said(tab: Page) -> str:
    return tab.locator(".stage output").inner_text()


def drag(slider: Locator, share: float) -> None:
    """Move a slider's thumb with the mouse to a share of its way."""
    low, high, at = slider.evaluate("i => [Number(i.min), Number(i.max), i.valueAsNumber]")
    box, thumb = slider.bounding_box(), 16
    place = lambda part: box["x"] + thumb / 2 + part * (box["width"] - thumb)  # noqa: E731
    mouse, y = slider.page.mouse, box["y"] + box["height"] / 2
    mouse.move(place((at - low) / (high - low)), y)
    mouse.down()
    mouse.move(place(share), y, steps=3)
    mouse.up()


def numbers(text: str) -> list[float]:
    return [float(word) for word in re.findall(r"-?\d+(?:\.\d+)?", text)]


# ---- every figure


@pytest.mark.parametrize("module", FIGURES)
def test_every_control_moves_by_mouse_and_by_key_and_what_it_does_is_spoken(tab, address, module):
    opened(tab, address, module)
    expect(tab.locator(".picture")).to_be_hidden()
    sliders = tab.locator(".stage input[type=range]")
    assert sliders.count()
    for slider in sliders.all():
        before, share = said(tab), slider.evaluate("i => (i.value - i.min) / (i.max - i.min)")
        drag(slider, 0.2 if share > 0.5 else 0.8)
        assert said(tab) != before
        before, words = said(tab), slider.get_attribute("aria-valuetext")
        slider.press("Home" if share <= 0.5 else "End")
        assert slider.get_attribute("aria-valuetext") != words
        assert said(tab) != before
    for select in tab.locator(".stage select").all():
        before = said(tab)
        select.select_option(index=1)
        assert said(tab) != before
    for button in tab.locator(".stage button:enabled").all():
        before = said(tab)
        button.press("Enter")
        tab.wait_for_function(
            "before => document.querySelector('output').innerText !== before", arg=before
        )
    assert not re.search(r"NaN|Infinity|undefined", tab.locator(".stage").inner_text())


@pytest.mark.parametrize("module", FIGURES)
def test_every_figure_fits_a_phone_and_is_accessible_in_the_dark(tab, address, axe, module):  # noqa: F811
    tab.set_viewport_size({"width": 390, "height": 900})
    opened(tab, address, module, "dark")
    assert tab.evaluate("document.documentElement.scrollWidth") == 390
    assert tab.evaluate(BEYOND) == []
    assert violations(tab, axe) == []
    tab.set_viewport_size({"width": 1000, "height": 900})


# texts of a drawing that a phone would cut off
BEYOND = """[...document.querySelectorAll('.stage svg text')]
  .map((text) => [text.textContent, text.getBoundingClientRect()])
  .filter(([, box]) => box.width && (box.left < 0 || box.right > 390))
  .map(([text]) => text)"""


@pytest.mark.parametrize("module", FIGURES)
def test_what_is_pressed_on_a_small_screen_is_large_enough(tab, address, module):
    tab.set_viewport_size({"width": 390, "height": 900})
    opened(tab, address, module)
    for control in tab.locator(".stage :is(input, select, button)").all():
        box = control.bounding_box()
        assert box["height"] >= 24
        assert box["width"] >= 24
    tab.set_viewport_size({"width": 1000, "height": 900})


# ---- the way from picture to figure


@pytest.fixture
def one() -> str:
    return next(iter(FIGURES))


def test_print_keeps_the_picture(tab, address, one):
    opened(tab, address, one)
    tab.emulate_media(media="print")
    expect(tab.locator(".picture")).to_be_visible()
    expect(tab.locator(".stage")).to_be_hidden()
    tab.emulate_media(media="screen")


def test_without_javascript_the_picture_stays(browser, address, one):  # noqa: F811
    page = browser.new_context(java_script_enabled=False).new_page()
    page.goto(f"{address}/{one}/light")
    expect(page.locator(".picture img.for-light")).to_be_visible()
    assert page.locator(".stage").count() == 0
    page.context.close()


@pytest.mark.parametrize("obstacle", ["saveData", "no module"])
def test_who_saves_data_or_lacks_the_module_keeps_the_picture(browser, address, one, obstacle):  # noqa: F811
    page = browser.new_page()
    if obstacle == "saveData":
        page.add_init_script(
            "Object.defineProperty(navigator, 'connection', {value: {saveData: true}})"
        )
    else:
        page.route(f"**/live/{one}.js", lambda route: route.abort())
    asked = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(f"{address}/{one}/light")
    page.wait_for_load_state("networkidle")
    expect(page.locator(".picture img.for-light")).to_be_visible()
    assert page.locator(".stage").count() == 0
    assert any(f"/{one}.js" in url for url in asked) == (obstacle == "no module")
    page.close()


def test_in_forced_colours_lines_and_texts_stand_out(tab, address, one):
    tab.emulate_media(forced_colors="active")
    opened(tab, address, one)
    paper = tab.evaluate("getComputedStyle(document.body).backgroundColor")
    used = tab.evaluate(
        """[...document.querySelectorAll('.stage svg :is(.solid, text)')]
           .map(part => getComputedStyle(part).fill)"""
    )
    assert used
    assert paper not in used
    tab.emulate_media(forced_colors="none")


def test_the_colours_are_those_of_the_pictures():
    css = (PUBLIC / "live" / "live.css").read_text()
    names = {"blue": "blue", "amber": "orange", "leaf": "green", "plum": "purple", "sand": "yellow"}
    for ours, theirs in names.items():
        assert re.findall(rf"--{ours}: (#\w+);", css) == list(COLOURS[theirs])


def test_large_data_are_asked_for_and_a_page_carries_small_ones():
    still, memory = Markup("<img>"), Memory()
    for count, inside in ((5, True), (5000, False)):
        content = json.dumps({"module": "diagram", "data": {"weights": [0.5] * count}})
        written = live.figure({"content": content}, still, context.Context(memory))
        assert ("<script" in written) == inside
        assert ("data-source" in written) != inside
    assert [json.loads(file) for file in memory.files.values()] == [{"weights": [0.5] * 5000}]


def test_data_cannot_end_their_script_and_an_unknown_module_is_a_problem():
    here = context.Context(Memory())
    content = json.dumps({"module": "diagram", "data": {"skies": ["</script><b>"]}})
    written = live.figure({"content": content}, Markup(""), here)
    assert written.count("</script>") == 1
    assert "\\u003c/script>" in written
    content = json.dumps({"module": "nothing", "data": {}})
    assert live.figure({"content": content}, Markup("<img>"), here) == "<img>"
    assert "'nothing'" in here.problems[0]


# ---- what the sentences say, against the package


def test_diagram_says_what_the_package_does(tab, address):
    opened(tab, address, "diagram")
    square = tab.locator("[data-drag='5']")
    box = square.bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    tab.mouse.move(x + 5, y)
    tab.mouse.down()
    tab.mouse.move(x + 9, y, steps=4)
    tab.mouse.up()
    cells = tab.locator(".stage input").evaluate_all("all => all.map(i => i.valueAsNumber)")
    assert cells[5] < 10  # of 25
    pxy = np.array(cells).reshape(3, 2) / sum(cells)
    expected = [entropy(p).item() for p in (pxy.sum(1), pxy.sum(0), pxy.ravel())]
    expected.append(mutual_information(pxy).item())
    assert numbers(said(tab))[:4] == pytest.approx(expected, abs=0.006)
    tab.get_by_role("button", name="Make independent").click()
    assert numbers(said(tab))[3] == 0
