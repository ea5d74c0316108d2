"""Put a rendered page into its frame: contents, outline, provenance, previous and next."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from . import boxes, copies, nodes, outputs  # noqa: F401  (renderers register themselves)
from .addresses import address, site_url
from .context import Context, Node
from .html import join, tag

VERSION = 3  # of mystmd's page data
AMPERSAND = re.compile(r"&(?!#?\w+;)")  # mystmd leaves those of the names of authors
TEMPLATES = Environment(
    loader=FileSystemLoader(Path(__file__).parent),
    autoescape=True,
    trim_blocks=True,
    lstrip_blocks=True,
    undefined=StrictUndefined,
)


def full_page(
    config: Node,
    page: Node,
    context: Context,
    *,
    run: dict[str, Any] | None = None,
    about: dict[str, Any] | None = None,
    live: str = "",
) -> str:
    """The HTML of one page.

    `run` is the provenance of its notebook, `about` its minutes, device and profiles, `live` the
    address of mystmd's reload socket. What is wrong with the page is in `context.problems`
    afterwards.
    """
    if config["version"] != VERSION:
        raise ValueError(
            f"mystmd's data have version {config['version']}, the theme knows {VERSION}"
        )
    project, front = config["projects"][0], page["frontmatter"]
    stem = Path(page["location"]).stem
    exercises = copies.to_fill_in(page)
    context.slug = page["slug"]
    context.chapter = front.get("enumerator")
    url, slugs = site_url(config), {entry.get("slug") for entry in entries(project)}
    return TEMPLATES.get_template("page.html").render(
        base=context.base,
        slug=page["slug"],
        live=live,
        url=url,
        address=address(url, page["slug"], project["index"])
        if url and context.slug in slugs
        else "",
        site=config.get("title") or project["title"],
        brand=(config.get("options") or {}).get("logo_text") or project["title"],
        title=front.get("title") or project["title"],
        number=front.get("enumerator"),
        description=front.get("description", ""),
        is_home=page["slug"] == project["index"],
        body=sections(page["mdast"], context),
        footnotes=context.footnotes,
        references=references(page),
        outline=[heading for heading in context.outline if heading.level <= 3],
        contents=contents(project, page["slug"], context),
        around=neighbours(project, page["slug"], context),
        notation=context.href("/notation") if "notation" in slugs else None,
        stem=stem if page["kind"] == "Notebook" and not exercises else None,
        exercises=notebook(front, context) if exercises else None,
        repository=project.get("github"),
        launch=copies.launchers(project.get("github") or "", stem),
        about={"minutes": None, "profiles": []} | (about or {}),
        run=run,
        license=(project.get("license") or {}).get("content"),
        authors=[author["name"] for author in project.get("authors", [])],
    )


def sections(root: Node, context: Context) -> Markup:
    """The text of a page, each section in an element of its own that a browser can pass over."""
    parts: list[list[Markup]] = [[]]
    for block in root["children"]:
        text = block.get("kind") != "notebook-code" and not block.get("visibility")
        for node in block["children"] if text and block["type"] == "block" else [block]:
            if node["type"] == "heading" and node["depth"] <= 2:
                parts.append([])
            parts[-1].append(nodes.render(node, context))
    return join(tag("section", *part) for part in parts if part)


def entries(project: Node) -> list[Node]:
    """The pages and parts of the book in reading order, the front page first."""
    home = {"slug": project["index"], "title": project["title"], "level": 1}
    return [home, *project["pages"]]


def contents(project: Node, slug: str, context: Context) -> list[dict[str, Any]]:
    """The lines of the sidebar."""
    return [
        {
            "title": "Start here" if entry["slug"] == project["index"] else name(entry),
            "number": entry.get("enumerator"),
            "level": entry.get("level", 1),
            "href": context.href(f"/{entry['slug']}") if entry.get("slug") else None,
            "current": entry.get("slug") == slug,
        }
        for entry in ({"slug": None} | entry for entry in entries(project))
    ]


def name(entry: Node) -> str:
    """The short title of a page where it has one."""
    return entry.get("short_title") or entry["title"]


def neighbours(project: Node, slug: str, context: Context) -> list[dict[str, str]]:
    """The links to the page before and the page after."""
    pages = [entry for entry in entries(project) if entry.get("slug")]
    slugs = [page["slug"] for page in pages]
    if slug not in slugs:
        return []
    here = slugs.index(slug)
    around = []
    for step, rel, label in ((-1, "prev", "Previous"), (1, "next", "Next")):
        if 0 <= here + step < len(pages):
            page = pages[here + step]
            href = context.href(f"/{page['slug']}")
            around.append({"rel": rel, "label": label, "title": name(page), "href": href})
    return around


def lost(config: Node, context: Context) -> str:
    """The page that a host shows for an address that leads nowhere."""
    words = "The address may be old, or mistyped. Everything is in the contents, and in the search."
    page = {
        "slug": "404",
        "location": "/404.md",
        "kind": "Article",
        "frontmatter": {"title": "There is no such page", "description": words},
        "mdast": {"type": "root", "children": []},
    }
    return full_page(config, page, context)


def references(page: Node) -> list[dict[str, Any]]:
    """The works that a page cites, in the order in which it does."""
    cite = (page.get("references") or {}).get("cite") or {}
    works = {
        key: AMPERSAND.sub("&amp;", cite["data"][key]["html"]) for key in cite.get("order", [])
    }
    return [{"key": key, "html": Markup(html)} for key, html in works.items()]


def notebook(front: Node, context: Context) -> dict[str, str] | None:
    """The address and the name of the notebook behind a page, as it is."""
    for export in front.get("exports", []):
        if export["format"] == "ipynb":
            return {"href": context.assets.url(export["url"]), "filename": export["filename"]}
    return None
