"""Trained models that the book ships: made by a chapter's run, hashed, loaded by one line."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path

import nbformat
import pytest

from ibbook._origin import sha256
from ibbook.book import models
from ibbook.book.cli import main
from ibbook.book.folders import BookError
from ibbook.book.keys import inputs
from ibbook.training import Ensemble, model
from ibbook.training import models as shipped

ROOT = Path(__file__).parents[2]
SHIPPED = sorted(models.recipes(ROOT))
TRAINING = """\
from ibbook.datasets import load
from ibbook.networks import mlp
from ibbook.objective import Objective
from ibbook.training import fit, grid

net = mlp((1, 8, 8), latents=2, hidden=(4,))
ensemble = fit(net, Objective(), load("digits"), grid(beta=[1, 4]), steps=2, batch_size=8)
"""
RECIPE = """\
["01-coin"]
ensemble = "ensemble.select([1])"
after = "ensemble = fit("
"""


def test_a_recipe_keeps_models_of_a_chapters_run(book, write, monkeypatch, capsys):
    write("01-coin", TRAINING, "raise RuntimeError('what comes later is not run')")
    folder = book / "data" / "models"
    folder.mkdir()
    (folder / "recipes.toml").write_text(RECIPE)
    (fault,) = models.faults(book)
    assert fault == "data/models/01-coin: missing; run `ibbook models 01-coin`"
    assert main(["models", "coin"]) == 0
    path = folder / "01-coin.safetensors"
    assert capsys.readouterr().out.strip() == str(path)
    assert list(models.faults(book)) == []

    monkeypatch.setattr(shipped, "FOLDER", folder)
    assert [m["beta"] for m in Ensemble.load(model("01-coin")).members] == [4]
    about = json.loads(path.with_suffix(".json").read_text())
    assert about["sha256"] == sha256(path)
    assert about["parameters"]["bias"] == 0.25
    assert about["command"] == "ibbook models 01-coin"
    assert {"torch", "scipy", "processor", "threads", "seconds", "inputs", "commit"} <= set(about)

    (folder / "recipes.toml").write_text(RECIPE.replace(".select([1])", ""))
    (fault,) = models.faults(book)
    assert "is not what its recipe made" in fault
    (folder / "02-die.safetensors").touch()
    assert "02-die.safetensors: no recipe makes it" in next(models.faults(book))
    path.with_suffix(".json").write_text(json.dumps(about | {"seconds": 0}))
    assert any("was changed by hand" in fault for fault in models.faults(book))
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(ValueError, match="is not the file that was kept; restore it"):
        model("01-coin")


def test_what_is_too_large_is_not_kept(book, write, monkeypatch):
    large = "class Large:\n    save = staticmethod(lambda path: Path(path).write_bytes(bytes(9)))"
    write("01-coin", f"from pathlib import Path\n{large}")
    (book / "data" / "models").mkdir()
    monkeypatch.setattr(models, "LARGEST", 8)
    with pytest.raises(BookError, match="take 9 bytes, over 8; keep fewer"):
        models.make("01-coin", models.Recipe("Large()", "class Large"), book)
    assert list((book / "data" / "models").iterdir()) == []
    with pytest.raises(BookError, match="no cell of 01-coin holds 'class Small'; mend its recipe"):
        models.make("01-coin", models.Recipe("Large()", "class Small"), book)


def test_a_run_depends_on_a_model_that_a_cell_names_and_on_no_other(book, write):
    folder = book / "data" / "models"
    folder.mkdir()
    prose = '`model("01-coin")` is one.\n\n```python\nmodel("01-coin")\n```'
    quiet = write("01-coin", "print(1)", prose=prose)
    reader = write("02-die", 'net = model("01-coin")')
    before = [inputs(chapter, {}) for chapter in (quiet, reader)]
    (folder / "01-coin.safetensors").write_bytes(b"weights")
    (folder / "03-card.safetensors").write_bytes(b"weights")
    after = [inputs(chapter, {}) for chapter in (quiet, reader)]
    assert before[0] == after[0]
    assert before[1] | {"models": after[1]["models"]} == after[1] != before[1]
    assert list(after[1]["models"]) == ["01-coin"]


def test_a_damaged_list_of_recipes_is_named(book):
    (book / "data" / "models").mkdir()
    (book / "data" / "models" / "recipes.toml").write_text('["01-coin"]\nafter = "x"\n')
    with pytest.raises(
        BookError, match=r"recipes\.toml cannot be read .* table with ensemble and after"
    ):
        models.recipes(book)


@pytest.mark.parametrize("what", ["data", "commit"])
def test_models_of_a_run_whose_inputs_changed_meanwhile_are_not_kept(
    book, write, monkeypatch, capsys, what
):
    write("01-coin", TRAINING)
    folder = book / "data" / "models"
    folder.mkdir()
    (folder / "recipes.toml").write_text(RECIPE)
    commits = iter("abcdefg")
    if what == "commit":
        monkeypatch.setattr(models, "commit", lambda _: {"commit": next(commits), "dirty": False})

    def meanwhile(chapter, made, *_):
        Path(re.search(r"save\('(.*)'\)", made.cells[-1].source)[1]).write_text("weights")
        if what == "data":
            (book / "data" / "late.csv").write_text("1")

    monkeypatch.setattr(models, "execute", meanwhile)
    assert main(["models", "coin"]) == 2
    assert "01-coin depends on changed while it ran" in capsys.readouterr().err
    assert [path.name for path in folder.iterdir()] == ["recipes.toml"]


def test_damaged_words_on_a_model_are_named_by_check_and_by_the_crate(book, write, capsys):
    write()
    folder = book / "data" / "models"
    folder.mkdir()
    (folder / "recipes.toml").write_text(RECIPE)
    (folder / "01-coin.safetensors").touch()
    (book / "ro-crate-metadata.json").touch()
    for content in ("", "[1]", "3"):
        (folder / "01-coin.json").write_text(content)
        assert main(["check"]) == 1
        found = capsys.readouterr().out
        assert "data/models/01-coin.json: is damaged; run `ibbook models 01-coin`" in found
        assert "ro-crate-metadata.json cannot be made" in found
        assert main(["crate"]) == 2
        assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize("name", SHIPPED)
def test_an_exercise_starts_from_the_models_of_each_chapter(name, capsys):
    """Its solution, after the chapter's imports, with hardly any training."""
    text = (ROOT / "chapters" / f"{name}.md").read_text()
    (code,) = re.findall(rf"```python\n([^`]*model\(\"{name}\"\).*?)```", text, re.DOTALL)
    imports = [
        node
        for cell in nbformat.read(ROOT / "chapters" / f"{name}.ipynb", as_version=4).cells
        if cell.cell_type == "code"
        for node in ast.parse(cell.source).body
        if isinstance(node, ast.Import | ast.ImportFrom)
    ]
    space: dict = {}
    exec(compile(ast.Module(imports, []), name, "exec"), space)
    exec(re.sub(r"steps=\d+", "steps=2", code), space)
    assert isinstance(space["trained"], Ensemble)
    assert model(name).stat().st_size < models.LARGEST
    assert space["trained"].history["step"].max() > 100
    assert capsys.readouterr().out
