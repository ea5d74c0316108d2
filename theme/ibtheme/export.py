"""Write the pages from what `myst build --site` left, with no server and an honest exit status."""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from . import addresses, copies, fonts, search
from .context import Context, Node
from .links import broken_links
from .page import full_page, lost
from .prepare import THEME, prepare
from .records import places
from .tree import published


class Folder:
    """Files of a built site, copied to `build/` of the published one, as a page finds them."""

    def __init__(self, source: Path, target: Path, base: str) -> None:
        self.source, self.target, self.base = source, target / "build", base

    def url(self, path: str) -> str:
        return path if "://" in path else f"{self.base}/build{path}"

    def read(self, path: str) -> bytes:
        return (self.source / path.lstrip("/")).read_bytes()

    def save(self, content: bytes, suffix: str) -> str:
        name = hashlib.sha256(content).hexdigest()[:32] + suffix
        (self.target / name).write_bytes(content)
        return self.url(f"/{name}")


def export(
    site: Path,
    out: Path,
    *,
    runs: dict[str, dict[str, Any]] | None = None,
    absent: frozenset[str] = frozenset(),
    claims: dict[str, Any] | None = None,
    about: dict[str, dict[str, Any]] | None = None,
) -> list[str]:
    """Write the site that mystmd built in `site` to the new folder `out`; return what is wrong.

    `runs` holds the provenance of each chapter by its file name, `absent` the labels of chapters
    that could not be run, which others may mention, `claims` the `tolerances` of numbers and the
    `broken` claims of this run, `about` the minutes, device and profiles of each chapter.
    Addresses are relative, so the folder can be served under any path or read from a disk.
    """
    config = json.loads((site / "config.json").read_text(encoding="utf-8"))
    prepare()
    shutil.copytree(THEME / "public", out)
    shutil.copytree(site / "public", out / "build", ignore=_copied)
    shutil.copy(site / "myst.xref.json", out)
    (out / ".nojekyll").touch()
    index, problems = config["projects"][0]["index"], []
    pages = [
        json.loads(file.read_text(encoding="utf-8"))
        for file in sorted((site / "content").glob("*.json"))
    ]
    known = {"absent": absent, "numbers": places(pages), **(claims or {})}
    for page in pages:
        slug = page["slug"]
        base = "." if slug == index else "/".join([".."] * (1 + slug.count("/")))
        context = Context(Folder(site / "public", out, base), base, index, **known)
        stem = Path(page["location"]).stem
        run = (runs or {}).get(stem)
        html = full_page(config, page, context, run=run, about=(about or {}).get(stem))
        target = out / "index.html" if slug == index else out / slug / "index.html"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(html, encoding="utf-8")
        tree = page | {"mdast": published(page["mdast"])}
        (out / f"{slug}.json").write_text(json.dumps(tree), encoding="utf-8")
        problems += [
            f"{page['location']}: {problem}" for problem in dict.fromkeys(context.problems)
        ]
    write_copies(pages, config, Folder(site / "public", out, ""), runs or {}, out / "notebooks")
    write_extras(pages, config, Context(Folder(site / "public", out, ""), "", index), out)
    fonts.cut(out, THEME / "node_modules" / ".cache" / "fonts")
    return problems + broken_links(out)


def _copied(_: str, names: list[str]) -> list[str]:
    """The notebooks that readers get as copies, not as they are."""
    return [n for n in names if n.endswith(".ipynb") and not n.startswith(copies.EXERCISES)]


def write_copies(
    pages: list[Node], config: Node, assets: Folder, runs: dict[str, dict[str, Any]], out: Path
) -> None:
    """The notebooks that run anywhere, and where a repository is known, what Binder needs."""
    repository = config["projects"][0].get("github") or ""
    commits = {run.get("commit") or "" for run in runs.values() if not run.get("dirty")}
    commit = commits.pop() if len(commits) == 1 else ""
    out.mkdir()
    for page in pages:
        if made := copies.of(page, assets.read, repository, commit, addresses.site_url(config)):
            name = Path(page["location"]).name
            (out / name).write_text(
                json.dumps(made, indent=1, ensure_ascii=False), encoding="utf-8"
            )
    if repository:
        made = copies.environment(repository, commit)
        (out / "environment.yml").write_text(made, encoding="utf-8")


def write_extras(pages: list[Node], config: Node, context: Context, out: Path) -> None:
    """What belongs to the site as a whole.

    The page for addresses that lead nowhere is shown at any address, so its own begin at the host.
    """
    url, home = addresses.site_url(config), context.index
    context.base = urlsplit(url).path
    (out / "404.html").write_text(lost(config, context), encoding="utf-8")
    (out / "search-records.js").write_text(search.script(pages, config), encoding="utf-8")
    (out / "robots.txt").write_text(addresses.robots(url), encoding="utf-8")
    if url:
        known = [addresses.address(url, page["slug"], home) for page in pages]
        (out / "sitemap.xml").write_text(addresses.sitemap(known), encoding="utf-8")


def main() -> None:
    """Export from the command line; what is wrong goes to standard error."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("site", type=Path, help="what mystmd built, usually _build/site")
    parser.add_argument("out", type=Path, help="folder to write")
    parser.add_argument("--runs", type=Path, help="JSON file with each chapter's provenance")
    parser.add_argument("--absent", nargs="*", default=[], help="labels of missing chapters")
    parser.add_argument("--claims", type=Path, help="JSON file of tolerances and broken claims")
    parser.add_argument("--about", type=Path, help="JSON file of minutes, device and profiles")
    given = parser.parse_args()
    runs, claims, about = (
        json.loads(file.read_text(encoding="utf-8")) if file else None
        for file in (given.runs, given.claims, given.about)
    )
    known = {"runs": runs, "absent": frozenset(given.absent), "claims": claims, "about": about}
    problems = export(given.site, given.out, **known)
    sys.exit("\n".join(problems) or 0)


if __name__ == "__main__":
    main()
