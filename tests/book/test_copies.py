"""Copies of the chapters for Colab and Binder: plain, with one cell that installs, and they run."""

from __future__ import annotations

import doctest
import json
import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import nbformat
import pytest
import yaml
from ibtheme import copies, plain
from IPython.core.inputtransformer2 import TransformerManager

from ibbook.book import site
from tests.book import sample_book

ROOT = Path(__file__).resolve().parents[2]

REPOSITORY = "https://github.com/ada/sample"
# a directive, a role, an option of a directive, a target, a reference or number that MyST resolves
RAW = re.compile(
    r"^[> ]*(`{3,}|:{3,})\{|\{[\w:-]+\}`|^[> ]*:\w+: |^\([\w-]+\)=$|\]\(#|\[\]\(", re.MULTILINE
)


def texts(made: nbformat.NotebookNode) -> list[str]:
    return [cell.source for cell in made.cells if cell.cell_type == "markdown"]


def sound(path: Path) -> nbformat.NotebookNode:
    """A copy that is a valid notebook, whose text any viewer can show, with one cell of ours."""
    made = nbformat.read(path, as_version=4)
    nbformat.validate(made)
    for text in texts(made):
        assert not RAW.search(text), f"{path.name}: {RAW.search(text)[0]!r} in {text[:200]}"
    assert [cell.source.count("find_spec") for cell in made.cells][:3].count(1) == 1
    return made


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("copies")
    run = {"seconds": 1.0, "finished": "2026-11-27T10:00:00Z", "commit": "0123abcd", "key": "01"}
    run |= {"ibbook": "0.1.0", "python": "3.11", "torch": "2.9", "parameters": {}}
    notebooks = sample_book.write(folder)
    return site.build(notebooks, dict.fromkeys(notebooks, run), source=folder)


@pytest.mark.parametrize("module", [copies, plain])
def test_examples_in_docstrings(module):
    assert doctest.testmod(module).failed == 0


def test_the_text_is_plain_and_carries_the_numbers_of_the_site(built):
    made = sound(built / "notebooks" / "01-sample.ipynb")
    text = "\n\n".join(texts(made))
    for part in (
        "# 1 The sample chapter",
        "To read: https://ada.example/sample/sample/",
        "## 1.1 Definition and one bound",
        "\\ln |\\mathcal X| .\n\\tag{1.1}\n$$",
        "> **Theorem 1.1** (Gibbs)\n>\n> For distributions $p$ and $q$",
        "**Figure\u00a01.1.** The entropy of a coin in [(1.1)](https://ada.example/sample/sample/#eq-s",
        "<details>\n<summary>Solution to Exercise\u00a01.1</summary>\n\nUse [(1.1)](",
        "[Shannon (1948)](https://ada.example/sample/sample/#cite-shannon1948)",
        "The rate is 0.4 nats, and",
        "| fair | 0.5 | $\\ln 2$ |",
        "## References\n\n- Shannon, C. E. (1948).",
    ):
        assert part in text, part


def test_code_and_outputs_are_those_of_the_run(built):
    made = sound(built / "notebooks" / "01-sample.ipynb")
    run = nbformat.read(built.parents[1] / "executed" / "01-sample.ipynb", as_version=4)
    code = [cell for cell in made.cells if cell.cell_type == "code"]
    assert [cell.source for cell in code[1:]] == [
        cell.source for cell in run.cells if cell.cell_type == "code"
    ]
    assert "tensor([0.5000" in json.dumps(made)
    assert "vnd.ibbook" not in json.dumps(made)
    assert '"dark"' not in json.dumps(made)
    (folded,) = [cell for cell in code if cell.source == "draw_it_again()"]
    assert folded.metadata.jupyter.source_hidden


def test_a_copy_runs_in_an_empty_folder(built, tmp_path):
    """Nothing of the book is there but the package, which the first cell would install."""
    path = built / "notebooks" / "02-second.ipynb"
    bare = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "MPLBACKEND": "agg"}
    bare["PYTHONPATH"] = str(Path(find_spec("ibbook").origin).parents[1])
    bare |= {"JUPYTER_PLATFORM_DIRS": "1", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "papermill", "--no-progress-bar", str(path), "out.ipynb"]
    done = subprocess.run(
        command, cwd=tmp_path, env=bare, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    run = nbformat.read(tmp_path / "out.ipynb", as_version=4)
    code = [cell for cell in run.cells if cell.cell_type == "code"]
    assert "".join(code[0].outputs) == "", "the package is there, so nothing is installed"
    assert "0.6931 nats high" in code[-1].outputs[-1].data["text/plain"]
    assert not (tmp_path / "ibbook-source").exists()


def test_where_the_package_is_missing_the_first_cell_fetches_it(tmp_path, monkeypatch):
    """The cell as IPython runs it, with a shell that notes what it is told, and clones."""
    said = []

    class Shell:
        def system(self, command: str) -> None:
            said.append(command)
            if " clone " in command:
                (tmp_path / command.split()[-1] / "not_there").mkdir(parents=True)
                (tmp_path / command.split()[-1] / "not_there" / "__init__.py").touch()

        def run_line_magic(self, name: str, line: str) -> None:
            said.append(f"%{name} {line}")

    cell = copies.install(REPOSITORY, "0123abcd").replace('"ibbook"', '"not_there"')
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    exec(TransformerManager().transform_cell(cell), {"get_ipython": Shell})
    assert said == [
        f"git clone --quiet {REPOSITORY} ibbook-source",
        "git -C ibbook-source checkout --quiet 0123abcd",
        "%pip install --quiet --editable ./ibbook-source",
    ]
    assert find_spec("not_there").origin.startswith(str(tmp_path))


def test_links_open_the_copies_and_binder_installs_the_book(built):
    chapter = (built / "sample" / "index.html").read_text()
    for address in (
        "https://colab.research.google.com/github/ada/sample/blob/notebooks/01-sample.ipynb",
        "https://mybinder.org/v2/gh/ada/sample/notebooks?labpath=01-sample.ipynb",
    ):
        assert f'href="{address}"' in chapter
    assert copies.launchers("", "01-sample") == []
    conda = yaml.safe_load((built / "notebooks" / "environment.yml").read_text())
    pip = conda["dependencies"][-1]["pip"]
    assert pip == [f"-e git+{REPOSITORY}@0123abcd#egg=ibbook"]
    own = yaml.safe_load((ROOT / "environment.yml").read_text())
    assert conda["dependencies"][0] == own["dependencies"][0], "one version of Python"
    workflow = (ROOT / ".github" / "workflows" / "book.yml").read_text()
    assert f"init -q -b {copies.BRANCH}" in workflow
