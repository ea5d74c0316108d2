from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ibbook.diffusion import (
    class_information,
    cosine_alpha_bar,
    gaussian_bound,
    gaussian_information,
    gaussian_mmse,
    information_from_mmse,
    linear_alpha_bar,
    mixture,
    mixture_information,
    mixture_mmse,
    reverse_variances,
    signal_to_noise,
    sqrt_alpha_bar,
)

SCHEDULES = {"linear": linear_alpha_bar, "cosine": cosine_alpha_bar, "sqrt": sqrt_alpha_bar}
VARIANCES = torch.tensor([4.0, 1.0, 0.25, 0.05], dtype=torch.float64)
THREE = mixture([0.5, 0.3, 0.2], [-1.5, 0.3, 2.0], [0.3, 0.2, 0.1])

# From another program than ours, for the four eigenvalues above: schedule, T, I(x_1; x_0), the sum
# of exact divergences, and of those with DDPM's variance; to one unit of the last digit.
TABLE = [
    ("linear", 10, 7.811, 7.8105, 37.837),
    ("linear", 50, 10.952, 10.9522, 18.939),
    ("linear", 1000, 16.924, 16.9238, 18.752),
    ("cosine", 10, 5.902, 5.9021, 8.977),
    ("cosine", 50, 11.220, 11.2195, 14.612),
    ("cosine", 1000, 18.693, 18.6926, 20.303),
    ("sqrt", 10, 1.976, 1.9756, 2.228),
    ("sqrt", 50, 3.184, 3.1835, 3.381),
    ("sqrt", 1000, 5.594, 5.5938, 5.779),
]

levels = st.lists(st.floats(0.05, 0.95), min_size=2, max_size=12).map(np.cumprod)
spectra = st.lists(st.floats(0.01, 10), min_size=1, max_size=4)


def gaussian_kl(mean, variance, other_mean, other_variance):
    """D_KL of two Gaussians on the line."""
    ratio = variance / other_variance
    return (ratio + (mean - other_mean) ** 2 / other_variance - 1 - np.log(ratio)) / 2


def chain_covariance(alpha_bar, d):
    """Cov of (x_0, x_1, ..., x_T) on the line, step by step: x_t = sqrt(1 - b) x_{t-1} + noise."""
    size = len(alpha_bar) + 1
    cov = np.zeros((size, size))
    cov[0, 0] = d
    before = 1.0
    for t, level in enumerate(alpha_bar, 1):
        keep = level / before
        cov[t, :t] = cov[:t, t] = math.sqrt(keep) * cov[t - 1, :t]
        cov[t, t] = keep * cov[t - 1, t - 1] + 1 - keep
        before = level
    return cov


def conditional(cov, of, given):
    """Gain and variance of one variable given others."""
    gain = np.linalg.solve(cov[np.ix_(given, given)], cov[given, of])
    return gain, cov[of, of] - gain @ cov[given, of]


@pytest.mark.parametrize(("name", "steps", "first", "exact", "fixed"), TABLE)
def test_the_table_of_schedules(name, steps, first, exact, fixed):
    alpha_bar = SCHEDULES[name](steps)
    information = gaussian_information(signal_to_noise(alpha_bar), VARIANCES)
    assert information[0].item() == pytest.approx(first, abs=1e-3)
    assert gaussian_bound(alpha_bar, VARIANCES).steps.sum().item() == pytest.approx(exact, abs=1e-4)
    ddpm = gaussian_bound(alpha_bar, VARIANCES, reverse="fixed").steps.sum().item()
    assert ddpm == pytest.approx(fixed, abs=1e-3)


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("steps", [10, 50, 1000])
def test_the_exact_bound_is_the_entropy_for_every_schedule(name, steps):
    bound = gaussian_bound(SCHEDULES[name](steps), VARIANCES).total.item()
    entropy = (2 * math.pi * math.e * VARIANCES).log().sum().item() / 2
    last = SCHEDULES[name](steps)[-1].item()
    misfit = sum(gaussian_kl(0, 1 + last * (d - 1), 0, 1) for d in VARIANCES.tolist())
    assert bound == pytest.approx(entropy + misfit, abs=1e-8)


@given(levels, spectra)
def test_each_exact_divergence_is_the_information_that_its_step_releases(alpha_bar, variances):
    information = gaussian_information(signal_to_noise(alpha_bar), variances)
    bound = gaussian_bound(alpha_bar, variances)
    torch.testing.assert_close(bound.steps, -information.diff(), atol=1e-8, rtol=1e-8)
    last = alpha_bar[-1]
    misfit = sum(gaussian_kl(0, 1 + last * (d - 1), 0, 1) for d in variances)
    assert bound.prior.item() == pytest.approx(information[-1].item() + misfit, abs=1e-8)


@given(levels, spectra)
def test_a_fixed_variance_costs_half_the_gain_in_snr_times_the_error(alpha_bar, variances):
    snr = signal_to_noise(alpha_bar)
    fixed = gaussian_bound(alpha_bar, variances, reverse="fixed").steps
    paid = -snr.diff() * gaussian_mmse(snr[1:], variances) / 2
    torch.testing.assert_close(fixed, paid, atol=1e-8, rtol=1e-8)
    assert (fixed >= gaussian_bound(alpha_bar, variances).steps - 1e-12).all()


@given(levels, st.floats(0.05, 10))
def test_reverse_variances_are_those_of_the_chain_built_step_by_step(alpha_bar, d):
    cov = chain_covariance(alpha_bar, d)
    given_both, given_one = reverse_variances(alpha_bar, [d])
    for t in range(2, len(alpha_bar) + 1):
        assert given_both[t - 2].item() == pytest.approx(
            conditional(cov, t - 1, [0, t])[1], abs=1e-8
        )
        assert given_one[t - 2, 0].item() == pytest.approx(
            conditional(cov, t - 1, [t])[1], abs=1e-8
        )


def test_divergences_by_their_definition():
    """E D_KL of the two reverse conditionals, the expectation by Gauss and Hermite."""
    alpha_bar, d = cosine_alpha_bar(6).numpy(), 2.0
    cov = chain_covariance(alpha_bar, d)
    exact = gaussian_bound(alpha_bar, [d]).steps
    fixed = gaussian_bound(alpha_bar, [d], reverse="fixed").steps
    nodes, weights = np.polynomial.hermite_e.hermegauss(20)
    weights = np.outer(weights, weights) / weights.sum() ** 2
    for t in range(2, 7):
        root = np.linalg.cholesky(cov[np.ix_([0, t], [0, t])])
        x0 = root[0, 0] * nodes[:, None] + 0 * nodes
        xt = root[1, 0] * nodes[:, None] + root[1, 1] * nodes
        both, narrow = conditional(cov, t - 1, [0, t])
        one, wide = conditional(cov, t - 1, [t])
        means = both[0] * x0 + both[1] * xt, one[0] * xt
        for variance, found in ((wide, exact), (narrow, fixed)):
            kl = (weights * gaussian_kl(means[0], narrow, means[1], variance)).sum()
            assert found[t - 2].item() == pytest.approx(kl, abs=1e-8)


def test_reconstruction_is_the_cross_entropy_of_the_exact_last_step():
    alpha_bar, d = [0.9, 0.4], 3.0
    cov = chain_covariance(alpha_bar, d)
    _, left = conditional(cov, 0, [1])
    entropy = math.log(2 * math.pi * math.e * left) / 2
    assert gaussian_bound(alpha_bar, [d]).reconstruction.item() == pytest.approx(entropy, abs=1e-12)


def test_a_mixture_of_one_is_gaussian():
    one = mixture([1.0], [0.7], [1.5])
    snr = torch.logspace(-4, 4, 9, dtype=torch.float64)
    torch.testing.assert_close(mixture_information(snr, one), gaussian_information(snr, [2.25]))
    torch.testing.assert_close(mixture_mmse(snr, one), gaussian_mmse(snr, [2.25]))
    assert class_information(snr, one).abs().max() < 1e-12


def test_i_mmse():
    """dI / dSNR = mmse / 2, by differences and by the integral; two separate computations."""
    snr = torch.tensor([0.1, 1.0, 10.0, 1000.0], dtype=torch.float64)
    step = 1e-4 * snr
    rise = mixture_information(snr + step, THREE) - mixture_information(snr - step, THREE)
    torch.testing.assert_close(rise / (2 * step), mixture_mmse(snr, THREE) / 2, atol=0, rtol=1e-6)
    grid = torch.logspace(-6, 3, 300, dtype=torch.float64)
    found = information_from_mmse(grid, mixture_mmse(grid, THREE))
    torch.testing.assert_close(found, mixture_information(grid, THREE), atol=1e-4, rtol=0)


def test_steps_of_a_mixture_release_the_information_they_should():
    """I(x_{t-1}; x_0 | x_t) from entropies of (x_{t-1}, x_t), on a grid of the plane."""
    alpha_bar = np.array([0.9, 0.6, 0.2])
    information = mixture_information(signal_to_noise(alpha_bar), THREE)
    line = np.linspace(-9, 9, 1201)
    cell = (line[1] - line[0]) ** 2
    for t in (1, 2):
        a, b = alpha_bar[t - 1 : t + 1]
        keep = b / a
        x = line[:, None]
        variance = a * THREE.deviations.numpy() ** 2 + 1 - a
        centre = math.sqrt(a) * THREE.means.numpy()
        bell = np.exp(-((x - centre) ** 2) / (2 * variance)) / np.sqrt(2 * np.pi * variance)
        before = bell @ THREE.weights.numpy()
        step = np.exp(-((line - math.sqrt(keep) * x) ** 2) / (2 * (1 - keep)))
        joint = before[:, None] * step / math.sqrt(2 * np.pi * (1 - keep))
        after = joint.sum(0) * math.sqrt(cell)
        open_ = -(joint * np.log(joint / after + 1e-300)).sum() * cell  # h(x_{t-1} | x_t)
        both = (1 - a) / (1 - b) * (1 - keep)
        released = open_ - math.log(2 * np.pi * np.e * both) / 2
        assert released == pytest.approx((information[t - 1] - information[t]).item(), abs=1e-6)


def test_class_information_is_less_than_all_and_ends_with_the_classes():
    snr = torch.logspace(-3, 6, 40, dtype=torch.float64)
    told, total = class_information(snr, THREE), mixture_information(snr, THREE)
    assert (told.diff() > -1e-12).all()
    assert (told <= total + 1e-12).all()
    apart = mixture([0.5, 0.3, 0.2], [-3.0, 0.0, 3.0], [0.1, 0.1, 0.1])
    entropy = -torch.xlogy(apart.weights, apart.weights).sum()
    assert class_information(1e6, apart).item() == pytest.approx(entropy.item(), abs=1e-9)
    torch.testing.assert_close(
        class_information(snr, mixture([0.5, 0.5], [-1, 1], [0, 0])),
        mixture_information(snr, mixture([0.5, 0.5], [-1, 1], [0, 0])),
    )  # points: the class is all there is


def test_a_worse_denoiser_claims_more():
    snr = torch.logspace(-4, 2, 200, dtype=torch.float64)
    linear = information_from_mmse(snr, gaussian_mmse(snr, [1.0]))
    best = information_from_mmse(snr, mixture_mmse(snr, mixture([0.5, 0.5], [-1, 1], [0, 0])))
    assert (linear > best).all()
    both = information_from_mmse(snr, torch.stack([gaussian_mmse(snr, [1.0])] * 2))
    torch.testing.assert_close(both[0], linear)


@pytest.mark.parametrize("schedule", SCHEDULES.values())
@pytest.mark.parametrize("steps", [0, -1, 2.5])
def test_schedules_of_no_steps_are_refused(schedule, steps):
    with pytest.raises(ValueError, match="steps must be a whole number >= 1, got"):
        schedule(steps)


@pytest.mark.parametrize(
    ("alpha_bar", "words"),
    [
        ([], "at least one step, got shape"),
        ([[0.5]], "must be a vector"),
        ([0.5, 0.0], r"must lie in \(0, 1\], got 0"),
        ([1.5, 0.5], r"must lie in \(0, 1\], got 1.5"),
        ([0.5, -0.1], r"must lie in \(0, 1\], got -0.1"),
        ([0.5, 0.5], "must decrease, but goes from 0.5 to 0.5 at index 1"),
        ([0.9, 0.2, 0.4], "must decrease, but goes from 0.2 to 0.4 at index 2"),
        ([0.9, math.nan], "alpha_bar must be finite"),
        ("fast", "alpha_bar must be an array of real numbers"),
    ],
)
def test_schedules_that_do_not_close_are_refused(alpha_bar, words):
    for use in (signal_to_noise, lambda a: gaussian_bound(a, [1.0])):
        with pytest.raises(ValueError, match=words):
            use(alpha_bar)


@pytest.mark.parametrize(
    ("use", "words"),
    [
        (lambda: gaussian_bound([1.0, 0.5], [1.0]), "alpha_bar must start below 1"),
        (lambda: gaussian_bound([0.5], [1.0], reverse="learned"), "reverse must be 'exact' or"),
        (lambda: gaussian_information(-1.0, [1.0]), "snr must be >= 0, got -1"),
        (lambda: gaussian_information(1.0, [-1.0]), "variances must be a vector of numbers >= 0"),
        (lambda: gaussian_mmse(1.0, []), "variances must be a vector"),
        (lambda: mixture([0.5, 0.6], [0, 1], [1, 1]), "weights sums to 1.1"),
        (lambda: mixture([0.5, 0.5], [0], [1, 1]), "vectors of one length"),
        (lambda: mixture([0.5, 0.5], [0, 1], [1, -1]), "deviations must be >= 0, got -1"),
        (lambda: information_from_mmse([0.0, 1.0], [1.0, 0.5]), "positive numbers that ascend"),
        (lambda: information_from_mmse([2.0, 1.0], [1.0, 0.5]), "positive numbers that ascend"),
        (lambda: information_from_mmse([1.0, 2.0], [1.0]), "one value for each of 2 SNRs"),
    ],
)
def test_bad_input_is_refused_by_name(use, words):
    with pytest.raises(ValueError, match=words):
        use()
