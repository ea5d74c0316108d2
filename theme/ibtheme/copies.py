"""Copies of the chapters that run anywhere: plain Markdown, and one cell that installs the book.

The cell does nothing where the package is there already. Colab and Binder open these copies from a
branch of their own, which `environment` makes complete.
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Callable
from typing import Any

from .context import Node
from .plain import Href, markdown

BRANCH = "notebooks"
OURS = "application/vnd.ibbook."
EXERCISES = "exercises-"
HIDDEN = {"hide-input", "hide-cell", "remove-input", "remove-cell"}


def to_fill_in(page: Node) -> bool:
    """Whether the notebook of a page is for students to fill in: it is handed out as it is."""
    return page["location"].rpartition("/")[2].startswith(EXERCISES)


def of(
    page: Node, read: Callable[[str], bytes], repository: str, commit: str, url: str
) -> dict[str, Any] | None:
    """The copy of the notebook behind a page, which mystmd keeps at an address; else None."""
    if to_fill_in(page):
        return None
    for export in page["frontmatter"].get("exports", []):
        if export["format"] == "ipynb" and page["kind"] == "Notebook":
            return copy(page, json.loads(read(export["url"])), repository, commit, url)
    return None


def copy(
    page: Node, executed: Node, repository: str = "", commit: str = "", url: str = ""
) -> dict[str, Any]:
    """A notebook with the text of a page, and the code and the outputs of the one behind it.

    `repository` is the address that the book is fetched from, at `commit` where that is known;
    `url` is where the site is read: references lead there.
    """
    code = iter([cell for cell in executed["cells"] if cell["cell_type"] == "code"])
    href = _leading(page["slug"], url)
    cells = [_text(_opening(page, url)), _cell(install(repository, commit))]
    for block in page["mdast"]["children"]:
        if block.get("kind") != "notebook-code":
            cells.append(_text(markdown(block["children"], href)))
            continue
        cells.append(_code(next(code)))
        cells.append(_text(markdown(_captions(block), href)))
    cells.append(_text(_works(page)))
    kept = [cell for cell in cells if cell["source"].strip()]
    for number, cell in enumerate(kept):
        cell["id"] = f"cell-{number}"
    metadata = {"kernelspec": executed["metadata"].get("kernelspec", {})}
    return {"cells": kept, "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}


def install(repository: str, commit: str = "") -> str:
    """The cell that fetches and installs the book where Python does not know it.

    >>> print(install(""))
    import importlib.util
    <BLANKLINE>
    if importlib.util.find_spec("ibbook") is None:
        raise ModuleNotFoundError("install ibbook first: the README of the book says how")
    """
    lines = ["import importlib.util", "", 'if importlib.util.find_spec("ibbook") is None:']
    if not repository:
        lines.append(
            '    raise ModuleNotFoundError("install ibbook first: the README of the book says how")'
        )
        return "\n".join(lines)
    lines[0] += "\nimport os\nimport sys"
    lines[2] = f"{lines[2]}  # as on Colab: fetch the book, install it"
    lines.append(f"    !git clone --quiet {repository} ibbook-source")
    if commit:
        lines.append(f"    !git -C ibbook-source checkout --quiet {commit}")
    lines.append("    %pip install --quiet --editable ./ibbook-source")
    lines.append('    sys.path.insert(0, os.path.abspath("ibbook-source"))')
    return "\n".join(lines)


def environment(repository: str, commit: str = "") -> str:
    """What Binder installs beside the copies: the book at the commit that they were made from."""
    at = f"@{commit}" if commit else ""
    return (
        "# For Binder: the package with its data, as these copies were made from.\n"
        "name: ibbook\nchannels: [conda-forge]\ndependencies:\n  - python=3.11\n  - git\n  - pip\n"
        f"  - pip:\n      - -e git+{repository}{at}#egg=ibbook\n"
    )


def launchers(repository: str, stem: str) -> list[dict[str, str]]:
    """Links that open the copy of a chapter elsewhere, once the book says where it is kept."""
    place = repository.removeprefix("https://github.com/").strip("/")
    if not place:
        return []
    binder = f"https://mybinder.org/v2/gh/{place}/{BRANCH}?labpath={stem}.ipynb"
    colab = f"https://colab.research.google.com/github/{place}/blob/{BRANCH}/{stem}.ipynb"
    return [{"title": "Colab", "href": colab}, {"title": "Binder", "href": binder}]


def _leading(slug: str, url: str) -> Href:
    """Where links lead: out of the book, or to its site; numbers of the run are plain words."""

    def href(node: Node) -> str:
        target = node.get("url") or ""
        if "://" in target or target.startswith("mailto:"):
            return target
        if node["type"] == "crossReference":
            page = target.strip("/") if node.get("remote") else slug
            place = node.get("html_id") or node.get("identifier")
            return f"{url}/{page}/#{place}" if url else ""
        if node["type"] == "cite":
            return f"{url}/{slug}/#cite-{node['identifier']}" if url else ""
        return f"{url}{target}/" if url and target.startswith("/") else ""

    return href


def _captions(block: Node) -> list[Node]:
    return [
        part
        for figure in block["children"]
        if figure["type"] == "container"
        for part in figure["children"]
        if part["type"] == "caption"
    ]


def _opening(page: Node, url: str) -> str:
    front = page["frontmatter"]
    number = f"{front['enumerator']} " if front.get("enumerator") else ""
    lines = [f"# {number}{front['title']}", front.get("description", "")]
    if url:
        lines.append(f"This is a copy to run. To read: {url}/{page['slug']}/")
    return "\n\n".join(line for line in lines if line)


def _works(page: Node) -> str:
    cite = (page.get("references") or {}).get("cite") or {}
    works = [cite["data"][key]["html"] for key in cite.get("order", [])]
    lines = [f"- {html.unescape(re.sub('<[^>]*>', '', work))}" for work in works]
    return "\n".join(["## References", "", *lines]) if lines else ""


def _text(source: str) -> dict[str, Any]:
    return {"cell_type": "markdown", "metadata": {}, "source": source}


def _cell(source: str) -> dict[str, Any]:
    shape = {"cell_type": "code", "metadata": {}, "execution_count": None, "outputs": []}
    return shape | {"source": source}


def _code(cell: Node) -> dict[str, Any]:
    """A cell as it was run, without what only the site can show; folded code stays folded."""
    tags = cell["metadata"].get("tags", [])
    metadata: dict[str, Any] = {"tags": tags} if tags else {}
    if HIDDEN & set(tags):
        metadata["jupyter"] = {"source_hidden": True}
    made = _cell("".join(cell["source"])) | {"metadata": metadata}
    made["outputs"] = [_output(output) for output in cell["outputs"]]
    made["execution_count"] = cell["execution_count"]
    return made


def _output(output: Node) -> Node:
    if "data" not in output:
        return output
    data = {kind: value for kind, value in output["data"].items() if not kind.startswith(OURS)}
    metadata = {kind: v for kind, v in (output.get("metadata") or {}).items() if kind != "ibbook"}
    return output | {"data": data, "metadata": metadata}
