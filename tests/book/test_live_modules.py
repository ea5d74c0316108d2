"""What the modules of live figures compute, run by node, against the package: to 1e-6."""

from __future__ import annotations

import json
import math
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from scipy.optimize import brentq

from ibbook.information import entropy, mutual_information

HERE = Path(__file__).parent
MODULES = HERE.parents[1] / "theme" / "public" / "live"
DRAWS = 50  # random inputs for each function


class Case(NamedTuple):
    """A call of a module's function, and what it must give."""

    call: tuple[str, str, list]
    expected: Any


CASES: dict[str, Callable[[np.random.Generator], tuple[list, Any]]] = {}


def against(module: str, function: str) -> Callable:
    """Register how arguments of `function` are drawn, and what the package says of them."""

    def add(draw: Callable[[np.random.Generator], tuple[list, Any]]) -> Callable:
        CASES[f"{module}.{function}"] = draw
        return draw

    return add


def a_joint(rng: np.random.Generator, x: int, y: int) -> np.ndarray:
    """Any joint distribution: flat, peaked, and with cells of no mass."""
    pxy = rng.dirichlet(np.full(x * y, rng.choice([0.3, 1.0, 5.0]))).reshape(x, y)
    pxy[rng.random((x, y)) < 0.1] = 0
    return pxy / pxy.sum() if pxy.sum() else np.full((x, y), 1 / (x * y))


@against("diagram", "measures")
def _(rng):
    pxy = a_joint(rng, rng.integers(2, 5), rng.integers(2, 4))
    x, y, joint = (entropy(p).item() for p in (pxy.sum(1), pxy.sum(0), pxy.ravel()))
    shared = mutual_information(pxy).item()
    expected = {"x": x, "y": y, "joint": joint, "shared": shared}
    return [pxy], expected | {"xAlone": joint - y, "yAlone": joint - x}


@against("diagram", "distance")
def _(rng):
    x, y = rng.uniform(0.1, 1.5, 2)
    shared = min(x, y) * rng.uniform(0.02, 0.98)
    r, s = math.sqrt(x / math.pi), math.sqrt(y / math.pi)

    def lens(d):
        """Another form: two sectors less the kite between the centres."""
        kite = math.sqrt((r + s - d) * (d + r - s) * (d - r + s) * (d + r + s)) / 2
        a = math.acos((d * d + r * r - s * s) / (2 * d * r))
        b = math.acos((d * d + s * s - r * r) / (2 * d * s))
        return r * r * a + s * s * b - kite - shared

    edge = 1e-12
    return [x, y, shared], brentq(lens, abs(r - s) + edge, r + s - edge, xtol=1e-13)


# ---- all of them at once


def plain(value: Any) -> Any:
    """In JSON's types."""
    if isinstance(value, dict):
        return {key: plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [plain(part) for part in value]
    return value.tolist() if hasattr(value, "tolist") else value


def leaves(value: Any, where: str = "") -> Iterator[tuple[str, Any]]:
    """Every number of a nested value, with where it stands."""
    if isinstance(value, dict):
        for key, part in value.items():
            yield from leaves(part, f"{where}.{key}")
    elif isinstance(value, list):
        for k, part in enumerate(value):
            yield from leaves(part, f"{where}[{k}]")
    else:
        yield where, value


@pytest.fixture(scope="module")
def computed() -> dict[str, list[tuple[Case, Any]]]:
    """Every case of every function, and what node made of it, in one process."""
    cases = []
    for name, draw in CASES.items():
        rng = np.random.default_rng(sum(name.encode()))
        for _ in range(DRAWS):
            values, expected = plain(draw(rng))
            cases.append((name, Case((*name.split("."), values), expected)))
    node = Path(sys.executable).with_name("node")
    done = subprocess.run(
        [node if node.exists() else shutil.which("node"), HERE / "live_modules.mjs"],
        input=json.dumps([case.call for _, case in cases]),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert not done.stderr
    found: dict[str, list[tuple[Case, Any]]] = {}
    for (name, case), result in zip(cases, json.loads(done.stdout), strict=True):
        found.setdefault(name, []).append((case, result))
    return found


@pytest.mark.parametrize("name", CASES)
def test_a_module_computes_what_the_package_does(computed, name):
    for case, result in computed[name]:
        wanted, got = dict(leaves(case.expected)), dict(leaves(result))
        assert wanted.keys() == got.keys()
        for where, value in wanted.items():
            assert got[where] == pytest.approx(value, rel=1e-6, abs=1e-6), (where, case.call)


def test_every_function_is_compared_on_fifty_inputs_that_differ(computed):
    for name, cases in computed.items():
        assert len({json.dumps(case.call) for case, _ in cases}) >= DRAWS, name


def test_every_module_that_computes_is_compared():
    shared = {"kit", "maths", "start"}
    assert {name.split(".")[0] for name in CASES} == {p.stem for p in MODULES.glob("*.js")} - shared
