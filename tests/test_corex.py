"""CorEx on systems small enough to count, and on Gaussian ones: every identity to 1e-10."""

from __future__ import annotations

import itertools
import math

import dit
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ibbook.corex import (
    corex,
    corex_bound,
    corex_layers,
    gaussian_corex,
    gaussian_corex_bound,
)
from ibbook.information import gaussian_mutual_information, o_information, total_correlation

SEEDS = st.integers(0, 10_000)
EXACT = {"rtol": 0.0, "atol": 1e-10}


def rows(rng: np.random.Generator, *shape: int, axes: int = 1) -> np.ndarray:
    """Random distributions over the last `axes` axes, some of them nearly certain."""
    size = math.prod(shape[-axes:])
    draw = rng.dirichlet(np.full(size, 0.3), size=shape[:-axes] or None)
    return draw.reshape(shape)


def factorised(rng: np.random.Generator, source: tuple[int, ...], latents: int) -> np.ndarray:
    """p(z|x) = prod_j p(z_j|x), two values a latent."""
    encoder = np.ones(source)
    for _ in range(latents):
        own = rows(rng, *source, 2).reshape(*source, *[1] * (encoder.ndim - len(source)), 2)
        encoder = encoder[..., None] * own
    return encoder


def counted(p: np.ndarray, encoder: np.ndarray) -> dict[str, float]:
    """The same measures from a table of all cases, in plain Python."""
    table: dict[tuple, float] = {}
    for case in itertools.product(*map(range, encoder.shape)):
        table[case] = p[case[: p.ndim]] * encoder[case]

    def h(*axes: int) -> float:
        mass: dict[tuple, float] = {}
        for case, chance in table.items():
            key = tuple(case[a] for a in axes)
            mass[key] = mass.get(key, 0.0) + chance
        return -math.fsum(m * math.log(m) for m in mass.values() if m > 0)

    x, z = range(p.ndim), range(p.ndim, encoder.ndim)
    given_z = [h(i, *z) - h(*z) for i in x]
    return {
        "total": math.fsum(h(i) for i in x) - h(*x),
        "unexplained": math.fsum(given_z) - (h(*x, *z) - h(*z)),
        "entangled": math.fsum(h(j) for j in z) - h(*z),
        "relevance": [h(i) - own for i, own in zip(x, given_z, strict=True)],
        "cost": [h(j) + h(*x) - h(j, *x) for j in z],
    }


@given(SEEDS, st.integers(1, 3), st.integers(1, 2))
def test_every_measure_is_that_of_the_table_of_all_cases(seed, parts, latents):
    rng = np.random.default_rng(seed)
    p = rows(rng, *[2, 3, 2][:parts], axes=parts)
    encoder = rows(rng, *p.shape, *[2] * latents, axes=latents)
    found, expected = corex(p, encoder), counted(p, encoder)
    for name, value in expected.items():
        np.testing.assert_allclose(getattr(found, name), value, rtol=0, atol=1e-10)
    assert found.objective <= found.total + 1e-12


@given(SEEDS)
def test_with_independent_latents_the_objective_is_relevance_minus_cost(seed):
    rng = np.random.default_rng(seed)
    p = rows(rng, 2, 2, 2, axes=3)
    found = corex(p, factorised(rng, p.shape, 2))
    torch.testing.assert_close(found.objective, found.relevance.sum() - found.cost.sum(), **EXACT)


def test_with_latents_that_are_dependent_given_x_it_is_not():
    p = torch.full((2, 2), 0.25)
    encoder = torch.zeros(2, 2, 2, 2)
    encoder[..., 0, 0] = encoder[..., 1, 1] = 0.5  # two latents that agree and ignore x
    found = corex(p, encoder)
    assert found.objective.item() == pytest.approx(-math.log(2))
    assert found.relevance.sum() - found.cost.sum() == pytest.approx(0, abs=1e-12)


@given(SEEDS, st.booleans())
def test_the_bound_misses_the_objective_by_its_two_divergences(seed, independent):
    rng = np.random.default_rng(seed)
    p = rows(rng, 2, 2, 3, axes=3)
    shape = (*p.shape, 2, 2)
    encoder = factorised(rng, p.shape, 2) if independent else rows(rng, *shape, axes=2)
    decoders = [rows(rng, 2, 2, size) for size in p.shape]
    marginals = [rows(rng, 2) for _ in range(2)]
    found, bound = corex(p, encoder), corex_bound(p, encoder, decoders, marginals)
    gap = bound.decoder_gap.sum() + bound.marginal_gap.sum()
    torch.testing.assert_close(found.objective - bound.value, gap, **EXACT)
    assert min(bound.decoder_gap.min(), bound.marginal_gap.min()) >= -1e-12

    joint = p[..., None, None] * encoder
    best = [joint.sum(tuple({0, 1, 2} - {i})).transpose(1, 2, 0) for i in range(3)]
    best = [q / q.sum(-1, keepdims=True) for q in best]
    tight = corex_bound(p, encoder, best, [joint.sum((0, 1, 2, 4 - j)) for j in range(2)])
    torch.testing.assert_close(tight.value, found.objective, **EXACT)
    own = [-(m * np.log(m)).sum() for m in (p.sum((1, 2)), p.sum((0, 2)), p.sum((0, 1)))]
    assert tight.value.item() == pytest.approx(sum(own) + tight.elbo.item(), abs=1e-10)


@given(SEEDS)
def test_a_decoder_that_is_no_product_bounds_nothing(seed):
    """With q(x|z) = p(x) a silent code attains TC(x), though it explains nothing."""
    rng = np.random.default_rng(seed)
    p = rows(rng, 2, 2, 2, axes=3)
    silent = np.broadcast_to([0.5, 0.5], (*p.shape, 2))
    found = corex(p, silent)
    entropies = found.total - (p * np.log(p)).sum()
    claimed = entropies + (p * np.log(p)).sum()  # sum_i H(x_i) + E ln p(x), and no rate
    torch.testing.assert_close(claimed, found.total, **EXACT)
    assert found.objective.item() == pytest.approx(0, abs=1e-12)
    assert found.total > 0


@given(SEEDS)
def test_layers_telescope_and_stay_below_the_total_correlation(seed):
    rng = np.random.default_rng(seed)
    p = rows(rng, 2, 2, 2, 2, axes=4)
    first, second = rows(rng, 2, 2, 2, 2, 2, 2, axes=2), rows(rng, 2, 2, 2)
    layers = corex_layers(p, [first, second])
    assert len(layers) == 2
    torch.testing.assert_close(layers[1].total, layers[0].entangled, **EXACT)
    together = sum(layer.objective for layer in layers)
    lost = layers[0].unexplained + layers[1].unexplained + layers[1].entangled
    torch.testing.assert_close(together, total_correlation(p) - lost, **EXACT)
    assert together <= layers[0].total + 1e-12
    assert (together > layers[0].objective) == (layers[1].objective > 0)


def random_gaussian(seed: int, n: int, m: int, *, independent: bool = True):
    rng = np.random.default_rng(seed)
    a, b = rng.normal(size=(n, n + 2)), rng.normal(size=(m, m + 2))
    noise = b @ b.T / m + 0.1 * np.eye(m)
    noise = np.diag(np.diag(noise)) if independent else noise
    return a @ a.T / n + 0.1 * np.eye(n), rng.normal(size=(m, n)), noise


@given(SEEDS, st.integers(1, 4), st.integers(1, 3), st.booleans())
def test_gaussian_measures_are_mutual_informations_of_blocks(seed, n, m, independent):
    cov, loadings, noise = random_gaussian(seed, n, m, independent=independent)
    found = gaussian_corex(cov, loadings, noise)
    code = loadings @ cov @ loadings.T + noise
    both = np.block([[cov, cov @ loadings.T], [loadings @ cov, code]])

    def information(one, other):
        order = [*one, *other]
        return gaussian_mutual_information(both[np.ix_(order, order)], len(one)).item()

    x, z = range(n), range(n, n + m)
    relevance = [information([i], z) for i in x]
    np.testing.assert_allclose(found.relevance, relevance, atol=1e-10)
    np.testing.assert_allclose(found.cost, [information([j], x) for j in z], atol=1e-10)
    explained = sum(relevance) - information(x, z)  # equation 5
    assert found.explained.item() == pytest.approx(explained, abs=1e-10)
    assert found.objective <= found.total + 1e-10
    if independent:
        difference = found.relevance.sum() - found.cost.sum()
        assert found.objective.item() == pytest.approx(difference.item(), abs=1e-10)


@given(SEEDS, st.integers(1, 4), st.integers(1, 3), st.booleans())
def test_the_gaussian_bound_misses_by_its_divergences_and_is_tight_at_best(seed, n, m, independent):
    cov, loadings, noise = random_gaussian(seed, n, m, independent=independent)
    found = gaussian_corex(cov, loadings, noise)
    rng = np.random.default_rng(seed + 1)
    w, v, r = rng.normal(size=(n, m)), rng.uniform(0.2, 2, n), rng.uniform(0.2, 2, m)
    bound = gaussian_corex_bound(cov, loadings, noise, (w, v), r)
    gap = bound.decoder_gap.sum() + bound.marginal_gap.sum()
    torch.testing.assert_close(found.objective - bound.value, gap, rtol=1e-10, atol=1e-10)

    code = loadings @ cov @ loadings.T + noise
    best = cov @ loadings.T @ np.linalg.inv(code)
    rest = np.diag(cov - best @ loadings @ cov)
    tight = gaussian_corex_bound(cov, loadings, noise, (best, rest), np.diag(code))
    torch.testing.assert_close(tight.value, found.objective, rtol=1e-10, atol=1e-10)


def test_the_gaussian_bound_is_the_mean_of_its_samples():
    cov, loadings, noise = (torch.as_tensor(t) for t in random_gaussian(5, 3, 2))
    w, v, r = torch.full((3, 2), 0.3).double(), torch.tensor([0.5, 1, 2]).double(), torch.ones(2)
    bound = gaussian_corex_bound(cov, loadings, noise, (w, v), r)
    normal, count = torch.distributions.MultivariateNormal, 400_000
    torch.manual_seed(0)
    x = normal(torch.zeros(3).double(), cov).sample((count,))
    encoder = normal(x @ loadings.mT, noise)
    z = encoder.sample()
    likelihood = normal(z @ w.mT, torch.diag(v)).log_prob(x)
    rate = torch.distributions.kl_divergence(
        encoder, normal(torch.zeros(2).double(), torch.diag(r).double())
    )
    each = likelihood - rate
    assert abs(each.mean() - bound.elbo) < 5 * each.std() / count**0.5


def test_a_factor_model_is_explained_whole_by_its_posterior():
    rng = np.random.default_rng(0)
    factors, variances = rng.normal(size=(5, 2)), rng.uniform(0.3, 1, 5)
    noise = np.linalg.inv(np.eye(2) + (factors.T / variances) @ factors)
    loadings = noise @ (factors.T / variances)
    found = gaussian_corex(factors @ factors.T + np.diag(variances), loadings, noise)
    torch.testing.assert_close(found.objective, found.total, **EXACT)
    assert found.total > 0.1


@given(SEEDS)
def test_o_information_is_that_of_dit(seed):
    p = rows(np.random.default_rng(seed), 2, 2, 3, axes=3)
    cases = [case for case in itertools.product(range(2), range(2), range(3)) if p[case] > 0]
    mass = np.array([p[case] for case in cases])
    known = dit.Distribution(["".join(map(str, case)) for case in cases], mass / mass.sum())
    expected = dit.multivariate.o_information(known)
    assert o_information(p, base=2).item() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: corex([0.5, 0.5], [[1.0]]), r"encoder must have the axes of p, \(2,\), and after"),
        (lambda: corex([0.5, 0.5], [0.5, 0.5]), "after them one for each latent"),
        (lambda: corex([0.5, 0.6], [[1.0], [1.0]]), "p sums to 1.1"),
        (lambda: corex([0.5, 0.5], [[0.9], [1.0]]), "encoder sums to 0.9"),
        (lambda: corex_bound([0.5, 0.5], [[1.0], [1.0]], [], []), "1 parts and 1 latents need"),
        (
            lambda: corex_bound([0.5, 0.5], [[1.0], [1.0]], [[0.5, 0.5]], [[1.0]]),
            r"decoders\[0\] must have shape \(1, 2\)",
        ),
        (
            lambda: corex_bound([0.5, 0.5], [[1.0], [1.0]], [[[0.5, 0.5]]], [[0.5, 0.5]]),
            r"marginals\[0\] must have 1 entries",
        ),
        (lambda: gaussian_corex([[1.0]], [[1.0, 2.0]], [[1.0]]), "loadings must have shape"),
        (lambda: gaussian_corex([[1.0]], [[1.0]], [[-1.0]]), "noise must be positive definite"),
        (
            lambda: gaussian_corex_bound([[1.0]], [[1.0]], [[1.0]], ([[1.0]], [0.0]), [1.0]),
            "decoder must hold variances > 0",
        ),
        (
            lambda: gaussian_corex_bound([[1.0]], [[1.0]], [[1.0]], ([[1.0]], [1.0]), [1.0, 1.0]),
            "variances 1 numbers",
        ),
    ],
)
def test_what_does_not_fit_together_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
