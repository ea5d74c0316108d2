"""The second arithmetic that `make test` runs under: what it is, and that it is another one."""

from __future__ import annotations

import configparser
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ibbook._zeros import NEGATIVE_ZERO, unsigned_zeros

HERE = Path(__file__).parent
SECOND = dict(
    line.split("=", 1) for line in (HERE / "second_arithmetic.env").read_text().splitlines()
)
BITS = """
import hashlib, json
import numpy as np, torch

def bits(values):
    return hashlib.sha256(np.ascontiguousarray(values).tobytes()).hexdigest()

def results(dtype):
    a = torch.from_numpy(np.random.default_rng(0).standard_normal((256, 256))).to(dtype)
    definite = a @ a.mT + 256 * torch.eye(256, dtype=dtype)
    pictures, kernels = a.reshape(16, 1, 64, 64), a[:8, :16].reshape(8, 1, 4, 4)
    yield "product", a @ a
    yield "softmax", a.softmax(-1)
    yield "sum", a.sum()
    yield "cholesky", torch.linalg.cholesky(definite)
    yield "svd", torch.linalg.svdvals(a)
    yield "convolution", torch.nn.functional.conv2d(pictures, kernels.contiguous())

found = {
    f"{name}, {dtype}": bits(value.numpy())
    for dtype in (torch.float32, torch.float64)
    for name, value in results(dtype)
}
x = np.random.default_rng(0).standard_normal((256, 256))
found["product, numpy"] = bits(x @ x)
print(json.dumps([torch.backends.cpu.get_cpu_capability(), found]))
"""


def bits(environment: dict[str, str]) -> tuple[str, dict[str, str]]:
    """The vector instructions that torch uses, and a hash of each result."""
    own = {name: value for name, value in os.environ.items() if name not in SECOND}
    run = subprocess.run(
        [sys.executable, "-c", BITS], env=own | environment, capture_output=True, check=True
    )
    capability, results = json.loads(run.stdout)
    return capability, results


def test_the_second_arithmetic_ends_in_other_bits():
    (capability, own), (plainest, second) = bits({}), bits(SECOND)
    assert plainest == "DEFAULT"
    if capability == plainest:
        pytest.skip("this processor has no other vector instructions than the plainest")
    different = {name for name in own if own[name] != second[name]}
    print(f"{len(different)} of {len(own)} results differ: {'; '.join(sorted(different))}")
    assert {"product, torch.float32", "softmax, torch.float32"} <= different
    assert bits(SECOND) == (plainest, second)


def test_nbval_compares_rounded_zeros_without_their_sign():
    settings = configparser.ConfigParser()
    settings.read(HERE / "nbval.ini")
    (rule,) = (dict(settings[section]) for section in settings.sections())
    assert rule == {"regex": NEGATIVE_ZERO.pattern, "replace": ""}


@pytest.mark.parametrize(
    ("printed", "compared"),
    [
        ("-0.000", "0.000"),
        ("[-0. 1.]", "[0. 1.]"),
        ("rate -0, slope -0.50", "rate 0, slope -0.50"),
        ("-0.001 1-0 x-0.0 -0e-9", "-0.001 1-0 x-0.0 -0e-9"),
    ],
)
def test_only_zeros_lose_their_sign(printed, compared):
    assert unsigned_zeros(printed) == compared
