"""The house: two wings, arrows that run one way, rooms that hold one idea."""

from __future__ import annotations

import ast
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FILES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts): path
    for path in sorted((ROOT / "ibbook").rglob("*.py"))
}
LONGEST = 420  # lines; a longer file holds two ideas


def imports(name: str) -> set[str]:
    """The modules of the package that a module imports, at its top or within a function."""
    found = set()
    for node in ast.walk(ast.parse(FILES[name].read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {file(alias.name) for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{name} imports {node.module} relatively"
            inside = {file(f"{node.module}.{alias.name}") for alias in node.names}
            found |= (inside - {""}) | ({file(node.module)} if "" in inside else set())
    return found - {"", name}


def file(module: str) -> str:
    """The name in FILES of a module or of a folder's own file; empty if it is none of ours."""
    return next((n for n in (module, f"{module}.__init__") if n in FILES), "")


def folder(name: str) -> str:
    """The room that a module lies in: a file or folder directly below ibbook."""
    return name.split(".")[1]


def test_there_is_something_to_look_at():
    assert {"ibbook.information", "ibbook.book.cli", "ibbook.training.__init__"} <= set(FILES)
    assert "ibbook.information" in imports("ibbook.metrics.rates")
    assert "ibbook.book.site" in imports("ibbook.book.cli")


@pytest.mark.parametrize("name", FILES)
def test_no_module_of_the_science_imports_from_the_book(name):
    if folder(name) != "book":
        assert not {one for one in imports(name) if folder(one) == "book"}


def test_there_is_no_circle():
    """Neither among modules nor among rooms."""
    rooms: dict[str, set[str]] = {}
    for name in FILES:
        for one in imports(name):
            if folder(one) != folder(name):
                rooms.setdefault(folder(name), set()).add(folder(one))
    for graph in ({name: imports(name) for name in FILES}, rooms):
        try:
            TopologicalSorter(graph).prepare()
        except CycleError as error:
            pytest.fail(" imports ".join(error.args[1][::-1]))


@pytest.mark.parametrize("name", [name for name in FILES if name.endswith("__init__")])
def test_a_folder_hands_on_its_public_names_and_nothing_else(name):
    body = ast.parse(FILES[name].read_text(encoding="utf-8")).body
    for node in body:
        names = isinstance(node, ast.Assign) and node.targets[0].id in ("__all__", "__version__")
        assert isinstance(node, ast.Expr | ast.Import | ast.ImportFrom) or names


@pytest.mark.parametrize("name", FILES)
def test_a_file_holds_one_idea(name):
    lines = len(FILES[name].read_text(encoding="utf-8").splitlines())
    assert lines <= LONGEST, f"{name} has {lines} lines"


@pytest.mark.parametrize("folder", ["ibbook", "theme"])
def test_no_text_is_read_or_written_as_the_callers_locale_has_it(folder):
    for path in (ROOT / folder).rglob("*.py"):
        if "node_modules" in path.parts:
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                named = "encoding" in {word.arg for word in node.keywords}
                if node.func.attr in ("read_text", "write_text"):
                    assert named, f"{path}, line {node.lineno}: say encoding"


def test_tests_are_laid_out_as_the_package_is():
    rooms = {path.name for path in (ROOT / "ibbook").iterdir() if path.is_dir()}
    tests = {path.name for path in (ROOT / "tests").iterdir() if path.is_dir()}
    assert rooms - {"__pycache__"} <= tests


def test_contributing_shows_every_module_and_its_arrows():
    """One line a module, `name.py  its idea  -> what it imports`, folders before their modules."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    tree = text.partition("```\nibbook/\n")[2].partition("```")[0]
    shown, room = {}, ""
    for line in tree.splitlines():
        name, *_ = line.split()
        if name.endswith("/"):
            room = name.replace("/", ".")
            continue
        own = room if line.startswith("    ") else ""
        arrows = line.partition("-> ")[2]
        shown[f"ibbook.{own}{name.removesuffix('.py')}"] = set(arrows.split(", ")) - {""}
    expected = {}
    for name in FILES:
        if not name.endswith("__init__"):
            home = name.rpartition(".")[0] + "."
            names = {one.removesuffix(".__init__") for one in imports(name)}
            expected[name] = {
                one.removeprefix(home if home != "ibbook." else "ibbook.").removeprefix("ibbook.")
                for one in names
            }
    assert shown == expected
