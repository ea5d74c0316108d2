from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize
from scipy.special import rel_entr
from scipy.stats import multivariate_normal

from ibbook.contraction import contraction_coefficient, maximal_correlation
from ibbook.information import kl_divergence, mutual_information

EPS, FOUND = 1e-12, 1e-9  # rounding; how close a search comes
DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
quick = settings(deadline=None, max_examples=25)


def random_joint(seed, x, y, concentration):
    """Few large entries where the concentration is low; some are zero, but no row is."""
    rng = np.random.default_rng(seed)
    mass = rng.gamma(concentration, size=(x, y)) * (rng.random((x, y)) < 0.8)
    mass[:, 0] += 1e-3
    return mass / mass.sum()


joints = st.builds(
    random_joint,
    st.integers(0, 10**6),
    st.integers(2, 6),
    st.integers(2, 5),
    st.sampled_from([0.2, 1.0, 5.0]),
)
inputs = st.lists(st.floats(0.01, 1), min_size=2, max_size=5).map(lambda w: np.array(w) / sum(w))


def flipped(flip, heads=0.5):
    """A bit, 1 with probability `heads`, through the binary symmetric channel."""
    return np.diag([1 - heads, heads]) @ [[1 - flip, flip], [flip, 1 - flip]]


def erased(px, share):
    return np.hstack([(1 - share) * np.diag(px), share * px[:, None]])


def quotient(r, pxy):
    """D_KL[r(y) || p(y)] / D_KL[r(x) || p(x)]; 0 where r is too close to p for the quotient."""
    px, py = pxy.sum(1), pxy.sum(0)
    apart = rel_entr(r, px).sum(-1)
    kept = rel_entr(r @ (pxy / px[:, None]), py).sum(-1)
    return np.where(apart > 1e-7, kept / np.maximum(apart, 1e-7), 0)


def best_on_a_grid(pxy, steps):
    """The largest quotient on a grid of inputs r, then climbed from the best points."""
    if len(pxy) == 2:
        share = np.arange(steps + 1) / steps
        grid = np.stack([share, 1 - share], -1)
    else:
        grid = [(i, j, steps - i - j) for i in range(steps + 1) for j in range(steps + 1 - i)]
        grid = np.array(grid) / steps
    values = quotient(grid, pxy)

    def loss(logits):
        weights = np.exp(logits - logits.max())
        return -quotient(weights / weights.sum(), pxy)

    starts = np.log(grid[np.argsort(-values)[:4]] + 1e-9)
    climbed = [
        -minimize(loss, s, method="Nelder-Mead", options={"xatol": 1e-9, "fatol": 1e-13}).fun
        for s in starts
    ]
    return max(values.max(), *climbed)


def close(a, b, tolerance):
    return np.allclose(np.asarray(a), np.asarray(b), rtol=0, atol=tolerance)


# Closed forms


@pytest.mark.parametrize("flip", [0.0, 0.1, 0.37, 0.5, 0.8])
def test_a_fair_bit_through_a_symmetric_channel(flip):
    assert close(maximal_correlation(flipped(flip)), abs(1 - 2 * flip), EPS)
    assert close(contraction_coefficient(flipped(flip)), (1 - 2 * flip) ** 2, FOUND)


@quick
@given(inputs, st.floats(0, 1))
def test_erasure_keeps_the_same_share_of_every_divergence(px, share):
    assert close(contraction_coefficient(erased(px, share)), 1 - share, FOUND)
    assert close(maximal_correlation(erased(px, share)) ** 2, 1 - share, EPS)


def test_more_letters_than_the_starts_are_made_of():
    px = np.arange(1, 41) / 820
    assert close(contraction_coefficient(erased(px, 0.3)), 0.7, FOUND)


@pytest.mark.parametrize(
    "pxy",
    [
        [[0.2, 0.0], [0.3, 0.0], [0.0, 0.5]],  # Y = f(X)
        [[0.2, 0.3, 0.0], [0.0, 0.0, 0.5]],  # X = f(Y)
        [[0.2, 0.1, 0.0], [0.1, 0.2, 0.0], [0.0, 0.0, 0.4]],  # f(X) = g(Y)
    ],
)
def test_what_both_share_survives_as_a_whole(pxy):
    assert close(maximal_correlation(pxy), 1, EPS)
    assert close(contraction_coefficient(pxy), 1, FOUND)
    assert contraction_coefficient(pxy) <= 1


@pytest.mark.parametrize(
    "pxy", [np.outer([0.2, 0.3, 0.5], [0.6, 0.4]), [[1.0]], [[0.3, 0.7]], [[0.3], [0.7]]]
)
def test_nothing_survives_of_independent_variables_and_constants(pxy):
    for measure in (maximal_correlation, contraction_coefficient):
        assert close(measure(pxy), 0, EPS)
        assert math.copysign(1, measure(pxy).item()) == 1


def test_the_correlation_of_two_bits_is_pearsons():
    a, b, c, d = 0.1, 0.4, 0.3, 0.2
    phi = (a * d - b * c) / math.sqrt((a + b) * (c + d) * (a + c) * (b + d))
    assert close(maximal_correlation([[a, b], [c, d]]), abs(phi), EPS)


def test_the_correlation_of_a_gaussian_pair_is_its_own():
    # Lancaster 1957; cells blur it, by a term of the order of their squared width
    grid = np.arange(-6, 6, 0.1)
    points = np.stack(np.meshgrid(grid, grid, indexing="ij"), -1)
    mass = multivariate_normal(cov=[[1, 0.7], [0.7, 1]]).pdf(points)
    assert close(maximal_correlation(mass / mass.sum()), 0.7, 1e-6)


@pytest.mark.parametrize("q", [3, 4, 7])
def test_a_symmetric_channel_of_q_letters(q):
    # a copy with probability 0.6, else uniform: every singular value but the first is 0.6
    pxy = 0.6 * np.eye(q) / q + 0.4 / q**2
    assert close(maximal_correlation(pxy), 0.6, EPS)
    share = np.linspace(1e-3, 1, 5000)[:, None]
    line = share * np.eye(q)[0] + (1 - share) / q  # r(x) with one letter apart
    eta = contraction_coefficient(pxy).item()
    assert eta >= quotient(line, pxy).max() - EPS
    assert 0.36 + 1e-3 < eta <= 0.6  # no longer rho^2 as for two letters


# Independent searches


@pytest.mark.parametrize("heads", [0.5, 0.3, 0.05, 0.001])
@pytest.mark.parametrize("flip", [0.01, 0.2, 0.45])
def test_a_bent_coin_through_a_symmetric_channel(flip, heads):
    pxy = flipped(flip, heads)
    eta = contraction_coefficient(pxy).item()
    assert close(eta, max(best_on_a_grid(pxy, 20_000), maximal_correlation(pxy) ** 2), 1e-7)
    assert eta <= (1 - 2 * flip) ** 2 + FOUND  # the worst input is a fair coin


@pytest.mark.parametrize("shape", [(2, 2), (2, 5), (3, 2), (3, 4)])
@pytest.mark.parametrize("seed", range(4))
def test_two_and_three_letters_agree_with_a_grid(shape, seed):
    pxy = random_joint(seed, *shape, [0.2, 1.0][seed % 2])
    found = max(
        best_on_a_grid(pxy, 20_000 if shape[0] == 2 else 150), maximal_correlation(pxy) ** 2
    )
    eta = contraction_coefficient(pxy).item()
    assert found - FOUND <= eta <= found + 1e-6


def test_a_rare_but_telling_letter_is_worth_more_than_the_correlation_says():
    pxy = np.array([[0.01, 0.0], [0.495, 0.495]])
    eta = contraction_coefficient(pxy)
    assert close(eta, math.log(0.505) / math.log(0.01), FOUND)  # all of r at the rare letter
    assert eta > 10 * maximal_correlation(pxy) ** 2


@quick
@given(joints)
def test_the_correlation_agrees_with_the_eigenvalues_of_there_and_back(pxy):
    px, py = pxy.sum(1), pxy.sum(0)
    there, back = pxy / px[:, None], np.divide(pxy, py, where=py > 0, out=np.zeros_like(pxy)).T
    second = np.sort(np.linalg.eigvals(there @ back).real)[-2]
    assert close(maximal_correlation(pxy) ** 2, second, 1e-9)


# Bounds and identities


@quick
@given(joints)
def test_between_the_squared_correlation_and_dobrushins_coefficient(pxy):
    rows = pxy / pxy.sum(1, keepdims=True)
    dobrushin = np.abs(rows[:, None] - rows).sum(-1).max() / 2
    rho, eta = maximal_correlation(pxy), contraction_coefficient(pxy)
    assert rho**2 - EPS <= eta <= dobrushin + FOUND


@quick
@given(joints, st.integers(0, 10**6))
def test_no_input_and_no_encoder_keeps_a_larger_share(pxy, seed):
    rng = np.random.default_rng(seed)
    eta = contraction_coefficient(pxy).item()
    inputs = rng.dirichlet(np.full(len(pxy), 0.3), size=500)
    inputs = np.concatenate([inputs, np.eye(len(pxy))])
    assert quotient(inputs, pxy).max() <= eta + FOUND
    encoders = torch.from_numpy(rng.dirichlet(np.full(3, 0.3), size=(100, len(pxy))))
    joint = torch.from_numpy(pxy)
    rate = mutual_information(joint.sum(1)[:, None] * encoders)
    kept = mutual_information(encoders.mT @ joint)
    assert (kept <= eta * rate + FOUND).all()


@quick
@given(joints, st.integers(0, 10**6))
def test_a_second_channel_contracts_what_the_first_has_left(pxy, seed):
    pxy = pxy + 1e-6
    pxy /= pxy.sum()
    second = np.random.default_rng(seed).dirichlet(np.ones(3), size=pxy.shape[1])
    pyz = pxy.sum(0)[:, None] * second
    both = contraction_coefficient(pxy @ second)
    assert both <= contraction_coefficient(pxy) * contraction_coefficient(pyz) + FOUND


@pytest.mark.parametrize("seed", range(6))
def test_two_channels_side_by_side_keep_what_the_better_one_does(seed):
    # Witsenhausen 1975 for rho, Anantharam et al. 2013 for eta
    one, two = random_joint(seed, 2, 3, 0.5), random_joint(seed + 100, 3, 2, 0.5)
    for measure, tolerance in [(maximal_correlation, EPS), (contraction_coefficient, FOUND)]:
        assert close(measure(np.kron(one, two)), max(measure(one), measure(two)), tolerance)


@quick
@given(joints, st.integers(0, 10**6), st.floats(0.1, 0.9))
def test_names_copies_and_outcomes_of_mass_zero_do_not_matter(pxy, seed, share):
    rng = np.random.default_rng(seed)
    renamed = rng.permutation(rng.permutation(pxy).T).T
    copied = np.concatenate(
        [share * pxy[:1], (1 - share) * pxy[:1], pxy[1:]]
    )  # as likely as before
    padded = np.pad(pxy, ((1, 1), (0, 2)))
    for other in (renamed, copied, padded):
        assert close(maximal_correlation(other), maximal_correlation(pxy), 1e-9)
        assert close(contraction_coefficient(other), contraction_coefficient(pxy), 1e-7)


def test_one_letter_that_never_occurs_beside_one_that_always_does():
    assert close(contraction_coefficient([[0.5, 0.5], [0.0, 0.0]]), 0, EPS)
    assert close(contraction_coefficient([[1.0, 0.0], [0.0, 0.0]]), 0, EPS)


def test_tiny_probabilities_do_not_underflow():
    tiny = 1e-200  # its square is 0 in float64
    pxy = np.array([[tiny, 0], [0.5, 0.5]])
    assert close(maximal_correlation(pxy), 0, EPS)
    assert close(contraction_coefficient(pxy), math.log(0.5) / math.log(tiny), EPS)


def test_a_batch_is_a_loop():
    batch = np.stack([[random_joint(seed, 4, 3, c) for seed in range(3)] for c in (0.2, 1.0)])
    for measure in (maximal_correlation, contraction_coefficient):
        assert measure(batch).shape == (2, 3)
        assert close(measure(batch), [[measure(pxy) for pxy in row] for row in batch], FOUND)


@pytest.mark.parametrize("device", DEVICES)
def test_float64_on_the_device_of_the_argument(device):
    pxy = torch.tensor([[0.5, 0.0], [0.25, 0.25]], dtype=torch.float32, device=device)
    for measure in (maximal_correlation, contraction_coefficient):
        assert measure(pxy).dtype == torch.float64
        assert measure(pxy).device.type == device


def test_the_oracle_of_these_tests_is_the_quotient_of_two_divergences():
    pxy = random_joint(0, 3, 4, 1.0)
    r, rows = np.array([0.5, 0.2, 0.3]), pxy / pxy.sum(1, keepdims=True)
    expected = kl_divergence(r @ rows, pxy.sum(0)) / kl_divergence(r, pxy.sum(1))
    assert close(quotient(r, pxy), expected, EPS)


@pytest.mark.parametrize("measure", [maximal_correlation, contraction_coefficient])
@pytest.mark.parametrize(
    ("pxy", "message"),
    [
        ([0.5, 0.5], r"pxy must have at least 2 axes, got shape \(2,\)"),
        ([[1.5, -0.5]], "pxy has negative mass -0.5"),
        ([[0.5, 0.6]], "pxy sums to 1.1"),
        ([[float("nan"), 0.5]], "pxy must be finite"),
        ([[]], "pxy must not be empty"),
    ],
)
def test_bad_input_is_named(measure, pxy, message):
    with pytest.raises(ValueError, match=message):
        measure(pxy)
