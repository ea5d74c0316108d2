"""Files of the data sets, against a real server on this machine and files with real damage."""

from __future__ import annotations

import argparse
import errno
import gc
import gzip
import hashlib
import http.server
import json
import math
import os
import pwd
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import warnings
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ibbook import _files
from ibbook._files import Entry, File, digests, fetch, find, registry, require, verify
from ibbook.book.data import add_commands
from ibbook.datasets import dsprites, load, mpi3d

CONTENT = bytes(range(256)) * 4096  # 1 MiB
MD5 = f"md5:{hashlib.md5(CONTENT).hexdigest()}"
SHARED = os.environ.get("IBBOOK_DATA")


@pytest.fixture(autouse=True)
def folders(tmp_path, monkeypatch):
    monkeypatch.setenv("IBBOOK_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("IBBOOK_DATA", raising=False)
    return tmp_path


class Server(http.server.ThreadingHTTPServer):
    """Serves CONTENT whole, altered, cut short, slowly, or half of it and then nothing."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked: list[str] = []
        self.release = threading.Event()

    def url(self, how: str) -> str:
        return f"http://127.0.0.1:{self.server_port}/{how}"


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        how = self.path.strip("/")
        self.server.asked.append(how)
        if how == "absent":
            self.send_error(404)
            return
        content = self.own if how == "own" else CONTENT
        self.send_response(200)
        if how != "endless":
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if how == "altered":
            self.wfile.write(CONTENT[::-1])
        elif how == "cut":
            self.wfile.write(CONTENT[:1000])
        elif how == "endless":
            with suppress(OSError):
                while not self.server.release.is_set():
                    self.wfile.write(CONTENT)
        elif how == "dribble":
            with suppress(OSError):
                while not self.server.release.wait(0.05):
                    self.wfile.write(b"x")
        elif how == "slow":
            time.sleep(2)
            self.wfile.write(CONTENT)
        elif how == "half":
            self.wfile.write(CONTENT[: len(CONTENT) // 2])
            self.wfile.flush()
            self.server.release.wait(30)
        else:
            self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server():
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.02,))
        thread.start()
        yield running
        running.release.set()
        running.shutdown()
        thread.join()
    with warnings.catch_warnings():  # requests leaves the socket of a broken answer to Python
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


def made(*urls: str, checksums: tuple[str, ...] = (MD5,), megabytes: float | None = 1) -> Entry:
    file = File("a.bin", "made", urls, checksums, megabytes)
    return Entry("made", "Made", 1, "", "", "fetched", (file,))


def left(folder: Path) -> set[str]:
    return {p.name for p in (folder / "cache" / "made").iterdir() if p.suffix != ".lock"}


def test_a_fetched_file_is_whole_and_is_not_fetched_twice(server, folders):
    entry = made(server.url("good"))
    (path,) = fetch(entry)
    assert path == folders / "cache" / "made" / "a.bin"
    assert path.read_bytes() == CONTENT
    assert left(folders) == {"a.bin"}
    assert fetch(entry) == require(entry) == [path]
    assert server.asked == ["good"]


def test_a_terminal_sees_a_progress_bar(server, monkeypatch, capsys):
    fetch(made(server.url("good")))
    assert capsys.readouterr().err == ""
    (_files.cache_folder() / "made" / "a.bin").unlink()
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    fetch(made(server.url("good")))
    assert "100%" in capsys.readouterr().err


def test_mirrors_are_tried_in_turn(server):
    entry = made(server.url("absent"), server.url("cut"), server.url("altered"), server.url("good"))
    (path,) = fetch(entry)
    assert path.read_bytes() == CONTENT
    assert server.asked == ["absent", "cut", "altered", "good"]


def test_a_wrong_checksum_is_refused_and_the_bad_file_kept_aside(server, folders):
    with pytest.raises(ValueError, match=r"its md5 is .*, not .*a\.bin\.bad") as error:
        fetch(made(server.url("altered")))
    assert hashlib.md5(CONTENT).hexdigest() in str(error.value)
    assert left(folders) == {"a.bin.bad"}
    assert (folders / "cache/made/a.bin.bad").read_bytes() == CONTENT[::-1]
    with pytest.raises(FileNotFoundError):
        require(made(server.url("altered")))


def test_a_connection_that_breaks_leaves_nothing(server, folders):
    with pytest.raises(ConnectionError, match="could not be fetched"):
        fetch(made(server.url("cut")))
    assert left(folders) == set()


def test_without_a_network_the_message_says_where_to_put_the_file(folders):
    with socket.socket() as taken:  # bound but not listening: every connection is refused
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/a.bin"
        with pytest.raises(ConnectionError) as error:
            fetch(made(url))
    assert url in str(error.value)
    assert str(folders / "cache" / "made" / "a.bin") in str(error.value)
    assert left(folders) == set()


def test_a_damaged_file_in_the_cache_is_kept_aside_and_fetched_again(server, folders, capsys):
    path = folders / "cache" / "made" / "a.bin"
    path.parent.mkdir(parents=True)
    path.write_bytes(CONTENT[:77])
    assert fetch(made(server.url("good")))[0].read_bytes() == CONTENT
    assert left(folders) == {"a.bin", "a.bin.bad"}
    assert "refused" in capsys.readouterr().err


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="/dev/full is a device of Linux")
def test_a_full_disk_is_named_by_the_system(server):
    with pytest.raises(OSError, match="No space left on device while writing") as error:
        _files._download(server.url("good"), Path("/dev/full"), 1)
    assert error.value.errno == errno.ENOSPC


def test_what_was_fetched_is_on_the_disk_before_it_has_its_name(tmp_path, monkeypatch):
    named = []
    monkeypatch.setattr(os, "fsync", lambda _: named.append((tmp_path / "a").exists()))
    with _files.whole(tmp_path / "a") as part:
        part.write_text("all of it")
    assert named == [False]


def test_a_disk_that_fills_up_leaves_no_half_file(server, folders, monkeypatch):
    def fill(*_: object, **__: object) -> None:
        next((folders / "cache" / "made").glob("*.part")).write_bytes(CONTENT[:500])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(_files, "tqdm", fill)
    with pytest.raises(OSError, match="IBBOOK_CACHE") as error:
        fetch(made(server.url("good"), server.url("good")))
    assert error.value.errno == errno.ENOSPC
    assert left(folders) == set()


@pytest.mark.parametrize(
    ("how", "words", "kind"),
    [("endless", "larger than 2 MB", ValueError), ("dribble", "bytes came in", ConnectionError)],
)
def test_a_download_without_an_end_is_given_up(server, folders, monkeypatch, how, words, kind):
    monkeypatch.setattr(_files, "PATIENCE", 0.3)
    with pytest.raises(kind, match=words):
        fetch(made(server.url(how)))
    assert left(folders) == set()


def test_a_complete_file_of_another_user_needs_no_lock(server, folders, monkeypatch):
    path = folders / "cache" / "made" / "a.bin"
    path.parent.mkdir(parents=True)
    path.write_bytes(CONTENT)

    def refuse(*_: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", "a.bin.lock")

    monkeypatch.setattr(_files, "FileLock", refuse)
    assert fetch(made(server.url("good"))) == [path]
    path.write_bytes(CONTENT[:9])
    with pytest.raises(PermissionError):
        fetch(made(server.url("good")))


def test_homes_are_expanded_and_a_user_without_one_has_a_cache(folders, monkeypatch):
    monkeypatch.setenv("HOME", str(folders / "home"))
    monkeypatch.setenv("IBBOOK_DATA", "~/sets")
    monkeypatch.setenv("IBBOOK_CACHE", "~/cache")
    path = folders / "home" / "sets" / "made" / "a.bin"
    path.parent.mkdir(parents=True)
    path.write_bytes(CONTENT)
    assert _files.cache_folder() == folders / "home" / "cache"
    assert require(made("http://nowhere")) == [path]

    monkeypatch.setenv("IBBOOK_DATA", str(folders / "home" / "sets"))
    for name in ("HOME", "IBBOOK_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)

    def nobody(*_: object) -> None:
        raise KeyError("getpwuid(): uid not found")

    monkeypatch.setattr(pwd, "getpwuid", nobody)
    assert require(made("http://nowhere")) == [path]
    assert _files.cache_folder().is_absolute()
    assert "~" not in str(_files.cache_folder())
    monkeypatch.setenv("IBBOOK_DATA", "~/sets")
    with pytest.raises(ValueError, match="stands for a home folder that is not known here"):
        require(made("http://nowhere"))


@pytest.mark.parametrize("content", [b"<html/>\r\n", b"PK\5\6" + bytes(18), b""])
def test_what_is_no_such_file_is_refused_before_its_hash_is_recorded(
    server, folders, monkeypatch, content
):
    """mpi3d-toy and mpi3d-real have no known checksum: a portal's page must not take its place."""
    name = "mpi3d-toy"
    monkeypatch.setattr(mpi3d, "FACTOR_SIZES", (2, 1, 1, 1, 1, 1, 1))
    file = replace(registry()[name].files[0], urls=(server.url("own"),))
    known = registry() | {name: replace(registry()[name], files=(file,))}
    monkeypatch.setattr("ibbook._files.registry", lambda: known)
    pictures = folders / "right.npz"
    np.savez(pictures, images=np.zeros((3, 64, 64, 3), np.uint8))
    for wrong in (content, pictures.read_bytes()):
        monkeypatch.setattr(Handler, "own", wrong, raising=False)
        assert ibbook("fetch", name) == 1
        given = folders / "cache" / "mpi3d" / file.name
        given.write_bytes(wrong)
        assert ibbook("check", name) == 1
        with pytest.raises(ValueError, match="is refused"):
            load(name)
        given.unlink()
    np.savez(pictures, images=np.zeros((2, 64, 64, 3), np.uint8))
    monkeypatch.setattr(Handler, "own", pictures.read_bytes(), raising=False)
    assert ibbook("fetch", name) == 0
    assert len(load(name)) == 2


def test_a_disk_without_room_is_refused_before_the_download(server, folders):
    with pytest.raises(OSError, match="MB free"):
        fetch(made(server.url("good"), megabytes=1e12))
    assert server.asked == []
    assert left(folders) == set()


FETCH = """  # the module by itself, without the seconds that its package's torch takes to start
import importlib.util, sys
source, url, md5 = sys.argv[1:]
spec = importlib.util.spec_from_file_location("files", source)
files = sys.modules["files"] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(files)
file = files.File("a.bin", "made", (url,), (md5,), 1)
print(files.fetch(files.Entry("made", "Made", 1, "", "", "fetched", (file,)))[0])
"""


def process(url: str) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-c", FETCH, _files.__file__, url, MD5],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_of_two_processes_one_downloads_and_both_have_the_file(server, folders):
    both = [process(server.url("slow")) for _ in range(2)]
    results = [p.communicate(timeout=120) for p in both]
    assert [p.returncode for p in both] == [0, 0], results
    assert {out.strip() for out, _ in results} == {str(folders / "cache/made/a.bin")}
    assert all("%" not in err for _, err in results)  # no progress bar where no one looks
    assert (folders / "cache/made/a.bin").read_bytes() == CONTENT
    assert left(folders) == {"a.bin"}
    assert server.asked == ["slow"]


def test_a_killed_download_leaves_no_file_and_is_begun_again(server, folders):
    running = process(server.url("half"))
    part = folders / "cache" / "made"
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and not any(
        p.stat().st_size > 0 for p in part.glob("*.part")
    ):
        time.sleep(0.05)
    running.send_signal(signal.SIGKILL)
    running.communicate()
    assert any(p.stat().st_size > 0 for p in part.glob("*.part"))
    assert not (part / "a.bin").exists()
    server.release.set()
    assert fetch(made(server.url("good")))[0].read_bytes() == CONTENT
    assert left(folders) == {"a.bin"}


def test_the_given_folder_comes_before_the_cache(server, folders, monkeypatch):
    given = folders / "given" / "made" / "a.bin"
    given.parent.mkdir(parents=True)
    given.write_bytes(CONTENT)
    monkeypatch.setenv("IBBOOK_DATA", str(folders / "given"))
    entry = made(server.url("good"))
    assert find(entry.files[0]) == given
    assert fetch(entry) == [given]
    assert server.asked == []
    given.write_bytes(CONTENT + b"x")
    with pytest.raises(ValueError, match="is refused: its md5 is"):
        fetch(entry)
    assert given.exists()  # a folder that is not ours stays as it is


def test_a_missing_file_says_what_to_run_and_where_to_put_it(folders):
    with pytest.raises(FileNotFoundError) as error:
        load("mnist")
    for part in ("ibbook data fetch mnist", "train-images-idx3-ubyte.gz", str(folders / "cache")):
        assert part in str(error.value)


def test_a_checked_file_is_read_again_only_when_it_changed(folders, monkeypatch):
    path = folders / "a.bin"
    path.write_bytes(CONTENT)
    file = made().files[0]
    verify(path, file)
    read = []
    real = _files.digests
    monkeypatch.setattr(_files, "digests", lambda *a: read.append(a) or real(*a))
    verify(path, file)
    assert read == []
    verify(path, file, again=True)
    assert len(read) == 1
    os.utime(path, (1, 1))
    verify(path, file)
    assert len(read) == 2
    other = File("a.bin", "made", (), ("md5:" + "0" * 32,))
    with pytest.raises(ValueError, match="is refused"):  # the registry asks for another checksum
        verify(path, other)


def test_a_file_without_a_known_checksum_is_recorded_on_first_use(folders):
    path = folders / "a.bin"
    path.write_bytes(CONTENT)
    file = made(checksums=()).files[0]
    verify(path, file)
    (note,) = (folders / "cache" / "checked").iterdir()
    assert json.loads(note.read_text())["sha256"] == hashlib.sha256(CONTENT).hexdigest()
    path.write_bytes(CONTENT[::-1])
    with pytest.raises(ValueError, match="when it was first used"):
        verify(path, file)


def test_a_fetched_file_without_a_checksum_is_recorded_too(server, folders):
    entry = made(server.url("good"), checksums=())
    (path,) = fetch(entry)
    path.unlink()
    with pytest.raises(ValueError, match="when it was first used"):
        fetch(made(server.url("altered"), checksums=()))
    assert left(folders) == {"a.bin.bad"}


def test_a_cache_that_cannot_be_written_costs_only_time(folders, monkeypatch):
    path = folders / "a.bin"
    path.write_bytes(CONTENT)
    (folders / "plain").write_text("a file, not a folder")
    monkeypatch.setenv("IBBOOK_CACHE", str(folders / "plain"))
    verify(path, made().files[0])


def test_git_names_content_as_git_does(folders):
    path = folders / "a.bin"
    path.write_bytes(CONTENT)
    git = subprocess.run(
        ["git", "hash-object", str(path)], capture_output=True, text=True, check=True
    )
    assert digests(path, {"git-sha1"})["git-sha1"] == git.stdout.strip()
    empty = folders / "empty"
    empty.write_bytes(b"")
    assert digests(empty, {"git-sha1"})["git-sha1"] == "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391"


def test_the_registry_is_complete():
    lengths = {"md5": 32, "sha256": 64, "git-sha1": 40}
    for entry in registry().values():
        assert (entry.origin in ("fetched", "rendered")) == bool(entry.files), entry.name
        for file in entry.files:
            assert file.urls
            assert all(url.startswith(("https://", "http://fashion-mnist.s3")) for url in file.urls)
            assert all(url.endswith("/" + file.name) for url in file.urls)
            for checksum in file.checksums:
                algorithm, digest = checksum.split(":")
                assert len(digest) == lengths[algorithm]
                assert set(digest) <= set("0123456789abcdef")
            without = {"mpi3d_toy.npz", "mpi3d_real.npz"}
            assert bool(file.checksums) == (file.name not in without)
    sheet = (_files.REGISTRY.parent / "README.md").read_text(encoding="utf-8")
    for name in registry():
        assert f"`{name}`" in sheet, f"data/README.md has no sheet of {name}"


def test_a_registry_that_is_not_there_says_how_to_install(monkeypatch, folders):
    registry.cache_clear()
    monkeypatch.setattr(_files, "REGISTRY", folders / "registry.toml")
    with pytest.raises(FileNotFoundError, match=r"pip install -e \."):
        registry()
    registry.cache_clear()


def ibbook(*words: str) -> int:
    parser = argparse.ArgumentParser()
    add_commands(parser.add_subparsers())
    arguments = parser.parse_args(["data", *words])
    return arguments.run(arguments)


def test_list_names_every_set(capsys):
    assert ibbook("list") == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["name", *registry()]
    assert next(line for line in lines if line.startswith("mnist")).endswith(" no")


def test_fetch_says_what_went_wrong_in_one_line(capsys):
    assert ibbook("fetch", "minst") == 1
    assert "did you mean 'mnist'" in capsys.readouterr().err
    assert ibbook("fetch", "gaussian-factors") == 1
    assert "nothing to fetch" in capsys.readouterr().err


def small_mnist(folder: Path) -> Entry:
    """Four idx files of MNIST's layout, in the cache, with their checksums."""
    from tests.datasets.test_datasets import idx

    entry = registry()["mnist"]
    files = []
    for file in entry.files:
        n = 3 if "train" in file.name else 2
        shape = (n, 28, 28) if "images" in file.name else (n,)
        content = gzip.compress(idx(shape, bytes(i % 10 for i in range(math.prod(shape)))))
        path = folder / "cache" / "mnist" / file.name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        md5 = hashlib.md5(content).hexdigest()
        files.append(File(file.name, "mnist", file.urls, (f"md5:{md5}",)))
    return Entry("mnist", *list(vars(entry).values())[1:-1], tuple(files))


def test_check_reads_the_files_again(folders, monkeypatch, capsys):
    assert ibbook("check", "mnist") == 1
    assert "ibbook data fetch mnist" in capsys.readouterr().out
    changed = {**registry(), "mnist": small_mnist(folders)}
    monkeypatch.setattr("ibbook._files.registry", lambda: changed)
    assert ibbook("check", "mnist") == 0
    assert "mnist: whole" in capsys.readouterr().out
    assert [len(load("mnist", part=part)) for part in ("train", "test")] == [3, 2]
    labels = folders / "cache" / "mnist" / "t10k-labels-idx1-ubyte.gz"
    before = labels.stat()
    whole = labels.read_bytes()
    labels.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    os.utime(labels, ns=(before.st_atime_ns, before.st_mtime_ns))
    load("mnist", part="train")  # the damage does not show in size or date ...
    assert ibbook("check", "mnist") == 1  # ... but check reads every byte
    assert "WRONG" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("differing", "code", "answer"),
    [
        (3, 0, "whole .*; 3 of its pixels differ from the rendered ones, about 50 are expected"),
        (199, 0, "whole .* 199 of its pixels differ"),
        (200, 1, "WRONG.* 200 pixels differ .* the first is in picture 7 .*posX 0, posY 7"),
    ],
)
def test_check_counts_the_differing_pixels_of_the_official_dsprites(
    folders, monkeypatch, capsys, differing, code, answer
):
    from tests.datasets.test_dsprites import official

    monkeypatch.setattr(dsprites, "COUNT", 300)
    known = registry()["dsprites"]
    path = folders / "cache" / "dsprites" / known.files[0].name
    path.parent.mkdir(parents=True)
    with np.load(official(path, 300)) as data:
        pictures = data["imgs"]
    pictures[7 : 7 + differing, 2, 3] ^= 1
    md5 = hashlib.md5(official(path, 300, imgs=pictures).read_bytes()).hexdigest()
    changed = replace(known, files=(replace(known.files[0], checksums=(f"md5:{md5}",)),))
    monkeypatch.setattr("ibbook._files.registry", lambda: {"dsprites": changed})
    assert ibbook("check", "dsprites") == code
    assert re.search(f"^dsprites: {answer}", capsys.readouterr().out)


def test_check_without_a_name_takes_what_is_here(capsys):
    assert ibbook("check") == 0
    said = dict(line.split(": ", 1) for line in capsys.readouterr().out.splitlines())
    assert set(said) == set(registry())
    assert said["mnist"] == said["mpi3d-real"] == "not here"
    assert said["digits"] == "whole (scikit-learn)"


@pytest.mark.skipif(not SHARED, reason="IBBOOK_DATA names no folder with the real files")
def test_the_real_files_have_the_registered_checksums(monkeypatch):
    monkeypatch.setenv("IBBOOK_DATA", SHARED)
    for name in ("mnist",):
        for path, file in zip(require(registry()[name]), registry()[name].files, strict=True):
            assert path.is_relative_to(SHARED)
            verify(path, file, again=True)
