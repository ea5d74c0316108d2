"""The files that install the book say the same: pyproject, constraints, conda, workflow."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]
GROUPS = [PROJECT["dependencies"], *EXTRAS.values()]
REQUIREMENTS = [Requirement(text) for group in GROUPS for text in group]
PINS = [Requirement(line) for line in (ROOT / "constraints.txt").read_text().splitlines()]
ENVIRONMENT = yaml.safe_load((ROOT / "environment.yml").read_text())


def test_every_pin_is_one_public_release():
    for pin in PINS:
        assert re.fullmatch(r"==[\d.]+(\.?(post|rc|a|b)\d+)?", str(pin.specifier)), pin
        assert pin.url is None
    names = [canonicalize_name(pin.name) for pin in PINS]
    assert len(names) == len(set(names))
    assert "ibbook" not in names
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    assert lines == sorted(lines, key=str.upper)


@pytest.mark.parametrize("requirement", REQUIREMENTS, ids=str)
def test_every_requirement_is_pinned_to_a_version_that_it_admits(requirement):
    pins = {canonicalize_name(pin.name): next(iter(pin.specifier)).version for pin in PINS}
    assert requirement.specifier.contains(pins[canonicalize_name(requirement.name)])


def test_what_is_imported_is_required():
    """By the package and the theme; brotli is what fontTools needs for a .woff2."""
    own, known = {"ibbook", "ibtheme", *sys.stdlib_module_names}, packages_distributions()
    used = {"brotli"}
    for path in [*ROOT.glob("ibbook/**/*.py"), *ROOT.glob("theme/ibtheme/*.py")]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                used |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level:
                used.add(node.module.partition(".")[0])
    wanted = [*PROJECT["dependencies"], *EXTRAS["course"]]
    required = {canonicalize_name(Requirement(line).name) for line in wanted}
    for name in sorted(used - own):
        assert required & {canonicalize_name(found) for found in known[name]}, name


def test_conda_installs_what_pip_installs():
    assert ENVIRONMENT["name"] == PROJECT["name"]
    *conda, pip = ENVIRONMENT["dependencies"]
    # The package brings its own requirements, so the two cannot name different ones.
    assert set(pip["pip"]) == {"-c constraints.txt", "-e .[lab,test]"}
    assert [re.split(r"[<>=]", package)[0] for package in conda] == ["python", "pip"]
    python = conda[0].removeprefix("python=")
    assert Requirement(f"python{PROJECT['requires-python']}").specifier.contains(python)
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "book.yml").read_text())
    steps = [step for job in workflow["jobs"].values() for step in job["steps"]]
    asked = {s["with"]["python-version"] for s in steps if "setup-python" in s.get("uses", "")}
    assert asked == {python}


def test_the_workflow_tests_with_the_readmes_command():
    run = (ROOT / ".ci" / "run").read_text()
    assert run.rstrip().endswith("\nmake test")
    assert "make test" in (ROOT / "README.md").read_text()
    subprocess.run(["bash", "-n", ROOT / ".ci" / "run"], check=True)
