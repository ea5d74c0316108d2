"""Hard clusters, merged by price."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given

from ibbook.bottleneck import merge_tree
from tests.bottleneck.joints import information, joints, random_joint


def entropy(p: np.ndarray) -> float:
    return -(p * np.log(p)).sum()


def replayed(pxy: np.ndarray):
    """For each merge the clusters p(t, y) before it, by number, and the merge."""
    clusters = dict(enumerate(pxy))
    for j, merge in enumerate(merge_tree(pxy)):
        yield dict(clusters), merge
        clusters[len(pxy) + j] = clusters.pop(merge.first) + clusters.pop(merge.second)
    assert len(clusters) == 1


def trade(clusters: dict, a: int, b: int) -> tuple[float, float]:
    """What a merge saves and loses, from the definitions of H(T) and I(T;Y)."""
    rest = [mass for t, mass in clusters.items() if t not in (a, b)]
    before = np.stack([*rest, clusters[a], clusters[b]])
    after = np.stack([*rest, clusters[a] + clusters[b]])
    saved = entropy(before.sum(1)) - entropy(after.sum(1))
    return saved, information(before) - information(after)


@pytest.mark.parametrize("seed", range(4))
def test_every_merge_has_the_highest_price_of_all_pairs(seed):
    for clusters, merge in replayed(random_joint(seed, 6, 4)):
        saved, lost = trade(clusters, merge.first, merge.second)
        assert merge.saved == pytest.approx(saved, abs=1e-12)
        assert merge.lost == pytest.approx(lost, abs=1e-12)
        trades = (trade(clusters, a, b) for a, b in itertools.combinations(clusters, 2))
        assert merge.beta == pytest.approx(max(s / p for s, p in trades), rel=1e-9)


@given(joints)
def test_all_merges_together_save_the_entropy_and_lose_the_information(pxy):
    steps = merge_tree(pxy)
    assert sum(step.saved for step in steps) == pytest.approx(entropy(pxy.sum(1)), abs=1e-9)
    assert sum(step.lost for step in steps) == pytest.approx(information(pxy), abs=1e-9)


def test_values_that_say_the_same_of_y_merge_at_no_loss():
    first, *_ = merge_tree([[0.1, 0.2], [0.3, 0.1], [0.1, 0.2]])
    assert (first.first, first.second, first.lost, first.beta) == (0, 2, 0, torch.inf)


def test_one_value_has_nothing_to_merge():
    assert merge_tree([[0.5, 0.5]]) == []
    with pytest.raises(ValueError, match="two axes"):
        merge_tree(torch.ones(2, 2, 2) / 8)
