"""What a run depends on, and its hash: the key under which the run is kept."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from ibbook import _origin
from ibbook._files import find, registry
from ibbook.book.chapters import Chapter
from ibbook.book.folders import run_store, save, text_of
from ibbook.book.numbers import blank
from ibbook.book.parameters import Value

# What of data/ runs are held against, or leave behind, and do not read.
CHECKED_ONLY = ("claims.toml", "ledger.toml", "models")
# A cell that starts from a trained model of data/models.
CODE = re.compile(r"^(`{3,})\{code-cell\}.*?^\1", re.DOTALL | re.MULTILINE)
MODEL = re.compile(r"\bmodel\([\"']([\w-]+)[\"']\)")
# Bytes from which on a file of data/ is read again only when it has changed.
LARGE = 1 << 24


def inputs(chapter: Chapter, values: Mapping[str, Value]) -> dict[str, Any]:
    """What a run depends on: text, all parameters, the package's source, data, libraries, device.

    The numbers in its prose are left out: a run gives them, and does not depend on them. Of the
    files outside the book those count that stand in for something drawn, of the trained models
    those that a cell names.

    >>> from ibbook.book.folders import root
    >>> list(inputs(Chapter(Path(root(), "chapters", "index.md")), {}))
    ['chapter', 'parameters', 'text', 'package', 'data', 'models', 'files', 'libraries', 'device']
    """
    drawn = [entry for entry in registry().values() if entry.origin == "rendered"]
    return {
        "chapter": chapter.name,
        "parameters": dict(values),
        "text": text_digest(chapter),
        "package": _origin.digest(_origin.PACKAGE),
        "data": _origin.digest(chapter.book / "data", CHECKED_ONLY, _remembering(chapter.book)),
        "models": _models(chapter),
        "files": [file.name for entry in drawn for file in entry.files if find(file)],
        "libraries": _origin.libraries(),
        "device": _origin.device(),
    }


def _models(chapter: Chapter) -> dict[str, str]:
    """A hash of each trained model that a cell of the chapter names, as far as there is one."""
    code = "".join(match[0] for match in CODE.finditer(text_of(chapter.text)))
    folder = chapter.book / "data" / "models"
    paths = {name: folder / f"{name}.safetensors" for name in sorted(set(MODEL.findall(code)))}
    return {name: _origin.sha256(path) for name, path in paths.items() if path.is_file()}


def text_digest(chapter: Chapter) -> str:
    """A hash of a chapter's text without the numbers in its prose.

    >>> from ibbook.book.folders import root
    >>> len(text_digest(Chapter(Path(root(), "chapters", "index.md"))))
    64
    """
    return hashlib.sha256(blank(text_of(chapter.text)).encode()).hexdigest()


def key(depends: Mapping[str, Any]) -> str:
    """The name of the run that depends on these inputs.

    >>> key({"chapter": "a", "parameters": {}}) == key({"parameters": {}, "chapter": "a"})
    True
    """
    return hashlib.sha256(json.dumps(depends, sort_keys=True).encode()).hexdigest()[:16]


def _remembering(book: Path) -> Callable[[Path], str]:
    """A hash of a file that reads a large one again only when its size or its dates are others."""
    notes = run_store(book).with_name("digests.json")
    try:
        noted = dict(json.loads(notes.read_text(encoding="utf-8")))
        known = {name: note for name, note in noted.items() if isinstance(note, list)}
    except (OSError, ValueError, TypeError):
        known = {}

    def of(path: Path) -> str:
        stat = path.stat()
        if stat.st_size < LARGE:
            return _origin.sha256(path)
        state = [stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino]
        if known.get(str(path), [None])[:-1] != state:
            known[str(path)] = [*state, _origin.sha256(path)]
            with suppress(OSError):  # where nothing can be written, it is read every time
                notes.parent.mkdir(parents=True, exist_ok=True)
                save(notes, json.dumps(known))
        return known[str(path)][-1]

    return of


def commit(book: Path) -> dict[str, Any]:
    """The commit that the book is at, and whether tracked files differ from it."""
    # a hook of git sets variables that name another repository
    environment = {name: v for name, v in os.environ.items() if not name.startswith("GIT_")}

    def git(*arguments: str) -> str | None:
        try:
            done = subprocess.run(
                ["git", "-C", book, *arguments],
                capture_output=True,
                encoding="utf-8",
                errors="surrogateescape",
                check=True,
                env=environment,
            )
        except (OSError, subprocess.CalledProcessError):
            return None
        return done.stdout.strip()

    top = git("rev-parse", "--show-toplevel")
    if top is None or Path(top).resolve() != book.resolve():
        return {"commit": None, "dirty": None}
    changes = git("status", "--porcelain", "--untracked-files=no")
    return {"commit": git("rev-parse", "HEAD"), "dirty": bool(changes)}
