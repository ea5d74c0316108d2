"""The ledger: entries that lead somewhere, and verdicts that follow from numbers."""

from __future__ import annotations

import json
import random
import re
from pathlib import Path
from statistics import mean

import pytest

from ibbook.book import chapters, expressions, ledger, markup, numbers, reproduction
from ibbook.book.audit import problems
from ibbook.book.cli import main
from ibbook.book.folders import BookError
from ibbook.book.keys import inputs
from ibbook.book.ledger import VERDICTS, Entry, quantities
from ibbook.book.records import Record
from tests.book.coin import RECORDING

ROOT = Path(__file__).parents[2]
SOURCES = {"rdtovaes", "frans2023", "ibvaeperspective", "vu2026", "gao2019"}
KEPT = 'runs.mean < 0.1"\nruns = {pattern = "01-*", name = "coin.bias"}\nplace = "5'
COUNT = "0 reproduced, 0 bounded, 0 needs a condition, 0 differs, 1 not run; 1 turned\n"
HOMES = {"coin.bias": "01-coin", "die.pips": "02-die"}
SOUND = """
[sources.bernoulli1713]
sections = ["Opening", "Part four"]

[sources.bernoulli1713.without]
"Opening" = "A dedication."

[claims.fair]
source = "bernoulli1713"
section = "Part four"
statement = "The coin is fair."
kind = "number"
chapter = "01-coin"
holds = "abs(coin.bias) < 0.1"
verdict = "reproduced"
why = "A tenth is what a hundred tosses leave."
"""


@pytest.fixture
def faults(book: Path):
    """What is wrong with a ledger in a book of two chapters and one reference."""

    def of(text: str) -> list[str]:
        (book / "data" / "ledger.toml").write_text(text, encoding="utf-8")
        reference = "@book{bernoulli1713,\n  year = {1713}\n}\n"
        (book / "chapters" / "references.bib").write_text(reference, encoding="utf-8")
        return list(ledger.faults(book, HOMES, {"01-coin", "02-die"}, dict.fromkeys(HOMES, 0.0)))

    return of


@pytest.fixture(scope="module")
def real() -> tuple[ledger.Ledger, dict[str, float], dict[str, str]]:
    """The book's own ledger, its numbers, and which chapter records each."""
    values, homes = {}, {}
    for chapter in chapters.chapters(ROOT):
        for name, row in chapters.recorded_in([chapter.stored]).items():
            values[name], homes[name] = row["value"], chapter.name
    return ledger.read(ROOT), values, homes


def test_a_sound_ledger_has_no_faults(faults):
    assert faults(SOUND) == []


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("coin.bias", "coin.weight", "nothing records coin.weight"),
        ('chapter = "01-coin"', 'chapter = "03-card"', "no chapter '03-card'"),
        ('chapter = "01-coin"', 'chapter = "02-die"', "chapter 02-die records none of its numbers"),
        ("bernoulli1713", "bernoulli1714", "no such key in chapters/references.bib"),
        ('source = "bernoulli1713"', 'source = "pascal"', r"no \[sources.pascal\]"),
        ('["Opening", "Part four"]', '["Opening"]', "section 'Part four' is none of the sections"),
        ('"Opening" = "A dedication."', "", "section 'Opening' has no entry"),
        ('"A dedication."', '"Polite."\n"Part five" = "Lost."', "none of its sections"),
        ('"Opening" =', '"Part four" = "Long."\n"Opening" =', "has an entry and a reason for none"),
        (
            "why =",
            'runs = {pattern = "01-*", name = "coin.bias"}\nwhy =',
            "needs runs if it speaks",
        ),
        ("abs(coin.bias)", "runs.mean", "needs runs if it"),
        ("abs(coin.bias) < 0.1", KEPT, "nothing records runs.mean"),
        ("abs(coin.bias) < 0.1", KEPT.replace(", name", ", nam"), "must give pattern and name"),
        ("0.1", "open(1)", "is not understood"),
        ("abs(coin.bias) < 0.1", "coin.bias", "must compare"),
        ('kind = "number"', 'kind = "rumour"', "kind must be one of"),
        (
            'why = "A tenth is what a hundred tosses leave."',
            "",
            "it needs verdict, why and chapter",
        ),
        ('chapter = "01-coin"', "", "it needs verdict, why and chapter"),
        ("why =", 'unrun = "Why not."\nwhy =', "either holds, or unrun"),
        ('holds = "abs(coin.bias) < 0.1"', "", "either holds, or unrun"),
        ("statement =", "statment =", "must be a table"),
        ('"The coin is fair."', "3", "statement is 3"),
        ('verdict = "reproduced"', "", "it needs verdict, why and chapter"),
        ('"reproduced"', '"proved"', "verdict is one of"),
        ('"reproduced"', '"not run"', "verdict is one of"),
        ('"reproduced"', '"differs"', "its verdict is 'differs', and 'reproduced' follows"),
        ("< 0.1", "< 0", "its verdict is 'reproduced', and 'differs' follows from coin.bias = 0"),
        ("[claims.fair]", "[claim.fair]", "has tables of sources and claims, got claim"),
        ("[claims.fair]", "[claims.fair", "is broken"),
        ('"A dedication."', '" "', "must give each title its reason"),
    ],
)
def test_a_false_entry_is_caught(faults, old, new, message):
    assert old in SOUND
    found = "\n".join(faults(SOUND.replace(old, new)))
    assert re.search(message, found), found


def test_what_is_not_run_has_a_reason_and_no_condition(faults):
    text = SOUND.replace('holds = "abs(coin.bias) < 0.1"\nverdict', 'unrun = "No coin."\n# verdict')
    assert faults(text) == []
    (fault,) = faults(text + 'condition = "It lands."\n')
    assert "is not run" in fault


def test_the_check_of_the_book_reads_the_ledger(book):
    (book / "data" / "ledger.toml").write_text(SOUND, encoding="utf-8")
    found = "\n".join(problems())
    for message in ("nothing records coin.bias", "no chapter '01-coin'", "no such key"):
        assert message in found


def test_the_command_prints_verdicts_and_counts_them(book, capsys):
    (book / "data" / "ledger.toml").write_text(SOUND, encoding="utf-8")
    assert main(["claims"]) == 1
    said = capsys.readouterr()
    assert said.out.startswith("not run            fair: The coin is fair.")
    assert "turned  fair: its verdict is 'reproduced', and 'not run' follows" in said.out
    assert said.err.endswith("1 entry in the ledger: " + COUNT)


def test_a_verdict_follows_from_the_numbers(tmp_path):
    entry = Entry("a", "b", "c", "number", holds="x.error < 2", exactly="x.error < 1")
    assert ledger.known(entry, {"x.error": 3.0, "x.rate": 1.0}, tmp_path) == {"x.error": 3.0}
    by_value = [ledger.verdict(entry, {"x.error": value}) for value in (3.0, 1.5, 0.5)]
    assert by_value == ["differs", "bounded", "reproduced"]
    entry = entry._replace(condition="x is mild")
    by_value = [ledger.verdict(entry, {"x.error": value}) for value in (3.0, 1.5, 0.5)]
    assert by_value == ["differs", "needs a condition", "needs a condition"]
    assert ledger.verdict(entry, {}) == "not run"


def test_a_number_that_turns_a_verdict_fails(book, write, capsys):
    """A real run of a chapter, whose number is then another."""
    chapter = write("01-coin", RECORDING)
    text = SOUND.replace("abs(coin.bias) < 0.1", "coin.bias < 0.3")
    (book / "data" / "ledger.toml").write_text(text, encoding="utf-8")
    reference = "@book{bernoulli1713,\n  year = {1713}\n}\n"
    (book / "chapters" / "references.bib").write_text(reference, encoding="utf-8")
    assert main(["notebooks"]) == 0
    assert (main(["claims"]), problems()) == (0, [])
    chapter.text.write_text(chapter.text.read_text().replace("= 0.25", "= 0.75"))
    assert main(["notebooks"]) == 0
    capsys.readouterr()
    assert main(["claims"]) == 1
    fault = "fair: its verdict is 'reproduced', and 'differs' follows from coin.bias = 0.75"
    assert f"turned  {fault}\n" in capsys.readouterr().out
    assert problems() == [f"data/ledger.toml: {fault}"]


@pytest.mark.parametrize(
    ("prose", "message"),
    [
        ("It [reproduced](reproduction.md#fair).", None),
        ("It [differs](reproduction.md#fair).", "and the ledger 'reproduced'"),
        ("It [reproduced](reproduction.md#unfair).", r"has no \[claims.unfair\]"),
        ("It is **reproduced**.", "write whose verdict that is"),
    ],
)
def test_a_chapter_states_the_verdict_of_the_ledger(book, prose, message):
    (book / "data" / "ledger.toml").write_text(SOUND, encoding="utf-8")
    texts = {Path("01-coin.md"): prose, Path("reproduction.md"): "**reproduced**: it holds."}
    found = list(ledger.misstated(texts, book, {"coin.bias": 0.0}))
    assert len(found) == bool(message)
    assert not message or re.search(message, found[0])


def test_kept_runs_are_summed_up_over_seeds():
    found = [
        row["value"]
        for path in (ROOT / "data" / "results").glob("04-vib-older-?.json")
        for row in json.loads(path.read_text(encoding="utf-8"))["records"]
        if row["name"] == "vib.test_error"
    ]
    entry = Entry(
        *("a", "b", "c", "number"),
        holds="runs.mean < 2 and runs.least < 2 and runs.most < 2 and runs.count > 1",
        runs={"pattern": "04-vib-older-*", "name": "vib.test_error"},
    )
    values = ledger.known(entry, {}, ROOT)
    assert values["runs.mean"] == pytest.approx(mean(found))
    assert (values["runs.least"], values["runs.most"]) == (min(found), max(found))
    assert values["runs.count"] == len(found) >= 5


def test_a_damaged_run_is_no_traceback_of_the_check(faults, book):
    (book / "data" / "results").mkdir()
    (book / "data" / "results" / "01-coin-0.json").write_text("{", encoding="utf-8")
    text = SOUND.replace("abs(coin.bias) < 0.1", KEPT)
    assert faults(text) == []
    with pytest.raises(BookError, match="is no kept run"):
        ledger.verdicts(ledger.read(book), {"coin.bias": 0.0}, book)


def test_no_run_is_repeated_for_an_entry(book, write):
    chapter = write()
    before = inputs(chapter, {})
    (book / "data" / "ledger.toml").write_text(SOUND, encoding="utf-8")
    assert inputs(chapter, {}) == before
    (book / "data" / "letters.csv").write_text("a", encoding="utf-8")
    assert inputs(chapter, {}) != before


def test_the_books_own_ledger_is_consistent(real):
    found, values, homes = real
    names = {chapter.name for chapter in chapters.chapters(ROOT)}
    assert list(ledger.faults(ROOT, homes, names, values)) == []
    assert {entry.source for entry in found.entries.values()} >= SOURCES
    assert len(found.entries) >= 60


def test_what_has_numbers_has_a_verdict_and_the_rest_has_a_reason(real):
    found, values, _ = real
    given = ledger.verdicts(found, values, ROOT)
    for name, entry in found.entries.items():
        assert given[name] in VERDICTS
        assert (given[name] == "not run") == bool(entry.unrun)


def test_each_verdict_could_be_another(real):
    """An expression that no numbers can break would say nothing."""
    chance = random.Random(0)
    for name, entry in real[0].entries.items():
        for expression in filter(None, (entry.holds, entry.exactly)):
            spoken = expressions.names(expression)
            draws = [{n: chance.choice([-1, 0, 1]) * 1e4 for n in spoken} for _ in range(60)]
            seen = {expressions.holds(expression, draw) for draw in draws}
            assert False in seen, f"{name}: nothing breaks {expression}"


@pytest.fixture(scope="module")
def page(real) -> tuple[str, dict[str, Record]]:
    """The page of the book's own ledger, and the numbers on it."""
    known = chapters.chapters(ROOT)
    rows = chapters.recorded_in([chapter.stored for chapter in known])
    titles = {chapter.name: chapters.title(chapter) for chapter in known}
    return reproduction.page(ROOT, rows, titles), rows


def test_the_page_has_every_entry_under_its_verdict_with_numbers_of_the_run(real, page):
    (found, values, _), (text, rows) = real, page
    assert list(markup.faults(text)) == []
    assert list(numbers.problems(text, rows)) == []
    for one in VERDICTS:
        given = ledger.verdicts(found, values, ROOT).values()
        assert text.count(f"**{one}**") == list(given).count(one) > 0
    lines = [line for line in text.splitlines() if "**" in line]
    assert len(lines) == len(found.entries)
    assert {len(re.split(r"(?<!\\)\|", line)) for line in lines} == {7}


def test_the_page_leads_from_each_count_to_its_claims_and_from_each_claim_to_its_row(real, page):
    (found, values, _), (text, _) = real, page
    given = ledger.verdicts(found, values, ROOT)
    places = re.findall(r'<span id="([^"]+)">|^\(([^)]+)\)=$', text, re.MULTILINE)
    places = ["".join(both) for both in places]
    assert len(places) == len(set(places))
    links = {link for link in re.findall(r"\(#(ledger-[\w-]+)\)", text)}
    assert links <= set(places)
    _, *sections = re.split(r"^### ", text.partition("## By verdict")[2], flags=re.MULTILINE)
    for section in sections:
        one = section.partition("\n")[0].lower()
        listed = re.findall(r"^- .*\(#ledger-entry-([\w-]+)\)", section, re.MULTILINE)
        assert sorted(listed) == sorted(n for n, verdict in given.items() if verdict == one), one


def test_the_page_shows_how_far_a_number_may_move_and_the_kept_runs_behind_it(page):
    row = next(line for line in page[0].splitlines() if "ledger-entry-alemi-error" in line)
    assert "kept runs: mean 1.274, from 1.22 to 1.32" in row
    assert "[04-vib-mnist-3](#run-04-vib-mnist-3)" in row
    assert "[1.34](#vib.test_error) ± 0.5 % (5 seeds, 1.11 to 1.39)" in page[0]


def test_a_verdict_that_turned_in_this_run_is_seen_on_the_page(real, page):
    rows = dict(page[1])
    rows["ib.clean_points"] = rows["ib.clean_points"] | {"value": 9.0}
    text = reproduction.page(ROOT, rows, {})
    row = next(line for line in text.splitlines() if "ledger-entry-kolchinsky-clean" in line)
    assert row.endswith("**differs** in this run, and reproduced in the ledger |")


def test_a_chapter_ends_with_its_rows_of_the_ledger(real, page):
    feet = reproduction.of_chapters(ROOT, page[1])
    foot = feet["04-vib"]
    names = [name for name, entry in real[0].entries.items() if entry.chapter == "04-vib"]
    assert re.findall(r"\(#ledger-entry-([\w-]+)\)", foot) == names != []
    assert "[bounded](#ledger-entry-alemi-error)" in foot
    assert "data" not in feet


def test_the_page_without_a_run_says_so(real):
    text = reproduction.page(ROOT, {}, {})
    entries = real[0].entries.values()
    kept = [e for e in entries if e.runs and all(n.startswith("runs.") for n in quantities(e))]
    assert text.count("**not run**") == len(entries) - len(kept) < len(entries)
    assert not numbers.LINK.search(text)
