from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import brentq, minimize

from ibbook.information import entropy, mutual_information
from ibbook.rate_distortion import binary_rate, gaussian_rate, rate_at, rate_distortion

EPS = 1e-12
DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
quick = settings(deadline=None, max_examples=40)


def hamming(n):
    return 1 - torch.eye(n, dtype=torch.float64)


def random_problem(seed):
    """Zero and tiny masses, ties, a row of costs, and in a quarter of them forbidden pairs."""
    rng = np.random.default_rng(seed)
    m, n = rng.integers(1, 7, 2)
    p = rng.random(m) ** rng.uniform(0, 12) * (rng.random(m) < 0.8)
    p[0] += p.sum() == 0
    d = 10 * rng.random((m, n)) ** rng.uniform(0.3, 4) - rng.integers(0, 3, (m, 1))
    d = d.round() if seed % 3 == 0 else d
    if seed % 4 == 0:
        d[(rng.random((m, n)) < 1 / 3) & (np.arange(n) != rng.integers(n, size=(m, 1)))] = np.inf
    return p / p.sum(), d


def finite_sum(p, d):
    """p @ d where 0 times inf is 0."""
    return p @ np.where(p[:, None] > 0, d, 0)


problems = st.integers(0, 2**32 - 1).map(random_problem)
fractions = st.lists(st.floats(0, 1.2), min_size=1, max_size=4)


def spread_out(problem, fractions):
    """Targets from the least distortion to beyond the largest that is of use, where finite."""
    p, d = problem
    least = p @ d.min(1)
    most = finite_sum(p, d).min()
    return least + np.array(fractions) * ((most if most < np.inf else least + 3) - least)


def holds(result, known):
    """The certified interval contains the known rate."""
    return (
        bool(result.converged.all())
        and bool((result.rate >= known - EPS).all())
        and bool((result.rate - result.gap <= known + EPS).all())
    )


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("ones", [0.5, 0.3, 0.02])
def test_binary_source(ones, device):
    source = torch.tensor([1 - ones, ones], dtype=torch.float64, device=device)
    share = torch.tensor([0, 1e-17, 1e-9, 1e-4, 0.03, 0.5, 0.9, 0.999, 1, 1.5]).double()
    result = rate_at(source, hamming(2), share * ones)
    assert result.rate.device.type == device
    assert holds(result, binary_rate(ones, share * ones).to(device))
    assert torch.allclose(result.distortion.cpu(), (share * ones).clamp(max=ones), atol=EPS)
    assert (result.rate[-2:] <= EPS).all()
    assert result.rate[-1] == 0


@pytest.mark.parametrize("m", [2, 3, 10])
def test_uniform_source_with_hamming_distortion(m):
    """R(D) = ln m - H_b(D) - D ln(m - 1) up to 1 - 1/m: Cover and Thomas (2006), problem 10.5."""
    d = torch.linspace(0, 1 - 1 / m, 17, dtype=torch.float64)
    known = math.log(m) - torch.special.entr(d) - torch.special.entr(1 - d) - d * math.log(m - 1)
    assert holds(rate_at(np.full(m, 1 / m), hamming(m), d), known)


def test_erasure_distortion_is_one_straight_line():
    """R(D) = (1 - D) ln 2: Cover and Thomas (2006), problem 10.7."""
    table = [[0.0, math.inf, 1.0], [math.inf, 0.0, 1.0]]
    d = torch.linspace(0, 1, 11, dtype=torch.float64)
    result = rate_at([0.5, 0.5], table, d)
    assert holds(result, (1 - d) * math.log(2))
    assert torch.allclose(result.distortion, d)
    assert torch.allclose(result.marginal[:, 2], d)
    assert rate_at([0.5, 0.5], table, 7.0).distortion == 1


@pytest.mark.parametrize("cost", [0.1, 0.3, 0.45])
def test_straight_piece_of_a_curve(cost):
    """A fair coin that need not be answered: the tangent from (cost, 0) to ln 2 - H_b(D)."""
    slope = brentq(lambda s: math.exp(-s * cost) - (1 + math.exp(-s)) / 2, 0.05, 200)
    corner = 1 / (1 + math.exp(slope))
    d = torch.linspace(0, cost, 30, dtype=torch.float64)
    known = torch.where(d < corner, binary_rate(0.5, d), slope * (cost - d))
    assert holds(rate_at([0.5, 0.5], [[0, 1, cost], [1, 0, cost]], d), known)


def test_laplacian_source_lies_between_two_bounds():
    """R(D) = ln(1 / D) for E|X| = 1 and absolute error (Berger 1971, section 4.3). Rounding X
    to a grid of step h costs v = E|X - X_q|, so that R(D + v) <= R_q(D) <= R(D - v - h/2) by the
    triangle inequality, where h/2 is the cost of a reproduction on the grid."""
    h, half = 0.1, 80
    grid = np.arange(-half, half + 1) * h
    above = np.exp(-(np.arange(half) + 0.5) * h) / 2  # P(X > the right end of a cell)
    right = np.append(above[:-1] - above[1:], above[-1])
    p = np.concatenate([right[::-1], [1 - 2 * above[0]], right])
    a = h / 2
    centre = 1 - (1 + a) * math.exp(-a)
    others = 2 * (a * math.sinh(a) - math.cosh(a) + 1) / (math.exp(h) - 1)
    v = centre + others + math.exp(-half * h)  # the last is more than the tails cost
    d = np.array([0.3, 0.4, 0.5, 0.7, 0.9])
    result = rate_at(p, np.abs(grid[:, None] - grid), d)
    assert result.converged.all()
    assert (result.rate.numpy() >= np.log(1 / (d + v)) - EPS).all()
    assert (result.rate.numpy() <= np.maximum(0, np.log(1 / (d - v - h / 2)))).all()


def test_gaussian_source_is_close_to_its_closed_form():
    x = torch.linspace(-5, 5, 101, dtype=torch.float64)
    d = torch.tensor([0.1, 0.25, 0.5, 0.9], dtype=torch.float64)
    result = rate_at((-(x**2) / 2).softmax(0), (x[:, None] - x) ** 2, d)
    assert result.converged.all()
    assert torch.allclose(result.rate, gaussian_rate(1.0, d), atol=1e-3)


def test_least_distortion_may_need_less_than_the_entropy():
    """Where symbols have a reproduction in common that serves both best, R(D_min) < H(X): here 5
    symbols in a ring and 5 pairs that may be taken for one, ln(5/2) by symmetry (the graph entropy
    of Körner 1973), whatever the distortion."""
    ring = torch.arange(5)
    pairs = (ring[:, None] == ring) | (ring[:, None] == (ring + 1) % 5)
    for wrong in (1.0, math.inf):
        table = torch.full((5, 5), wrong).masked_fill(pairs, 0)
        assert rate_at([0.2] * 5, table, 0.0).rate == pytest.approx(math.log(5 / 2), abs=1e-9)
    assert holds(rate_at([0.2] * 5, table, [0.0, 1.0, 9.0]), math.log(5 / 2))


def test_least_distortion_need_not_be_zero():
    p, d = [0.6, 0.4], [[0.3, 1.0], [2.0, 0.7]]
    ends = rate_at(p, d, [0.6 * 0.3 + 0.4 * 0.7, 0.6 * 1.0 + 0.4 * 0.7])
    assert ends.rate.tolist() == pytest.approx([entropy(p).item(), 0], abs=1e-9)
    assert ends.distortion.tolist() == pytest.approx([0.46, 0.88])


@quick
@given(problems, fractions)
def test_every_field_describes_the_same_encoder(problem, fractions):
    p, d = problem
    targets = spread_out(problem, fractions)
    result = rate_at(p, d, targets)
    assert result.converged.all()
    assert (result.converged == (result.gap <= 1e-9)).all()
    scale = 1e-11 * (1 + abs(targets).max())
    assert (result.distortion <= torch.tensor(targets) + scale).all()
    for k in range(len(targets)):
        joint = torch.tensor(p)[:, None] * result.encoder[k]
        assert torch.allclose(result.encoder[k].sum(1), torch.ones(len(p)).double(), atol=EPS)
        assert torch.allclose(result.marginal[k], joint.sum(0), atol=EPS)
        assert result.rate[k] == pytest.approx(mutual_information(joint).item(), abs=EPS)
        cost = torch.where(joint > 0, joint * torch.tensor(d), 0.0).sum()
        assert result.distortion[k] == pytest.approx(cost.item(), abs=scale)


@quick
@given(problems, fractions, st.integers(0, 2**32 - 1))
def test_no_encoder_of_the_target_beats_the_lower_bound(problem, fractions, seed):
    """Nor does any point of the curve, which the other solver finds."""
    p, d = problem
    targets = spread_out(problem, fractions)
    result = rate_at(p, d, targets)
    rng = np.random.default_rng(seed)
    other = (rng.dirichlet(np.full(d.shape[1], 0.3), len(p)) + 1e-9) * (d < np.inf)
    other = torch.tensor(other / other.sum(1, keepdims=True))
    lower = result.rate - result.gap
    for k in range(len(targets)):
        encoder = torch.lerp(result.encoder[k], other, rng.random())
        joint = torch.tensor(p)[:, None] * encoder
        cost = torch.where(joint > 0, joint * torch.tensor(d), 0.0).sum()
        # an encoder of less distortion has a rate of at least R there, which is at least R(target)
        assert (mutual_information(joint) >= lower[torch.tensor(targets) >= cost] - 1e-11).all()
    curve = rate_distortion(p, d, [0.1, 1.0, 10.0])
    read = rate_at(p, d, curve.distortion)
    assert (read.rate - read.gap <= curve.rate + 1e-11).all()
    assert (curve.rate - curve.gap <= read.rate + 1e-11).all()


@quick
@given(problems, fractions)
def test_curve_is_convex_and_falls(problem, fractions):
    targets = np.sort(spread_out(problem, [0.0, 1.0, *fractions]))
    result = rate_at(*problem, targets)
    assert (result.rate.diff() <= 1e-9 + EPS).all()
    for k in range(1, len(targets) - 1):
        before, here, after = targets[k - 1 : k + 2]
        share = (here - before) / (after - before) if after > before else 0.0
        chord = torch.lerp(result.rate[k - 1], result.rate[k + 1], share)
        assert result.rate[k] - result.gap[k] <= chord + EPS


@pytest.mark.parametrize("seed", range(4))
def test_agrees_with_a_general_optimiser_over_encoders(seed):
    rng = np.random.default_rng(seed)
    m, n = 3, 2 + seed % 3
    p, d = rng.dirichlet(np.ones(m)), rng.random((m, n))
    low, high = p @ d.min(1), (p @ d).min()
    target = low + rng.uniform(0.2, 0.8) * (high - low)

    def encoder(flat):
        w = np.abs(flat.reshape(m, n)) + 1e-12
        return w / w.sum(1, keepdims=True)

    def rate(flat):
        joint = p[:, None] * encoder(flat)
        return (joint * np.log(joint / np.outer(p, joint.sum(0)))).sum()

    budget = {"type": "ineq", "fun": lambda f: target - (p[:, None] * encoder(f) * d).sum()}
    found = min(
        run.fun
        for run in (
            minimize(rate, rng.random(m * n), constraints=budget, method="SLSQP", tol=1e-12)
            for _ in range(6)
        )
        if budget["fun"](run.x) > -1e-8
    )
    result = rate_at(p, d, target)
    assert result.rate - result.gap <= found + 1e-7
    assert result.rate.item() == pytest.approx(found, abs=1e-5)


@pytest.mark.parametrize("tol", [1e-2, 1e-6, 1e-11])
def test_tolerance_is_kept(tol):
    x = torch.linspace(-3, 3, 40, dtype=torch.float64)
    p, d = (-(x**2) / 2).softmax(0), (x[:, None] - x).abs()
    targets = [0.01, 0.1, 0.3, 0.6]
    rough, best = rate_at(p, d, targets, tol=tol), rate_at(p, d, targets, tol=1e-12)
    assert rough.converged.all()
    assert (rough.rate - rough.gap <= best.rate + EPS).all()
    assert (best.rate - best.gap <= rough.rate + EPS).all()
    assert (rough.gap <= tol).all()


def test_an_unreachable_tolerance_is_never_claimed():
    x = torch.linspace(-3, 3, 16, dtype=torch.float64)
    result = rate_at((-(x**2) / 2).softmax(0), (x[:, None] - x) ** 2, [0.05, 0.4], tol=1e-25)
    assert (result.converged == (result.gap <= 1e-25)).all()
    assert (result.gap < 1e-11).all()


def test_a_constant_on_the_costs_only_shifts_the_targets():
    d = hamming(3)
    targets = torch.tensor([0.0, 0.2, 0.5], dtype=torch.float64)
    plain, shifted = (
        rate_at([0.5, 0.3, 0.2], d, targets),
        rate_at([0.5, 0.3, 0.2], d + 7, targets + 7),
    )
    assert torch.allclose(plain.rate, shifted.rate, atol=1e-8)
    assert torch.allclose(shifted.distortion, targets + 7)


def test_batches_equal_loops():
    rng = np.random.default_rng(0)
    p, d = rng.dirichlet(np.ones(6), (2, 3)), rng.random((6, 5))
    targets = [[0.3, 0.25], [0.5, 2.0]]
    batch = rate_at(p, d, targets)
    assert batch.rate.shape == batch.gap.shape == batch.iterations.shape == (2, 3, 2, 2)
    assert batch.encoder.shape == (2, 3, 2, 2, 6, 5)
    assert batch.marginal.shape == (2, 3, 2, 2, 5)
    for at in np.ndindex(2, 3, 2, 2):
        one = rate_at(p[at[:2]], d, targets[at[2]][at[3]])
        assert one.rate.shape == ()
        assert one.encoder.shape == (6, 5)
        assert one.rate == pytest.approx(batch.rate[at].item(), abs=2e-9)
        assert one.distortion == pytest.approx(batch.distortion[at].item(), abs=1e-9)


def test_no_zero_has_a_sign():
    for d in (hamming(2), -0.0 * hamming(2)):
        for name, value in vars(rate_at([0.5, 0.5], d, [-0.0, 0.5, 0.7])).items():
            assert not ((value == 0) & value.double().signbit()).any(), name


@pytest.mark.parametrize(
    ("targets", "says"),
    [
        ([0.5, 0.2], "targets must be at least D_min = 0.4, the least distortion .*, got 0.2"),
        ([], "targets must not be empty"),
        (math.inf, "targets must be finite, got inf"),
        (math.nan, "targets must be finite, got nan"),
        ("low", "targets must be an array of real numbers"),
    ],
)
def test_bad_targets_are_named(targets, says):
    with pytest.raises(ValueError, match=says):
        rate_at([0.5, 0.5], [[0.0, 1.0], [1.0, 0.8]], targets)


def test_bad_tolerance_is_named():
    with pytest.raises(ValueError, match="tol must be a positive number of nats, got 0"):
        rate_at([0.5, 0.5], hamming(2), 0.1, tol=0)
