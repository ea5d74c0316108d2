"""`ibbook verify`: real reruns of a small chapter from a clean state, and what is said of them."""

from __future__ import annotations

import json
import os
import platform
from xml.etree import ElementTree

import pytest

from ibbook.book import markup, verify
from ibbook.book.cli import main
from ibbook.book.folders import checkpoints, run_store
from ibbook.book.records import Record
from tests.book.coin import RECORDING

CLAIMS = """
[coin.bias]
claim = "It favours tails."
tolerance = 0.02
holds = "coin.bias < 0.5"
"""
TOSS = """\
from ibbook.book.folders import checkpoints
checkpoints().mkdir(parents=True, exist_ok=True)
print("checkpoints:", len(list(checkpoints().iterdir())))
"""


@pytest.fixture
def stored(book, write):
    """A book of one chapter with its notebook, which records that heads come up a quarter."""
    chapter = write("01-coin", RECORDING, TOSS)
    assert main(["notebooks"]) == 0
    return chapter


def rewrite(chapter, value):
    """Commit another number than the chapter's."""
    made = json.loads(chapter.stored.read_text())
    for cell in made["cells"]:
        for output in cell.get("outputs", []):
            for bundle in output.get("data", {}).values():
                if isinstance(bundle, dict):
                    bundle["value"] = value
    chapter.stored.write_text(json.dumps(made))


def test_every_number_is_rerun_from_a_clean_state_and_compared(stored, book, capsys):
    (book / "data" / "claims.toml").write_text(CLAIMS)
    checkpoints().mkdir(exist_ok=True)
    (checkpoints() / "old.safetensors").touch()
    before = sorted(run_store(book).rglob("*"))
    capsys.readouterr()
    system = f"{platform.system()}-{platform.machine()}".lower()
    path = book / verify.FOLDER / f"{system}.json"

    assert main(["verify"]) == 0
    out = capsys.readouterr().out
    assert "1 of 1 chapters ran; 1 identical, 0 within tolerance, 0 different; 1 of 1" in out
    made = list((book / verify.FOLDER / "clean" / "runs").rglob("01-coin.ipynb"))
    assert "checkpoints: 0" in made[0].read_text()
    assert "IBBOOK_RUNS" not in os.environ
    assert sorted(run_store(book).rglob("*")) == before

    rewrite(stored, 0.24)
    assert main(["verify", "coin"]) == 0
    assert "0 identical, 1 within tolerance, 0 different" in capsys.readouterr().out

    rewrite(stored, 0.75)
    assert main(["verify"]) == 1
    out = capsys.readouterr().out
    assert "coin.bias: committed 0.75, now 0.25, and 0.02 is admitted" in out
    report = json.loads(path.read_text())
    assert [number["kind"] for number in report["numbers"]] == ["different"]
    assert verify.reports(book) == {path: report}
    page = verify.section(book)
    assert f"{report['finished'][:10]} {report['finished'][11:16]} UTC, commit none. [Every" in page
    assert f"({system}.svg)" in page
    assert "| 01-coin | " in page
    assert "- `coin.bias: committed 0.75, now 0.25, and 0.02 is admitted`" in page
    assert list(markup.faults(page)) == []
    picture = ElementTree.fromstring(path.with_suffix(".svg").read_text())
    assert "1 different" in "".join(picture.itertext())


def test_a_chapter_that_fails_and_a_claim_that_breaks_are_no_success(book, write, capsys):
    (book / "data" / "claims.toml").write_text(CLAIMS.replace("< 0.5", "> 0.5"))
    write("01-coin", RECORDING)
    write("02-die", "raise RuntimeError('it rolled away')")
    assert main(["verify"]) == 1
    out = capsys.readouterr().out
    assert "1 of 2 chapters ran" in out
    assert "it rolled away" in out
    assert "not so: coin.bias: 'It favours tails.' needs coin.bias > 0.5, got 0.25 > 0.5" in out
    assert "0 of 1 claims hold" in out


def test_a_claim_whose_number_no_run_recorded_is_no_success(book, write, capsys):
    (book / "data" / "claims.toml").write_text(CLAIMS.replace("bias < 0.5", "tails < 0.5"))
    write("01-coin", RECORDING)
    assert main(["notebooks"]) == 0
    assert main(["verify"]) == 1
    out = capsys.readouterr().out
    assert "not so: coin.bias: a number that it compares is not recorded" in out
    assert "0 of 1 claims hold" in out


@pytest.mark.parametrize(
    ("old", "new", "kind"),
    [
        (("nats", 1.0), ("nats", 1.0), "identical"),
        (("nats", 1.0), ("nats", 1.1), "within tolerance"),
        (("nats", 1.0), ("nats", 1.2), "different"),
        (("nats", 1.0), ("bits", 1.0), "different"),
        (None, ("nats", 1.0), "different"),
        (("nats", 1.0), None, "different"),
    ],
)
def test_a_number_is_identical_within_its_tolerance_or_different(old, new, kind):
    def rows(given):
        if given is None:
            return []
        unit, value = given
        return [Record(name="a.b", value=value, unit=unit, label="", digits=1)]

    known = {"a.b": verify.Claim("It holds.", tolerance=0.1)}
    (number,) = verify.compare("01-a", rows(old), rows(new), known)
    assert number.kind == kind
    untrained = verify.compare("01-a", rows(old), rows(new), {})[0].kind
    assert untrained == ("identical" if kind == "identical" else "different")


def test_a_damaged_report_is_named_and_does_not_keep_the_book_from_being_built(book, capsys):
    folder = book / verify.FOLDER
    folder.mkdir(parents=True)
    for content in ("", "[1]", "{}", '{"chapters": 3}'):
        (folder / "linux.json").write_text(content)
        (folder / "linux.svg").touch()
        assert verify.section(book) == ""
        assert "linux.json is damaged; run `ibbook verify` again" in capsys.readouterr().err


def test_two_verifications_take_turns(book, monkeypatch):
    turns = []
    monkeypatch.setattr(verify.fcntl, "flock", lambda file, how: turns.append((file.name, how)))
    with verify._clean(book):
        assert turns == [(str(book / verify.FOLDER / "lock"), verify.fcntl.LOCK_EX)]
