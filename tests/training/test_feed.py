from __future__ import annotations

from tests.training.small_networks import digits_order


def test_every_epoch_shows_every_picture_once_in_another_order(digits):
    seen = digits_order(3, 40, 80)
    first, second = seen[:40], seen[40:]
    assert sorted(first.tolist()) == sorted(second.tolist()) == list(range(40))
    assert first.tolist() != second.tolist()
    assert digits_order(4, 40, 40).tolist() != first.tolist()
