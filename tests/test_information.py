from __future__ import annotations

import math

import dit
import numpy as np
import pytest
import scipy.stats
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from pyitlib import discrete_random_variable as drv
from sklearn.metrics import mutual_info_score

from ibbook.information import (
    conditional_entropy,
    conditional_mutual_information,
    conditional_total_correlation,
    cross_entropy,
    entropy,
    entropy_from_counts,
    gaussian_entropy,
    gaussian_kl_divergence,
    gaussian_mutual_information,
    gaussian_total_correlation,
    kl_divergence,
    mutual_information,
    mutual_information_from_counts,
    total_correlation,
)

EPS = 1e-12
CORRECTIONS = (None, "miller-madow", "zhang")
DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
quick = settings(deadline=None, max_examples=40)


def masses(*, axes, batch=0):
    """Distributions over the last `axes` axes, many of whose entries are exactly zero."""
    dims = axes + batch

    def normalise(mass):
        mass = mass + (mass.sum(tuple(range(-axes, 0)), keepdims=True) == 0)
        return mass / mass.sum(tuple(range(-axes, 0)), keepdims=True)

    shapes = hnp.array_shapes(min_dims=dims, max_dims=dims, min_side=1, max_side=4)
    entries = st.one_of(st.just(0.0), st.floats(1e-9, 1))
    return shapes.flatmap(lambda s: hnp.arrays(np.float64, s, elements=entries)).map(normalise)


def covariances(min_side=1):
    """Well-conditioned covariance matrices."""
    sides = st.integers(min_side, 5)
    roots = sides.flatmap(lambda n: hnp.arrays(np.float64, (n, n), elements=st.floats(-2, 2)))
    return roots.map(lambda root: root @ root.T + 0.1 * np.eye(len(root)))


def dyadic():
    """Exponents k of distributions whose probabilities are 2^-k: a leaf splits, again and again."""

    def split(leaves):
        exponents = [0]
        for leaf in leaves:
            exponent = exponents.pop(leaf % len(exponents)) + 1
            exponents += [exponent, exponent]
        return exponents

    return st.lists(st.integers(0, 100), max_size=30).map(split)


def signed_zeros(values):
    return ((values == 0) & torch.signbit(values)).any().item()


def in_dit(p):
    """The same joint distribution in dit, one random variable for each axis."""
    outcomes = list(np.ndindex(p.shape))
    return dit.Distribution(outcomes, [p[o] for o in outcomes])


def close(a, b, tolerance=EPS):
    return np.allclose(np.asarray(a), np.asarray(b), rtol=0, atol=tolerance)


# Closed forms


@pytest.mark.parametrize("n", [1, 2, 7, 1000])
def test_entropy_of_a_uniform_variable_is_ln_n(n):
    assert close(entropy(np.full(n, 1 / n)), math.log(n))


def test_a_certain_outcome_has_entropy_zero():
    assert entropy([0.0, 1.0, 0.0]).item() == 0
    assert math.copysign(1, entropy([1.0]).item()) == 1


@pytest.mark.parametrize("flip", [0.0, 0.11, 0.5])
def test_binary_symmetric_channel(flip):
    h = scipy.stats.entropy([flip, 1 - flip])
    pxy = np.array([[1 - flip, flip], [flip, 1 - flip]]) / 2
    assert close(mutual_information(pxy), math.log(2) - h)
    assert close(conditional_entropy(pxy), h)


def test_total_correlation_of_copies_and_of_parity():
    copies, parity = np.zeros((2,) * 4), np.zeros((2,) * 3)
    copies[0, 0, 0, 0] = copies[1, 1, 1, 1] = 1 / 2
    for x, y in np.ndindex(2, 2):
        parity[x, y, x ^ y] = 1 / 4
    assert close(total_correlation(copies, base=2), 3)
    assert close(total_correlation(parity, base=2), 1)
    assert close(mutual_information(parity.sum(2)), 0)  # no pair shares anything


def test_conditioning_on_copies_and_on_parity():
    copies, parity = np.zeros((2,) * 3), np.zeros((2,) * 3)
    copies[0, 0, 0] = copies[1, 1, 1] = 1 / 2
    for x, y in np.ndindex(2, 2):
        parity[x, y, x ^ y] = 1 / 4
    for measure in (conditional_mutual_information, conditional_total_correlation):
        assert close(measure(copies), 0)  # one copy explains the other two
        assert close(measure(parity), math.log(2))  # any two of the three determine the third
    apart = np.multiply.outer(copies, [0.3, 0.7])  # a condition that has nothing to say
    assert close(conditional_total_correlation(apart), 2 * math.log(2))


def test_a_zero_of_q_costs_infinitely_much_only_where_p_has_mass():
    assert kl_divergence([0.5, 0.5], [1.0, 0.0]) == math.inf
    assert cross_entropy([0.5, 0.5], [1.0, 0.0]) == math.inf
    assert kl_divergence([1.0, 0.0], [0.5, 0.5]).item() == math.log(2)
    assert kl_divergence([1.0, 0.0], [1.0, 0.0]).item() == 0


def test_tiny_probabilities_do_not_underflow():
    tiny = 1e-200  # its square is 0 in float64
    pxy = np.array([[1 - tiny, 0], [0, tiny]])
    assert close(mutual_information(pxy), 0)
    assert close(total_correlation(pxy), 0)
    assert close(kl_divergence([1.0, tiny], [1.0, 1e-320]), 0)


@pytest.mark.parametrize(("correlation", "dim_x"), [(0.0, 1), (0.6, 1), (-0.99, 1)])
def test_gaussian_pair(correlation, dim_x):
    cov = [[4.0, 2 * correlation], [2 * correlation, 1.0]]
    expected = -math.log(1 - correlation**2) / 2
    assert close(gaussian_mutual_information(cov, dim_x), expected)
    assert close(gaussian_total_correlation(cov), expected)


@pytest.mark.parametrize(("mean", "var"), [(0.0, 1.0), (3.0, 1.0), (0.0, 0.2), (-1.0, 7.0)])
def test_divergence_of_two_gaussians_in_one_dimension(mean, var):
    expected = (var - 1 - math.log(var) + mean**2) / 2
    assert close(gaussian_kl_divergence([mean], [[var]], [0.0], [[1.0]]), expected)
    backwards = (1 / var - 1 + math.log(var) + mean**2 / var) / 2
    assert close(gaussian_kl_divergence([0.0], [[1.0]], [mean], [[var]]), backwards)


# Exact where it can be. Powers of two have exact binary logarithms, and their sums are exact.


@pytest.mark.parametrize("k", range(13))
def test_two_to_the_k_equal_outcomes_are_exactly_k_bits(k):
    n = 2**k
    uniform, same = np.full(n, 1 / n), np.eye(n) / n
    assert entropy(uniform, base=2).item() == k
    assert entropy(uniform, base=4).item() == k / 2
    assert cross_entropy(np.eye(n)[0], uniform, base=2).item() == k
    assert kl_divergence(np.eye(n)[0], uniform, base=2).item() == k
    assert entropy_from_counts(np.full(n, 3), base=2).item() == k
    if k < 9:
        assert mutual_information(same, base=2).item() == k
        assert total_correlation(same, base=2).item() == k
        assert mutual_information_from_counts(5 * np.eye(n), base=2).item() == k
        assert conditional_entropy(np.full((n, n), 1 / n**2), base=2).item() == k
        assert conditional_mutual_information(same[..., None], base=2).item() == k
        assert conditional_total_correlation(same[..., None], base=2).item() == k


def test_one_bit_is_one_bit():
    assert entropy([0.5, 0.5], base=2).item() == 1
    assert mutual_information_from_counts([[1, 0], [0, 1]], base=2).item() == 1
    assert mutual_information_from_counts([[1, 1], [1, 1]], base=2).item() == 0


@quick
@given(dyadic())
def test_powers_of_two_give_exact_bits(exponents):
    p = np.array([0.5**k for k in exponents])
    bits = sum(k * 0.5**k for k in exponents)  # exact in float64 too
    assert entropy(p, base=2).item() == bits
    assert mutual_information(np.diag(p), base=2).item() == bits
    assert kl_divergence(p, p[::-1].copy(), base=2).item() == sum(
        (j - k) * 0.5**k for j, k in zip(exponents[::-1], exponents, strict=True)
    )


def certain(*shape):
    """All mass at one outcome."""
    p = np.zeros(shape)
    p[(0,) * len(shape)] = 1
    return p


@pytest.mark.parametrize("base", [math.e, 2, 10])
@pytest.mark.parametrize("n", [1, 2, 3, 8, 33])
def test_nothing_is_a_positive_zero(n, base):
    for value in [
        entropy(certain(n), base=base),
        cross_entropy(certain(n), certain(n), base=base),
        kl_divergence(certain(n), certain(n), base=base),
        conditional_entropy(certain(n, n), base=base),
        mutual_information(certain(n, n), base=base),
        conditional_mutual_information(certain(n, n, 2), base=base),
        total_correlation(certain(n, n), base=base),
        conditional_total_correlation(certain(n, n), base=base),
        *(entropy_from_counts(3 * certain(n), correction=c, base=base) for c in CORRECTIONS),
        *(
            mutual_information_from_counts(3 * certain(n, n), correction=c, base=base)
            for c in CORRECTIONS
        ),
    ]:
        assert value.item() == 0
        assert math.copysign(1, value.item()) == 1


def test_nothing_in_common_of_gaussians_is_a_positive_zero():
    for value in [
        gaussian_mutual_information(np.eye(3), 1),
        gaussian_total_correlation(np.eye(3)),
        gaussian_total_correlation([[1.0]]),
        gaussian_kl_divergence(np.zeros(3), np.eye(3), np.zeros(3), np.eye(3)),
    ]:
        assert value.item() == 0
        assert math.copysign(1, value.item()) == 1


@quick
@given(masses(axes=3), st.sampled_from([math.e, 2, 3]))
def test_no_result_is_a_negative_zero(p, base):
    pairs, alone = p.sum(2), p.sum((1, 2))
    counts = np.round(8 * pairs)
    counts[0, 0] += 1
    for values in [
        entropy(alone, base=base),
        cross_entropy(alone, alone, base=base),
        kl_divergence(alone, alone, base=base),
        conditional_entropy(pairs, base=base),
        mutual_information(pairs, base=base),
        conditional_mutual_information(p, base=base),
        total_correlation(p, base=base),
        conditional_total_correlation(p, base=base),
        *(entropy_from_counts(counts[0], correction=c, base=base) for c in CORRECTIONS),
        *(mutual_information_from_counts(counts, correction=c, base=base) for c in CORRECTIONS),
    ]:
        assert not signed_zeros(values)


# Independent implementations


@quick
@given(masses(axes=2))
def test_pairs_agree_with_dit(pxy):
    joint = in_dit(pxy)
    assert close(entropy(pxy.ravel(), base=2), dit.shannon.entropy(joint), 1e-9)
    expected = dit.shannon.conditional_entropy(joint, [1], [0])
    assert close(conditional_entropy(pxy, base=2), expected, 1e-9)
    expected = dit.shannon.mutual_information(joint, [0], [1])
    assert close(mutual_information(pxy, base=2), expected, 1e-9)


@quick
@given(masses(axes=3))
def test_total_correlation_agrees_with_dit(p):
    joint = in_dit(p)
    expected = dit.multivariate.total_correlation(joint)
    assert close(total_correlation(p, base=2), expected, 1e-9)
    expected = dit.multivariate.total_correlation(joint, [[0], [1]], [2])
    assert close(conditional_mutual_information(p, base=2), expected, 1e-9)


@quick
@given(masses(axes=4))
def test_conditional_total_correlation_agrees_with_dit(p):
    expected = dit.multivariate.total_correlation(in_dit(p), [[0], [1], [2]], [3])
    assert close(conditional_total_correlation(p, base=2), expected, 1e-9)


@quick
@given(hnp.arrays(np.int64, (30, 3), elements=st.integers(0, 2)))
def test_conditional_information_agrees_with_pyitlib(samples):
    counts = np.zeros((3, 3, 3))
    np.add.at(counts, tuple(samples.T), 1)
    expected = drv.information_mutual_conditional(*samples.T, base=2)
    assert close(conditional_mutual_information(counts / 30, base=2), expected, 1e-9)


@quick
@given(masses(axes=1), st.randoms(use_true_random=False))
def test_divergences_agree_with_scipy(p, random):
    q = np.array([random.random() for _ in p]) + 1e-3
    q /= q.sum()
    kl = scipy.stats.entropy(p, q)
    assert close(entropy(p), scipy.stats.entropy(p))
    assert close(kl_divergence(p, q), kl)
    assert close(cross_entropy(p, q), scipy.stats.entropy(p) + kl)


@quick
@given(covariances(min_side=2), st.integers(1, 4))
def test_gaussian_measures_agree_with_the_entropies_of_scipy(cov, dim_x):
    dim_x = min(dim_x, len(cov) - 1)

    def h(c):
        return scipy.stats.multivariate_normal(cov=c).entropy()

    shared = h(cov[:dim_x, :dim_x]) + h(cov[dim_x:, dim_x:]) - h(cov)
    assert close(gaussian_entropy(cov), h(cov), 1e-9)
    assert close(gaussian_mutual_information(cov, dim_x), shared, 1e-9)
    apart = sum(h(c) for c in np.diag(cov))
    assert close(gaussian_total_correlation(cov), apart - h(cov), 1e-9)


@quick
@given(covariances(), st.integers(0, 10**6))
def test_divergence_of_gaussians_agrees_with_torch(cov_p, seed):
    rng = np.random.default_rng(seed)
    root = rng.normal(size=cov_p.shape)
    cov_q = root @ root.T + 0.1 * np.eye(len(root))
    mean_p, mean_q = rng.normal(size=(2, len(root)))
    p, q = (
        torch.distributions.MultivariateNormal(torch.tensor(mean), torch.tensor(cov))
        for mean, cov in [(mean_p, cov_p), (mean_q, cov_q)]
    )
    expected = torch.distributions.kl_divergence(p, q)
    value = gaussian_kl_divergence(mean_p, cov_p, mean_q, cov_q)
    assert np.isclose(value, expected, rtol=1e-9, atol=1e-9)


def test_gaussian_measures_agree_with_a_fine_grid():
    cov = np.array([[1.0, 0.7], [0.7, 0.8]])
    step = 0.1
    grid = np.arange(-9, 9, step)
    points = np.stack(np.meshgrid(grid, grid, indexing="ij"), -1)
    mass = scipy.stats.multivariate_normal(cov=cov).pdf(points) * step**2
    other = scipy.stats.multivariate_normal([0.5, -0.2], [1.2, 0.9]).pdf(points) * step**2
    expected = kl_divergence(mass.ravel(), other.ravel())
    value = gaussian_kl_divergence([0.0, 0.0], cov, [0.5, -0.2], np.diag([1.2, 0.9]))
    assert close(value, expected, 1e-9)
    assert close(gaussian_mutual_information(cov, 1), mutual_information(mass), 1e-9)
    discrete = entropy(mass.ravel()) + 2 * math.log(step)  # h = H(quantised) + ln(cell area)
    assert close(gaussian_entropy(cov), discrete, 1e-9)


# Identities and inequalities


@quick
@given(masses(axes=2))
def test_chain_rule_and_bounds(pxy):
    px, py = pxy.sum(1), pxy.sum(0)
    h_x, h_y, h_xy = entropy(px), entropy(py), entropy(pxy.ravel())
    shared = mutual_information(pxy)
    assert close(h_xy, h_x + conditional_entropy(pxy))
    assert close(h_xy, h_y + conditional_entropy(pxy.T))
    assert close(shared, h_y - conditional_entropy(pxy))
    assert close(shared, h_xy - conditional_entropy(pxy) - conditional_entropy(pxy.T))
    assert 0 <= shared <= min(h_x, h_y) + EPS
    assert max(h_x, h_y) - EPS <= h_xy <= h_x + h_y + EPS
    assert entropy(px) <= math.log(len(px)) + EPS


@quick
@given(masses(axes=3))
def test_chain_rule_of_information(p):
    # I(X; Y, Z) = I(X; Z) + sum_z p(z) I(X; Y | Z = z)
    pz = p.sum((0, 1))
    given_z = sum(w * mutual_information(p[..., z] / w) for z, w in enumerate(pz) if w > 0)
    assert close(conditional_mutual_information(p), given_z)
    whole = mutual_information(p.reshape(p.shape[0], -1))
    assert close(whole, mutual_information(p.sum(1)) + given_z, 1e-9)
    # TC(X, Y, Z) = I(X; Y) + I(X, Y; Z)
    grouped = mutual_information(p.sum(2)) + mutual_information(p.reshape(-1, p.shape[2]))
    assert close(total_correlation(p), grouped)
    assert close(total_correlation(p.sum(2)), mutual_information(p.sum(2)))
    # TC(X, Y | Z) = I(X; Y | Z), and one variable shares nothing, whatever is known
    assert close(conditional_total_correlation(p), conditional_mutual_information(p))
    assert close(conditional_total_correlation(p.sum(1)), 0)
    # TC(X, Y) - TC(X, Y | Z) = I(X; Z) + I(Y; Z) - I(X, Y; Z)
    explained = total_correlation(p.sum(2)) - conditional_total_correlation(p)
    pieces = mutual_information(p.sum(1)) + mutual_information(p.sum(0))
    assert close(explained, pieces - mutual_information(p.reshape(-1, p.shape[2])))


@quick
@given(masses(axes=2), st.randoms(use_true_random=False))
def test_processing_never_adds_information(pxy, random):
    channel = np.array([[random.random() for _ in range(3)] for _ in pxy]) + 1e-6
    channel /= channel.sum(1, keepdims=True)
    pty = channel.T @ pxy
    assert mutual_information(pty) <= mutual_information(pxy) + EPS
    # and pushing two distributions through the same channel brings them closer
    p, q = pxy.sum(1), np.full(len(pxy), 1 / len(pxy))
    assert kl_divergence(p @ channel, q @ channel) <= kl_divergence(p, q) + EPS


@quick
@given(masses(axes=2), st.randoms(use_true_random=False))
def test_names_of_the_outcomes_do_not_matter(pxy, random):
    rows, columns = list(range(len(pxy))), list(range(len(pxy[0])))
    random.shuffle(rows)
    random.shuffle(columns)
    relabelled = pxy[rows][:, columns]
    for measure in (mutual_information, conditional_entropy, total_correlation):
        assert close(measure(relabelled), measure(pxy))
    assert close(mutual_information(pxy.T), mutual_information(pxy))


@quick
@given(masses(axes=1), masses(axes=1))
def test_kl_is_not_negative_and_zero_only_at_p(p, q):
    n = min(len(p), len(q))
    p, q = p[:n] + 1e-9, q[:n] + 1e-9
    p, q = p / p.sum(), q / q.sum()
    kl = kl_divergence(p, q)
    assert kl >= np.abs(p - q).sum() ** 2 / 2 - EPS  # Pinsker's inequality
    assert close(kl, cross_entropy(p, q) - entropy(p))
    assert kl_divergence(p, p) == 0


@quick
@given(covariances(min_side=2), st.randoms(use_true_random=False))
def test_gaussian_information_does_not_depend_on_units(cov, random):
    scale = np.array([10 ** random.uniform(-3, 3) for _ in cov])
    rescaled = cov * np.outer(scale, scale)
    assert close(
        gaussian_mutual_information(rescaled, 1), gaussian_mutual_information(cov, 1), 1e-8
    )
    assert close(gaussian_total_correlation(rescaled), gaussian_total_correlation(cov), 1e-8)
    assert close(gaussian_entropy(rescaled), gaussian_entropy(cov) + np.log(scale).sum(), 1e-8)


@quick
@given(covariances(min_side=2), st.integers(0, 10**6))
def test_divergence_of_gaussians_ties_in_with_the_other_measures(cov, seed):
    zero = np.zeros(len(cov))
    variances = np.diag(cov.diagonal())
    tc = gaussian_total_correlation(cov)
    assert close(gaussian_kl_divergence(zero, cov, zero, variances), tc, 1e-8)
    blocks = cov.copy()
    blocks[:1, 1:] = blocks[1:, :1] = 0
    shared = gaussian_mutual_information(cov, 1)
    assert close(gaussian_kl_divergence(zero, cov, zero, blocks), shared, 1e-8)
    # the same change of coordinates on both sides changes nothing
    rng = np.random.default_rng(seed)
    mix = np.linalg.qr(rng.normal(size=cov.shape))[0] * rng.uniform(0.5, 2, size=len(cov))
    mean = rng.normal(size=len(cov))
    before = gaussian_kl_divergence(zero, cov, mean, variances)
    after = gaussian_kl_divergence(zero, mix @ cov @ mix.T, mix @ mean, mix @ variances @ mix.T)
    assert np.isclose(before, after, rtol=1e-8, atol=1e-8)
    assert before > gaussian_kl_divergence(mean, cov, mean, cov) == pytest.approx(0, abs=EPS)


@quick
@given(masses(axes=2), st.floats(1.1, 100))
def test_another_base_is_another_unit(pxy, base):
    q = np.full(pxy.size, 1 / pxy.size)
    for value, nats in [
        (entropy(pxy.ravel(), base=base), entropy(pxy.ravel())),
        (cross_entropy(pxy.ravel(), q, base=base), cross_entropy(pxy.ravel(), q)),
        (kl_divergence(pxy.ravel(), q, base=base), kl_divergence(pxy.ravel(), q)),
        (conditional_entropy(pxy, base=base), conditional_entropy(pxy)),
        (mutual_information(pxy, base=base), mutual_information(pxy)),
        (total_correlation(pxy, base=base), total_correlation(pxy)),
        (
            conditional_mutual_information(pxy[..., None], base=base),
            conditional_mutual_information(pxy[..., None]),
        ),
        (
            conditional_total_correlation(pxy[..., None], base=base),
            conditional_total_correlation(pxy[..., None]),
        ),
    ]:
        assert close(value * math.log(base), nats)
    counts = np.arange(1, 7).reshape(2, 3)
    for measure in (entropy_from_counts, mutual_information_from_counts):
        for c in CORRECTIONS:
            value = measure(counts, correction=c, base=base)
            assert close(value * math.log(base), measure(counts, correction=c))


@quick
@given(masses(axes=2, batch=2))
def test_a_batch_is_a_loop(p):
    loop = [[mutual_information(table) for table in row] for row in p]
    assert close(mutual_information(p), loop)
    loop = [[conditional_entropy(table) for table in row] for row in p]
    assert close(conditional_entropy(p), loop)
    loop = [[total_correlation(table) for table in row] for row in p]
    assert close(total_correlation(p, variables=2), loop)
    flat = p.reshape(*p.shape[:2], -1)
    q = np.full(flat.shape[-1], 1 / flat.shape[-1])  # one q for the whole batch
    assert close(entropy(flat), [[entropy(row) for row in rows] for rows in flat])
    loop = [[kl_divergence(row, q) for row in rows] for rows in flat]
    assert close(kl_divergence(flat, q), loop)


@quick
@given(masses(axes=3, batch=1))
def test_a_batch_of_conditional_measures_is_a_loop(p):
    loop = [conditional_mutual_information(table) for table in p]
    assert close(conditional_mutual_information(p), loop)
    loop = [conditional_total_correlation(table) for table in p]
    assert close(conditional_total_correlation(p, variables=2), loop)


def test_a_batch_of_gaussians_is_a_loop():
    root = np.random.default_rng(0).normal(size=(2, 3, 4, 4))
    cov = root @ root.swapaxes(-1, -2)
    for measure in (
        gaussian_entropy,
        gaussian_total_correlation,
        lambda c: gaussian_mutual_information(c, 3),
    ):
        assert close(measure(cov), [[measure(c) for c in row] for row in cov])
    mean = root[..., 0]  # against one q for the whole batch, and for each row its own
    loop = [
        [gaussian_kl_divergence(m, c, np.ones(4), np.eye(4)) for m, c in zip(*row, strict=True)]
        for row in zip(mean, cov, strict=True)
    ]
    assert close(gaussian_kl_divergence(mean, cov, np.ones(4), np.eye(4)), loop, 1e-9)
    loop = [
        [gaussian_kl_divergence(np.ones(4), np.eye(4), mean[0, 0], c) for c in row] for row in cov
    ]
    assert np.allclose(
        gaussian_kl_divergence(np.ones(4), np.eye(4), mean[0, 0], cov), loop, rtol=1e-9
    )


@pytest.mark.parametrize("device", DEVICES)
def test_float64_on_the_device_of_the_argument(device):
    pxy = torch.tensor([[0.5, 0.0], [0.25, 0.25]], dtype=torch.float32, device=device)
    cov = torch.tensor([[2.0, 1.0], [1.0, 2.0]], device=device)
    results = [
        entropy(pxy[0] / pxy[0].sum()),
        kl_divergence(pxy.flatten(), np.full(4, 0.25)),
        cross_entropy(pxy.flatten(), [0.25] * 4),
        conditional_entropy(pxy),
        mutual_information(pxy),
        total_correlation(pxy),
        conditional_mutual_information(pxy[..., None]),
        conditional_total_correlation(pxy),
        gaussian_kl_divergence(cov[0], cov, [0.0, 0.0], np.eye(2)),
        gaussian_entropy(cov),
        gaussian_mutual_information(cov, 1),
        gaussian_total_correlation(cov),
        entropy_from_counts(pxy * 4, correction="zhang"),
        mutual_information_from_counts(pxy * 4, correction="miller-madow"),
    ]
    for result in results:
        assert result.dtype == torch.float64
        assert result.device.type == device


def test_gradients_are_right():
    logits = torch.randn(3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    for measure in (mutual_information, conditional_entropy):
        assert torch.autograd.gradcheck(
            lambda z, f=measure: f(z.flatten().softmax(0).view(3, 4)), logits.requires_grad_()
        )
    for measure in (conditional_mutual_information, conditional_total_correlation):
        assert torch.autograd.gradcheck(
            lambda z, f=measure: f(z.flatten().softmax(0).view(2, 2, 3)), logits.requires_grad_()
        )
    eye = torch.eye(3, dtype=torch.float64)
    assert torch.autograd.gradcheck(
        lambda z: gaussian_kl_divergence(z[:, 0], z[:, :3] @ z[:, :3].T + eye, z[:, 1], 2 * eye),
        logits,
    )


# Estimates from counts


def expectation(estimate, p, size):
    """The exact mean of an estimate over every sample of `size` outcomes of p."""
    p = np.asarray(p)
    tables = [()]
    for _ in range(p.size - 1):
        tables = [(*t, n) for t in tables for n in range(size - sum(t) + 1)]
    tables = np.array([(*t, size - sum(t)) for t in tables])
    weights = scipy.stats.multinomial(size, p.ravel()).pmf(tables)
    return float(weights @ estimate(tables.reshape(-1, *p.shape)).numpy())


def entropy_with(correction):
    return lambda counts: entropy_from_counts(counts, correction=correction)


def test_the_plug_in_bias_is_minus_k_minus_1_over_2n():
    p, size = np.array([0.3, 0.7]), 2000
    bias = expectation(entropy_with(None), p, size) - scipy.stats.entropy(p)
    assert bias * 2 * size == pytest.approx(-1, abs=2e-3)


@pytest.mark.parametrize("correction", ["miller-madow", "zhang"])
def test_a_correction_removes_the_first_order_of_the_bias(correction):
    p, size = np.array([0.3, 0.7]), 2000
    bias = expectation(entropy_with(correction), p, size) - scipy.stats.entropy(p)
    assert abs(bias * 2 * size) < 2e-3


@pytest.mark.parametrize("p", [[0.25] * 4, [0.4, 0.3, 0.2, 0.1]])
def test_a_correction_helps_in_small_samples(p):
    truth = scipy.stats.entropy(p)
    plug_in, miller, zhang = (
        expectation(entropy_with(c), p, 10) - truth for c in (None, "miller-madow", "zhang")
    )
    assert plug_in < 3 * miller < 0
    assert plug_in < 3 * zhang < 0


def test_the_information_of_independent_variables_is_overestimated():
    p, size = np.outer([0.4, 0.6], [0.3, 0.7]), 40

    def bias(correction):
        return expectation(
            lambda n: mutual_information_from_counts(n, correction=correction), p, size
        )

    assert bias(None) * 2 * size == pytest.approx(1, abs=0.1)  # (2 - 1)(2 - 1) / 2N
    assert abs(bias("miller-madow")) < bias(None) / 5
    assert abs(bias("zhang")) < bias(None) / 5


@pytest.mark.parametrize("counts", [[1], [7], [1, 1, 1, 0], [5, 0, 12, 3]])
def test_zhang_is_the_sum_over_unseen_successors_of_his_paper(counts):
    # Zhang 2012: sum_x (n_x / N) sum_v (1 / v) prod_(j < v) [1 - (n_x - 1) / (N - 1 - j)]
    size = sum(counts)
    expected = 0.0
    for n in filter(None, counts):
        for v in range(1, size - n + 1):
            product = math.prod(1 - (n - 1) / (size - 1 - j) for j in range(v))
            expected += n / size / v * product
    assert close(entropy_from_counts(counts, correction="zhang"), expected)


def test_zhang_has_the_bias_of_his_theorem():
    p, size = np.array([0.5, 0.3, 0.2]), 12
    k = np.arange(size, 2000)
    tail = sum(x * ((1 - x) ** k / k).sum() for x in p)
    bias = expectation(entropy_with("zhang"), p, size) - scipy.stats.entropy(p)
    assert bias == pytest.approx(-tail, rel=1e-9)


@quick
@given(hnp.arrays(np.int64, (3, 4), elements=st.integers(0, 20)))
def test_plug_in_estimates_agree_with_sklearn(counts):
    counts[0, 0] += 1
    expected = mutual_info_score(None, None, contingency=counts)
    assert close(mutual_information_from_counts(counts), expected, 1e-9)
    assert close(entropy_from_counts(counts.ravel()), scipy.stats.entropy(counts.ravel()), 1e-12)


@quick
@given(hnp.arrays(np.int64, (2, 3, 4), elements=st.integers(0, 20)))
def test_counts_in_a_batch_are_a_loop(counts):
    counts[..., 0, 0] += 1
    for correction in (None, "miller-madow", "zhang"):
        batch = mutual_information_from_counts(counts, correction=correction)
        loop = [mutual_information_from_counts(n, correction=correction) for n in counts]
        assert close(batch, loop)


# Bad input

HALF, PAIR, COV = [0.5, 0.5], [[0.5, 0.0], [0.0, 0.5]], [[1.0, 0.5], [0.5, 1.0]]
NAN = float("nan")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: entropy([1.5, -0.5]), "p has negative mass -0.5"),
        (lambda: entropy([0.5, 0.6]), "p sums to 1.1, not 1"),
        (lambda: entropy([0.5, NAN]), "p must be finite, got nan"),
        (lambda: entropy(1.0), r"p must have at least 1 axes, got shape \(\)"),
        (lambda: cross_entropy([1.5, -0.5], HALF), "p has negative mass"),
        (lambda: cross_entropy(HALF, [0.5, 0.6]), "q sums to 1.1"),
        (lambda: cross_entropy(HALF, [1.0]), r"q must match p .* got shape \(1,\) against \(2,\)"),
        (lambda: kl_divergence([NAN, 0.5], HALF), "p must be finite"),
        (lambda: kl_divergence(HALF, [1.5, -0.5]), "q has negative mass"),
        (lambda: kl_divergence([HALF] * 2, [HALF] * 3), r"q must match p .* got shape \(3, 2\)"),
        (lambda: conditional_entropy(HALF), r"pxy must have at least 2 axes, got shape \(2,\)"),
        (lambda: conditional_entropy([HALF, HALF]), "pxy sums to 2"),
        (lambda: mutual_information([[1.5, -0.5]]), "pxy has negative mass"),
        (lambda: mutual_information([[NAN, 0.5]]), "pxy must be finite"),
        (lambda: mutual_information(HALF), "pxy must have at least 2 axes"),
        (lambda: total_correlation([[0.5, 0.6]]), "p sums to 1.1"),
        (lambda: total_correlation(0.5), "p must have at least 1 axes"),
        (lambda: total_correlation(PAIR, variables=0), "variables must be .* >= 1, got 0"),
        (lambda: total_correlation(PAIR, variables=3), "p must have at least 3 axes"),
        (lambda: total_correlation(PAIR, variables=1.5), "variables must be a whole number"),
        (lambda: conditional_mutual_information(PAIR), "pxyz must have at least 3 axes"),
        (lambda: conditional_mutual_information([[[0.5, 0.6]]]), "pxyz sums to 1.1"),
        (lambda: conditional_total_correlation(HALF), r"p must have at least 2 axes, got .*\(2,\)"),
        (lambda: conditional_total_correlation(1.0), "p must have at least 2 axes"),
        (lambda: conditional_total_correlation(PAIR, variables=2), "p must have at least 3 axes"),
        (lambda: conditional_total_correlation(PAIR, variables=0), "variables must be .* got 0"),
        (lambda: gaussian_kl_divergence([0, 0], [[1.0]], [0], [[1.0]]), r"means .* mean_p \(2,\)"),
        (lambda: gaussian_kl_divergence([0], [[1.0]], [0, 0], COV), r"means .* cov_q \(2, 2\)"),
        (lambda: gaussian_kl_divergence(0, [[1.0]], [0], [[1.0]]), r"means .* mean_p \(\)"),
        (
            lambda: gaussian_kl_divergence([[0]] * 2, [[1.0]], [[0]] * 3, [[1.0]]),
            r"leading axes must broadcast, got shapes mean_p \(2, 1\), .* mean_q \(3, 1\)",
        ),
        (lambda: gaussian_kl_divergence([0], [[0.0]], [0], [[1.0]]), "cov_p must be positive"),
        (lambda: gaussian_kl_divergence([0], [[1.0]], [0], [1.0]), "cov_q must be square"),
        (lambda: gaussian_kl_divergence([0], [[1.0]], [NAN], [[1.0]]), "mean_q must be finite"),
        (lambda: gaussian_entropy([[1.0, 2.0], [2.0, 1.0]]), "cov must be positive definite"),
        (lambda: gaussian_entropy([1.0]), "cov must be square"),
        (lambda: gaussian_total_correlation([[1.0, 0.5], [0.0, 1.0]]), "cov must be symmetric"),
        (lambda: gaussian_mutual_information([[1.0, NAN], [NAN, 1.0]], 1), "cov must be finite"),
        (lambda: gaussian_mutual_information([[1.0]], 1), "cov must have a coordinate for X and"),
        (lambda: gaussian_mutual_information(COV, 0), "dim_x must be .* from 1 to 1, got 0"),
        (lambda: gaussian_mutual_information(COV, 2), "dim_x must be .* from 1 to 1, got 2"),
        (lambda: gaussian_mutual_information(COV, 1.0), "dim_x must be .* got 1.0"),
        (lambda: gaussian_mutual_information(COV, True), "dim_x must be .* got True"),
        (lambda: entropy_from_counts([3, -1]), "counts must be whole numbers >= 0, got -1"),
        (lambda: entropy_from_counts([0.5, 0.5]), "counts must be whole numbers >= 0, got 0.5"),
        (lambda: entropy_from_counts([0, 0]), "counts must add up to at least 1"),
        (lambda: entropy_from_counts([NAN, 1]), "counts must be finite"),
        (lambda: entropy_from_counts(3), r"counts must have at least 1 axes .* got shape \(\)"),
        (lambda: entropy_from_counts([3, 1], correction="mm"), "correction must be .* got 'mm'"),
        (lambda: mutual_information_from_counts([3, 1]), "counts must have at least 2 axes"),
        (lambda: mutual_information_from_counts([[3, 1]], correction=1), "correction must be"),
        (lambda: mutual_information_from_counts([[[3]], [[0]]]), "counts must add up to"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize("base", [1, 0.5, 0, -2, math.inf, NAN, "2", None])
@pytest.mark.parametrize(
    "measure",
    [
        lambda **base: entropy(HALF, **base),
        lambda **base: cross_entropy(HALF, HALF, **base),
        lambda **base: kl_divergence(HALF, HALF, **base),
        lambda **base: conditional_entropy(PAIR, **base),
        lambda **base: mutual_information(PAIR, **base),
        lambda **base: total_correlation(PAIR, **base),
        lambda **base: conditional_mutual_information([PAIR], **base),
        lambda **base: conditional_total_correlation(PAIR, **base),
        lambda **base: entropy_from_counts([3, 1], **base),
        lambda **base: entropy_from_counts([3, 1], correction="zhang", **base),
        lambda **base: mutual_information_from_counts([[3, 1]], **base),
    ],
)
def test_a_bad_base_is_named(measure, base):
    with pytest.raises(ValueError, match="base must be a finite number above 1, got"):
        measure(base=base)
