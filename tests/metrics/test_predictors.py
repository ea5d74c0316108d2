"""SAP by classifier, DCI and explicitness against scikit-learn, written plainly."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from lightgbm import LGBMClassifier
from scipy.stats import entropy
from sklearn.ensemble import GradientBoostingClassifier, GradientBoostingRegressor
from sklearn.linear_model import Lasso, LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.svm import LinearSVC

from ibbook.metrics import axis_r2, dci, explicitness, sap
from ibbook.metrics.predictors import RIDGE, _concentration, _shared_gain, _shared_weights


def sample(n=900, sizes=(3, 4), mix=0.0, noise=0.3, seed=0):
    """Noisy, mixed copies of random factors and two codes of noise alone."""
    rng = np.random.default_rng(seed)
    factors = np.stack([rng.integers(0, s, n) for s in sizes], 1)
    clean = (factors - factors.mean(0)) / factors.std(0)
    turn = np.array([[np.cos(mix), np.sin(mix)], [-np.sin(mix), np.cos(mix)]])
    codes = clean @ turn + noise * rng.normal(size=clean.shape)
    return np.concatenate([codes, rng.normal(size=(n, 2))], 1), factors


def split(n, seed=0):
    order = torch.randperm(n, generator=torch.Generator().manual_seed(seed)).numpy()
    return order[: 2 * n // 3], order[2 * n // 3 :]


def close(a, b, tolerance=1e-9):
    return np.allclose(np.asarray(a), np.asarray(b), rtol=0, atol=tolerance)


def test_sap_by_classifier_is_that_of_disentanglement_lib():
    codes, factors = sample(mix=0.4)
    train, test = split(len(codes), seed=3)
    scores = np.zeros((4, 2))
    for i in range(4):
        for j in range(2):
            model = LinearSVC(C=0.01, class_weight="balanced")
            model.fit(codes[train, i : i + 1], factors[train, j])
            scores[i, j] = np.mean(model.predict(codes[test, i : i + 1]) == factors[test, j])
    ordered = np.sort(scores, 0)
    expected = np.mean(ordered[-1] - ordered[-2])
    assert expected > 0.1
    assert close(sap(codes, factors, estimator="classifier", seed=3), expected)


@pytest.mark.parametrize("mix", [0.0, 0.35, 0.8])
def test_tree_importances_agree_with_gradient_boosting_of_scikit_learn(mix):
    codes, factors = sample(mix=mix)
    train, test = split(len(codes))
    plain, accuracy = [], []
    for v in factors.T:
        model = GradientBoostingClassifier(random_state=0).fit(codes[train], v[train])
        plain.append(model.feature_importances_)
        accuracy.append(model.score(codes[test], v[test]))
    ours = dci(codes, factors)
    assert close(ours.importance.sum(-2), 1.0)
    assert close(ours.importance.T, plain, 0.03)
    assert close(ours.informativeness, np.mean(accuracy), 0.03)
    importance = np.stack(plain, 1) + 1e-11
    disentanglement = 1 - entropy(importance, axis=1, base=2)
    completeness = 1 - entropy(importance, axis=0, base=4)
    assert close(ours.disentanglement, disentanglement @ importance.sum(1) / 2, 0.04)
    assert close(ours.completeness, completeness.mean(), 0.04)


def test_trees_regress_a_continuous_factor():
    codes, factors = sample()
    values = factors[:, :1] + 0.05 * np.random.default_rng(1).normal(size=(len(codes), 1))
    train, test = split(len(codes))
    model = GradientBoostingRegressor(random_state=0).fit(codes[train], values[train, 0])
    ours = dci(codes, values)
    assert close(ours.importance[:, 0], model.feature_importances_, 0.05)
    assert close(ours.informativeness, model.score(codes[test], values[test, 0]), 0.03)


def test_trees_see_only_the_order_of_values():
    codes, factors = sample(300)
    bent = np.stack([np.exp(codes[:, 0]), codes[:, 1] ** 3, *codes[:, 2:].T], 1)
    ours, other = dci(bent, factors), dci(codes, factors)
    assert close(ours.importance, other.importance, 0.02)


def test_lasso_importances_are_the_weights_of_the_linear_map():
    rng = np.random.default_rng(0)
    codes = rng.normal(size=(20_000, 3)) * [1, 5, 0.2]
    unit = codes / codes.std(0)
    factors = np.stack([3 * unit[:, 0] - 4 * unit[:, 1], unit[:, 2]], 1)
    ours = dci(codes, factors, predictor="lasso")
    assert close(ours.importance, [[0.6, 0], [0.8, 0], [0, 1]], 0.02)
    shares = np.array([3, 4]) / 7
    assert close(ours.completeness, (1 - entropy(shares) / np.log(3) + 1) / 2, 0.02)
    assert close(ours.disentanglement, 1.0, 0.02)
    assert close(ours.informativeness, 1.0, 0.001)


def test_informativeness_of_lasso_is_r_squared():
    rng = np.random.default_rng(0)
    factors = rng.normal(size=(20_000, 1))
    codes = factors + rng.normal(size=(20_000, 1))
    ours = dci(codes, factors, predictor="lasso")
    assert close(ours.informativeness, 0.5, 0.02)
    assert close(ours.disentanglement, 1.0)
    assert close(ours.completeness, 1.0)


predictors = pytest.mark.parametrize("predictor", ["trees", "lasso"])
TINY = 1e-10 * np.random.default_rng(7).normal(size=(1200, 4))


@predictors
@pytest.mark.parametrize(
    "copies",
    [
        lambda v: [v],
        lambda v: [-v],
        lambda v: [v, 3 * v + 1],
        lambda v: [v + TINY],
        lambda v: [v[:, ::-1], 1 - 0.1 * v],
    ],
)
def test_codes_that_are_all_the_factors_several_times_score_the_ideal(predictor, copies):
    """m copies share alike: completeness 1 - ln m / ln(m k), and disentanglement stays 1."""
    factors = np.random.default_rng(0).integers(0, 6, (1200, 4))
    codes = np.concatenate([factors, *copies(factors)], 1)
    m = codes.shape[1] // 4
    ours = dci(codes, factors, predictor=predictor)
    assert close(ours.completeness, 1 - np.log(m) / np.log(4 * m), 0.01)
    assert close(ours.disentanglement, 1.0, 0.01)
    assert close(ours.informativeness, 1.0, 0.001)


@predictors
def test_importances_follow_the_codes_whatever_their_order(predictor):
    """Beside independent codes: copies, a near copy, a coarse one, one that is a copy in part."""
    codes, factors = sample(400, mix=0.3)
    rng = np.random.default_rng(1)
    first = codes[:, :1]
    redundant = [first, -first, first + 0.01 * rng.normal(size=first.shape), np.round(first)]
    redundant += [np.where(codes[:, 1:2] > 0, first, 0.5)]
    codes = np.concatenate([codes, *redundant], 1)
    expected = dci(codes, factors, predictor=predictor).importance
    for _ in range(3):
        order = rng.permutation(codes.shape[1])
        ours = dci(codes[:, order], factors, predictor=predictor).importance
        assert close(ours, expected[order])


def test_gain_is_shared_as_scikit_learn_draws_on_average():
    """A code, its copy but for a little noise within the classes, and which half it lies in."""
    rng = np.random.default_rng(0)
    factors = rng.integers(0, 4, (450, 1))
    near = factors + 0.01 * rng.normal(size=factors.shape)
    codes = np.concatenate([factors, near, factors > 1, rng.normal(size=(450, 1))], 1)
    train, _ = split(450)
    drawn = [
        GradientBoostingClassifier(random_state=s)
        .fit(codes[train], factors[train, 0])
        .feature_importances_
        for s in range(8)
    ]
    ours = dci(codes, factors).importance[:, 0]
    assert close(ours, np.mean(drawn, 0), 0.04)
    assert 0.02 < ours[2] < 0.1


def test_shared_gain_is_that_of_a_search_of_all_thresholds():
    codes, factors = sample(100, mix=0.3)
    near = codes + 0.01 * np.random.default_rng(1).normal(size=codes.shape)
    for z in (codes, np.concatenate([codes, near, np.round(codes), -codes], 1)):
        model = LGBMClassifier(n_estimators=5, verbose=-1, n_jobs=1).fit(z, factors[:, 1])
        expected, shared = np.zeros(z.shape[1]), 0
        trees = [tree["tree_structure"] for tree in model.booster_.dump_model()["tree_info"]]
        while trees:
            node = trees.pop()
            if "split_gain" not in node:
                continue
            trees += [node["left_child"], node["right_child"]]
            left = z[:, node["split_feature"]] <= node["threshold"]
            able = [
                any(np.array_equal(c <= t, side) for side in (left, ~left) for t in c) for c in z.T
            ]
            expected += node["split_gain"] * np.array(able) / sum(able)
            shared += sum(able) > 1
        assert (shared > 0) == (z.shape[1] > 4)
        ours = _shared_gain(z, model.booster_)
        assert np.allclose(ours, expected, rtol=1e-4)
        if not shared:
            own = model.booster_.feature_importance("gain")
            assert np.allclose(ours, own, rtol=1e-4)


@pytest.mark.parametrize("penalty", [0.01, 0.1, 0.4])
def test_shared_weights_are_those_of_lasso_where_it_has_only_one_solution(penalty):
    rng = np.random.default_rng(0)
    z = rng.normal(size=(300, 6)) @ rng.normal(size=(6, 6))
    z /= z.std(0)
    target = z[:, 0] - 0.5 * z[:, 3] + rng.normal(size=300)
    known = Lasso(penalty, tol=1e-12, max_iter=100_000).fit(z, target).coef_
    assert close(_shared_weights(z, target, penalty), known, 2e-3)
    assert 0 < (known != 0).sum() < 6


def test_shared_weights_meet_the_conditions_of_the_optimum():
    """Covariances with what is left are the penalty and the ridge's pull where w is not 0."""
    rng = np.random.default_rng(0)
    z = rng.normal(size=(300, 6))
    z = np.concatenate([z, z, -z[:, :2] + 1e-6 * rng.normal(size=(300, 2))], 1)
    z, target = z - z.mean(0), z[:, 0] - 0.5 * z[:, 3] + rng.normal(size=300)
    target = target - target.mean()
    w = _shared_weights(z, target, 0.05)
    slope = z.T @ (target - z @ w) / 300 - RIDGE * w
    assert close(slope[w != 0], 0.05 * np.sign(w[w != 0]))
    assert np.abs(slope).max() < 0.05 + 1e-9
    assert close(w[:6], w[6:12])
    assert close(w[0], -w[12], 0.01)
    most = np.abs(z.T @ target / 300).max()
    assert not _shared_weights(z, target, most).any()  # where rounding alone is left


@given(hnp.arrays(np.float64, (3, 4), elements=st.sampled_from([0.0, 0.1, 1.0, 7.0])))
def test_concentration_is_one_less_the_normalised_entropy(importance):
    ours = _concentration(torch.tensor(importance))
    for row, value in zip(importance, ours, strict=True):
        expected = 1 - entropy(row, base=4) if row.any() else 0
        assert close(value, expected)


def test_dci_of_members_with_dead_and_live_codes():
    codes, factors = sample(300)
    result = dci(np.stack([codes, np.zeros_like(codes)]), factors)
    assert result.importance.shape == (2, 4, 2)
    assert (result.importance[1] == 0).all()
    assert result.informativeness[0] > 0.8
    half = codes.copy()
    half[:, 1] = 2.0
    dead = dci(half, factors)
    assert (dead.importance[1] == 0).all()
    assert dead.informativeness < result.informativeness[0] - 0.1


def test_explicitness_is_the_mean_area_of_one_against_the_rest():
    codes, factors = sample(400, sizes=(3, 2), mix=0.3)
    train, test = split(len(codes), seed=1)
    unit = (codes - codes.mean(0)) / codes.std(0)
    means = []
    for v in factors.T:
        areas = []
        for c in np.unique(v):
            model = LogisticRegression().fit(unit[train], v[train] == c)
            areas.append(roc_auc_score(v[test] == c, model.predict_proba(unit[test])[:, 1]))
        means.append(np.mean(areas))
    assert close(explicitness(codes, factors, seed=1), np.mean(means), 1e-3)


@pytest.mark.parametrize(("classes", "low", "high"), [(2, -1e-3, 1e-3), (5, 0.02, 0.21)])
@pytest.mark.parametrize("noise", [0.1, 1.0])
def test_explicitness_is_below_that_of_disentanglement_lib_by_what_it_says(
    classes, low, high, noise
):
    codes, factors = sample(1500, sizes=(classes, classes), noise=noise)
    train, test = split(len(codes))
    unit = (codes - codes.mean(0)) / codes.std(0)
    areas = []
    for v in factors.T:
        chance = LogisticRegression(max_iter=1000).fit(unit[train], v[train])
        chance = chance.predict_proba(unit[test])
        areas += [roc_auc_score(v[test] == c, chance[:, c]) for c in range(classes)]
    assert low <= np.mean(areas) - explicitness(codes, factors).item() <= high


def test_explicitness_leaves_out_classes_that_it_cannot_rank():
    codes, factors = sample(90)
    factors[0] = 9  # one point only: in training or in test
    score = explicitness(codes, factors).item()
    assert 0.8 < score < 1
    with pytest.raises(ValueError, match=r"factors\[:, 1\] has no class with both a training"):
        explicitness(codes, np.stack([factors[:, 0], np.arange(90)], 1))


@pytest.mark.parametrize("score", [dci, lambda z, v: sap(z, v, estimator="classifier")])
def test_a_factor_must_vary_among_the_training_points(score):
    codes, _ = sample(90)
    factors = np.zeros((90, 1), dtype=int)
    factors[split(90)[1][0]] = 1
    with pytest.raises(ValueError, match=r"factors\[:, 0\] has one value in all 60 training"):
        score(codes, factors)


def test_the_split_is_drawn_by_the_seed_and_fits_do_not_depend_on_threads():
    codes, factors = sample(300)
    scores = [sap(codes, factors, estimator="classifier", seed=s).item() for s in (0, 0, 1)]
    assert scores[0] == scores[1] != scores[2]
    one = dci(codes, factors).importance
    torch.set_num_threads(3)
    try:
        assert (dci(codes, factors).importance == one).all()
    finally:
        torch.set_num_threads(1)


@pytest.mark.parametrize("degrees", [0, 13, 30, 45])
def test_axis_r2_of_a_turned_grid_is_the_squared_cosine(degrees):
    factors = torch.cartesian_prod(torch.arange(7), torch.arange(7)).double()
    angle = np.radians(degrees)
    turn = torch.tensor([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    codes = torch.stack([factors @ turn, factors @ turn * torch.tensor([-3.0, 1.0])])
    assert close(axis_r2(codes, factors), np.cos(angle) ** 2)


def test_axis_r2_is_that_of_the_factor_that_fares_worse_and_0_where_codes_are_constant():
    codes, factors = sample(n=4000)
    best = np.corrcoef(codes.T, factors.T)[:4, 4:] ** 2
    assert close(axis_r2(codes, factors), best.max(0).min())
    assert axis_r2(np.zeros((9, 2)), np.arange(9)[:, None]) == 0
