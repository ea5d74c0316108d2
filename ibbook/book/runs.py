"""Runs of a chapter: executed by papermill, kept under a hash of what they depend on."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import platform
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import nbformat
from ipykernel.kernelspec import get_kernel_dict
from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import AsyncKernelManager
from nbformat import NotebookNode
from papermill import PapermillExecutionError, execute_notebook
from traitlets import default

from ibbook.book.chapters import Chapter, first_line, notebook, read
from ibbook.book.folders import run_store
from ibbook.book.numbers import blank
from ibbook.book.parameters import Value, resolve

PACKAGE = Path(__file__).parents[1]
PROVENANCE = "provenance.json"
# Files in data/ that runs are held against, and do not read.
CHECKED_ONLY = ("claims.toml",)
# A working folder that nobody has locked is left over from a killed run once it is this old.
STALE_SECONDS = 60


class ChapterError(RuntimeError):
    """A chapter that did not run to its end: which cell failed, and of what."""

    def __init__(self, chapter: str, cell: int, source: str, reason: str, traceback: str = ""):
        self.chapter, self.cell, self.reason, self.traceback = chapter, cell, reason, traceback
        super().__init__(
            f"{chapter} failed in code cell {cell} (`{first_line(source)}`): {reason}"
            if cell
            else f"{chapter} failed before its first cell: {reason}"
        )


def folder(chapter: Chapter, values: Mapping[str, Value]) -> Path:
    """Where the run of a chapter with those values lies, whether or not it was made yet."""
    return below(chapter) / key(chapter, values)


def below(chapter: Chapter) -> Path:
    """The folder that holds all runs of a chapter."""
    return run_store(chapter.book) / chapter.name


def key(chapter: Chapter, values: Mapping[str, Value]) -> str:
    """A hash of what a run depends on: text, all parameters, the package's source, the data.

    The numbers in its prose are left out: a run gives them, and does not depend on them.

    >>> from ibbook.book.folders import root
    >>> text = Path(root(), "chapters", "index.md")
    >>> key(Chapter(text), {"beta": 1.0}) == key(Chapter(text), {"beta": 2.0})
    False
    """
    parts = {
        "chapter": chapter.name,
        "text": hashlib.sha256(blank(chapter.text.read_text("utf-8")).encode()).hexdigest(),
        "parameters": dict(sorted(values.items())),
        "package": _digest(PACKAGE),
        "data": _digest(chapter.book / "data", CHECKED_ONLY),
    }
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]


def _digest(top: Path, others: Collection[str] = ()) -> str:
    """A hash of the names and contents of the files below a folder, caches and others left out."""
    total = hashlib.sha256()
    for path in sorted(top.rglob("*")):
        parts = path.relative_to(top).parts
        if any(p in ("__pycache__", "cache", *others) or p[0] == "." for p in parts):
            continue
        if path.is_file():
            content = hashlib.sha256(path.read_bytes()).hexdigest()
            total.update(f"{'/'.join(parts)}\0{content}\n".encode())
    return total.hexdigest()


def finished(run: Path) -> bool:
    """Whether a run folder holds a run: it appears whole or not at all."""
    return (run / PROVENANCE).is_file()


def executed(run: Path) -> Path:
    """The executed notebook of a run folder."""
    return run / f"{provenance(run)['chapter']}.ipynb"


def provenance(run: Path) -> dict[str, Any]:
    """What a run was made from: parameters, seconds, commit, versions."""
    return json.loads((run / PROVENANCE).read_text(encoding="utf-8"))


def run(
    chapter: Chapter,
    values: Mapping[str, Value] | None = None,
    *,
    cell_timeout: int | None = None,
    progress: bool = False,
) -> Path:
    """Run a chapter unless that run exists, and return its folder.

    `values` are those of `resolve`, by default the chapter's own. A failing cell, or one that runs
    longer than `cell_timeout` seconds, is a ChapterError; then, and on Ctrl-C, no folder is left
    behind.
    """
    declared = resolve(chapter)
    values = declared if values is None else values
    target = folder(chapter, values)
    if finished(target):
        return target
    made = notebook(chapter)
    changed = {name: value for name, value in values.items() if value != declared[name]}
    with _workspace(target) as work:
        output = work / f"{chapter.name}.ipynb"
        start, commit = time.monotonic(), _commit(chapter.book)
        result = _execute(chapter, made, output, changed, cell_timeout, progress)
        seconds = round(time.monotonic() - start, 1)
        nbformat.write(result, output)
        about = {
            "chapter": chapter.name,
            "key": target.name,
            "parameters": dict(values),
            "seconds": seconds,
            "finished": datetime.now(UTC).isoformat(timespec="seconds"),
            **commit,
            **_versions(),
            "platform": _machine(),
        }
        (work / PROVENANCE).write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")
        try:
            work.rename(target)
        except OSError:
            # Another process finished the same run first; the two are equal.
            if not finished(target):
                raise
    return target


@contextmanager
def _workspace(target: Path) -> Iterator[Path]:
    """A locked hidden folder beside the target, gone afterwards unless it was renamed."""
    target.parent.mkdir(parents=True, exist_ok=True)
    for old in target.parent.glob(".*-*"):
        with _lock(old) as free:
            if free and time.time() - old.stat().st_mtime > STALE_SECONDS:
                shutil.rmtree(old, ignore_errors=True)
    work = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    try:
        with _lock(work):
            work.chmod(0o755)
            yield work
    finally:
        shutil.rmtree(work, ignore_errors=True)


@contextmanager
def _lock(path: Path) -> Iterator[bool]:
    """Hold a folder's lock while inside; False where another process holds it or it is gone."""
    try:
        handle = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        yield False
        return
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        yield False
    else:
        yield True
    finally:
        os.close(handle)


class _ThisInterpreter(AsyncKernelManager):
    """Starts kernels with the Python that runs this code, whatever kernels are registered."""

    @property
    def kernel_spec(self) -> KernelSpec:
        return KernelSpec(**get_kernel_dict())

    @default("transport_encryption")
    def _encrypt(self) -> str:
        return "auto"


def _execute(
    chapter: Chapter,
    made: NotebookNode,
    output: Path,
    changed: Mapping[str, Value],
    cell_timeout: int | None,
    progress: bool,
) -> NotebookNode:
    """The executed notebook without papermill's and the kernel's timings and paths."""
    try:
        result = execute_notebook(
            made,
            str(output),
            parameters=dict(changed),
            progress_bar=progress,
            cwd=str(chapter.text.parent),
            execution_timeout=cell_timeout,
            kernel_manager_class=_ThisInterpreter,
            shutdown_kernel="immediate",
            coalesce_streams=True,
        )
    except PapermillExecutionError as error:
        reason = f"{error.ename}: {error.evalue}".strip(": ")
        raise _failure(chapter, output, reason, "\n".join(error.traceback)) from None
    except TimeoutError:
        reason = f"it ran longer than {cell_timeout} s (see --cell-timeout)"
        raise _failure(chapter, output, reason) from None
    except RuntimeError as error:
        raise _failure(chapter, output, f"its kernel stopped ({error})") from None
    for cell in result.cells:
        if cell.cell_type == "code" and cell.source.strip() and cell.execution_count is None:
            raise _failure(chapter, output, "it left the kernel, so later cells did not run")
        for name in ("papermill", "execution", *(() if cell.metadata.get("tags") else ("tags",))):
            cell.metadata.pop(name, None)
    for name in ("papermill", "language_info"):
        result.metadata.pop(name, None)
    return result


def _failure(chapter: Chapter, output: Path, reason: str, traceback: str = "") -> ChapterError:
    """Names the last cell that papermill started, counted as the chapter's reader counts."""
    number, source = 0, ""
    for cell in read(output).cells if output.exists() else ():
        if cell.cell_type != "code" or "injected-parameters" in cell.metadata.get("tags", ()):
            continue
        if not cell.metadata.get("papermill", {}).get("start_time"):
            break
        number, source = number + 1, cell.source
    plain = re.sub(r"\x1b\[[0-9;]*m", "", traceback)
    return ChapterError(chapter.name, number, source, reason, plain)


def _commit(book: Path) -> dict[str, Any]:
    """The commit that the book is at, and whether tracked files differ from it."""

    def git(*arguments: str) -> str | None:
        try:
            done = subprocess.run(
                ["git", "-C", book, *arguments], capture_output=True, text=True, check=True
            )
        except (OSError, subprocess.CalledProcessError):
            return None
        return done.stdout.strip()

    top = git("rev-parse", "--show-toplevel")
    if top is None or Path(top).resolve() != book.resolve():
        return {"commit": None, "dirty": None}
    changes = git("status", "--porcelain", "--untracked-files=no")
    return {"commit": git("rev-parse", "HEAD"), "dirty": bool(changes)}


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for name in ("ibbook", "torch", "numpy"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found


def _machine() -> str:
    """The system, its cores, and its GPU where torch finds one."""
    import torch

    parts = [f"{platform.system()} {platform.machine()}", f"{os.cpu_count()} cores"]
    if torch.cuda.is_available():
        parts.append(torch.cuda.get_device_name())
    return ", ".join(parts)
