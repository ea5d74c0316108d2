"""Files of the data sets: where they are, whether they are whole, and how to fetch them.

A file is looked for in the folder named by IBBOOK_DATA, then in the cache: the folder named by
IBBOOK_CACHE, or the user's own cache folder. Nothing is downloaded unless `fetch` is called.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
import tempfile
import time
import tomllib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from uuid import uuid4

import platformdirs
import requests
import urllib3
from filelock import FileLock
from tqdm import tqdm

from ibbook._paths import given

REGISTRY = Path(__file__).parents[1] / "data" / "registry.toml"
BLOCK = 1 << 20
# A download is given up where it is larger than this, or slower after its first minute.
LARGEST, PATIENCE, SLOWEST = 2e10, 60.0, 1e4  # bytes, seconds, bytes a second


@dataclass(frozen=True)
class File:
    """One file of a data set: its name, its checksums `algorithm:digest`, and where to get it.

    `opens` reads so much of a file without checksums that no other is taken for it.
    """

    name: str
    folder: str
    urls: tuple[str, ...]
    checksums: tuple[str, ...] = ()
    megabytes: float | None = None
    opens: Callable[[Path], object] | None = field(default=None, compare=False)


@dataclass(frozen=True)
class Entry:
    """What the registry says of one data set."""

    name: str
    title: str
    images: int
    shape: str
    licence: str
    origin: str
    files: tuple[File, ...] = ()


@cache
def registry() -> dict[str, Entry]:
    """Every data set of the book, by name, as `data/registry.toml` lists them.

    >>> registry()["digits"].images
    1797
    """
    try:
        tables = tomllib.loads(REGISTRY.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise FileNotFoundError(
            f"{REGISTRY} is missing: ibbook is used from a checkout of the book; "
            "clone it and install it there with `pip install -e .`"
        ) from None
    entries = {}
    for name, table in tables.items():
        folder = table.pop("folder", "")
        files = tuple(
            File(
                file["name"],
                folder,
                tuple(file["urls"]),
                tuple(file["checksums"]),
                file.get("megabytes"),
            )
            for file in table.pop("files", ())
        )
        entries[name] = Entry(name, **table, files=files)
    return entries


def cache_folder() -> Path:
    """Where fetched files are kept: $IBBOOK_CACHE, or the user's cache.

    >>> cache_folder().is_absolute()
    True
    """
    if own := given("IBBOOK_CACHE"):
        return own
    try:
        folder = Path(platformdirs.user_cache_dir("ibbook")).expanduser()
    except (KeyError, RuntimeError):
        folder = Path()
    if folder.is_absolute():
        return folder
    return Path(tempfile.gettempdir(), f"ibbook-{os.getuid()}").absolute()  # a user without a home


def find(file: File) -> Path | None:
    """The file in $IBBOOK_DATA or in the cache, or None."""
    own = given("IBBOOK_DATA")
    for folder in (*([own] if own else []), cache_folder()):
        path = folder / file.folder / file.name
        if path.is_file():
            return path
    return None


def require(entry: Entry) -> list[Path]:
    """The files of a set, each checked; an error that says how to get them when one is missing."""
    paths = [find(file) for file in entry.files]
    missing = [f for f, path in zip(entry.files, paths, strict=True) if path is None]
    if missing:
        size = sum(f.megabytes or 0 for f in missing)
        size = f" ({size:.0f} MB)" if size >= 1 else ""
        raise FileNotFoundError(
            f"{entry.name}: {', '.join(f.name for f in missing)} not found. Run "
            f"`ibbook data fetch {entry.name}`{size}. Without a network, put the files by hand "
            f"into {cache_folder() / missing[0].folder}, from {missing[0].urls[0]}"
        )
    for file, path in zip(entry.files, paths, strict=True):
        verify(path, file)
    return paths


def verify(path: Path, file: File, *, again: bool = False) -> None:
    """Refuse a file whose checksum is wrong; one that was checked and has not changed is trusted.

    A file for which no checksum is known is recorded on its first use, and must stay the same.
    `again` reads the file even if its size and date are as they were.
    """
    known = _read_note(path)
    seal = _seal(path, file)
    if again or any(known.get(key) != value for key, value in seal.items()):
        _write_note(path, seal | {"sha256": _refuse_altered(path, file, known)})


def _refuse_altered(path: Path, file: File, known: dict) -> str:
    """The file's sha256, when it is the file that it should be."""
    wanted = dict(c.split(":", 1) for c in file.checksums)
    if not wanted and not known and file.opens:
        try:
            file.opens(path)
        except ValueError as error:
            raise ValueError(f"{path} is refused: {error}") from None
    found = digests(path, {"sha256", *wanted})
    for algorithm, digest in wanted.items():
        if found[algorithm] != digest:
            raise ValueError(
                f"{path} is refused: its {algorithm} is {found[algorithm]}, not {digest}, so it "
                "is damaged, cut short, or another file; remove it and fetch it again"
            )
    if not wanted and known and known["sha256"] != found["sha256"]:
        raise ValueError(
            f"{path} is refused: its sha256 is {found['sha256']}, but that of {file.name} was "
            f"{known['sha256']} when it was first used; if it was replaced on purpose, remove "
            f"{cache_folder() / 'checked'} and try again"
        )
    return found["sha256"]


def digests(path: Path, algorithms: set[str]) -> dict[str, str]:
    """Checksums of a file, in one reading; git-sha1 is the name that git gives to its content.

    >>> digests(REGISTRY, {"git-sha1"}).keys()
    dict_keys(['git-sha1'])
    """
    hashes = {a: hashlib.new(a.removeprefix("git-"), usedforsecurity=False) for a in algorithms}
    if "git-sha1" in hashes:
        hashes["git-sha1"].update(f"blob {path.stat().st_size}\0".encode())
    with path.open("rb") as stream:
        while block := stream.read(BLOCK):
            for h in hashes.values():
                h.update(block)
    return {algorithm: h.hexdigest() for algorithm, h in hashes.items()}


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """A place to write `path`, which appears under its name only when it is complete.

    >>> import pathlib, tempfile
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "note.txt"
    >>> with whole(path) as part:
    ...     _ = part.write_text("all of it")
    ...     path.exists()
    False
    >>> path.read_text()
    'all of it'
    """
    part = path.with_name(f"{path.name}.{uuid4().hex}.part")
    try:
        yield part
        with part.open("rb") as stream:
            os.fsync(stream.fileno())
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def room_for(path: Path, size: float) -> None:
    """Refuse to begin writing `size` bytes into a folder that has no room for them."""
    free = shutil.disk_usage(path.parent).free
    if free < size:
        raise OSError(
            f"{path.parent} has {free / 1e6:.0f} MB free and {path.name} needs {size / 1e6:.0f}; "
            "make room, or set IBBOOK_CACHE to a folder on another disk"
        )


def fetch(entry: Entry) -> list[Path]:
    """Download what is missing of a set, into the cache, and check it before it gets its name.

    Mirrors are tried in turn. Of several processes that fetch one file, one downloads and the
    others wait for it. A download that was interrupted is begun again.
    """
    if not entry.files:
        raise ValueError(f"{entry.name} is {entry.origin}: there is nothing to fetch")
    return [_fetch(file) for file in entry.files]


def _fetch(file: File) -> Path:
    path = find(file) or cache_folder() / file.folder / file.name
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists() and not path.is_relative_to(cache_folder()):
        verify(path, file)
        return path
    if path.exists():
        with suppress(ValueError):  # a damaged one is dealt with below, by one process at a time
            verify(path, file, again=True)
            return path
    with FileLock(path.with_name(path.name + ".lock")):
        if path.exists():
            try:
                verify(path, file, again=True)
            except ValueError as error:
                print(f"{error} (kept as {_keep_aside(path, path)})", file=sys.stderr)
            else:
                return path
        for old in path.parent.glob(path.name + ".*.part"):  # of a process that was killed
            old.unlink()
        room_for(path, (file.megabytes or 0) * 1e6)
        refused = []
        for url in file.urls:
            try:
                with whole(path) as part:
                    _download(url, part, file.megabytes)
                    try:
                        sha256 = _refuse_altered(part, file, _read_note(path))
                    except ValueError as error:
                        bad = _keep_aside(part, path)
                        raise ValueError(f"{error} (kept as {bad})") from None
                _write_note(path, _seal(path, file) | {"sha256": sha256})
                return path
            except (requests.RequestException, ValueError) as error:
                refused.append((url, error))
    what = "\n".join(f"  {url}: {error}" for url, error in refused)
    message = (
        f"{file.name} could not be fetched:\n{what}\nCheck the network or the proxy and try again, "
        f"or download it by other means and put it at {path}; its checksum is checked there too"
    )
    if all(isinstance(error, ValueError) for _, error in refused):
        raise ValueError(message)
    raise ConnectionError(message)


def _download(url: str, part: Path, megabytes: float | None) -> None:
    most = LARGEST if megabytes is None else 1.1e6 * megabytes + 1e6
    done, begun = 0, time.monotonic()
    asked = {"stream": True, "timeout": 30, "headers": {"Accept-Encoding": "identity"}}
    try:
        with requests.get(url, **asked) as answer, part.open("wb") as stream:
            answer.raise_for_status()
            promised = int(answer.headers.get("Content-Length", 0))
            hidden = not sys.stderr.isatty()
            with tqdm(total=promised or None, unit="B", unit_scale=True, disable=hidden) as bar:
                while block := answer.raw.read1(BLOCK):
                    stream.write(block)
                    bar.update(len(block))
                    done += len(block)
                    if done > most:
                        raise ValueError(f"it is larger than {most / 1e6:.0f} MB, so another file")
                    if time.monotonic() - begun > PATIENCE + done / SLOWEST:
                        raise requests.Timeout(f"only {done} bytes came in {PATIENCE:.0f} seconds")
            if done < promised:
                raise requests.ConnectionError(f"it ended after {done} of {promised} bytes")
    except urllib3.exceptions.HTTPError as error:
        raise requests.ConnectionError(str(error)) from None
    except requests.RequestException:
        raise
    except OSError as error:
        raise OSError(
            error.errno,
            f"{error.strerror} while writing into {part.parent}; no part of the file is left. "
            "Make room, or set IBBOOK_CACHE to a folder on another disk",
        ) from error


def _keep_aside(source: Path, path: Path) -> Path:
    bad = path.with_name(path.name + ".bad")
    os.replace(source, bad)
    return bad


def _note_of(path: Path) -> Path:
    name = hashlib.sha256(str(path).encode()).hexdigest()
    return cache_folder() / "checked" / f"{name}.json"


def _seal(path: Path, file: File) -> dict:
    """What must not have changed for a checked file to be trusted."""
    stat = path.stat()
    return {"bytes": stat.st_size, "modified": stat.st_mtime_ns, "checksums": [*file.checksums]}


def _read_note(path: Path) -> dict:
    try:
        note = json.loads(_note_of(path).read_text(encoding="utf-8"))
        return note if isinstance(note["sha256"], str) else {}
    except (OSError, ValueError, TypeError, KeyError):
        return {}


def _write_note(path: Path, note: dict) -> None:
    target = _note_of(path)
    with suppress(OSError):  # a cache that cannot be written costs a second reading, no more
        target.parent.mkdir(parents=True, exist_ok=True)
        with whole(target) as part:
            part.write_text(json.dumps({"path": str(path), **note}), encoding="utf-8")
