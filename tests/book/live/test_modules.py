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
import torch
from scipy.interpolate import RegularGridInterpolator
from scipy.ndimage import center_of_mass
from scipy.optimize import brentq
from scipy.special import expit
from scipy.stats import norm

from ibbook import diffusion, linear_gaussian, metrics
from ibbook.corex import corex
from ibbook.information import entropy, kl_divergence, mutual_information
from ibbook.objective import gaussian_kl
from ibbook.rate_distortion import blahut_arimoto, gaussian_rate, water_level

HERE = Path(__file__).parent
MODULES = HERE.parents[2] / "theme" / "public" / "live"
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


def some_variances(rng: np.random.Generator) -> np.ndarray:
    return rng.uniform(0.05, 5, rng.integers(1, 7))


@against("water", "waterLevel")
def _(rng):
    variances = some_variances(rng)
    total = variances.sum() * rng.uniform(0.01, 1.1)
    return [variances, total], water_level(variances, total)


@against("water", "atLevel")
def _(rng):
    variances = some_variances(rng)
    total = variances.sum() * rng.uniform(0.01, 1)
    level = water_level(variances, total)
    return [variances, level], {"distortion": total, "rate": gaussian_rate(variances, total)}


@against("blahut", "iterate")
def _(rng):
    size, steps, beta = rng.integers(2, 6), int(rng.integers(0, 9)), rng.uniform(0.1, 6)
    p, distortion = rng.dirichlet(np.ones(size)), rng.uniform(0, 3, (size, rng.integers(2, 6)))
    points = [blahut_arimoto(p, distortion, beta, iterations=k + 1) for k in range(steps + 1)]
    q, states = torch.full((distortion.shape[1],), 1 / distortion.shape[1], dtype=torch.double), []
    for point in points:
        state = {"q": q, "c": point.marginal / q, "next": point.marginal, "rate": point.rate}
        state |= {"distortion": point.distortion, "gap": point.gap}
        state["objective"] = point.rate + beta * point.distortion
        states.append(state)
        q = point.marginal
    return [p, distortion, beta, steps], states


def worth(pxy: np.ndarray, beta: float, q: np.ndarray | float) -> np.ndarray:
    """W(q) of the silent code, by the package's divergences; q may be an array."""
    given, p_y = pxy / pxy.sum(1, keepdims=True), pxy.sum(0)
    decoders = np.stack([1 - np.asarray(q), np.asarray(q)], -1)[..., None, :]
    gain = kl_divergence(given, decoders) - kl_divergence(given, p_y)
    return np.exp(-beta * gain.numpy()) @ pxy.sum(1)


@against("spikes", "worth")
def _(rng):
    pxy = rng.dirichlet(np.ones(2 * rng.integers(2, 5))).reshape(-1, 2)
    beta, q = rng.uniform(0.5, 20), rng.uniform(0.01, 0.99)
    return [pxy, beta, q], worth(pxy, beta, q)


@against("spikes", "highest")
def _(rng):
    pxy, beta = rng.dirichlet(np.full(4, 0.8)).reshape(2, 2), rng.uniform(1, 8)
    start = np.linspace(-9, 9, 73)
    best = start[worth(pxy, beta, expit(start)).argmax()]
    for span in (0.25, 0.003, 4e-5):  # finer and finer
        near = best + np.linspace(-span, span, 201)
        best = near[worth(pxy, beta, expit(near)).argmax()]
    return [pxy, beta], worth(pxy, beta, expit(best))


@against("letters", "dense")
def _(rng):
    encoder = rng.dirichlet(np.full(5, 0.2), rng.integers(2, 9))
    encoder[0, 4] += 0.1  # the last cluster is used
    encoder /= encoder.sum(1, keepdims=True)
    return [[[[t, 7 * share] for t, share in enumerate(row)] for row in encoder]], encoder


@against("letters", "code")
def _(rng):
    pxy = a_joint(rng, rng.integers(3, 9), rng.integers(2, 9))
    encoder = rng.dirichlet(np.full(4, 0.5), len(pxy))
    joint = encoder.T @ pxy
    expected = {"weights": joint.sum(1), "decoder": joint / joint.sum(1, keepdims=True)}
    expected["complexity"] = mutual_information(pxy.sum(1)[:, None] * encoder)
    return [pxy, encoder], expected | {"relevance": mutual_information(joint)}


def two_codes(rng: np.random.Generator) -> np.ndarray:
    return np.stack([rng.uniform(-4, 4, 2), np.exp(rng.uniform(np.log(0.1), np.log(2), 2))], 1)


@against("gaussians", "rate")
def _(rng):
    codes = two_codes(rng)
    return [codes], gaussian_kl(*map(torch.tensor, (codes[:, 0], 2 * np.log(codes[:, 1])))).mean()


@against("gaussians", "information")
def _(rng):
    codes = two_codes(rng)
    noise = codes[:, 1].min() / 2  # N(m, s) is N(m, sqrt(s^2 - noise^2)) seen through that noise
    seen = diffusion.mixture([0.5, 0.5], codes[:, 0], np.sqrt(codes[:, 1] ** 2 - noise**2))
    return [codes], diffusion.class_information(noise**-2, seen)


@against("gaussians", "normal")
def _(rng):
    x = rng.uniform(-9, 9)
    return [x], norm.cdf(x)


@against("gaussians", "guessed")
def _(rng):
    codes = two_codes(rng)
    if rng.random() < 0.2:
        codes[1, 1] = codes[0, 1]
    ends = np.array([codes[:, 0] - 9 * codes[:, 1], codes[:, 0] + 9 * codes[:, 1]])
    z = np.linspace(ends.min(), ends.max(), 400_001)
    densities = [norm.pdf(z, *code) for code in codes]
    return [codes], np.trapezoid(np.maximum(*densities), z) / 2


def a_net(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Codes of a grid of places, the places, and precisions that differ from code to code."""
    factors = np.stack(np.meshgrid(*2 * [np.arange(6)], indexing="ij"), -1).reshape(-1, 2)
    codes = factors @ rng.normal(size=(2, 2)) + 0.1 * rng.normal(size=(36, 2))
    return codes, factors, np.exp(rng.normal(2, 1, (36, 2)))


@against("turn", "score")
def _(rng):
    codes, factors, _ = a_net(rng)
    degrees = rng.uniform(-90, 90)
    turned = torch.tensor(codes) @ metrics.plane_turn(degrees).T
    return [codes, factors, degrees], metrics.axis_r2(turned, torch.tensor(factors))


@against("turn", "price")
def _(rng):
    precisions, degrees, beta = a_net(rng)[2], rng.uniform(-90, 90), rng.uniform(0, 20)
    each = torch.diag_embed(torch.tensor(precisions))
    return [precisions, degrees, beta], metrics.price_of_turn(
        each, metrics.plane_turn(degrees), beta
    )


@against("turn", "told")
def _(rng):
    codes, _, precisions = a_net(rng)
    cov = np.cov(codes.T, bias=True) + np.diag((1 / precisions).mean(0))
    told = (np.linalg.slogdet(cov)[1] + np.log(precisions).sum(1).mean()) / 2
    return [codes, precisions, rng.uniform(-90, 90)], told  # at every angle


@against("walk", "grey")
def _(rng):
    grey = rng.integers(0, 256, 20)
    return ["".join(f"{value:02x}" for value in grey)], grey / 255


@against("walk", "blend")
def _(rng):
    values, pictures = np.sort(rng.uniform(-3, 3, 5)), rng.random((5, 5, 4))
    at = rng.uniform(-3.5, 3.5, 2)
    inside = at.clip(values[0], values[-1])
    expected = RegularGridInterpolator((values, values), pictures)(inside)[0]
    return [values, pictures.reshape(25, 4), *at], expected


@against("walk", "centre")
def _(rng):
    picture = rng.random((6, 6))
    y, x = center_of_mass(picture)
    return [picture.ravel(), 6], {"x": x, "y": y, "total": picture.sum()}


def coins(flip: float) -> torch.Tensor:
    """p(x1, x2, x3, x4): two fair coins, each shown twice, turned over with chance `flip`."""
    noisy = torch.tensor([[1 - flip, flip], [flip, 1 - flip]]).double()
    pair = noisy.T @ noisy / 2
    return pair[:, :, None, None] * pair


@against("corex", "source")
def _(rng):
    flip = rng.uniform(0, 0.5)
    return [flip], coins(flip).permute(3, 2, 1, 0).ravel()  # x1 is the lowest digit


@against("corex", "code")
def _(rng):
    flip, noise = rng.uniform(0, 0.5, 2)
    p, reads = rng.dirichlet(np.ones(16)).reshape(2, 2, 2, 2), rng.integers(0, 4, 2)
    if rng.random() < 0.5:
        p = coins(flip).numpy()
    noisy = np.array([[1 - noise, noise], [noise, 1 - noise]])
    x = np.indices((2, 2, 2, 2))
    encoder = noisy[x[reads[0]]][..., :, None] * noisy[x[reads[1]]][..., None, :]
    found = corex(p, encoder)
    names = ("total", "unexplained", "entangled", "objective")
    return [p.transpose().ravel(), reads, noise], {name: getattr(found, name) for name in names}


def a_covariance(rng: np.random.Generator) -> np.ndarray:
    n = rng.integers(1, 8)
    loadings = rng.normal(size=(n, rng.integers(1, 5)))
    return loadings @ loadings.T + np.diag(rng.uniform(0.05, 1, n))


@against("thresholds", "eigenvalues")
def _(rng):
    cov = a_covariance(rng)
    return [cov], np.linalg.eigvalsh(cov)[::-1]


@against("thresholds", "thresholds")
def _(rng):
    cov, l2, fixed = a_covariance(rng), rng.uniform(0, 8), rng.uniform(0.1, 3)
    noises = {kind: kind for kind in ("full", "diagonal", "isotropic")} | {"fixed": fixed}
    found = linear_gaussian.collapse_threshold
    return [cov, l2, fixed], {k: found(cov, noise=noise, l2=l2) for k, noise in noises.items()}


@against("thresholds", "told")
def _(rng):
    cov, beta, l2 = (
        a_covariance(rng),
        np.exp(rng.uniform(0.05, 5)),
        rng.choice([0, 1]) * rng.uniform(0, 8),
    )
    noise = rng.choice(["full", "isotropic", "0.5"])
    noise, latents = (0.5 if noise == "0.5" else str(noise)), rng.integers(1, len(cov) + 1)
    best = linear_gaussian.optimum(cov, beta, l2, latents=int(latents), noise=noise)
    values = np.linalg.eigvalsh(cov)[::-1]
    return [values, beta, l2 or 1e-300, noise, latents], best.rates.sum()


SCHEDULES = {
    "linear": diffusion.linear_alpha_bar,
    "cosine": diffusion.cosine_alpha_bar,
    "sqrt": diffusion.sqrt_alpha_bar,
}


@against("diffusion", "alphaBar")
def _(rng):
    name, steps = str(rng.choice(list(SCHEDULES))), int(rng.integers(20, 400))
    return [name, steps], SCHEDULES[name](steps)


@against("diffusion", "known")
def _(rng):
    level, variances = rng.uniform(0.001, 0.999), some_variances(rng)
    snr = level / (1 - level)
    return [level, variances], [diffusion.gaussian_information(snr, [v]) for v in variances]


@against("diffusion", "steps")
def _(rng):
    levels, variances = SCHEDULES["cosine"](int(rng.integers(4, 60))), some_variances(rng)
    released = diffusion.gaussian_bound(levels, variances).steps
    paid = diffusion.gaussian_bound(levels, variances, reverse="fixed").steps
    pairs = zip(released, paid, strict=True)
    return [levels, variances], [{"released": one, "paid": two} for one, two in pairs]


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
        [node if node.exists() else shutil.which("node"), HERE / "modules.mjs"],
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
