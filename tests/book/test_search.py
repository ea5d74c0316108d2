"""The search of the pages, run in node: what it looks through, and what it finds."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from ibtheme import search

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "theme" / "public" / "theme" / "search.js"


ASK = """
await import(process.argv[1]);
const { index, queries } = JSON.parse(require("node:fs").readFileSync(0));
const opened = bookSearch.open(index);
const answers = queries.map((query) => bookSearch.find(query, opened).map(({ record, found }) => (
  { record, found, excerpt: bookSearch.excerpt(record.meaning ?? record.text ?? "", found) })));
process.stdout.write(JSON.stringify(answers));
"""


def node(script: str, asked: object, *arguments: str) -> Any:
    """What a script of node says to what it is asked."""
    found = shutil.which("node", path=str(Path(sys.executable).parent)) or "node"
    done = subprocess.run(
        [found, "-e", f"(async () => {{{script}}})()", *arguments],
        input=json.dumps(asked),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def answers(index: dict[str, Any], *queries: str) -> list[list[dict[str, Any]]]:
    """For each query the best records first, the words found in them, and the excerpt."""
    return node(ASK, {"index": index, "queries": queries}, str(SCRIPT))


def book(*records: tuple[str, str], **aliases: str) -> dict[str, Any]:
    """A book of one page: titles and texts, and other names of things."""
    made = [
        {"page": "P", "title": title, "text": text, "url": f"p/#{i}"}
        for i, (title, text) in enumerate(records)
    ]
    return {"records": made, "aliases": {name: [means] for name, means in aliases.items()}}


SMALL = book(
    ("1.1 Surprise", "A mislead reader misses the commitment. The entropies of Rényi."),
    ("1.2 Two variables", "Their mutual information is what one tells of the other."),
    ("Equation 3.4", "The reparameterisation of the centre, with colour: z = μ + σε."),
    ("Equation 3.41", "Water-filling, D_KL[p ∥ q] and more."),
    ("Theorem 3.1 (Data processing)", "Nothing is gained; see Equation 3.4 and the bottleneck."),
    MI="mutual information",
)


MEANT = {
    "mi": "1.2 Two variables",  # not "mislead"
    "misl": "1.1 Surprise",
    "eq 3.4": "Equation 3.4",
    "Equation (3.4)": "Equation 3.4",
    "thm. 3.1": "Theorem 3.1 (Data processing)",
    "water filling": "Equation 3.41",
    "D_KL": "Equation 3.41",
    "renyi": "1.1 Surprise",
    "entropy": "1.1 Surprise",
    "color": "Equation 3.4",
    "reparameterization": "Equation 3.4",
    "mu sigma": "Equation 3.4",
    "mutaul informaton": "1.2 Two variables",
    "botleneck": "Theorem 3.1 (Data processing)",
    "variabels": "1.2 Two variables",
    "μ": "Equation 3.4",
}


def test_a_query_finds_what_it_means():
    for (query, title), hits in zip(MEANT.items(), answers(SMALL, *MEANT), strict=True):
        assert [hit["record"]["title"] for hit in hits][:1] == [title], query


def test_whole_words_come_before_fragments():
    index = book(("A", "the ratebook and the ratebook"), ("B", "a rate"), ("C", "iterated"))
    (hits,) = answers(index, "rate")
    assert [hit["record"]["title"] for hit in hits] == ["B", "A", "C"]


def test_nothing_is_found_for_what_is_not_there():
    assert answers(SMALL, "zzzz", "", "?!", "qu") == [[], [], [], []]


def test_an_excerpt_shows_where_the_words_stand():
    long = f"{'before ' * 60}the water is filling up {'after ' * 60}"
    ((hit,),) = answers(book(("A", long)), "water filling")
    parts = hit["excerpt"]
    assert [part["text"] for part in parts if part.get("hit")] == ["water", "filling"]
    text = "".join(part["text"] for part in parts)
    assert text.strip("… ") in long
    assert len(text) < 220
    assert text.startswith("… before")
    assert text.endswith("after …")


def test_function_names_lead_to_the_sections_whose_code_calls_them():
    index = book(("A", "At the rate of the tide."), ("B", "A section with code."))
    index["records"][1]["code"] = "rate_at show"
    (hits,) = answers(index, "rate_at")
    assert hits[0]["record"]["title"] == "B"


def page(*children: dict[str, Any], slug: str = "vib") -> dict[str, Any]:
    tree = {"type": "root", "children": list(children)}
    return {"slug": slug, "frontmatter": {"title": "VIB", "description": "A code."}, "mdast": tree}


def text(value: str, kind: str = "paragraph") -> dict[str, Any]:
    return {"type": kind, "children": [{"type": "text", "value": value}]}


def test_what_has_a_number_has_a_record():
    cell = {"type": "code", "executable": True, "value": "from ibbook.a import (b_c,\n d)\nb_c(e)"}
    box = {"type": "proof", "kind": "theorem", "enumerator": "4.1", "html_id": "thm"}
    box |= {"children": [text("Gibbs", "admonitionTitle"), text("It holds.")]}
    proof = {"type": "proof", "kind": "proof", "children": [text("By convexity.")]}
    symbols = {
        "type": "table",
        "children": [
            {"type": "tableRow", "children": [text(word, "tableCell") for word in row]}
            for row in (("symbol", "reads"), ("beta", "the price of the rate"))
        ],
    }
    hidden = text("secret") | {"visibility": "remove"}
    made = page(text("Before."), cell, box, proof, hidden, symbols, text("After."))
    config = {"projects": [{"index": "index"}], "options": {"search_aliases": "MI: mutual info"}}
    found = search.index([made], config)
    assert found["aliases"] == {"MI": ["mutual info"]}
    assert [tuple(record.values()) for record in found["records"]] == [
        ("VIB", "VIB", "vib/", "A code. Before. After.", "b_c"),
        ("VIB", "Theorem 4.1 (Gibbs)", "vib/#thm", "It holds. By convexity."),
        ("VIB", "beta", "vib/#symbol-beta-the", "the price of the rate"),
    ]
