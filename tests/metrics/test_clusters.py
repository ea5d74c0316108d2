from __future__ import annotations

from itertools import permutations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ibbook.metrics import majority_accuracy, matched_accuracy

POINTS = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=40)


def counted(pairs):
    """Both scores by counting, and by trying every matching."""
    held = {c: [name for k, name in pairs if k == c] for c in {c for c, _ in pairs}}
    majority = sum(max(names.count(n) for n in names) for names in held.values())
    matched = max(
        sum(label == names[cluster] for cluster, label in pairs) for names in permutations(range(5))
    )
    return majority / len(pairs), matched / len(pairs)


@given(POINTS)
def test_both_accuracies_are_those_of_counting_and_of_trying_every_matching(pairs):
    clusters, labels = zip(*pairs, strict=True)
    majority, matched = counted(pairs)
    assert majority_accuracy(clusters, labels).item() == pytest.approx(majority)
    assert matched_accuracy(clusters, labels).item() == pytest.approx(matched)
    assert matched <= majority


@given(POINTS, st.permutations(range(5)))
def test_the_names_of_clusters_do_not_count(pairs, names):
    clusters, labels = zip(*pairs, strict=True)
    renamed = [names[c] for c in clusters]
    for score in (majority_accuracy, matched_accuracy):
        assert score(renamed, labels).item() == pytest.approx(score(clusters, labels).item())


def test_members_are_scored_one_by_one():
    labels = torch.arange(12) % 3
    clusters = torch.stack([labels, torch.zeros(12).long(), torch.arange(12)])
    torch.testing.assert_close(
        majority_accuracy(clusters, labels), torch.tensor([1, 1 / 3, 1]).double()
    )
    torch.testing.assert_close(
        matched_accuracy(clusters, labels), torch.tensor([1, 1 / 3, 0.25]).double()
    )


@pytest.mark.parametrize(
    ("clusters", "labels", "message"),
    [
        ([0, 1], [0, 1, 2], r"clusters must be \[\*members, n\]"),
        ([], [], r"labels \[n\], n >= 1"),
        ([0.5, 1], [0, 1], "clusters must hold whole numbers"),
    ],
)
def test_bad_clusters_are_named(clusters, labels, message):
    with pytest.raises(ValueError, match=message):
        majority_accuracy(clusters, labels)
