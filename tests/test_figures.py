from __future__ import annotations

import base64
import io
import json
import math
from itertools import combinations

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.colors import to_rgb
from PIL import Image

from ibbook import figures
from ibbook.figures import COLOURS, PALETTE


@pytest.fixture
def shown(monkeypatch):
    """What `show` displays, as a list of (bundle, metadata)."""
    out = []
    monkeypatch.setattr(
        figures, "display", lambda data, raw, metadata: out.append((data, metadata))
    )
    figures.use_house_style()
    return out


def linear(colour):
    c = np.array(to_rgb(colour))
    return np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)


def contrast(a, b):
    """WCAG 2.2 contrast ratio."""
    bright, dim = sorted(
        (float(linear(c) @ [0.2126, 0.7152, 0.0722]) for c in (a, b)), reverse=True
    )
    return (bright + 0.05) / (dim + 0.05)


@pytest.mark.parametrize("name", [n for n in COLOURS if n not in ("grid", "paper")])
@pytest.mark.parametrize("page", [0, 1], ids=["light", "dark"])
def test_every_colour_can_be_read_as_text_on_its_paper(name, page):
    assert contrast(COLOURS[name][page], COLOURS["paper"][page]) >= 4.5


def oklab(rgb):
    """Ottosson (2020), from linear RGB: Euclidean distance is close to perceived difference."""
    to_lms = [
        [0.4122214708, 0.5363325363, 0.0514459929],
        [0.2119034982, 0.6806995451, 0.1073969566],
        [0.0883024619, 0.2817188376, 0.6299787005],
    ]
    to_lab = [
        [0.2104542553, 0.7936177850, -0.0040720468],
        [1.9779984951, -2.4285922050, 0.4505937099],
        [0.0259040371, 0.7827717662, -0.8086757660],
    ]
    return np.array(to_lab) @ np.cbrt(np.array(to_lms) @ np.clip(rgb, 0, 1))


# Machado, Oliveira and Fernandes (2009), severity 1
SIGHT = {
    "usual": np.eye(3),
    "protan": np.array(
        [
            [0.152286, 1.052583, -0.204868],
            [0.114503, 0.786281, 0.099216],
            [-0.003882, -0.048116, 1.051998],
        ]
    ),
    "deutan": np.array(
        [
            [0.367322, 0.860646, -0.227968],
            [0.280085, 0.672501, 0.047413],
            [-0.011820, 0.042940, 0.968881],
        ]
    ),
}


@pytest.mark.parametrize("sight", SIGHT)
@pytest.mark.parametrize("page", [0, 1], ids=["light", "dark"])
def test_the_first_three_colours_differ_for_colour_blind_eyes(sight, page):
    seen = [oklab(SIGHT[sight] @ linear(COLOURS[n][page])) for n in ("blue", "orange", "green")]
    assert min(np.linalg.norm(a - b) for a, b in combinations(seen, 2)) > 0.1


def pixels(png):
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(png))).convert("RGB"))


def colours_of(png):
    flat = pixels(png).reshape(-1, 3)
    return {f"#{r:02x}{g:02x}{b:02x}" for r, g, b in np.unique(flat, axis=0)}


def test_a_rounded_zero_has_no_sign_aloud(shown):
    figures.show(plt.figure(), alt=f"A line that falls from {0.5:.1f} to {-1e-9:.1f} nats.")
    assert shown[0][0]["text/plain"] == "A line that falls from 0.5 to 0.0 nats."


def test_show_stores_light_and_dark_pictures_of_the_same_figure(shown):
    fig, ax = plt.subplots()
    ax.plot([0, 1], [0, 1], color=PALETTE[0])
    ax.fill_between([0, 1], [0, 1], color=PALETTE[1])
    ax.bar([0.5], [1], color=PALETTE[2])
    ax.set(title="Title", xlabel="rate, nats")
    figures.show(fig, alt="A line that rises from 0 to 1 beside a bar.")
    (data, metadata), light, dark = (
        shown[0],
        *map(colours_of, (shown[0][0]["image/png"], shown[0][1]["ibbook"]["dark"])),
    )
    assert data["text/plain"] == "A line that rises from 0 to 1 beside a bar."
    assert metadata["image/png"]["width"] == int(figures.WIDTH * 100)
    for name in ("ink", "muted", "paper", "blue", "orange", "green"):
        on_white, on_dark = COLOURS[name]
        assert on_white in light
        assert on_white not in dark
        assert on_dark in dark
    assert not plt.get_fignums()


def test_a_chain_is_drawn_in_house_colours_on_both_papers(shown):
    figures.use_house_style()
    figures.show(
        figures.chain(["X", "$Z$\ncode"], ["$p(z|x)$"], notes=["in", "out"]),
        alt="An arrow leads from X to its code Z.",
    )
    data, metadata = shown[0]
    for png, side in ((data["image/png"], 0), (metadata["ibbook"]["dark"], 1)):
        found = colours_of(png)
        for name in ("blue", "muted", "ink"):
            assert COLOURS[name][side] in found
            assert COLOURS[name][1 - side] not in found


def test_a_chain_needs_one_arrow_between_boxes():
    with pytest.raises(ValueError, match="3 boxes need 2 arrows, got 1"):
        figures.chain(["X", "Y", "Z"], ["p"])


def test_dark_pages_keep_images_and_colour_maps_as_they_are(shown):
    def image(png):
        whole = pixels(png).astype(int)
        return whole[whole.shape[0] // 2, whole.shape[1] // 2]

    fig, ax = plt.subplots()
    ax.imshow(np.full((4, 4), 0.5), cmap=figures.SEQUENTIAL, vmin=0, vmax=1, aspect="auto")
    figures.show(fig, alt="A square of one colour, half way up the scale.")
    light, dark = shown[0][0]["image/png"], shown[0][1]["ibbook"]["dark"]
    assert (image(light) == image(dark)).all()


def test_pictures_are_the_same_on_every_run(shown):
    for _ in range(2):
        fig, ax = plt.subplots()
        ax.plot([0, 1], [0, 1])
        figures.show(fig, alt="A line that rises from 0 to 1.")
    assert shown[0] == shown[1]


def test_label_end_writes_beside_the_point(shown):
    fig, ax = plt.subplots()
    ax.plot([0, 1], [0, 1])
    figures.label_end(ax, 1, 1, "here", PALETTE[1])
    (text,) = ax.texts
    assert text.get_text() == "here"
    assert text.xy == (1, 1)
    assert text.get_color() == PALETTE[1]
    plt.close(fig)


@pytest.mark.parametrize("alt", ["", "A figure."])
def test_show_refuses_a_figure_without_words(shown, alt):
    fig, _ = plt.subplots()
    with pytest.raises(ValueError, match="alt must say"):
        figures.show(fig, alt=alt)
    plt.close(fig)


def test_a_live_figure_carries_its_module_and_plain_data(shown):
    data = {"p": np.array([[0.5, 1 / 3]]), "names": ["a"], "k": np.int64(3), "two": 2.0}
    fig, alt = plt.figure(), "A picture that the site can also draw anew."
    figures.show(fig, alt=alt, live=figures.Live("spikes", data))
    bundle = shown[0][0][figures.LIVE_MIME]
    expected = {"p": [[0.5, 0.333333]], "names": ["a"], "k": 3, "two": 2}
    assert json.loads(json.dumps(bundle)) == {"module": "spikes", "data": expected}
    figures.show(plt.figure(), alt=alt)
    assert figures.LIVE_MIME not in shown[1][0]


@pytest.mark.parametrize(
    ("module", "data", "message"),
    [
        ("../x", {}, "module must be the name of a file"),
        ("x", {"p": [[0.5, math.nan]]}, r"data\.p\[0\]\[1\] must be finite, got nan"),
        ("x", {"f": print}, r"data\.f must be numbers, texts or lists"),
        ("x", {"p": np.linspace(0, 1, 60_000)}, "data must stay below 300,000 bytes"),
    ],
)
def test_a_live_figure_that_no_page_could_draw_is_refused(shown, module, data, message):
    with pytest.raises(ValueError, match=message):
        figures.show(
            plt.figure(), alt="A picture of five or more words.", live=figures.Live(module, data)
        )
    plt.close("all")
