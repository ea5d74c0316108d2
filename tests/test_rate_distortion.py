from __future__ import annotations

import math
from functools import partial

import dit
import numpy as np
import pytest
import torch
from dit.rate_distortion.rate_distortion import RateDistortionHamming
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize
from scipy.stats import norm

from ibbook._threads import threads
from ibbook.information import entropy, mutual_information
from ibbook.rate_distortion import binary_rate, blahut_arimoto, gaussian_rate, rate_distortion

EPS = 1e-12
DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
quick = settings(deadline=None, max_examples=40)


def hamming(n):
    return 1 - torch.eye(n, dtype=torch.float64)


def discrete_gaussian(n, width=4.0):
    x = torch.linspace(-width, width, n, dtype=torch.float64)
    p = torch.exp(-(x**2) / 2)
    return p / p.sum(), (x[:, None] - x) ** 2


def random_problem(seed, max_side=8):
    """A source with zero and tiny masses; distortions of several orders, a third of them tied; in
    a quarter of the problems a third of them infinite."""
    rng = np.random.default_rng(seed)
    m, n = rng.integers(1, max_side + 1, 2)
    p = rng.random(m) ** rng.uniform(0, 12) * (rng.random(m) < 0.8)
    p[0] += p.sum() == 0
    d = 10 * rng.random((m, n)) ** rng.uniform(0.3, 4)
    d = d.round() if seed % 3 == 0 else d
    if seed % 4 == 0:
        d[(rng.random((m, n)) < 1 / 3) & (np.arange(n) != rng.integers(n, size=(m, 1)))] = np.inf
    return p / p.sum(), d


problems = st.integers(0, 2**32 - 1).map(random_problem)
some_slopes = st.lists(st.floats(-3, 4).map(lambda e: 10.0**e), min_size=1, max_size=4)


def objective(result, beta):
    return result.rate + torch.as_tensor(beta, dtype=torch.float64) * result.distortion


def of_encoder(p, d, encoder):
    """Rate and distortion of an encoder from their definitions."""
    joint = torch.as_tensor(p)[:, None] * torch.as_tensor(encoder)
    cost = torch.where(joint > 0, joint * torch.as_tensor(d), 0.0)
    return mutual_information(joint), cost.sum()


def plain(p, d, beta, iterations):
    """Blahut-Arimoto as in the textbooks, for one slope and the symbols of positive mass."""
    p, d = np.asarray(p), np.asarray(d)
    p, kernel = p[p > 0], np.exp(-beta * (d - d.min(1, keepdims=True))[p > 0])
    q = np.full(kernel.shape[1], 1 / kernel.shape[1])
    for _ in range(iterations):
        joint = kernel * q
        joint *= (p / joint.sum(1))[:, None]
        q = joint.sum(0)
    return q


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("p", [0.5, 0.3, 0.02])
def test_bernoulli_source_meets_its_closed_form(p, device):
    source = torch.tensor([1 - p, p], dtype=torch.float64, device=device)
    beta = torch.linspace(0.01, 12, 60, dtype=torch.float64)
    result = rate_distortion(source, hamming(2), beta)
    assert result.rate.device.type == device
    assert result.converged.all()
    known = binary_rate(p, result.distortion)
    assert (result.rate >= known - EPS).all()
    assert (result.rate <= known + result.gap + EPS).all()
    inside = torch.sigmoid(-beta).to(device) < p  # where D(beta) = 1 / (1 + e^beta) is feasible
    assert torch.allclose(
        result.distortion[inside], torch.sigmoid(-beta)[inside.cpu()].to(device), rtol=0, atol=1e-4
    )


@pytest.mark.parametrize("m", [2, 3, 10])
def test_uniform_source_with_hamming_distortion_meets_its_closed_form(m):
    """R(D) = ln m - H_b(D) - D ln(m - 1): Cover and Thomas (2006), problem 10.5."""
    beta = np.linspace(0.2, 9, 20)
    result = rate_distortion(np.full(m, 1 / m), hamming(m), beta)
    d = result.distortion
    known = math.log(m) - torch.special.entr(d) - torch.special.entr(1 - d) - d * math.log(m - 1)
    assert torch.allclose(result.rate, known, rtol=0, atol=2e-9)
    # the slope identifies the point: D = (m - 1) e^-beta / (1 + (m - 1) e^-beta)
    assert torch.allclose(
        d, torch.sigmoid(math.log(m - 1) - torch.tensor(beta, dtype=torch.float64)), atol=1e-4
    )


def test_gaussian_source_lies_between_two_bounds():
    """Round X to the centroid of its cell, v = E (X - X_q)^2. Then R(D + v) <= R_q(D), as the error
    of rounding is orthogonal to X_q, and R_q(D) <= R((sqrt D - sqrt v - h/2)^2) by the triangle
    inequality, where h/2 is the cost of a reproduction alphabet on a grid of step h."""
    h = 0.04
    edges = np.concatenate([[-np.inf], np.arange(-5, 5 + h / 2, h), [np.inf]])
    p = np.diff(norm.cdf(edges))
    centroids = (norm.pdf(edges[:-1]) - norm.pdf(edges[1:])) / p
    v = 1 - (p * centroids**2).sum()
    grid = np.arange(-5.4, 5.4 + h / 2, h)
    assert grid[0] < centroids[0]
    result = rate_distortion(p, (centroids[:, None] - grid) ** 2, np.geomspace(0.6, 30, 8))
    assert result.converged.all()
    lower = gaussian_rate(1.0, result.distortion + v)
    upper = gaussian_rate(1.0, (result.distortion.sqrt() - math.sqrt(v) - h / 2) ** 2)
    assert (lower <= result.rate + EPS).all()
    assert (result.rate <= upper + result.gap).all()
    assert ((upper - lower)[:4] < 0.12).all(), "the bounds are too wide to mean anything"


@pytest.mark.parametrize("beta", [1.0, 2.5])
def test_agrees_with_dit(beta):
    """dit works in bits, so that its slope is ours divided by ln 2."""
    source = [0.5, 0.3, 0.2]
    peer = RateDistortionHamming(dit.Distribution(["0", "1", "2"], source), beta / math.log(2))
    peer.optimize()
    pmf = peer.construct_joint(peer._optima)
    theirs = float(peer.rate(pmf)) * math.log(2) + beta * float(peer.distortion(pmf))
    ours = rate_distortion(source, hamming(3), beta)
    assert objective(ours, beta).item() == pytest.approx(theirs, abs=1e-6)


@pytest.mark.parametrize("seed", range(6))
def test_agrees_with_a_general_optimiser_over_encoders(seed):
    rng = np.random.default_rng(seed)
    m, n = 3, 2 + seed % 3
    p, d, beta = rng.dirichlet(np.ones(m)), rng.random((m, n)), rng.uniform(1, 8)

    def lagrangian(flat):
        w = np.abs(flat.reshape(m, n)) + 1e-300
        joint = p[:, None] * w / w.sum(1, keepdims=True)
        ratio = joint / joint.sum(1, keepdims=True) / joint.sum(0)
        return (joint * np.log(ratio)).sum() + beta * (joint * d).sum()

    found = min(
        minimize(lagrangian, rng.random(m * n), bounds=[(1e-12, 1)] * (m * n), tol=1e-12).fun
        for _ in range(4)
    )
    ours = rate_distortion(p, d, beta)
    assert objective(ours, beta) - ours.gap <= found + EPS
    assert objective(ours, beta) == pytest.approx(found, abs=1e-6)


@quick
@given(problems, some_slopes, st.integers(1, 30))
def test_iteration_is_that_of_the_textbooks(problem, beta, steps):
    p, d = problem
    result = blahut_arimoto(p, d, beta, iterations=steps)
    for k, slope in enumerate(beta):
        q = torch.as_tensor(plain(p, d, slope, steps))
        assert torch.allclose(result.marginal[k], q, atol=EPS)
        assert torch.allclose(result.marginal[k], torch.tensor(p) @ result.encoder[k], atol=EPS)
        rate, distortion = of_encoder(p, d, result.encoder[k])
        assert result.rate[k] == pytest.approx(rate.item(), abs=EPS)
        assert result.distortion[k] == pytest.approx(distortion.item(), abs=1e-11)
    assert (result.iterations == steps).all()
    assert (result.converged == (result.gap <= 1e-9)).all()


@quick
@given(problems, some_slopes)
def test_iteration_falls_as_its_theorem_says(problem, beta):
    """f(q_T) - min f <= ln n / T, and rate + beta distortion is at most f."""
    p, d = problem
    least = objective(rate_distortion(p, d, beta, tol=1e-11), beta)
    before = torch.inf
    for steps in (1, 2, 3, 10, 100):
        after = blahut_arimoto(p, d, beta, iterations=steps)
        error = objective(after, beta) - least
        assert (objective(after, beta) <= before + 1e-10).all()
        assert (error <= after.gap + 1e-10).all()
        if steps > 1:
            assert (error <= math.log(d.shape[1]) / (steps - 1) + 1e-10).all()
        before = objective(after, beta)


def test_iteration_survives_underflow():
    """Marginals that fall below the least number, and symbols that only those would serve."""
    p, d = discrete_gaussian(32)
    for source, table in ((p, d), ([1.0, 0.0], hamming(2)), ([1 - 1e-300, 1e-300], hamming(2))):
        result = blahut_arimoto(source, table, [1.0, 1e6], iterations=3000)
        for part in (result.rate, result.distortion, result.encoder, result.gap):
            assert torch.isfinite(part).all()
        assert torch.allclose(result.encoder.sum(-1), torch.ones((), dtype=torch.float64))


def test_agrees_with_plain_iteration_where_that_converges():
    p, d = discrete_gaussian(12, 2.0)
    for beta in (0.7, 6.0, 300.0):
        q = plain(p, d, beta, 20_000)
        kernel = np.exp(-beta * d.numpy())
        least = -(p.numpy() * np.log(kernel @ q)).sum()
        ours = rate_distortion(p, d, beta, tol=1e-11)
        assert objective(ours, beta).item() == pytest.approx(least, abs=1e-5)
        assert objective(ours, beta).item() <= least + 1e-10


@quick
@given(problems, some_slopes)
def test_every_field_describes_the_same_encoder(problem, beta):
    p, d = problem
    result = rate_distortion(p, d, beta)
    for k in range(len(beta)):
        encoder = result.encoder[k]
        assert (encoder >= 0).all()
        assert torch.allclose(encoder.sum(1), torch.ones(len(p), dtype=torch.float64), atol=EPS)
        assert torch.allclose(result.marginal[k], torch.tensor(p) @ encoder, atol=EPS)
        rate, distortion = of_encoder(p, d, encoder)
        assert result.rate[k] == pytest.approx(rate.item(), abs=EPS)
        assert result.distortion[k] == pytest.approx(distortion.item(), abs=1e-11)


@quick
@given(problems, some_slopes)
def test_converges_on_anything(problem, beta):
    result = rate_distortion(*problem, beta)
    assert result.converged.all()
    assert (result.gap <= 1e-9).all()


@pytest.mark.parametrize(
    ("seed", "slope"), [(2509, 0.46856428582954), (2796, 0.21812583165811), (70, 1.964587649747839)]
)
def test_converges_where_reproductions_tie(seed, slope):
    """Slopes at which one best marginal is about to give way to a distant one. There a predictor
    and corrector with one step length for all unknowns goes in circles."""
    rng = np.random.default_rng(seed)
    m, n = rng.integers(1, 7, 2)
    p = rng.random(m) ** rng.uniform(0, 12) * (rng.random(m) < 0.8)
    d = 10 * rng.random((m, n)) ** rng.uniform(0.3, 4) - rng.integers(0, 3, (m, 1))
    d = d.round() if seed % 3 == 0 else d
    if seed % 4 == 0:
        d[(rng.random((m, n)) < 1 / 3) & (np.arange(n) != rng.integers(n, size=(m, 1)))] = np.inf
    near = slope * (1 + np.concatenate([[0], np.geomspace(1e-9, 1e-2, 20)]))
    result = rate_distortion(p / p.sum(), d, near, tol=1e-10)
    assert result.converged.all()
    assert (result.iterations <= 20).all()


def test_steps_become_careful_where_bold_ones_go_in_circles():
    """One of a million random problems."""
    rng = np.random.default_rng([5, 360])
    rng.integers(1, 9, 2)
    m, n = rng.integers(2, 30, 2)
    p = rng.random((200, m)) ** rng.uniform(0, 12, (200, 1))
    beta = 10 ** rng.uniform(-3, 4, (200, 1, 1))
    distance = np.abs(np.linspace(-1, 1, m)[:, None] - np.linspace(-1, 1, n))
    d = distance ** rng.uniform(0.5, 3)
    p, beta = p[43] / p[43].sum(), beta[43].item()
    assert rate_distortion(p, d, beta, tol=1e-10).converged


@quick
@given(problems, some_slopes, st.integers(0, 4))
def test_certificate_bounds_the_error_of_an_unfinished_run(problem, beta, steps):
    p, d = problem
    rough = rate_distortion(p, d, beta, max_iterations=steps)
    best = rate_distortion(p, d, beta, tol=1e-11)
    least = objective(best, beta)
    assert (objective(rough, beta) - rough.gap <= least + 1e-11).all()
    assert (least - best.gap <= objective(rough, beta) + 1e-11).all()
    # R(D) lies above every supporting line of the curve, and must not pass the claimed rate
    lines = (least - best.gap)[:, None] - torch.tensor(beta, dtype=torch.float64)[
        :, None
    ] * rough.distortion
    assert (lines.amax(0) <= rough.rate + 1e-10).all()
    assert (rough.converged == (rough.gap <= 1e-9)).all()


@quick
@given(problems, some_slopes, st.integers(0, 2**32 - 1))
def test_no_encoder_beats_the_lower_bound(problem, beta, seed):
    p, d = problem
    result = rate_distortion(p, d, beta)
    rng = np.random.default_rng(seed)
    mix = rng.random()
    for k, slope in enumerate(beta):
        other = (rng.dirichlet(np.full(d.shape[1], 0.3), len(p)) + 1e-9) * (d < np.inf)
        other = torch.tensor(other / other.sum(1, keepdims=True))
        rate, distortion = of_encoder(p, d, mix * other + (1 - mix) * result.encoder[k])
        assert rate + slope * distortion >= objective(result, beta)[k] - result.gap[k] - 1e-11


@quick
@given(problems, some_slopes)
def test_curve_is_convex_and_decreasing(problem, beta):
    """Every point lies above the line of slope -beta through every other."""
    beta = sorted(beta)
    result = rate_distortion(*problem, beta)
    slack = result.gap.amax() + 1e-10
    drop = torch.tensor(beta, dtype=torch.float64)[:, None] * (
        result.distortion[None, :] - result.distortion[:, None]
    )
    assert (result.rate[None, :] - result.rate[:, None] + drop >= -slack).all()
    assert (result.rate.diff() >= -slack - 1e-9 * result.rate[1:]).all()
    assert (result.rate <= entropy(problem[0]) + EPS).all()


def test_slope_is_minus_beta():
    p, d = discrete_gaussian(40)
    beta = torch.tensor([1.0, 3.0, 20.0], dtype=torch.float64)
    low, high = (rate_distortion(p, d, beta * f, tol=1e-12) for f in (0.999, 1.001))
    slope = (high.rate - low.rate) / (high.distortion - low.distortion)
    assert torch.allclose(slope, -beta, rtol=1e-4)


@pytest.mark.parametrize("beta", [0.0, 1e-6, 0.5, 3.0, 1e3, 1e6])
def test_hard_cases_are_certified(beta):
    p, d = discrete_gaussian(32)
    rng = np.random.default_rng(1)
    some = p.clone()
    some[::3] = 0
    tiny = torch.tensor([1 - 1e-12, 1e-12, 0, 1e-300], dtype=torch.float64)
    cases = {
        "duplicated symbols": (p, torch.cat([d, d], 1)),
        "mass zero": (some / some.sum(), d),
        "mass of 1e-300": (tiny, rng.random((4, 5))),
        "no distortion": (p, 0 * d),
        "one reproduction": (p, d[:, :1]),
        "one source symbol": ([1.0], rng.random((1, 9))),
        "many reproductions": (rng.dirichlet(np.ones(5)), rng.random((5, 90))),
        "few reproductions": (rng.dirichlet(np.ones(30)), rng.random((30, 4))),
        "wide spread": (rng.dirichlet(np.ones(20)), np.exp(10 * rng.standard_normal((20, 25)))),
        "constant added": (p, d + 1e3),
        "integers": (p, rng.integers(0, 3, (32, 32))),
    }
    for name, case in cases.items():
        result = rate_distortion(*case, beta)
        assert result.converged, name
        assert result.gap <= 1e-9, name
        if beta == 0:
            assert result.rate < EPS, name


def test_erasure_distortion_meets_its_closed_form():
    """R(D) = (1 - D) ln 2: Cover and Thomas (2006), problem 10.7; slopes other than -ln 2 give an
    end of that straight line."""
    table = [[0.0, math.inf, 1.0], [math.inf, 0.0, 1.0]]
    beta = [0.0, 0.3, 0.69, math.log(2), 0.7, 5.0, 1e6]
    for result in (
        rate_distortion([0.5, 0.5], table, beta),
        blahut_arimoto([0.5, 0.5], table, beta, iterations=5000),
    ):
        line = (1 - result.distortion) * math.log(2)
        assert (result.rate >= line - EPS).all()
        assert (result.rate - result.gap <= line + EPS).all()
        assert torch.allclose(result.distortion[[1, 2]], torch.ones(()).double(), atol=1e-6)
        assert torch.allclose(result.distortion[[4, 5]], torch.zeros(()).double(), atol=1e-6)
        assert (result.encoder[:, [0, 1], [1, 0]] == 0).all()
        assert torch.isfinite(result.distortion).all()


def test_what_is_forbidden_is_what_costs_too_much():
    p, d = discrete_gaussian(20)
    beta = torch.tensor([0.5, 2.0, 9.0])
    never = rate_distortion(p, d.masked_fill(d > 2, math.inf), beta, tol=1e-11)
    dear = rate_distortion(p, d.masked_fill(d > 2, 1e4), beta, tol=1e-11)
    assert torch.allclose(never.rate, dear.rate, atol=1e-6)
    assert torch.allclose(objective(never, beta), objective(dear, beta), atol=1e-10)


def test_only_copying_allowed_keeps_the_entropy():
    p = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64)
    table = torch.full((3, 3), math.inf).fill_diagonal_(0)  # float32, as tables come
    result = rate_distortion(p, table, [0.0, 1.0])
    assert torch.allclose(result.rate, entropy(p), atol=1e-9)
    assert (result.distortion == 0).all()


def test_large_beta_gives_the_lossless_code():
    p = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64)
    result = rate_distortion(p, hamming(3), 1e6)
    assert result.distortion < 1e-12
    assert torch.allclose(result.encoder, torch.eye(3, dtype=torch.float64), atol=1e-12)
    assert result.rate == pytest.approx(entropy(p).item(), abs=1e-9)


def test_duplicated_symbols_change_nothing_but_the_encoder():
    p, d = discrete_gaussian(16)
    once, twice = (rate_distortion(p, table, 2.0) for table in (d, torch.cat([d, d], 1)))
    assert once.rate == pytest.approx(twice.rate.item(), abs=1e-6)
    assert objective(once, 2.0) == pytest.approx(objective(twice, 2.0).item(), abs=2e-9)
    assert torch.allclose(twice.marginal[:16] + twice.marginal[16:], once.marginal, atol=1e-4)


def test_batches_equal_loops():
    rng = np.random.default_rng(0)
    p, d = rng.dirichlet(np.ones(6), (2, 3)), rng.random((6, 5))
    beta = [0.5, 4.0, 25.0]
    batch = rate_distortion(p, d, beta, tol=1e-11)
    assert batch.rate.shape == batch.gap.shape == batch.iterations.shape == (2, 3, 3)
    assert batch.encoder.shape == (2, 3, 3, 6, 5)
    assert batch.marginal.shape == (2, 3, 3, 5)
    for at in np.ndindex(2, 3, 3):
        one = rate_distortion(p[at[:2]], d, beta[at[2]], tol=1e-11)
        assert one.rate.shape == ()
        assert one.encoder.shape == (6, 5)
        for name in ("rate", "distortion", "encoder", "marginal"):
            assert torch.allclose(getattr(one, name), getattr(batch, name)[at], atol=1e-6), name
        assert one.iterations == batch.iterations[at]


def test_256_symbols_at_64_slopes_are_all_certified():
    p, d = discrete_gaussian(256)
    result = rate_distortion(p, d, torch.logspace(-1, 2.5, 64, dtype=torch.float64))
    assert result.converged.all()
    assert (result.gap <= 1e-9).all()


@pytest.mark.parametrize("solve", [rate_distortion, partial(blahut_arimoto, iterations=9)])
def test_threads_change_nothing(solve):
    p, d = discrete_gaussian(128)
    beta = torch.logspace(-1, 2.5, 19, dtype=torch.float64)
    with threads(1):
        alone = solve(p, d, beta)
    for count in (2, 3):
        with threads(count):
            shared = solve(p, d, beta)
        for name in ("rate", "distortion", "gap", "converged"):
            assert torch.allclose(getattr(shared, name), getattr(alone, name), atol=1e-6), name
        assert torch.allclose(objective(shared, beta), objective(alone, beta), atol=1e-9)


def test_no_zero_has_a_sign():
    for p, d in (
        ([1.0, -0.0], -hamming(2) * 0),
        ([0.5, 0.5], hamming(2)),
        ([-0.0, 1.0], hamming(2)),
    ):
        for result in (
            rate_distortion(p, d, [-0.0, 1.0, 1e6]),
            blahut_arimoto(p, d, [-0.0, 1.0, 1e6], iterations=3),
        ):
            for name, value in vars(result).items():
                assert not ((value == 0) & value.double().signbit()).any(), name


def test_stopping_early_is_reported():
    p, d = discrete_gaussian(32)
    result = rate_distortion(p, d, [0.0, 5.0], max_iterations=2)
    assert result.converged.tolist() == [True, False]
    assert result.iterations.tolist() == [0, 2]
    assert result.gap[1] > 1e-9


def test_an_unreachable_tolerance_is_never_claimed():
    p, d = discrete_gaussian(32)
    result = rate_distortion(p, d, [1.0, 30.0], tol=1e-25)
    assert (result.converged == (result.gap <= 1e-25)).all()
    assert (result.gap < 1e-11).all()


GOOD = {"p": [0.5, 0.5], "distortion": [[0.0, 1.0], [1.0, 0.0]], "beta": 1.0}


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("p", [0.5, 0.6], "p sums to 1.1"),
        ("p", [1.5, -0.5], "negative mass -0.5"),
        ("p", [math.nan, 1.0], "p must be finite"),
        ("p", 1.0, "p must have at least 1 axes"),
        ("p", [0.2, 0.3, 0.5], "one row for each of the 3 symbols"),
        ("distortion", [[0.0, -math.inf], [1.0, 0.0]], "distortion must be finite, got -inf"),
        ("distortion", [[0.0, math.nan], [1.0, 0.0]], "distortion must be finite, got nan"),
        ("distortion", [[0.0, 1.0], [math.inf] * 2], "but row 1 is all inf; allow one, or drop"),
        ("distortion", [0.0, 1.0], r"got shape \(2,\)"),
        ("distortion", np.zeros((2, 0)), r"got shape \(2, 0\)"),
        ("distortion", "far", "distortion must be an array of real numbers"),
        ("beta", -1.0, "beta must be >= 0, got -1"),
        ("beta", [[1.0]], "beta must be a scalar or a vector"),
        ("beta", [], "beta must not be empty"),
        ("beta", math.inf, "beta must be finite"),
        ("tol", 0.0, "tol must be a positive number of nats, got 0.0"),
        ("tol", math.nan, "tol must be a positive number of nats, got nan"),
        ("tol", "small", "tol must be a positive number"),
        ("max_iterations", -1, "max_iterations must be a whole number >= 0, got -1"),
        ("max_iterations", 2.5, "max_iterations must be a whole number >= 0, got 2.5"),
    ],
)
def test_bad_input_is_named(name, value, says):
    with pytest.raises(ValueError, match=says):
        rate_distortion(**GOOD | {name: value})


@pytest.mark.parametrize("value", [0, -1, 2.5, True, "many"])
def test_iterations_are_a_whole_number(value):
    with pytest.raises(ValueError, match=f"iterations must be a whole number >= 1, got {value!r}"):
        blahut_arimoto(**GOOD, iterations=value)
