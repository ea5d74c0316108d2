"""Live figures in Chromium: every control moved, every figure on a phone, in print, in the dark."""

from __future__ import annotations

import json
import re

import pytest
from ibtheme import context, live
from markupsafe import Markup
from playwright.sync_api import expect

from ibbook.figures import COLOURS
from tests.book.live.pages import FIGURES, PUBLIC, Memory, drag, opened, said

# ---- every figure


@pytest.mark.parametrize("module", FIGURES)
def test_every_control_moves_by_mouse_and_by_key_and_what_it_does_is_spoken(tab, address, module):
    opened(tab, address, module)
    replaced = tab.locator(".live.replaced").count()
    assert tab.locator(".picture img.for-light").is_visible() != bool(replaced)
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
def test_every_figure_fits_a_phone_and_is_accessible_in_the_dark(tab, address, axe, module):
    tab.set_viewport_size({"width": 390, "height": 900})
    opened(tab, address, module, "dark")
    assert tab.evaluate("document.documentElement.scrollWidth") == 390
    assert tab.evaluate(BEYOND) == []
    tab.evaluate(axe)
    found = tab.evaluate("axe.run('.stage').then((result) => result.violations)")
    assert [(rule["id"], [node["target"] for node in rule["nodes"]]) for rule in found] == []
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


def test_without_javascript_the_picture_stays(browser, address, one):
    page = browser.new_context(java_script_enabled=False).new_page()
    page.goto(f"{address}/{one}/light")
    expect(page.locator(".picture img.for-light")).to_be_visible()
    assert page.locator(".stage").count() == 0
    page.context.close()


@pytest.mark.parametrize("obstacle", ["saveData", "no module"])
def test_who_saves_data_or_lacks_the_module_keeps_the_picture(browser, address, one, obstacle):
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
