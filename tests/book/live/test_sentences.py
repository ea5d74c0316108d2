"""What live figures say when they are moved in Chromium, against the package."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest
import torch
from playwright.sync_api import expect

from ibbook.corex import corex
from ibbook.diffusion import cosine_alpha_bar, gaussian_bound, linear_alpha_bar, sqrt_alpha_bar
from ibbook.figures import LIVE_MIME
from ibbook.information import entropy, mutual_information
from ibbook.linear_gaussian import collapse_threshold
from ibbook.objective import gaussian_kl
from ibbook.rate_distortion import blahut_arimoto, gaussian_rate
from tests.book.live.pages import FIGURES, drag, numbers, opened, said


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


def test_water_moves_by_dragging_the_level(tab, address):
    opened(tab, address, "water")
    line = tab.locator("[data-drag]").bounding_box()
    x, y = line["x"] + line["width"] / 2, line["y"] + line["height"] / 2
    tab.mouse.move(x, y)
    tab.mouse.down()
    tab.mouse.move(x, y - 40, steps=4)
    tab.mouse.up()
    level, distortion, rate, described, _ = numbers(said(tab))
    variances = FIGURES["water"][0][LIVE_MIME]["data"]["variances"]
    slider = tab.locator(".stage input").evaluate("i => Math.exp(i.valueAsNumber)")
    total = sum(min(v, slider) for v in variances)
    assert level > 0.6  # from 0.46
    assert distortion == pytest.approx(total, abs=0.006)
    assert rate == pytest.approx(gaussian_rate(variances, total).item(), abs=0.006)
    assert described == sum(v > slider for v in variances)


def test_blahut_says_where_the_textbook_iteration_stands(tab, address):
    opened(tab, address, "blahut")
    for _ in range(3):
        tab.get_by_role("button", name="One step").click()
    data = FIGURES["blahut"][0][LIVE_MIME]["data"]
    point = blahut_arimoto(data["p"], data["distortion"], data["beta"], iterations=4)
    step, *weights, rate, distortion, gap = numbers(said(tab))
    assert step == 4
    assert weights == pytest.approx(point.marginal.tolist(), abs=6e-4)
    assert [rate, distortion] == pytest.approx(
        [point.rate.item(), point.distortion.item()], abs=6e-5
    )
    assert gap == pytest.approx(point.gap.item(), abs=6e-6)


def test_blahut_runs_by_itself_unless_motion_is_unwelcome(browser, address):
    for motion in ("no-preference", "reduce"):
        page = browser.new_page(reduced_motion=motion)
        opened(page, address, "blahut")
        page.get_by_role("button", name="Run").click()
        first = page.locator(".stage input").first.input_value()
        assert (first == "100") == (motion == "reduce")
        page.wait_for_function("document.querySelector('.stage input').value > 3")
        page.close()


def test_spikes_says_when_silence_is_lost(tab, address):
    opened(tab, address, "spikes")
    assert said(tab).count("so silence is best") == 2
    tab.locator(".stage input").press("PageUp")
    assert said(tab).count("so silence is not best") == 2
    assert "bends upwards" in said(tab).split("For q and u")[0]
    assert "bends downwards" in said(tab).split("For q and u")[1]


def test_letters_climb_the_curve_and_answer_to_the_pointer(tab, address):
    opened(tab, address, "letters")
    slider, climbed = tab.locator(".stage input"), []
    for _ in range(6):
        slider.press("ArrowRight")
        climbed.append(numbers(said(tab))[2:4])
    assert sorted(climbed) == climbed
    tab.locator("text[data-letter='4']").first.hover()
    expect(tab.locator(".stage select")).to_have_value("4")
    assert "The letter " in said(tab)


def test_a_turn_lowers_the_score_costs_and_leaves_what_is_told(tab, address):
    opened(tab, address, "turn")
    before = numbers(said(tab))
    drag(tab.locator(".stage input"), 0.75)
    degrees, score, told, price = numbers(said(tab))
    assert 40 <= degrees <= 50
    assert score < before[1]
    assert told == before[2]
    assert price > before[3]


def test_gaussians_say_what_the_package_does(tab, address):
    opened(tab, address, "gaussians")
    drag(tab.locator(".stage input").first, 0.3)
    places = tab.locator(".stage input").evaluate_all("all => all.map(i => i.valueAsNumber)")
    mean, log_width = torch.tensor(places, dtype=torch.float64).reshape(2, 2).T
    rate, told, misfit, right = numbers(said(tab))[:4]
    assert rate == pytest.approx(gaussian_kl(mean, 2 * log_width).mean().item(), abs=6e-4)
    assert told <= math.log(2) + 6e-4
    assert told + misfit == pytest.approx(rate, abs=2e-3)
    assert 50 <= right <= 100


def test_walk_moves_the_picture_with_the_point(tab, address):
    opened(tab, address, "walk")
    box = tab.locator("[data-drag]").bounding_box()
    picture = "document.querySelector('.stage canvas').toDataURL()"
    before = tab.evaluate(picture)
    tab.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    tab.mouse.down()
    tab.mouse.move(box["x"] + 0.7 * box["width"], box["y"] + 0.3 * box["height"], steps=4)
    tab.mouse.up()
    low, high = (FIGURES["walk"][0][LIVE_MIME]["data"]["values"][k] for k in (0, -1))
    expected = [low + share * (high - low) for share in (0.7, 0.7)]
    assert numbers(said(tab))[:2] == pytest.approx(expected, abs=0.05)
    assert tab.evaluate(picture) != before


def test_diffusion_adds_up_what_its_steps_release(tab, address):
    opened(tab, address, "diffusion")
    data = FIGURES["diffusion"][0][LIVE_MIME]["data"]
    for k, schedule in enumerate((linear_alpha_bar, cosine_alpha_bar, sqrt_alpha_bar)):
        tab.locator(".stage select").select_option(index=k)
        tab.locator(".stage input").press("End")
        bounds = [
            gaussian_bound(schedule(data["steps"]), data["variances"], reverse=reverse).steps
            for reverse in ("exact", "fixed")
        ]
        _, _, released, paid, *sums = numbers(said(tab))
        assert [released, paid] == pytest.approx([b[0].item() for b in bounds], abs=6e-5)
        assert sums == pytest.approx([b.sum().item() for b in bounds], abs=6e-4)


def test_thresholds_rise_with_the_penalty(tab, address):
    opened(tab, address, "thresholds")
    data = FIGURES["thresholds"][0][LIVE_MIME]["data"]
    loadings = torch.tensor(data["loadings"], dtype=torch.float64)
    cov = loadings @ loadings.T + data["floor"] * torch.eye(len(loadings), dtype=torch.float64)
    slider = tab.locator(".stage input").last
    for key in ("Home", "PageUp"):
        slider.press(key)
        l2 = slider.evaluate("i => i.valueAsNumber")
        found = [float(x) for x in re.findall(r"threshold ([\d.]+)", said(tab))]
        kinds = ("full", "diagonal", "isotropic", data["fixed"])
        wanted = [collapse_threshold(cov, noise=kind, l2=l2).item() for kind in kinds]
        assert found == pytest.approx(wanted, abs=0.06, rel=1e-4)


def test_corex_says_what_a_code_explains(tab, address):
    opened(tab, address, "corex")
    flip = FIGURES["corex"][0][LIVE_MIME]["data"]["flip"]
    noisy = torch.tensor([[1 - flip, flip], [flip, 1 - flip]], dtype=torch.float64)
    pair, copy = noisy.T @ noisy / 2, torch.eye(2, dtype=torch.float64)
    p = pair[:, :, None, None] * pair
    latents = tab.locator(".stage select")
    for second, reads in ((0, "iu,iv->iuv"), (2, "iu,kv->ikuv")):
        latents.last.select_option(index=second)
        code = torch.einsum(reads, copy, copy)
        code = code[:, None, None, None] if second == 0 else code[:, None, :, None]
        found = corex(p, code.expand(2, 2, 2, 2, 2, 2))
        wanted = [found.total, found.unexplained, found.entangled, found.objective]
        assert numbers(said(tab))[:4] == pytest.approx([x.item() for x in wanted], abs=6e-4)
