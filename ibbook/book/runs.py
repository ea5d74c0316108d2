"""Runs of a chapter: made once, kept under a hash of what they depend on, verified when used."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import nbformat

from ibbook._origin import sha256
from ibbook.book.chapters import Chapter, notebook
from ibbook.book.folders import BookError, run_store, save
from ibbook.book.kernels import execute, threads
from ibbook.book.keys import commit, inputs, key, text_digest
from ibbook.book.machine import command, machine, processor, vectors
from ibbook.book.parameters import Value, resolve

PROVENANCE = "provenance.json"
# A working folder that nobody has locked is left over from a killed run once it is this old.
STALE_SECONDS = 60


def folder(chapter: Chapter, values: Mapping[str, Value]) -> Path:
    """Where the run of a chapter with those values lies, whether or not it was made yet."""
    return below(chapter) / key(inputs(chapter, values))


def below(chapter: Chapter) -> Path:
    """The folder that holds all runs of a chapter."""
    return run_store(chapter.book) / chapter.name


def finished(run: Path) -> bool:
    """Whether a run folder holds a run: it appears whole or not at all."""
    return (run / PROVENANCE).is_file()


def executed(run: Path) -> Path:
    """The executed notebook of a run folder, verified."""
    return run / f"{provenance(run)['chapter']}.ipynb"


def provenance(run: Path) -> dict[str, Any]:
    """What a run was made from: parameters, command, seconds, commit, versions, machine, hashes.

    A run is used only where its notebook and its parameters are those that it was made with.
    """
    try:
        about = json.loads((run / PROVENANCE).read_text(encoding="utf-8"))
        name, depends = about["chapter"], about["inputs"]
        made = depends | {"chapter": name, "parameters": about["parameters"]}
        whole = [about["key"] == key(made), Path(name).name == name]
        whole += [about["sha256"] == sha256(run / f"{name}.ipynb")]
        float(about["seconds"]), datetime.fromisoformat(about["finished"])
    except (ValueError, KeyError, TypeError, FileNotFoundError) as error:
        reason = f"{type(error).__name__}: {error}"
    else:
        if all(whole):
            return about
        reason = "its notebook or its parameters are not those that it was made with"
    raise BookError(f"the run in {run} is damaged ({reason}); remove it, and run it again")


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
    behind. Where what it depends on changed meanwhile, it is no run of either: an error says where
    its notebook was put.
    """
    declared = resolve(chapter)
    values = declared if values is None else values
    depends = inputs(chapter, values)
    target = below(chapter) / key(depends)
    if finished(target):
        provenance(target)
        return target
    if os.path.lexists(target):
        raise BookError(f"{target} is in the way of this run, and is no run itself; remove it")
    changed = {name: value for name, value in values.items() if value != declared[name]}
    with workspace(target) as work:
        try:
            make(chapter, depends, changed, work, cell_timeout=cell_timeout, progress=progress)
        except Changed as error:
            aside = target.with_name(f"{target.name}.aside.ipynb")
            (work / f"{chapter.name}.ipynb").replace(aside)
            raise BookError(
                f"{error}. Its notebook is {aside}; give the command again for a run of what is now"
            ) from None
        _place(work, target)
    return target


class Changed(BookError):
    """What a run depends on changed while it ran."""


def make(
    chapter: Chapter,
    depends: Mapping[str, Any],
    changed: Mapping[str, Value],
    work: Path,
    *,
    cell_timeout: int | None = None,
    progress: bool = False,
) -> dict[str, Any]:
    """Run a chapter into the folder `work`, and return the provenance that is written there.

    `depends` is what the run depends on, its parameters among it; `changed` are those parameters
    that differ from the chapter's own.
    """
    at, made = commit(chapter.book), notebook(chapter)
    if text_digest(chapter) != depends["text"]:
        raise BookError(f"{chapter.text} changed just now; give the command again")
    output = work / f"{chapter.name}.ipynb"
    start = time.monotonic()
    result = execute(chapter, made, output, changed, cell_timeout, progress)
    seconds = round(time.monotonic() - start, 1)
    nbformat.write(result, output)
    now = inputs(chapter, depends["parameters"])
    now |= {"text": depends["text"]}  # its text was read at the start
    differ = [name for name in depends if now[name] != depends[name]]
    differ += ["commit"] * (commit(chapter.book)["commit"] != at["commit"])
    if differ:
        raise Changed(
            f"{chapter.name} is not kept as a run: {' and '.join(differ)} changed while it ran"
        )
    about = origin(chapter, depends, changed, seconds) | {**at, "sha256": sha256(output)}
    _write(work, about)
    return about


def origin(
    chapter: Chapter, depends: Mapping[str, Any], changed: Mapping[str, Value], seconds: float
) -> dict[str, Any]:
    """Where something comes from that was just made of a chapter, but for commit and checksum."""
    return {
        "chapter": chapter.name,
        "key": key(depends),
        "parameters": dict(depends["parameters"]),
        "command": command(chapter.name, changed, threads()),
        "seconds": seconds,
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        **{name: depends["libraries"][name] for name in ("python", "torch", "numpy", "scipy")},
        "ibbook": depends["libraries"]["ibbook"],
        "platform": machine(),
        "processor": processor(),
        "instructions": vectors(),
        "device": depends["device"],
        "threads": threads(),
        "inputs": {n: d for n, d in depends.items() if n not in ("chapter", "parameters")},
    }


def receive(target: Path, about: Mapping[str, Any], content: bytes) -> None:
    """Keep a run that was made elsewhere: its provenance and the bytes of its notebook.

    What is in its place and is no whole run gives way; a notebook in it is put aside.
    """
    with workspace(target) as work:
        name = f"{about['chapter']}.ipynb"
        (work / name).write_bytes(content)
        _write(work, about)
        if provenance(work)["key"] != target.name:
            raise BookError(f"a run of key {about['key']} came back in place of {target.name}")
        if os.path.lexists(target) and not whole(target):
            old = work.with_name(f"{work.name}-old")
            target.rename(old)
            with suppress(FileNotFoundError, NotADirectoryError):
                (old / name).replace(target.with_name(f"{target.name}.aside.ipynb"))
            shutil.rmtree(old) if old.is_dir() and not old.is_symlink() else old.unlink()
        _place(work, target)


def whole(run: Path) -> bool:
    """Whether a run folder holds a run that can be used."""
    with suppress(BookError):
        return bool(provenance(run))
    return False


def _write(work: Path, about: Mapping[str, Any]) -> None:
    save(work / PROVENANCE, json.dumps(about, indent=1) + "\n")


def _place(work: Path, target: Path) -> None:
    try:
        work.rename(target)
    except OSError:
        # Another process finished the same run first; the two are equal.
        if not finished(target):
            raise


@contextmanager
def workspace(target: Path) -> Iterator[Path]:
    """A locked hidden folder beside the target, gone afterwards unless it was renamed."""
    target.parent.mkdir(parents=True, exist_ok=True)
    for old in target.parent.glob(".*-*"):
        with suppress(FileNotFoundError), _lock(old) as free:  # others clear away too
            if free and time.time() - old.stat().st_mtime > STALE_SECONDS:
                shutil.rmtree(old, ignore_errors=True)
    work = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    try:
        with _lock(work, wait=True):  # another process may look at it just now
            work.chmod(0o755)
            yield work
    finally:
        shutil.rmtree(work, ignore_errors=True)


@contextmanager
def _lock(path: Path, *, wait: bool = False) -> Iterator[bool]:
    """Hold a folder's lock while inside; False where another process holds it or it is gone."""
    try:
        handle = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        yield False
        return
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except OSError:
        yield False
    else:
        yield True
    finally:
        os.close(handle)
