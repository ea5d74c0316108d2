"""The bottleneck of a fair bit and its noisy copy."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ibbook.bottleneck import binary_bottleneck, information_bottleneck
from tests.bottleneck.joints import EXACT, binary, noisy_copy


@pytest.mark.parametrize("flip", [0.05, 0.1, 0.3])
def test_it_is_the_symmetric_channel_that_a_root_finder_finds(flip):
    betas = np.array([1.1, 1.5, 4.0]) / (1 - 2 * flip) ** 2
    solution = binary_bottleneck(flip, betas)
    for k, beta in enumerate(betas):
        complexity, relevance = noisy_copy(1 - flip, beta)
        assert solution.complexity[k].item() == pytest.approx(complexity, abs=EXACT)
        assert solution.relevance[k].item() == pytest.approx(relevance, abs=EXACT)


@pytest.mark.parametrize("flip", [0.1, 0.25])
def test_the_solver_finds_it(flip):
    betas = [0.5, 1.2, 2.0, 8.0, 40.0]
    exact, found = (
        binary_bottleneck(flip, betas),
        information_bottleneck(binary(1 - flip), betas),
    )
    assert torch.allclose(exact.complexity, found.complexity, atol=1e-8)
    assert torch.allclose(exact.relevance, found.relevance, atol=1e-8)
    last = found.decoder[-1].diagonal().abs()  # p(y=t|t), the clusters in either order
    assert last.maximum(1 - last) == pytest.approx((1 + exact.tilt[-1].item()) / 2, abs=1e-8)


def test_up_to_the_critical_beta_it_says_nothing_and_far_above_it_copies():
    solution = binary_bottleneck(0.1, [0, 1.5, 1 / 0.64, 1000])
    assert (solution.complexity[:3] == 0).all()
    assert (solution.tilt[:3] == 0).all()
    assert solution.complexity[3].item() == pytest.approx(np.log(2), abs=1e-12)
    assert solution.tilt[3].item() == pytest.approx(0.8, abs=1e-12)


@pytest.mark.parametrize("flip", [0, 0.5, -0.1, "0.1", True])
def test_what_is_no_noisy_copy_is_refused(flip):
    with pytest.raises(ValueError, match="flip must be a number between 0 and"):
        binary_bottleneck(flip, [2.0])
