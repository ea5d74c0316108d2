"""The small server behind `myst start` (live preview) and `myst build --html`.

mystmd starts it with HOST, PORT, CONTENT_CDN_PORT, MODE and BASE_URL in the environment, waits for
a line with http:// on standard output, and takes whatever comes on standard error for an error.
"""

from __future__ import annotations

import base64
import json
import os
import sys
import threading
import time
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from mimetypes import guess_type
from pathlib import Path

from . import copies, search
from .addresses import robots, sitemap
from .context import Context
from .page import entries, full_page
from .prepare import THEME, prepare
from .records import places
from .tree import published

BASE = os.environ.get("BASE_URL", "").rstrip("/")
CONTENT = f"http://localhost:{os.environ.get('CONTENT_CDN_PORT', '3100')}"
STATIC = os.environ.get("MODE") == "static"
SHEET = (
    '<xsl:stylesheet version="1.0" xmlns:xsl="http://www.w3.org/1999/XSL/Transform">'
    '<xsl:template match="/"><html><body/></html></xsl:template></xsl:stylesheet>'
)


class Content:
    """Files of mystmd's content server; what the theme takes out of a page goes into the page."""

    def url(self, path: str) -> str:
        if "://" in path:
            return path
        return f"/myst_assets_folder{path}" if STATIC else CONTENT + path

    def read(self, path: str) -> bytes:
        with urllib.request.urlopen(CONTENT + path, timeout=30) as answer:
            return answer.read()

    def save(self, content: bytes, suffix: str) -> str:
        kind = guess_type(f"x{suffix}")[0]
        return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def answer(path: str) -> tuple[str, bytes]:
    """The media type and the content of one address."""
    path = path.split("?")[0].removeprefix(BASE) or "/"
    public = THEME / "public"
    local = (public / path.lstrip("/")).resolve()
    if local.is_file() and local.is_relative_to(public):
        return guess_type(local.name)[0] or "application/octet-stream", local.read_bytes()
    if path == "/myst.xref.json":
        return "application/json", Content().read(path)
    if path == "/robots.txt":
        return "text/plain", robots("").encode()
    if path == "/myst-theme.css":
        return "text/css", b""
    if path == "/favicon.ico":
        return "image/svg+xml", (public / "theme" / "icon.svg").read_bytes()
    if path == "/sitemap_style.xsl":
        return "text/xml", SHEET.encode()
    config = json.loads(Content().read("/config.json"))
    project = config["projects"][0]
    context = Context(Content(), BASE, project["index"])
    if path == "/sitemap.xml":
        pages = [context.href(f"/{page['slug']}") for page in entries(project) if "slug" in page]
        return "text/xml", sitemap(pages).encode()
    slugs = [entry["slug"] for entry in entries(project) if "slug" in entry]
    pages = (json.loads(Content().read(f"/content/{slug}.json")) for slug in slugs)
    if path == "/search-records.js":
        return "text/javascript", search.script(pages, config).encode()
    if path.startswith("/notebooks/"):
        page = next(page for page in pages if page["location"].endswith(path.rpartition("/")[2]))
        made = copies.of(page, Content().read, project.get("github") or "", "", "")
        return "application/json", json.dumps(made).encode()
    slug = path.strip("/").removesuffix(".json") or project["index"]
    page = json.loads(Content().read(f"/content/{slug}.json"))
    if path.endswith(".json"):
        tree = page | {"mdast": published(page["mdast"])}
        return "application/json", json.dumps(tree).encode()
    context.numbers = places(pages)
    live = "" if STATIC else CONTENT.replace("http", "ws", 1) + "/socket"
    html = full_page(config, page, context, live=live)
    for problem in context.problems:
        print(f"{page['location']}: {problem}", file=sys.stderr, flush=True)
    return "text/html; charset=utf-8", html.encode()


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        try:
            kind, body = answer(self.path)
            status = 200
        except urllib.error.HTTPError as error:
            kind, body, status = "text/plain", str(error).encode(), error.code
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments: object) -> None:
        """Stay silent: mystmd would show each request as an error."""


def orphaned(parent: int) -> bool:
    """Whether mystmd is gone: it leaves its theme behind when a build fails (seen on Linux)."""
    status = Path(f"/proc/{parent}/stat")
    if os.getppid() != parent:
        return True
    return (
        status.is_file() and status.read_text(encoding="utf-8").rsplit(")", 1)[1].split()[1] == "1"
    )


def watch(parent: int) -> None:
    """End this process soon after its parent."""
    while not orphaned(parent):
        time.sleep(1)
    os._exit(1)


def main() -> None:
    prepare()
    host, port = os.environ.get("HOST", "localhost"), int(os.environ.get("PORT", "3000"))
    threading.Thread(target=watch, args=[os.getppid()], daemon=True).start()
    server = ThreadingHTTPServer((host, port), Handler)
    print(f"The book's theme listens at http://{host}:{port}", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
