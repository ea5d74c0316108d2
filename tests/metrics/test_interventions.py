"""The beta-VAE and FactorVAE scores against plain loops, and by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression

from ibbook.metrics import beta_vae_score, factor_vae_score
from ibbook.metrics.interventions import _drawn, _sharing

few = {"train": 600, "test": 600}


def sample(n=1200, sizes=(3, 4, 6), noise=0.3, seed=0):
    rng = np.random.default_rng(seed)
    factors = np.stack([rng.integers(0, s, n) for s in sizes], 1)
    clean = (factors - factors.mean(0)) / factors.std(0)
    return clean + noise * rng.normal(size=clean.shape), factors


def plain_beta_vae(codes, factors, train, test, pairs, seed):
    """Higgins et al. (2017) in loops, with the standard deviations taken out of the codes."""
    rng = np.random.default_rng(seed)
    codes = codes / codes.std(0)
    features, labels = [], []
    for _ in range(train + test):
        j = rng.integers(factors.shape[1])
        differences = []
        for a in rng.integers(len(codes), size=pairs):
            same = np.flatnonzero(factors[:, j] == factors[a, j])
            b = rng.choice(same[same != a])
            differences.append(np.abs(codes[a] - codes[b]))
        features.append(np.mean(differences, 0))
        labels.append(j)
    model = LogisticRegression(max_iter=1000).fit(features[:train], labels[:train])
    return model.score(features[train:], labels[train:])


def plain_factor_vae(codes, factors, train, test, size, seed):
    """Kim and Mnih (2018) in loops."""
    rng = np.random.default_rng(seed)
    codes = codes / codes.std(0)
    votes, labels = [], []
    for _ in range(train + test):
        j = rng.integers(factors.shape[1])
        value = factors[rng.integers(len(codes)), j]
        group = rng.choice(np.flatnonzero(factors[:, j] == value), size)
        votes.append(codes[group].var(0, ddof=1).argmin())
        labels.append(j)
    votes, labels = np.array(votes), np.array(labels)
    table = np.zeros((codes.shape[1], factors.shape[1]))
    np.add.at(table, (votes[:train], labels[:train]), 1)
    return np.mean(table.argmax(1)[votes[train:]] == labels[train:])


@pytest.mark.parametrize(
    ("plain", "score", "size", "noise"),
    [
        (plain_beta_vae, beta_vae_score, "pairs", 1.0),
        (plain_factor_vae, factor_vae_score, "size", 1.0),
    ],
)
def test_scores_equal_plain_loops_up_to_the_draws(plain, score, size, noise):
    codes, factors = sample(noise=noise)
    codes = np.concatenate([codes, codes[:, :1] + codes[:, 1:2]], 1)
    loops = [plain(codes, factors, 500, 500, 8, seed) for seed in range(4)]
    ours = [score(codes, factors, train=500, test=500, **{size: 8}, seed=s) for s in range(4)]
    spread = np.hypot(np.std(loops), np.std(ours)) / np.sqrt(3)
    assert 0.4 < np.mean(loops) < 0.9  # neither guessing nor perfect
    assert abs(np.mean(loops) - np.mean(ours)) < max(3 * spread, 0.02)


@settings(max_examples=30)
@given(st.integers(0, 1000), st.integers(2, 5), st.integers(4, 30))
def test_rows_of_a_group_share_the_class_and_the_first_comes_once(seed, size, n):
    generator = torch.Generator().manual_seed(seed)
    column = torch.randint(0, 3, (n,), generator=generator)
    rows = _sharing(column, 0, 50, size, generator)
    assert rows.shape == (50, size)
    assert (column[rows] == column[rows[:, :1]]).all()
    assert (rows[:, 1:] != rows[:, :1]).all()


def test_groups_draw_their_class_and_their_rows_as_the_pictures_do():
    column = torch.tensor([0] * 10 + [1] * 30 + [2])  # the one row of class 2 has no partner
    rows = _sharing(column, 0, 20_000, 2, torch.Generator().manual_seed(0))
    share = torch.bincount(column[rows[:, 0]], minlength=3) / len(rows)
    assert torch.allclose(share, torch.tensor([0.25, 0.75, 0.0]), atol=0.02)
    each = torch.bincount(rows[:, 1], minlength=41)[:40] / len(rows)
    assert torch.allclose(each, torch.full((40,), 1 / 40), atol=0.006)


def test_labels_are_the_factors_that_their_groups_share():
    codes, factors = sample(100)
    labels, rows = _drawn(torch.tensor(codes), factors, 200, 100, 3, 4, seed=0)
    assert rows.shape == (300, 3, 4)
    for label, groups in zip(labels, rows, strict=True):
        shared = factors[groups, label]
        assert (shared == shared[:, :1]).all()
    assert torch.bincount(labels).min() > 60
    assert not set(rows[:200].flatten().tolist()) & set(rows[200:].flatten().tolist())


def test_a_vote_for_one_of_two_factors_by_hand():
    """z_0 = v_0 and z_1 is noise: groups of v_1 split their votes, and the majority errs there.

    Half the groups share v_0 and vote for z_0. The others vote for either with chance 1 / 2, since
    both vary as much within them. z_0 stands for v_0, z_1 for v_1: accuracy 1/2 + 1/2 * 1/2.
    """
    rng = np.random.default_rng(0)
    factors = rng.integers(0, 4, (40_000, 2))
    codes = np.stack([factors[:, 0], rng.integers(0, 4, 40_000)], 1)
    score = factor_vae_score(codes, factors, train=4000, test=4000).item()
    assert abs(score - 0.75) < 0.03


def test_variances_are_relative_to_each_codes_own():
    codes, factors = sample(noise=0.1)
    scaled = codes * [1e-3, 1.0, 1e3]
    assert factor_vae_score(scaled, factors, **few) == factor_vae_score(codes, factors, **few)
    assert factor_vae_score(scaled, factors, **few) == 1


def test_collapsed_codes_below_the_threshold_have_no_vote():
    codes, factors = sample(noise=0.1)
    faint = 0.01 * codes[:, :1]  # knows the first factor, but a collapsed latent does not count
    others = np.concatenate([faint, codes[:, 1:]], 1)
    assert factor_vae_score(others, factors, **few) == 1
    cut = factor_vae_score(others, factors, threshold=0.1, **few)
    assert cut == factor_vae_score(codes * [0, 1, 1], factors, **few)
    assert cut < 0.9
    assert factor_vae_score(codes, factors, threshold=5.0, **few) == 0


@pytest.mark.parametrize("score", [beta_vae_score, factor_vae_score])
def test_random_codes_are_guessed_even_where_classes_are_small(score):
    """A picture paired with itself, likelier in small classes, would give the factor away."""
    scores = []
    for seed in range(8):
        rng = np.random.default_rng(seed)
        factors = np.stack([rng.integers(0, 2, 600), rng.integers(0, 30, 600)], 1)
        codes = rng.normal(size=(600, 20))
        scores.append(score(codes, factors, train=600, test=600).item())
    assert abs(np.mean(scores) - 0.5) < 0.08


def test_the_seed_draws_the_groups():
    codes, factors = sample(noise=2.0)
    for score in (beta_vae_score, factor_vae_score):
        values = [score(codes, factors, seed=s, **few).item() for s in (0, 0, 1)]
        assert values[0] == values[1] != values[2]


@pytest.mark.parametrize("score", [beta_vae_score, factor_vae_score])
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"train": 0}, "train must be a whole number >= 1, got 0"),
        ({"test": 0.5}, "test must be a whole number >= 1, got 0.5"),
        ({"seed": -1}, "seed must be a whole number from 0 to .*, got -1"),
    ],
)
def test_bad_sizes_are_named(score, options, message):
    codes, factors = sample(60)
    with pytest.raises(ValueError, match=message):
        score(codes, factors, **(few | options))


def test_bad_groups_are_named():
    codes, factors = sample(60)
    with pytest.raises(ValueError, match="pairs must be a whole number >= 1, got 0"):
        beta_vae_score(codes, factors, pairs=0)
    with pytest.raises(ValueError, match="size must be a whole number >= 2, got 1"):
        factor_vae_score(codes, factors, size=1)
    with pytest.raises(ValueError, match="threshold must be >= 0, got nan"):
        factor_vae_score(codes, factors, threshold=float("nan"))
    with pytest.raises(ValueError, match="factors must have at least 2 columns"):
        factor_vae_score(codes, factors[:, :1])
    with pytest.raises(ValueError, match=r"factors\[:, 1\] has no class that two of 40 points"):
        beta_vae_score(codes, np.stack([factors[:, 0], np.arange(60)], 1))
