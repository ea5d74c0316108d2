"""Pages with one live figure each, as the theme writes it, from what the stored notebooks carry."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from ibtheme import context, outputs, prepare
from playwright.sync_api import Locator, Page, expect

from ibbook.book.chapters import chapters, read
from ibbook.figures import LIVE_MIME

ROOT = Path(__file__).resolve().parents[3]
PUBLIC = ROOT / "theme" / "public"

PAGE = """<!DOCTYPE html><html lang="en" data-theme="{mode}"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1"><title>{module}</title>
<link rel="icon" href="/theme/icon.svg"><link rel="stylesheet" href="/theme/book.css">
<link rel="stylesheet" href="/live/live.css"><script defer src="/live/start.js"></script>
</head><body><div class="frame" style="display: block"><main><h1>{module}</h1>
<figure>{figure}</figure></main></div></body></html>"""


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


def served_figures() -> Iterator[str]:
    """A page for each figure and mode, as the theme writes the figure: /MODULE/MODE."""
    prepare.prepare()
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
