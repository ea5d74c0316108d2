"""What all scores share: properties, dead codes, members, devices, bad input; and the faults that
other implementations are known for."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn.metrics import mutual_info_score

from ibbook.metrics import (
    active_units,
    beta_vae_score,
    code_total_correlation,
    dci,
    explicitness,
    factor_vae_score,
    i_m,
    mig,
    modularity,
    sap,
)

few = {"train": 400, "test": 400}


def part(name, **options):
    return lambda codes, factors: getattr(dci(codes, factors, **options), name)


BY_INFORMATION = {
    "mig": mig,
    "mig, quantile": partial(mig, binning="quantile"),
    "i_m": i_m,
    "i_m, histogram": partial(i_m, estimator="histogram"),
    "modularity": modularity,
    "sap": sap,
}
BY_INTERVENTION = {
    "beta_vae_score": partial(beta_vae_score, **few),
    "factor_vae_score": partial(factor_vae_score, **few),
}
BY_PREDICTOR = {
    "sap, classifier": partial(sap, estimator="classifier"),
    "disentanglement": part("disentanglement"),
    "completeness": part("completeness"),
    "informativeness": part("informativeness"),
    "disentanglement, lasso": part("disentanglement", predictor="lasso"),
    "completeness, lasso": part("completeness", predictor="lasso"),
    "informativeness, lasso": part("informativeness", predictor="lasso"),
    "explicitness": explicitness,
}
SCORES = BY_INFORMATION | BY_INTERVENTION | BY_PREDICTOR
NEED_CLASSES = ["sap, classifier", "explicitness", *BY_INTERVENTION]
DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]

every_score = pytest.mark.parametrize("name", SCORES)


def grid(*sizes, repeat=1):
    """All combinations of the factors' classes."""
    axes = np.meshgrid(*[np.arange(s) for s in sizes], indexing="ij")
    return np.tile(np.stack([a.ravel() for a in axes], 1), (repeat, 1))


def sample(n=600, sizes=(3, 4, 5), noise=0.3, seed=0):
    """Noisy standardised copies of random factors, and one code of noise alone."""
    rng = np.random.default_rng(seed)
    factors = np.stack([rng.integers(0, s, n) for s in sizes], 1)
    codes = (factors - factors.mean(0)) / factors.std(0) + noise * rng.normal(size=factors.shape)
    return np.concatenate([codes, rng.normal(size=(n, 1))], 1), factors


def close(a, b, tolerance=1e-9):
    return np.allclose(np.asarray(a), np.asarray(b), rtol=0, atol=tolerance)


# Codes whose score is known


@every_score
def test_the_factors_themselves_score_highest(name):
    factors = grid(3, 3, repeat=40)
    highest = {"i_m": np.inf, "i_m, histogram": 2 * np.log(3), "sap, classifier": 0.5}
    tolerance = {"sap, classifier": 0.08, "informativeness, lasso": 1e-3}
    tolerance |= {"disentanglement": 0.01, "completeness": 0.01}
    tolerance |= {"disentanglement, lasso": 0.05, "completeness, lasso": 0.05}
    expected = highest.get(name, 1.0)
    if name in ("sap, classifier", "explicitness"):  # no line parts the middle class of three
        factors = grid(2, 2, repeat=90)
    assert close(SCORES[name](factors, factors), expected, tolerance.get(name, 1e-5))


@every_score
@pytest.mark.parametrize("value", [0.0, 0.1, -3e4])
def test_constant_codes_score_zero(name, value):
    _, factors = sample()
    codes = np.full((len(factors), 4), value, dtype=np.float32)
    assert SCORES[name](codes, factors).item() == 0


@every_score
def test_codes_that_are_constant_but_for_rounding_score_zero(name):
    _, factors = sample()
    noise = np.random.default_rng(0).integers(-1, 2, (len(factors), 4)).astype(np.float32)
    codes = np.float32(100) + noise * np.float32(8e-6)
    assert len(np.unique(codes)) == 3
    assert SCORES[name](codes, factors).item() == 0


RANDOM = {
    "mig": (0, 0.02),
    "mig, quantile": (0, 0.02),
    "i_m": (0, 0.02),
    "i_m, histogram": (0, 0.25),
    "sap": (0, 0.01),
    "sap, classifier": (0, 0.08),
    "disentanglement": (0, 0.06),
    "completeness": (0, 0.06),
    "informativeness": (0.2, 0.35),
    "informativeness, lasso": (0, 0.02),
    "explicitness": (0.45, 0.55),
    "beta_vae_score": (0.25, 0.41),
    "factor_vae_score": (0.23, 0.43),
}


@pytest.mark.parametrize("name", RANDOM)
def test_random_codes_score_what_the_docstring_says(name):
    _, factors = sample(1000)
    low, high = RANDOM[name]
    for seed in range(2):
        codes = np.random.default_rng(seed + 1).normal(size=(len(factors), 4))
        assert low <= SCORES[name](codes, factors).item() <= high


def test_random_codes_have_no_fixed_score_by_modularity_or_lasso():
    codes = np.random.default_rng(0).normal(size=(1000, 4))
    uneven, even = (sample(1000, sizes=sizes)[1] for sizes in ((2, 40), (7, 7)))
    assert modularity(codes, uneven) > 0.95
    assert modularity(codes, even) < 0.5
    _, factors = sample(1000)
    values = []
    for seed in range(1, 5):
        codes = np.random.default_rng(seed).normal(size=(1000, 4))
        values.append(SCORES["disentanglement, lasso"](codes, factors).item())
    assert min(values) < 0.1
    assert max(values) > 0.5


# A good predictor sees through a rotation; modularity rises with the noise that is mixed in.
SEE_THROUGH = {"beta_vae_score", "informativeness", "informativeness, lasso", "explicitness"}


@pytest.mark.parametrize("name", [n for n in SCORES if n not in SEE_THROUGH | {"modularity"}])
def test_turned_codes_score_lower_than_straight_ones(name):
    codes, factors = sample(noise=0.05)
    turn = np.linalg.qr(np.random.default_rng(2).normal(size=(4, 4)))[0]
    low, high = (SCORES[name](z, factors).item() for z in (codes @ turn, codes))
    assert low < high - 0.1


# What must not matter


@every_score
def test_the_order_of_codes_does_not_matter(name):
    codes, factors = sample()
    tolerance = 0.02 if name in BY_PREDICTOR else 1e-9
    shuffled = SCORES[name](codes[:, [2, 0, 3, 1]], factors)
    assert close(shuffled, SCORES[name](codes, factors), tolerance)


@pytest.mark.parametrize("name", [n for n in SCORES if n != "sap, classifier"])
@pytest.mark.parametrize("scale", [0.125, 64.0])
def test_the_scale_and_sign_of_codes_do_not_matter(name, scale):
    codes, factors = sample()
    scales = scale * np.array([1, 2, -1, 0.5])
    if name.startswith("mig") or name in ("i_m, histogram", "modularity"):
        scales = np.abs(scales)  # a value on the edge of a bin changes sides with the sign
    assert close(SCORES[name](codes * scales, factors), SCORES[name](codes, factors), 0.02)


@every_score
def test_a_member_scores_in_a_batch_what_it_scores_alone(name):
    members = [sample(300, seed=s)[0] for s in range(3)]
    _, factors = sample(300, seed=9)
    members[0][:, :3] += (factors - factors.mean(0)) / factors.std(0)
    batch = np.stack([members, members[::-1]])
    scores = SCORES[name](batch, factors)
    assert scores.shape == (2, 3)
    alone = [SCORES[name](codes, factors) for codes in members]
    assert close(scores, [alone, alone[::-1]], 1e-6)


@every_score
@pytest.mark.parametrize("device", DEVICES)
def test_tensors_on_their_own_device_and_arrays_score_the_same(name, device):
    codes, factors = sample(300)
    expected = SCORES[name](codes, factors)
    score = SCORES[name](torch.tensor(codes, device=device), torch.tensor(factors))
    assert score.device.type == device
    assert score.dtype == torch.float64
    assert close(score.cpu(), expected, 1e-6)
    assert close(SCORES[name](codes.tolist(), factors.tolist()), expected)


@pytest.mark.parametrize("name", {**BY_INFORMATION, **BY_INTERVENTION})
@settings(deadline=None, max_examples=25)
@given(data=st.data())
def test_no_score_is_nan_or_negative(name, data):
    n = data.draw(st.integers(2, 30))
    small = st.sampled_from([0.0, 1.0, -1.0, 1e-7, 2.5, 1e3])
    codes = data.draw(hnp.arrays(np.float64, (n, data.draw(st.integers(1, 4))), elements=small))
    factors = data.draw(hnp.arrays(np.int64, (n, 2), elements=st.integers(0, 2)))
    factors[0], factors[1] = 0, 1  # no factor is constant
    if name in BY_INTERVENTION:
        codes, factors = np.tile(codes, (12, 1)), np.tile(factors, (12, 1))  # to share classes
    score = SCORES[name](codes, factors).item()
    assert score >= 0
    assert name.startswith("i_m") or score <= 1 + 1e-12


# What rounding alone could change


@every_score
def test_last_bits_of_codes_do_not_matter(name):
    """Codes with values on the edges of bins, ties, a copy and a coarse copy."""
    factors = grid(3, 5, repeat=20)
    codes = (factors - factors.mean(0)) / factors.std(0)
    codes = np.concatenate([codes, -codes[:, :1], codes[:, 1:] > 0], 1)
    expected = SCORES[name](codes, factors)
    for seed in range(3):
        error = 4e-16 * np.random.default_rng(seed).normal(size=codes.shape)
        assert close(SCORES[name](codes + error, factors), expected, 1e-6)


@pytest.mark.parametrize("name", SCORES | {"code_total_correlation": None})
@pytest.mark.parametrize(
    "turn",
    [
        lambda sign: 0 * sign,
        lambda sign: sign * sign[:, [1, 2, 0]],  # each knows of no factor alone
        lambda sign: sign @ [[1], [2], [4]],  # knows all alike
    ],
)
def test_no_zero_has_a_sign(name, turn):
    score = SCORES.get(name, lambda z, v: code_total_correlation(z))
    factors = grid(2, 2, 2, repeat=15)
    assert not score(turn(1.0 - 2 * factors), factors).signbit()


# Bad input


@every_score
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda z, v: (z[:-1], v), "factors has 600 rows, but codes has 599 points"),
        (lambda z, v: (z[:1], v[:1]), "codes must hold at least 2 points, got 1"),
        (lambda z, v: (z[:, :0], v), r"codes must have shape \[\*members, n, latents\]"),
        (lambda z, v: (z[:, 0], v), r"codes must have shape \[\*members, n, latents\]"),
        (lambda z, v: (z, v[:, 0]), r"factors must have shape \[n, k\], got \(600,\)"),
        (lambda z, v: (z, v * [1, 0, 1]), r"factors\[:, 1\] is constant \(0\); leave that"),
        (lambda z, v: (np.where(z > 1, np.nan, z), v), "codes must be finite, got nan"),
        (lambda z, v: (np.where(z > 1, np.inf, z), v), "codes must be finite, got inf"),
        (lambda z, v: (z, np.where(v > 1, np.nan, v)), "factors must be finite, got nan"),
        (lambda z, v: ([["a", "b"]], v), "codes must be an array of real numbers"),
    ],
)
def test_bad_input_is_named(name, change, message):
    with pytest.raises(ValueError, match=message):
        SCORES[name](*change(*sample()))


@pytest.mark.parametrize("name", NEED_CLASSES)
def test_classes_must_be_whole_numbers(name):
    codes, factors = sample()
    with pytest.raises(ValueError, match=r"factors\[:, 1\] holds [01].5, but classes are whole"):
        SCORES[name](codes, factors * [1, 0.5, 1])


@pytest.mark.parametrize("name", NEED_CLASSES)
def test_classes_may_be_any_whole_numbers(name):
    codes, factors = sample(300)
    assert close(SCORES[name](codes, factors * 7.0 - 4), SCORES[name](codes, factors))


# Faults found in peers, each with the test that would have caught it


def test_a_transpose_that_is_only_a_reshape_would_show():
    """disentangling-vae #78: `.view(latents, n)` of codes [n, latents] mixes codes and pictures."""
    codes, factors = sample(noise=0.05)
    reshaped = codes.reshape(codes.shape[::-1]).T
    assert mig(codes, factors) > 0.6
    assert mig(reshaped, factors) < 0.1
    turned = torch.tensor(codes).T.contiguous().T  # the same codes, latents first in memory
    assert close(mig(turned, factors), mig(codes, factors))


def test_mig_divides_by_the_entropy_of_the_factor_not_of_the_code():
    factors = grid(2, 2)
    fine = np.stack([factors[:, 0] * 10 + factors[:, 1], np.zeros(4)], 1)  # ln 4, of which ln 2
    assert close(mig(fine, factors[:, :1]), 1.0)  # is the factor's; over H(z) it would be 0.5


def test_one_outlier_ruins_bins_of_equal_width_but_not_quantile_bins():
    codes, factors = sample(2000, noise=0.1)
    outlier = codes.copy()
    outlier[0, :3] = 60
    assert mig(codes, factors) > 0.5
    assert mig(outlier, factors) < 0.25
    quantile = [mig(z, factors, binning="quantile") for z in (codes, outlier)]
    assert quantile[0] > 0.5
    assert close(*quantile, 0.01)


def test_the_total_correlation_of_independent_codes_is_nearly_zero():
    """beta-tcvae's stratified weights made it 6.97 nats, and 3.49 once repaired."""
    n, latents = 5000, 10
    codes = np.random.default_rng(0).normal(size=(n, latents))
    assert 0 < code_total_correlation(codes) < 2 * latents * (latents - 1) / (4 * n)


def test_information_is_in_nats():
    """embo mixes bits and nats."""
    bit = grid(2, repeat=2)
    assert close(i_m(bit, bit, estimator="histogram"), np.log(2))


def test_the_two_saps_differ_and_each_is_the_one_it_says():
    rng = np.random.default_rng(0)
    factors = rng.integers(0, 32, (3000, 2))
    codes = factors / 10 + 0.02 * rng.normal(size=factors.shape)
    assert sap(codes, factors, estimator="r2") > 0.95
    assert sap(codes, factors, estimator="classifier") < 0.3


def test_dead_codes_never_win_a_vote():
    """0 / 0 is NaN, and argmin takes a NaN for the smallest variance."""
    factors = grid(3, 4, repeat=10)
    codes = np.concatenate([np.zeros((len(factors), 1)), factors], 1)
    assert factor_vae_score(codes, factors, **few) == 1


# Information


def histogram_score(codes, factors, bins=20):
    """MIG as disentanglement_lib has it: numpy's bins, scikit-learn's mutual information."""
    gaps = []
    for v in factors.T:
        edges = [np.histogram_bin_edges(z, bins)[:-1] for z in codes.T]
        binned = [np.digitize(z, e) for z, e in zip(codes.T, edges, strict=True)]
        best = sorted(mutual_info_score(v, b) for b in binned)
        gaps.append((best[-1] - best[-2]) / mutual_info_score(v, v))
    return np.mean(gaps)


@pytest.mark.parametrize("bins", [2, 7, 20])
def test_mig_equals_its_plain_definition(bins):
    for seed in range(3):
        codes, factors = sample(seed=seed)
        codes = np.concatenate([codes, codes[:, :1] + codes[:, 1:2]], 1)
        assert close(mig(codes, factors, bins=bins), histogram_score(codes, factors, bins))


def test_values_on_the_edge_of_a_bin_go_where_numpy_puts_them():
    rng = np.random.default_rng(0)
    codes = rng.integers(0, 21, (500, 3))  # the edges of 20 bins are the whole numbers
    codes[:2] = [[0] * 3, [20] * 3]
    factors = codes[:, :1] // 3
    assert close(mig(codes, factors), histogram_score(codes, factors))


def test_mig_of_a_continuous_factor_bins_it_too():
    codes, factors = sample()
    values = factors + 0.1 * np.random.default_rng(1).normal(size=factors.shape)
    binned = [np.digitize(v, np.histogram_bin_edges(v, 20)[:-1]) for v in values.T]
    assert close(mig(codes, values), histogram_score(codes, np.stack(binned, 1)))


def test_informations_equal_pyitlib():
    from pyitlib import discrete_random_variable as drv

    rng = np.random.default_rng(0)
    codes, factors = rng.integers(0, 4, (50, 3)), rng.integers(0, 3, (50, 2))
    codes[:, 0] += factors[:, 0]
    known = np.array(
        [[drv.information_mutual(z, v, base=np.e) for v in factors.T] for z in codes.T]
    )
    ordered = np.sort(known, 0)
    entropies = [drv.entropy(v, base=np.e) for v in factors.T]
    assert close(mig(codes, factors), np.mean((ordered[-1] - ordered[-2]) / entropies))
    best = max(known[a, 0] + known[b, 1] for a in range(3) for b in range(3) if a != b)
    assert close(i_m(codes, factors, estimator="histogram"), best)
    squared = known**2
    assert close(modularity(codes, factors), np.mean(1 - squared.min(1) / squared.max(1)))


def test_mig_of_a_code_with_a_copy_is_zero_for_its_factor():
    factors = grid(4, 3)
    assert close(mig(np.concatenate([factors, factors[:, :1]], 1), factors), 0.5)


def test_a_single_code_is_compared_with_a_constant_one():
    codes, factors = sample()
    padded = np.concatenate([codes[:, :1], np.zeros((len(codes), 1))], 1)
    for score in (mig, sap, partial(sap, estimator="classifier")):
        assert close(score(codes[:, :1], factors), score(padded, factors))
        assert score(codes[:, :1], factors) > 0


def test_quantile_bins_depend_on_order_only():
    codes, factors = sample()
    bent = np.stack([np.exp(codes[:, 0]), codes[:, 1] ** 3, *codes[:, 2:].T], 1)
    assert close(mig(bent, factors, binning="quantile"), mig(codes, factors, binning="quantile"))


def test_quantile_bins_hold_equally_many_points_and_keep_rare_values_apart():
    codes = np.random.default_rng(0).permutation(400)[:, None]
    entropy = i_m(codes, codes / 1000.5, estimator="histogram", binning="quantile")
    assert close(entropy, np.log(20))  # 20 bins of 20 points
    rare = np.array([[0]] * 99 + [[1]])
    for codes in (rare, -rare):
        assert close(mig(codes, rare, binning="quantile"), 1.0)


def test_modularity_by_hand():
    factors = grid(2, 2, 2)
    both = factors @ [[1], [2], [0]]  # ln 2 on two of three factors: 1 - 1 / 2
    assert close(modularity(both, factors), 0.5)
    assert close(modularity(np.concatenate([both, factors[:, 2:]], 1), factors), 0.75)
    assert close(modularity(np.concatenate([factors, 0 * both], 1), factors), 0.75)
    assert close(modularity(factors[:, [0, 0, 1]], factors), 1.0)
    turned = grid(2, 2) @ [[1, 1], [1, -1]]
    assert close(modularity(turned, grid(2, 2)), 0.0)
    assert close(modularity(factors[:, :1], factors[:, :1]), 1.0)


def correlated(correlations, n=200, seed=0):
    """Codes and factors with exactly these sample correlations, factors uncorrelated."""
    correlations = np.asarray(correlations, dtype=float)
    latents, k = correlations.shape
    raw = np.random.default_rng(seed).normal(size=(n, latents + k))
    white = np.linalg.qr(raw - raw.mean(0))[0]
    own = np.linalg.cholesky(np.eye(latents) - correlations @ correlations.T)
    return white[:, :k] @ correlations.T + white[:, k:] @ own.T, white[:, :k]


def gaussian(rho):
    return -np.log(1 - rho**2) / 2


def test_matched_information_takes_the_best_matching_not_the_greedy_one():
    codes, factors = correlated([[0.6, 0.55], [0.55, -0.1]])
    assert close(i_m(codes, factors), 2 * gaussian(0.55))  # greedy: 0.6 and 0.1
    codes, factors = correlated([[0.9, 0.2, 0.0]])
    assert close(i_m(codes, factors), gaussian(0.9))  # one code, three factors


def test_matched_information_of_gaussian_codes_is_the_closed_form():
    rng = np.random.default_rng(0)
    factors = rng.normal(size=(200_000, 2))
    codes = factors * [1, 2] + rng.normal(size=factors.shape)
    exact = np.log(2) / 2 + np.log(5) / 2
    assert close(i_m(codes, factors), exact, 0.01)
    binned = i_m(codes, factors, estimator="histogram", binning="quantile")
    assert exact - 0.1 < binned < exact  # binning loses information


def test_matched_information_is_infinite_for_a_linear_function_beside_finite_ones():
    codes, factors = correlated([[0.5, 0.0], [0.0, 0.8]])
    assert i_m(factors[:, :1] * 3 + 1, factors) == np.inf
    assert i_m(np.concatenate([codes, factors[:, :1]], 1), factors) == np.inf


def test_sap_is_the_gap_of_squared_correlations():
    codes, factors = correlated([[0.7, 0.1], [0.5, 0.6], [0.1, -0.3]])
    assert close(sap(codes, factors), ((0.49 - 0.25) + (0.36 - 0.09)) / 2)


# Codes alone


def test_active_units_count_variances_above_the_threshold():
    unit = np.array([1.0, -1.0]) / np.sqrt(2)  # variance 1
    codes = unit[:, None] * np.sqrt([0.0, 0.009, 0.011, 1.0])
    assert active_units(codes).item() == 2
    assert active_units(codes, threshold=0.0).item() == 3
    assert active_units(np.stack([codes, 10 * codes])).tolist() == [2, 3]
    with pytest.raises(ValueError, match="threshold must be >= 0, got -1"):
        active_units(codes, threshold=-1)


def test_total_correlation_of_codes_is_that_of_a_gaussian():
    rng = np.random.default_rng(0)
    codes = rng.normal(size=(500, 4)) @ rng.normal(size=(4, 4))
    covariance = np.cov(codes.T)
    expected = (np.log(np.diag(covariance)).sum() - np.linalg.slogdet(covariance)[1]) / 2
    assert close(code_total_correlation(codes), expected)
    dead = np.concatenate([codes, np.full((500, 2), 7.0)], 1)
    assert close(code_total_correlation(dead), expected)
    copied = np.concatenate([codes, codes[:, :1] * -3 + 1], 1)
    assert code_total_correlation(copied) == np.inf
    both = code_total_correlation(np.stack([copied, np.pad(codes, ((0, 0), (0, 1)))]))
    assert both[0] == np.inf
    assert close(both[1], expected)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda z, v: mig(z, v, bins=1), "bins must be a whole number >= 2, got 1"),
        (lambda z, v: mig(z, v, binning="log"), "binning must be 'width' or 'quantile', got 'log'"),
        (lambda z, v: i_m(z, v, estimator="knn"), "estimator must be 'gaussian' or 'histogram'"),
        (lambda z, v: sap(z, v, estimator="svm"), "estimator must be 'r2' or 'classifier'"),
        (lambda z, v: dci(z, v, predictor="forest"), "predictor must be 'trees' or 'lasso'"),
        (lambda z, v: dci(z[:9], v[:9]), "codes must hold at least 10 points for this score"),
        (lambda z, v: dci(z, v, seed=-1), "seed must be a whole number from 0 to .*, got -1"),
    ],
)
def test_bad_options_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call(*sample())
