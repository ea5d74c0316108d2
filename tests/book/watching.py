"""A page in Chromium that is watched while it is tried."""

from __future__ import annotations

from collections.abc import Iterator

from playwright.sync_api import Browser, Page


def watched(browser: Browser, width: int, mode: str) -> Iterator[Page]:
    """A page of its own that fails on an error or a foreign request."""
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
