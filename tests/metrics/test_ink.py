from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ibbook.metrics import ink


def drawn(width, slant, size=81):
    """A Gaussian blot of this width that leans."""
    up = torch.arange(size // 2, -size // 2, -1, dtype=torch.float64)[:, None]
    right = torch.arange(size, dtype=torch.float64) - size // 2
    return torch.exp(-((right - slant * up) ** 2) / (2 * width**2) - up**2 / (2 * 6.0**2))


@given(st.floats(1, 4), st.floats(-1, 1))
def test_width_and_slant_of_a_leaning_blot(width, slant):
    found = ink(drawn(width, slant))
    assert found.width.item() == pytest.approx(width, rel=1e-3)
    assert found.slant.item() == pytest.approx(slant, abs=1e-3)


def test_neither_the_place_nor_the_amount_of_ink_counts():
    picture = drawn(2.0, 0.5)
    both = ink(torch.stack([picture, 3 * picture.roll((2, -3), (0, 1))]))
    torch.testing.assert_close(both.width[0], both.width[1], rtol=1e-6, atol=0)
    torch.testing.assert_close(both.slant[0], both.slant[1], rtol=1e-6, atol=1e-9)


def test_a_row_of_ink_has_no_slant():
    row = torch.zeros(5, 5)
    row[2] = 1
    assert ink(row).slant == 0
    assert ink(row).width.item() == pytest.approx(2**0.5)


@pytest.mark.parametrize("images", [torch.zeros(3, 3), -torch.ones(3, 3), torch.ones(3)])
def test_what_holds_no_ink_is_refused(images):
    with pytest.raises(ValueError, match="images must be"):
        ink(images)
