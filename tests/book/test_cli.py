"""The command line: what a person types, reads, and gets as an exit code."""

from __future__ import annotations

import errno
import io
import json
import os
import re
import shutil
import subprocess
import sys
import urllib.request
from pathlib import Path

import pandas as pd
import pytest

from ibbook.book import kernels, runs, site
from ibbook.book.cli import main
from tests.book.coin import RECORDING, recorded_without_a_kernel

IBBOOK = Path(sys.executable).with_name("ibbook")


@pytest.fixture
def no_kernel(monkeypatch):
    """Any attempt to execute a notebook fails the test."""

    def refuse(*_, **__):
        pytest.fail("a kernel was about to start")

    monkeypatch.setattr(kernels, "execute_notebook", refuse)


def test_list_shows_each_parameter_with_type_default_range_and_help(write, capsys, no_kernel):
    write()
    write("02-die", parameters="")
    assert main(["list"]) == 0
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert lines == [
        "01-coin: A coin (1 min, cpu)",
        "bias float 0.25 [0, 1] chance of heads",
        "flips int 3 [1, 100] number of flips",
        "fair bool False whether to use a fair coin instead",
        'side str heads {"heads", "tails"} side to count',
        "02-die: A coin (1 min, cpu)",
    ]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("run coin -p bais 0.5", "01-coin has no parameter 'bais'; did you mean bias?"),
        ("run coin -p bias 1.5", "bias must be in [0, 1], got 1.5"),
        ("run coin -p flips 2.5", "flips must be of type int, got '2.5'"),
        ("run coin -p side edge", 'side must be one of {"heads", "tails"}, got \'edge\''),
        ("run coin -p bias 0.1 -p bias 0.2", "-p sets bias more than once"),
        ("run coin --profile ful", "01-coin has no profile 'ful'"),
        ("run cion", "did you mean 01-coin?"),
        ("collect", "no run in"),
        ("collect coin", "no run in"),
        ("collect ./nowhere", "no folder ./nowhere"),
        ("collect -o table.xlsx", "-o must end in .csv or .parquet, got table.xlsx"),
        ("keep nowhere coin", "no finished run in nowhere"),
        ("serve", "build it with `make book`"),
    ],
)
def test_a_request_that_cannot_be_met_is_one_line_before_a_kernel_starts(
    write, capsys, no_kernel, arguments, message
):
    write("01-coin", RECORDING)
    assert main(arguments.split()) == 2
    out, said = capsys.readouterr()
    assert message in said
    assert said.startswith("ibbook: ")
    assert said.count("\n") == 1
    assert out == ""


@pytest.mark.parametrize("arguments", ["", "lst", "run", "run coin --cell-timeout 0"])
def test_a_malformed_command_shows_its_usage(write, capsys, arguments):
    write()
    with pytest.raises(SystemExit) as caught:
        main(arguments.split())
    assert caught.value.code == 2
    assert "usage: ibbook" in capsys.readouterr().err


def test_a_run_that_someone_asked_for_takes_its_time_and_the_book_does_not(
    book, write, monkeypatch
):
    write("01-coin", RECORDING)
    limits = []

    def execute(_, made, output, changed, cell_timeout, progress):
        limits.append(cell_timeout)
        return made

    monkeypatch.setattr(runs, "execute", execute)
    assert main(["run", "coin", "-p", "flips", "9"]) == 0
    assert main(["run", "coin", "-p", "flips", "8", "--cell-timeout", "7"]) == 0
    assert main(["notebooks"]) == 0
    assert limits == [None, 7, 600]


def test_run_then_collect_from_elsewhere(book, write, tmp_path, monkeypatch, capsys):
    write("01-coin", RECORDING)
    monkeypatch.chdir(tmp_path)
    command = [IBBOOK, "run", "1", "-p", "bias", "0.125"]
    first = subprocess.run(command, capture_output=True, text=True, check=True)
    notebook = Path(first.stdout.strip())
    assert notebook.is_file()
    assert "01-coin: running\n01-coin: done in" in first.stderr
    assert "%|" not in first.stderr  # no progress bar away from a terminal

    def ibbook(*arguments: str) -> tuple[str, str]:
        assert main(arguments) == 0
        return capsys.readouterr()

    out, said = ibbook("run", "coin", "-p", "bias", "0.125")
    assert out == first.stdout
    assert "unchanged" in said

    printed, _ = ibbook("collect")
    table = pd.read_csv(io.StringIO(printed), keep_default_na=False)
    assert table[["name", "value", "bias", "flips"]].values.tolist() == [
        ["coin.bias", 0.125, 0.125, 3]
    ]
    ibbook("collect", "coin", "-o", "table.csv")
    assert (tmp_path / "table.csv").read_text() == printed
    ibbook("collect", "coin", "-o", "table.parquet")
    parquet = pd.read_parquet(tmp_path / "table.parquet")
    pd.testing.assert_frame_equal(parquet, table, check_dtype=False)


@pytest.mark.parametrize("name", ["\u00b2", "run \u00b2"])
def test_a_digit_that_is_no_number_is_an_unknown_chapter(write, capsys, no_kernel, name):
    write()
    assert main(["run", name]) == 2
    assert "no chapter" in capsys.readouterr().err


@pytest.mark.parametrize("value", ["-2.5e-1", "-.25", "-0.25", "-1_000e-3"])
def test_a_negative_value_is_a_value_and_no_option(write, monkeypatch, value):
    write(parameters="shift: float = 1  # shift [-2, 2]\n")
    seen = []

    def execute(_, made, output, changed, *others):
        seen.append(changed["shift"])
        return made

    monkeypatch.setattr(runs, "execute", execute)
    assert main(["run", "coin", "-p", "shift", value]) == 0
    assert seen == [float(value)]


def test_mixed_types_of_a_parameter_reach_a_parquet_file(write, monkeypatch, tmp_path):
    for number, line in enumerate(("size: int = 1  # size [0, 9]", 'size: str = "a"  # size')):
        write(f"0{number}-coin", RECORDING, parameters=line + "\n")
    monkeypatch.setattr(runs, "execute", recorded_without_a_kernel)
    assert main(["run", "0"]) == main(["run", "1"]) == 0
    assert main(["collect", "-o", str(tmp_path / "x.parquet")]) == 0
    assert list(pd.read_parquet(tmp_path / "x.parquet")["size"]) == ["1", "a"]


def test_a_terminal_without_a_letter_shows_its_number(write):
    chapter = write()
    chapter.text.write_text(chapter.text.read_text().replace("A coin", "A \u03b2-coin"))
    latin = os.environ | {"PYTHONIOENCODING": "latin-1", "PYTHONUTF8": "0"}
    done = subprocess.run([IBBOOK, "list"], env=latin, capture_output=True, check=True)
    assert done.stdout.startswith(rb"01-coin: A \u03b2-coin")


def test_a_home_that_nobody_knows_is_one_line(write, capsys, monkeypatch):
    write()
    monkeypatch.setenv("IBBOOK_DATA", "~nobody-of-this-name/sets")
    assert main(["run", "coin"]) == 2
    said = capsys.readouterr().err
    assert "write the whole path" in said
    assert said.count("\n") == 1


def test_a_claim_whose_number_no_one_recorded_does_not_hold(book, write, capsys):
    write()
    text = "[coin.bias]\nclaim = 'It is fair.'\nholds = 'coin.bias < 0.5'\n"
    (book / "data" / "claims.toml").write_text(text, encoding="utf-8")
    assert main(["claims"]) == 1
    said = capsys.readouterr()
    assert said.out.startswith("open    coin.bias: a number that it compares is not recorded\n")
    assert "0 of 1 claims hold" in said.err


def test_broken_claims_are_one_line(book, write, capsys):
    write()
    for content in (b"[coin", b"\xff", b"[coin.bias]\nclaim = 3"):
        (book / "data" / "claims.toml").write_bytes(content)
        assert main(["claims"]) == 2
        said = capsys.readouterr().err
        assert "claims.toml" in said
        assert said.count("\n") == 1


def test_collect_passes_over_what_a_build_of_the_site_left(book, write, monkeypatch, capsys):
    write("01-coin", RECORDING)
    monkeypatch.setattr(runs, "execute", recorded_without_a_kernel)
    assert main(["run", "coin"]) == 0
    made = Path(capsys.readouterr().out.strip()).parent
    shutil.copytree(made, made.with_name(f".{made.name}-abc"))  # of a run that is not placed yet
    (book / "book.yml").touch()
    (book / "myst.yml").touch()
    site.stage_book({}, {}, {}, book, {})
    capsys.readouterr()
    assert main(["collect", str(book / "_build")]) == 0
    assert capsys.readouterr().out.count("coin.bias") == 1


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "/a/b"), "/a/b: No space.*make room"),
        (OSError(errno.EROFS, "Read-only file system", "/a/b"), "/a/b: Read-only.*IBBOOK_RUNS"),
        (PermissionError(errno.EACCES, "Permission denied", "/a/b"), "/a/b: Perm.*writable"),
        (OSError(errno.EDQUOT, "Disk quota exceeded", "/a/b"), "/a/b: Disk quota.*make room"),
        (FileNotFoundError(errno.ENOENT, "No such file", "/a/b"), "/a/b: No such.*name another"),
        (NotADirectoryError(errno.ENOTDIR, "Not a folder", "/a/b"), "/a/b: Not.*is a file"),
        (FileExistsError(errno.EEXIST, "File exists", "/a/b"), "/a/b: File exists.*is a file"),
        (OSError(errno.EXDEV, "Invalid link", "/a", None, "/b"), "/a -> /b: Invalid link"),
        (OSError("/a has 3 MB free and b needs 4"), "/a has 3 MB free and b needs 4"),
    ],
)
def test_a_fault_of_the_system_is_one_line_with_file_and_remedy(
    write, monkeypatch, capsys, fault, words
):
    write()
    monkeypatch.setattr(runs, "run", lambda *_, **__: (_ for _ in ()).throw(fault))
    assert main(["run", "coin"]) == 2
    said = capsys.readouterr().err.splitlines()
    assert re.fullmatch(f"ibbook: {words}.*", said[-1])
    assert len(said) == 2


@pytest.mark.parametrize(
    "request_",
    ["run coin", "book", "notebooks", "collect -o nowhere/x.csv", "claims nowhere.ipynb"],
)
def test_a_store_that_is_a_file_or_a_folder_that_is_missing_is_named(
    book, write, monkeypatch, capsys, tmp_path, request_
):
    monkeypatch.chdir(tmp_path)
    write("01-coin", RECORDING)
    if request_.startswith("collect"):
        with monkeypatch.context() as quick:
            quick.setattr(runs, "execute", recorded_without_a_kernel)
            main(["run", "coin"])
    else:
        (tmp_path / "file").touch()
        monkeypatch.setenv("IBBOOK_RUNS", str(tmp_path / "file"))
    monkeypatch.setattr(site, "build", lambda *_, **__: book)
    capsys.readouterr()
    assert main(request_.split()) in (1, 2)
    said = capsys.readouterr().err
    assert "Traceback" not in said
    assert re.search(r"(file|nowhere)\S*: .*;|no folder nowhere", said)


def test_a_fault_of_the_system_stops_only_its_own_chapter(book, write, monkeypatch, capsys):
    for name in ("01-coin", "02-die"):
        write(name, RECORDING)

    def execute(chapter, made, *_):
        if chapter.name == "01-coin":
            raise OSError(errno.ENOSPC, "No space left on device", "/a/b")
        return recorded_without_a_kernel(chapter, made)

    monkeypatch.setattr(runs, "execute", execute)
    assert main(["notebooks"]) == 1
    assert "- /a/b: No space left on device; make room" in capsys.readouterr().err
    assert (book / "chapters" / "02-die.ipynb").is_file()


def test_a_cache_that_cannot_be_written_is_named_with_its_remedy(tmp_path, monkeypatch, capsys):
    (tmp_path / "file").touch()
    monkeypatch.setenv("IBBOOK_CACHE", str(tmp_path / "file"))
    monkeypatch.delenv("IBBOOK_DATA", raising=False)
    assert main(["data", "fetch", "mnist"]) == 2
    said = capsys.readouterr().err
    assert re.fullmatch(r"ibbook: \S*file/mnist: .*; a part of that path is a file.*\n", said)


BAD = {
    "02-list": (b"kernelspec: {name", b"kernelspec: [python3]\nx: {name"),
    "03-word": (b"kernelspec: {name: python3, display_name: Python 3, language: python}",
                b"kernelspec: python3"),
    "04-none": (b"ibbook: {minutes: 1, device: cpu}", b"ibbook:"),
    "05-tags": (b":tags: [parameters]", b":tags: parameters"),
    "06-latin": (b"Toss it.", b"R\xe9nyi."),
    "07-nul": (b"Toss it.", b"Toss\0it."),
    "08-yaml": (b"title: A coin", b"title: [A coin"),
    "09-twice": (b"title: A coin", b"title: A coin\ntitle: A die"),
}  # fmt: skip


def test_a_bad_text_or_notebook_stops_only_its_own_chapter(book, write, monkeypatch, capsys):
    write("01-coin", RECORDING)
    for name, (old, new) in BAD.items():
        text = write(name, RECORDING).text
        assert old in text.read_bytes()
        text.write_bytes(text.read_bytes().replace(old, new))
    cell = {"cell_type": "code", "source": 5, "execution_count": 1, "metadata": {}, "outputs": []}
    odd = json.dumps({"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": [cell]})
    for number, content in enumerate(
        ('{"nbformat": 99, "cells": []}', '{"nbformat": 3, "worksheets": 1}', "", "[1]", odd), 10
    ):
        write(f"{number}-stored", RECORDING).stored.write_text(content)
    monkeypatch.setattr(runs, "execute", recorded_without_a_kernel)

    assert main(["list"]) == 1
    out, said = capsys.readouterr()
    assert out.count("A coin (1 min, cpu)") >= 1
    assert main(["run", "coin"]) == 0
    capsys.readouterr()
    assert main(["check"]) == 1
    found = capsys.readouterr().out
    names = [*BAD, *(f"{number}-stored" for number in range(10, 15))]
    for name in names:
        assert name in found, name
        if (
            name < "08"
        ):  # what comes later is found by `check`, and does not keep cells from running
            assert main(["run", name]) == 2, name
            said = capsys.readouterr().err
            assert name in said
            assert said.count("\n") == 1
    assert main(["notebooks"]) == 1
    assert (book / "chapters" / "01-coin.ipynb").is_file()


def test_what_editors_and_systems_put_beside_files_is_no_part_of_the_book(
    book, write, monkeypatch, capsys
):
    monkeypatch.setattr(runs, "execute", recorded_without_a_kernel)
    write("01-coin", RECORDING)
    (book / "data" / "results").mkdir()
    for folder, name in (("chapters", "01-coin.md"), ("data/results", "a.json")):
        (book / folder / f".#{name}").symlink_to("me@host.1")  # Emacs, of a file being edited
        (book / folder / f"._{name}").write_bytes(b"\0\5\x16\7")  # macOS, on another's disk
        (book / folder / f"folder{name[-5:]}").mkdir()
    assert main(["list"]) == main(["run", "coin"]) == main(["notebooks"]) == 0
    assert main(["check"]) == 1  # its cells were not run
    out, said = capsys.readouterr()
    assert not re.search(r"[.][#_]|folder", out + said)


def test_a_failing_chapter_leaves_the_rest_of_the_book_and_is_named(
    book, write, capsys, monkeypatch
):
    write("01-coin", RECORDING)
    write("02-broken", "1 / 0")
    write("03-mistyped", parameters="bias = 1\n")
    built = {}

    def build(notebooks, provenance, *, failures, source):
        built.update(notebooks=notebooks, provenance=provenance, failures=failures, source=source)
        return source / "_build" / "html"

    monkeypatch.setattr(site, "build", build)
    assert main(["book"]) == 1
    said = capsys.readouterr().err
    assert "02-broken failed in code cell 2 (`1 / 0`): ZeroDivisionError" in said
    assert "2 failed:" in said
    assert "make serve" in said
    assert list(built["notebooks"]) == list(built["provenance"]) == ["01-coin"]
    assert built["notebooks"]["01-coin"].is_file()
    assert built["provenance"]["01-coin"]["parameters"]["bias"] == 0.25
    assert built["source"] == book
    assert set(built["failures"]) == {"02-broken", "03-mistyped"}
    assert "ZeroDivisionError" in built["failures"]["02-broken"]

    def broken(*_, **__):
        raise site.SiteError("a broken link")

    monkeypatch.setattr(site, "build", broken)
    (book / "chapters" / "02-broken.md").unlink()
    (book / "chapters" / "03-mistyped.md").unlink()
    assert main(["book"]) == 1
    said = capsys.readouterr().err
    assert "01-coin: unchanged" in said
    assert "a broken link" in said


def test_serve_shows_the_site_on_this_machine_only(book):
    (book / "_build" / "html").mkdir(parents=True)
    (book / "_build" / "html" / "index.html").write_text("the book")
    process = subprocess.Popen([IBBOOK, "serve", "--port", "0"], stderr=subprocess.PIPE, text=True)
    try:
        address = re.search(r"http://127\.0\.0\.1:(\d+)/", process.stderr.readline())
        assert urllib.request.urlopen(address[0], timeout=10).read() == b"the book"
        taken = subprocess.run(
            [IBBOOK, "serve", "--port", address[1]], capture_output=True, text=True, timeout=30
        )
        assert taken.returncode == 2
        assert f"port {address[1]} is in use; choose another with --port" in taken.stderr
    finally:
        process.terminate()
        process.communicate(timeout=20)


def test_a_reader_that_leaves_early_sees_no_traceback(write):
    lines = "".join(f"x{i}: int = 1  # a number [0, 9]\n" for i in range(3000))
    write(parameters=lines)
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", f"{IBBOOK} list | head -1"], capture_output=True, text=True
    )
    assert done.stdout.startswith("01-coin")
    assert done.stderr == ""
