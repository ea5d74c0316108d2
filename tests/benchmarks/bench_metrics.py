"""The five common scores against the same definitions, written plainly with scikit-learn.

Run with `pytest -s tests/benchmarks/bench_metrics.py`. Goal: MIG, SAP, DCI, FactorVAE and beta-VAE
score of 10,000 points with 10 latents and the 5 factors of dSprites in under 5 s on 2 cores. The
plain side takes minutes, nearly all of them for the trees of DCI, so those learn each factor with
fewer classes in full and the time of the others is extrapolated: it is proportional to the number
of trees, 100 for each class.

On two cores of an AMD EPYC all five took 3.1 s, of which DCI's trees took 2.6, and the plain side
about 196 s. Sharing the gain of equal splits has since added an eighth: on two busy cores of an
Intel Xeon all five take 8.2 s of processor time in all with it, and took 7.3 s without.
"""

from __future__ import annotations

import time

import numpy as np
import pytest
import torch
from scipy.stats import entropy
from sklearn.ensemble import GradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import mutual_info_score
from sklearn.svm import LinearSVC

from ibbook.metrics import beta_vae_score, dci, factor_vae_score, mig, sap

POINTS, SIZES, LATENTS = 10_000, (3, 6, 40, 32, 32), 10
TRAIN, TEST, BATCH = 10_000, 5_000, 64


def sample(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Codes of which five follow a factor each, a little mixed, and five are noise."""
    rng = np.random.default_rng(seed)
    factors = np.stack([rng.integers(0, s, POINTS) for s in SIZES], 1)
    unit = (factors - factors.mean(0)) / factors.std(0)
    mixed = unit + 0.3 * unit[:, [1, 2, 3, 4, 0]] + 0.2 * rng.normal(size=unit.shape)
    noise = rng.normal(size=(POINTS, LATENTS - len(SIZES)))
    return np.concatenate([mixed, noise], 1), factors


def split() -> tuple[np.ndarray, np.ndarray]:
    order = torch.randperm(POINTS, generator=torch.Generator().manual_seed(0)).numpy()
    return order[: 2 * POINTS // 3], order[2 * POINTS // 3 :]


def top_gap(scores: np.ndarray) -> np.ndarray:
    ordered = np.sort(scores, 0)
    return ordered[-1] - ordered[-2]


def plain_mig(codes, factors):
    binned = [np.digitize(z, np.histogram_bin_edges(z, 20)[:-1]) for z in codes.T]
    information = [[mutual_info_score(v, z) for v in factors.T] for z in binned]
    return np.mean(top_gap(information) / [mutual_info_score(v, v) for v in factors.T])


def plain_sap(codes, factors):
    return np.mean(top_gap([[np.corrcoef(z, v)[0, 1] ** 2 for v in factors.T] for z in codes.T]))


def plain_sap_classifier(codes, factors):
    train, test = split()
    scores = np.zeros((codes.shape[1], factors.shape[1]))
    for i, j in np.ndindex(scores.shape):
        model = LinearSVC(C=0.01, class_weight="balanced")
        model.fit(codes[train, i : i + 1], factors[train, j])
        scores[i, j] = model.score(codes[test, i : i + 1], factors[test, j])
    return np.mean(top_gap(scores))


def plain_importances(codes, factors, chosen):
    train, _ = split()
    fits = [GradientBoostingClassifier(random_state=0) for _ in chosen]
    for model, j in zip(fits, chosen, strict=True):
        model.fit(codes[train], factors[train, j])
    return np.stack([model.feature_importances_ for model in fits], 1)


def groups(factors, rows, rng, draws, size):
    """A factor and rows that share a class of it, `draws` times."""
    members = [[rows[factors[rows, j] == c] for c in range(s)] for j, s in enumerate(SIZES)]
    for _ in range(draws):
        j = rng.integers(len(SIZES))
        yield j, [members[j][factors[a, j]] for a in rng.choice(rows, size)]


def plain_beta_vae(codes, factors):
    rng, features, labels = np.random.default_rng(0), [], []
    codes = codes / codes.std(0)
    for rows, draws in zip(split(), (TRAIN, TEST), strict=True):
        for j, same in groups(factors, rows, rng, draws, BATCH):
            pairs = np.array([rng.choice(s, 2, replace=False) for s in same])
            features.append(np.abs(codes[pairs[:, 0]] - codes[pairs[:, 1]]).mean(0))
            labels.append(j)
    model = LogisticRegression(max_iter=1000).fit(features[:TRAIN], labels[:TRAIN])
    return model.score(features[TRAIN:], labels[TRAIN:])


def plain_factor_vae(codes, factors):
    rng, votes = np.random.default_rng(0), []
    variances = codes.var(0, ddof=1)
    for rows, draws in zip(split(), (TRAIN, TEST), strict=True):
        for j, same in groups(factors, rows, rng, draws, 1):
            group = codes[rng.choice(same[0], BATCH)]
            votes.append(((group.var(0, ddof=1) / variances).argmin(), j))
    table = np.zeros((codes.shape[1], factors.shape[1]))
    for code, j in votes[:TRAIN]:
        table[code, j] += 1
    named = table.argmax(1)
    return np.mean([named[code] == j for code, j in votes[TRAIN:]])


def timed(function, *arguments):
    begun = time.perf_counter()
    value = function(*arguments)
    return value, time.perf_counter() - begun


@pytest.fixture(autouse=True)
def two_threads():
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(threads)


def ours(codes, factors):
    parts = {
        "mig": mig,
        "sap": sap,
        "sap_classifier": lambda z, v: sap(z, v, estimator="classifier"),
        "beta_vae_score": beta_vae_score,
        "factor_vae_score": factor_vae_score,
        "dci": dci,
    }
    return {name: timed(score, codes, factors) for name, score in parts.items()}


def test_five_scores(benchmark):
    codes, factors = sample()
    scores = benchmark.pedantic(ours, (codes, factors), rounds=3, warmup_rounds=1)
    total = benchmark.stats.stats.min
    plain = {
        "mig": timed(plain_mig, codes, factors),
        "sap": timed(plain_sap, codes, factors),
        "sap_classifier": timed(plain_sap_classifier, codes, factors),
        "beta_vae_score": timed(plain_beta_vae, codes, factors),
        "factor_vae_score": timed(plain_factor_vae, codes, factors),
    }
    chosen = [0, 1]
    importance, seconds = timed(plain_importances, codes, factors, chosen)
    trees = seconds * sum(SIZES) / sum(SIZES[j] for j in chosen)
    print()
    for name, (value, spent) in plain.items():
        value, own = float(value), scores[name][1]
        print(
            f"{name}: ours {scores[name][0].item():.4f} in {own:.2f} s, plain {value:.4f} in "
            f"{spent:.2f} s ({spent / own:.1f} times)"
        )
    result, own = scores["dci"]
    worst = np.abs(result.importance[:, chosen].numpy() - importance).max()
    disentangled = [
        1 - entropy(r + 1e-11, axis=1, base=len(chosen))
        for r in (result.importance[:, chosen].numpy(), importance)
    ]
    alike = np.abs(disentangled[0] - disentangled[1])[: len(chosen)].max()
    print(
        f"dci: ours in {own:.2f} s, plain about {trees:.0f} s ({trees / own:.0f} times; "
        f"{seconds:.0f} s for the factors of {[SIZES[j] for j in chosen]} classes); importances of "
        f"those differ by {worst:.3f} at most, disentanglement of their codes by {alike:.3f}"
    )
    everything = sum(spent for _, spent in plain.values()) + trees
    print(
        f"all: ours {total:.2f} s, plain about {everything:.0f} s ({everything / total:.0f} times)"
    )
    benchmark.extra_info |= {"plain_ratio": everything / total, "importances": worst}
    for name in ("mig", "sap", "sap_classifier"):
        assert abs(plain[name][0] - scores[name][0].item()) < 1e-9
    for name in ("beta_vae_score", "factor_vae_score"):
        assert abs(plain[name][0] - scores[name][0].item()) < 0.02
    assert worst < 0.05
