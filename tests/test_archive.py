"""What archives read: citation, Zenodo, RO-Crate and the container say the same, and are whole."""

from __future__ import annotations

import json
import re
import subprocess
import sysconfig
import tomllib
from importlib.resources import files
from pathlib import Path

import pytest
import yaml
from rocrate.rocrate import ROCrate

from ibbook.book import crate
from ibbook.book.cli import main
from ibbook.book.results import kept

ROOT = Path(__file__).parent.parent
CITATION = yaml.safe_load((ROOT / "CITATION.cff").read_text())
ZENODO = json.loads((ROOT / ".zenodo.json").read_text())
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


@pytest.fixture(scope="module")
def described() -> dict:
    """The RO-Crate of this book, made now."""
    return crate.crate(ROOT)


def test_citation_zenodo_and_package_agree():
    assert ZENODO["title"] == CITATION["title"]
    assert ZENODO["description"] == " ".join(CITATION["abstract"].split())
    assert ZENODO["version"] == CITATION["version"] == PROJECT["version"]
    assert ZENODO["publication_date"] == str(CITATION["date-released"])
    assert ZENODO["keywords"] == CITATION["keywords"]
    assert ZENODO["creators"] == CITATION["authors"]
    assert ZENODO["license"].upper() == CITATION["license"][0].upper()
    assert all(name in ZENODO["notes"] for name in CITATION["license"])
    assert set(re.split(r" AND ", PROJECT["license"])) == set(CITATION["license"])


def test_the_crate_has_the_words_of_the_citation_and_what_the_specification_asks(described):
    entities = {entity["@id"]: entity for entity in described["@graph"]}
    assert len(entities) == len(described["@graph"])
    about = entities["ro-crate-metadata.json"]
    assert about["about"] == {"@id": "./"}
    assert about["conformsTo"]["@id"].startswith("https://w3id.org/ro/crate/1.")
    assert described["@context"] == about["conformsTo"]["@id"] + "/context"
    top = entities["./"]
    assert top["name"] == CITATION["title"]
    assert top["datePublished"] == str(CITATION["date-released"])
    for asked in ("name", "description", "datePublished", "license"):
        assert top[asked]
    for entity in entities.values():
        assert entity["@type"]
        kinds = entity["@type"] if isinstance(entity["@type"], list) else [entity["@type"]]
        if "File" in kinds:
            assert (ROOT / entity["@id"]).is_file(), entity["@id"]
            assert {"@id": entity["@id"]} in top["hasPart"]


def test_every_term_of_the_crate_is_one_of_its_context_and_every_reference_leads_somewhere(
    described,
):
    shipped = json.loads((files("rocrate") / "data" / "ro-crate.jsonld").read_text())
    assert shipped["@id"] == described["@context"]
    terms = shipped["@context"].keys() | {"@id", "@type"}
    known = {entity["@id"] for entity in described["@graph"]}
    for entity in described["@graph"]:
        kinds = entity["@type"] if isinstance(entity["@type"], list) else [entity["@type"]]
        assert terms >= entity.keys() | set(kinds), entity["@id"]
        for name, value in entity.items():
            for one in value if isinstance(value, list) else [value]:
                if isinstance(one, dict):
                    assert one.keys() == {"@id"}
                    outside = name == "conformsTo"
                    assert outside or one["@id"] in known, (entity["@id"], name, one)


def test_chapters_runs_with_their_parameters_and_data_are_in_it(described):
    entities = {entity["@id"]: entity for entity in described["@graph"]}
    for path in (ROOT / "chapters").glob("*.ipynb"):
        assert f"chapters/{path.name}" in entities
    for path in (ROOT / "data" / "results").glob("*.json"):
        run = entities[f"#run-{path.stem}"]
        about = kept(path)
        assert run["instrument"] == {"@id": f"chapters/{about['chapter']}.ipynb"}
        values = [entities[one["@id"]] for one in run["object"]]
        assert {v["name"]: v["value"] for v in values} == about["parameters"]
    for name in tomllib.loads((ROOT / "data" / "registry.toml").read_text()):
        assert f"#data-{name}" in entities


def test_another_library_reads_the_crate():
    read = ROCrate(ROOT)
    assert read.name == CITATION["title"]
    assert {entity.id for entity in read.data_entities} >= {"chapters/04-vib.ipynb", "ibbook/"}


def test_the_crate_in_the_repository_is_what_the_command_writes(tmp_path, monkeypatch, capsys):
    assert list(crate.faults(ROOT)) == []
    (tmp_path / "CITATION.cff").write_text((ROOT / "CITATION.cff").read_text())
    (tmp_path / "chapters").mkdir()
    monkeypatch.setenv("IBBOOK_ROOT", str(tmp_path))
    assert main(["crate"]) == 0
    assert capsys.readouterr().out.strip() == str(tmp_path / crate.FILE)
    assert list(crate.faults(tmp_path)) == []
    changed = (tmp_path / "CITATION.cff").read_text().replace("0.1.0", "0.2.0")
    (tmp_path / "CITATION.cff").write_text(changed)
    (fault,) = crate.faults(tmp_path)
    assert fault == "ro-crate-metadata.json: does not describe what is here; run `ibbook crate`"


def test_the_container_builds_the_book_as_the_readme_does():
    text = (ROOT / "Containerfile").read_text()
    steps = re.findall(r"^([A-Z]+) (.*(?:\\\n.*)*)", text, re.MULTILINE)
    assert steps[0][0] == "FROM"
    workflow = (ROOT / ".github" / "workflows" / "book.yml").read_text()
    python = re.search(r'python-version: "([\d.]+)"', workflow)[1]
    assert f"python:{python}-" in steps[0][1]
    assert ("RUN", "make book") in steps
    assert steps.index(("RUN", "make .venv/book")) < steps.index(("RUN", "make book"))
    for word, rest in steps:
        if word == "COPY":
            *sources, _ = [part for part in rest.split() if not part.startswith("--")]
            assert all((ROOT / source).exists() for source in sources)
    make = (ROOT / "Makefile").read_text()
    assert all(f"\n{target}:" in make for target in (".venv/book", "book"))


def test_the_workflows_and_the_container_have_nothing_a_linter_finds():
    workflows = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
    scripts = Path(sysconfig.get_path("scripts"))
    for command in (
        ["check-jsonschema", "--builtin-schema", "vendor.github-workflows", *workflows],
        ["hadolint", ROOT / "Containerfile"],
    ):
        subprocess.run([scripts / command[0], *command[1:]], check=True)
