"""Scores of how well simple predictors read the factors from the codes.

Codes have shape [*members, n, latents], factors [n, k]; a score has one entry for each member. A
predictor learns on two thirds of the points, drawn by `seed`, and is scored on the others. Fits run
side by side on as many threads as PyTorch has.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Bool, Float, Float64, Int64
from lightgbm import Booster, LGBMClassifier, LGBMRegressor
from numpy.typing import ArrayLike
from scipy.optimize import nnls
from sklearn.linear_model import LassoCV, LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.svm import LinearSVC
from torch import Tensor

from ibbook.metrics._inputs import (
    NOTHING,
    alive,
    as_classes,
    cleared,
    gap,
    is_whole,
    read_classes,
    read_codes,
    read_factors,
    split,
    standardised,
    with_rival,
)
from ibbook.metrics.mutual_information import squared_correlations

RIDGE = 1e-4  # beside the penalty of Lasso, for standardised codes


def sap(
    codes: Float[Tensor, "*members n latents"] | ArrayLike,
    factors: Tensor | ArrayLike,
    *,
    estimator: Literal["r2", "classifier"] = "r2",
    seed: int = 0,
) -> Float64[Tensor, "*members"]:
    """Separated attribute predictability: mean over factors of the two best codes' gap.

    "r2" scores a code for a factor by R^2 of the regression line, their squared correlation;
    "classifier" by the test accuracy of a linear support vector classifier that sees this code
    alone, and needs factors that are classes. The two differ widely on the same codes: say which.

    Source: Kumar, Sattigeri and Balakrishnan (2018), section 3, with R^2 for continuous factors and
    thresholds for discrete ones. Locatello et al. (2019) and Vu, Wan and Wei (2026) take the
    classifier for deep models; its penalty C = 0.01 and balanced classes are those of the former.
    The latter take R^2 for linear models. The penalty makes "classifier" depend on the scale of the
    codes; "r2" does not.

    Range [0, 1], no unit. Constant codes score 0, random ones about 1 / n by R^2 and a few
    hundredths or less by the classifier. A single code is compared with a constant one.

    >>> factors = torch.cartesian_prod(torch.arange(4), torch.arange(3))
    >>> round(sap(factors, factors).item(), 4)
    1.0
    """
    codes = with_rival(read_codes(codes))
    if estimator == "r2":
        return gap(squared_correlations(codes, read_factors(factors, codes))).mean(-1)
    if estimator != "classifier":
        raise ValueError(f"estimator must be 'r2' or 'classifier', got {estimator!r}")
    train, test = (part.numpy() for part in split(codes, seed))
    columns = _trainable([c.cpu().numpy() for c in read_classes(factors, codes)], train)

    def accuracy(code: np.ndarray, column: np.ndarray) -> float:
        model = LinearSVC(C=0.01, class_weight="balanced").fit(code[train], column[train])
        return model.score(code[test], column[test])

    members = _members(codes)
    jobs = [(z[:, [i]], c) for z in members for i in range(z.shape[1]) for c in columns]
    scores = codes.new_tensor(_side_by_side(accuracy, jobs))
    return gap(scores.reshape(*codes.shape[:-2], codes.shape[-1], len(columns))).mean(-1)


def axis_r2(
    codes: Float[Tensor, "*members n latents"] | ArrayLike, factors: Tensor | ArrayLike
) -> Float64[Tensor, "*members"]:
    """How well every factor lies along a latent: the least, over factors, of the best R^2.

    R^2 is the squared correlation of one latent with one factor. A factor turned into the plane of
    two latents by an angle t, both of unit variance, leaves cos^2 t to the better one.

    Range [0, 1], no unit; 1 where each factor is a linear function of one latent. Constant codes
    score 0, random codes of n points about 1 / n.

    >>> factors = torch.cartesian_prod(torch.arange(3), torch.arange(3)).double()
    >>> turn = torch.tensor([[0.8, -0.6], [0.6, 0.8]]).double()
    >>> f"{axis_r2(factors, factors):.2f}", f"{axis_r2(factors @ turn, factors):.2f}"
    ('1.00', '0.64')
    """
    codes = read_codes(codes)
    return squared_correlations(codes, read_factors(factors, codes)).amax(-2).amin(-1)


@dataclass(frozen=True)
class DCI:
    """Disentanglement, completeness and informativeness of each member; see `dci`."""

    disentanglement: Float64[Tensor, "*members"]
    completeness: Float64[Tensor, "*members"]
    informativeness: Float64[Tensor, "*members"]
    importance: Float64[Tensor, "*members latents k"]


def dci(
    codes: Float[Tensor, "*members n latents"] | ArrayLike,
    factors: Tensor | ArrayLike,
    *,
    predictor: Literal["trees", "lasso"] = "trees",
    seed: int = 0,
) -> DCI:
    """Disentanglement, completeness, informativeness from importances R[i, j] >= 0 of z_i for v_j.

    - disentanglement: sum_i w_i (1 - H(R[i, :] / sum) / ln k), with w_i the code's share of all R;
    - completeness: mean over factors of 1 - H(R[:, j] / sum) / ln latents;
    - informativeness: mean over factors of test accuracy, or of R^2 where a factor is continuous.

    "trees" takes the gain of the splits on z_i in 100 rounds of boosted trees of depth 3, divided
    by its sum for each factor: the setting of Locatello et al. (2019) with LightGBM in place of
    scikit-learn, whose importances it meets within 0.05 for codes without redundancy. Codes that
    can make the same split share its gain. Scikit-learn draws one of them at random, which is the
    same on average. A factor of whole numbers is classified, any other is regressed.

    "lasso" takes |w_i| of a linear regression on standardised codes and factors, its penalty chosen
    by cross-validation, as in Eastwood and Williams (2018), section 2, who report sqrt(1 - R^2) for
    informativeness. Copies share their weight.

    Locatello et al. (2019), in their disentanglement_lib, weight the factors in completeness by
    their shares of all R; here they count alike. For trees that is the same, unless no code tells
    of some factor: it counts as 0 here, and not at all there.

    Range [0, 1], no unit. Constant codes score 0 in all three. For random codes, trees give
    disentanglement and completeness near 0, and the informativeness of guessing: the frequency of
    the commonest class, or less; lasso gives an informativeness near 0 and any value for the other
    two, which then rest on a few tiny weights. Copies of a code lower completeness, not
    disentanglement: where every code of an ideal set has a copy, completeness is 1 - ln 2 / ln
    latents. With one factor disentanglement is 1, with one code completeness is.

    >>> factors = torch.cartesian_prod(torch.arange(4), torch.arange(4)).repeat(20, 1)
    >>> score = dci(factors, factors)
    >>> [f"{s:.2f}" for s in (score.disentanglement, score.completeness, score.informativeness)]
    ['1.00', '1.00', '1.00']
    """
    if predictor not in (fits := {"trees": _trees, "lasso": _lasso}):
        raise ValueError(f"predictor must be 'trees' or 'lasso', got {predictor!r}")
    codes = read_codes(codes)
    factors = read_factors(factors, codes)
    train, test = (part.numpy() for part in split(codes, seed))
    columns = [as_classes(c) if is_whole(c) else c for c in factors.T]
    columns = _trainable([c.cpu().numpy() for c in columns], train)

    def fit(z: np.ndarray, column: np.ndarray) -> tuple[np.ndarray, float]:
        order = np.lexsort(z[::-1])  # by their values: ties must not fall to the first column
        importance, quality = fits[predictor](z[:, order], column, train, test)
        return importance[order.argsort()], quality

    jobs = [(z, column) for z in _standardised(codes) for column in columns]
    importance, quality = zip(*_side_by_side(fit, jobs), strict=True)
    shape = codes.shape[:-2]
    importance = codes.new_tensor(np.array(importance)).reshape(*shape, len(columns), -1).mT
    quality = codes.new_tensor(quality).reshape(*shape, -1).mean(-1)
    weight = importance.sum(-1) / _positive(importance.sum((-2, -1)))[..., None]
    return DCI(
        disentanglement=(weight * _concentration(importance)).sum(-1),
        completeness=_concentration(importance.mT).mean(-1),
        informativeness=torch.where(alive(codes).any(-1), quality, 0.0),
        importance=importance,
    )


def explicitness(
    codes: Float[Tensor, "*members n latents"] | ArrayLike,
    factors: Tensor | ArrayLike,
    *,
    seed: int = 0,
) -> Float64[Tensor, "*members"]:
    """Mean area under the ROC curve of a logistic regression of each class against the rest.

    The area is the chance that a picture of the class ranks above one of another class. The mean is
    over the classes of a factor, then over factors; classes without a training or a test point
    are left out. Source: Ridgeway and Mozer (2018), section 3.

    Here each regression ranks by its own decision values, as in that source. Locatello et al.
    (2019), in their disentanglement_lib, rank by class probabilities, which are divided by their
    sum over the classes. These rise and fall along a line of codes, so that they also set a middle
    class apart. With two classes both are the same. With 3 to 40, where each factor has a code of
    its own with noise of 0.1 to 1 standard deviations, the score here is lower by 0.21 to 0.02.

    Range [0, 1], no unit; 1 where all codes together tell each class from the rest linearly. Random
    codes score about 0.5. Constant codes score 0.

    >>> factors = torch.cartesian_prod(torch.arange(2), torch.arange(2)).repeat(10, 1)
    >>> f"{explicitness(factors, factors):.3f}"
    '1.000'
    """
    codes = read_codes(codes)
    columns = [column.cpu().numpy() for column in read_classes(factors, codes)]
    train, test = (part.numpy() for part in split(codes, seed))
    targets = []
    for j, column in enumerate(columns):
        ranked = [
            (j, column == c)
            for c in np.unique(column)
            if all(0 < (column[part] == c).sum() < len(part) for part in (train, test))
        ]
        if not ranked:
            raise ValueError(
                f"factors[:, {j}] has no class with both a training and a test point; "
                "pass more points"
            )
        targets += ranked

    def area(z: np.ndarray, target: np.ndarray) -> float:
        model = LogisticRegression(max_iter=1000).fit(z[train], target[train])
        ranks = model.decision_function(z[test]).round(9)  # equal codes tie, whatever the rounding
        return roc_auc_score(target[test], ranks)

    members = _standardised(codes)
    areas = _side_by_side(area, [(z, target) for z in members for _, target in targets])
    areas = codes.new_tensor(areas).reshape(*codes.shape[:-2], len(targets))
    factor = torch.tensor([j for j, _ in targets], device=codes.device)
    means = [areas[..., factor == j].mean(-1) for j in range(len(columns))]
    return torch.where(alive(codes).any(-1), torch.stack(means).mean(0), 0.0)


def _trees(
    z: np.ndarray, column: np.ndarray, train: np.ndarray, test: np.ndarray
) -> tuple[np.ndarray, float]:
    kind = LGBMClassifier if column.dtype.kind == "i" else LGBMRegressor
    model = kind(
        n_estimators=100,
        max_depth=3,
        learning_rate=0.1,
        min_child_samples=1,
        min_child_weight=5.0,  # Newton's gain overrates splits that set few points apart
        max_bin=63,
        min_data_in_bin=1,
        deterministic=True,
        force_col_wise=True,
        n_jobs=1,
        verbose=-1,
    ).fit(z[train], column[train])
    gain = _shared_gain(z[train], model.booster_)
    quality = (
        model.score(z[test], column[test])
        if kind is LGBMClassifier
        else _r2(model.predict(z[test]), column, train, test)
    )
    return gain / (gain.sum() or 1), quality


def _lasso(
    z: np.ndarray, column: np.ndarray, train: np.ndarray, test: np.ndarray
) -> tuple[np.ndarray, float]:
    column = (column - column.mean()) / column.std()
    model = LassoCV(max_iter=10_000).fit(z[train], column[train])
    weights = _shared_weights(z[train], column[train], model.alpha_)
    return np.abs(weights), _r2(model.predict(z[test]), column, train, test)


def _shared_gain(
    z: Float64[np.ndarray, "n latents"], trees: Booster
) -> Float64[np.ndarray, "latents"]:
    """The gain of all splits for each code, where codes that can make the same split share it.

    Those are the codes of which some threshold parts all points z into the same two sets. LightGBM
    itself credits the first of them.
    """
    text = trees.model_to_string()
    code, threshold, gain = (
        np.array(" ".join(re.findall(rf"^{name}=(.+)$", text, re.MULTILINE)).split(), kind)
        for name, kind in (("split_feature", int), ("threshold", float), ("split_gain", float))
    )
    total = np.zeros(z.shape[1])
    for i in np.unique(code):
        ordered, mine = z[z[:, i].argsort()], code == i
        place = ordered[:, i].searchsorted(threshold[mine], side="right")
        cuts, which = np.unique(place, return_inverse=True)
        able = _rises(ordered, cuts) | _rises(-ordered, cuts)
        total += (np.bincount(which, gain[mine]) / able.sum(1)) @ able
    return total


def _rises(
    z: Float64[np.ndarray, "n latents"], cuts: Int64[np.ndarray, "c"]
) -> Bool[np.ndarray, "c latents"]:
    """Whether all values of a code before row `cut` are below all from there on."""
    starts = np.concatenate([[0], cuts])
    low, high = np.minimum.reduceat(z, starts), np.maximum.reduceat(z, starts)
    before = np.maximum.accumulate(high)[:-1]
    after = np.minimum.accumulate(low[::-1])[::-1][1:]
    return before < after


def _shared_weights(
    z: Float64[np.ndarray, "n latents"], target: Float64[np.ndarray, "n"], penalty: float
) -> Float64[np.ndarray, "latents"]:
    """w that minimises |target - z w|^2 / 2n + penalty sum_i |w_i| + RIDGE |w|^2 / 2.

    Lasso's weights are not unique where codes are copies, and its descent, coordinate by
    coordinate, stops early where they nearly are. A little ridge makes them unique, and equal for
    copies (Zou and Hastie, 2005, section 2.3). With w = u - v, u and v >= 0, the weights solve a
    least-squares problem in non-negative unknowns.
    """
    z, target = z - z.mean(0), target - target.mean()
    gram, moment = z.T @ z / len(z), z.T @ target / len(z)
    root = np.linalg.cholesky(np.kron([[1, -1], [-1, 1]], gram) + RIDGE * np.eye(2 * len(gram)))
    u, v = nnls(root.T, np.linalg.solve(root, np.r_[moment, -moment] - penalty))[0].reshape(2, -1)
    return np.where(np.abs(u - v) > NOTHING, u - v, 0.0)


def _r2(predicted: np.ndarray, column: np.ndarray, train: np.ndarray, test: np.ndarray) -> float:
    """Test R^2 against the mean of the training points; 0 for a predictor that is worse."""
    error = np.square(column[test] - predicted).sum()
    baseline = np.square(column[test] - column[train].mean()).sum()
    return max(0.0, 1 - error / baseline) if baseline > 0 else 0.0


def _concentration(importance: Float64[Tensor, "*batch a b"]) -> Float64[Tensor, "*batch a"]:
    """1 - entropy of each row over its largest value, ln b; 0 for a row of zeros."""
    total = importance.sum(-1)
    entropy = torch.special.entr(importance / _positive(total)[..., None]).sum(-1)
    most = float(np.log(max(importance.shape[-1], 2)))
    return torch.where(total > 0, cleared(1 - entropy / most), 0.0)


def _positive(total: Tensor) -> Tensor:
    return total.clamp(min=torch.finfo(total.dtype).tiny)


def _trainable(columns: list[np.ndarray], train: np.ndarray) -> list[np.ndarray]:
    for j, column in enumerate(columns):
        if (column[train] == column[train[0]]).all():
            raise ValueError(
                f"factors[:, {j}] has one value in all {len(train)} training points; "
                "pass more points, or leave that factor out"
            )
    return columns


def _members(codes: Float64[Tensor, "*members n latents"]) -> list[np.ndarray]:
    return list(codes.reshape(-1, *codes.shape[-2:]).cpu().numpy())


def _standardised(codes: Float64[Tensor, "*members n latents"]) -> list[np.ndarray]:
    """Standardised codes, in which values that differ by rounding alone are equal."""
    members = codes.reshape(-1, *codes.shape[-2:])
    return [standardised(z).cpu().numpy().round(9) for z in members]


def _side_by_side(fit: Callable[..., Any], jobs: Iterable[tuple[Any, ...]]) -> list[Any]:
    with ThreadPoolExecutor(torch.get_num_threads()) as pool:
        return list(pool.map(lambda job: fit(*job), jobs))
