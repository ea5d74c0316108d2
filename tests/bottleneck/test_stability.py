"""When clusters split."""

from __future__ import annotations

import numpy as np
import pytest

from ibbook.bottleneck import (
    critical_beta,
    information_bottleneck,
    splitting_betas,
)
from tests.bottleneck.joints import (
    random_joint,
)


def test_the_rate_at_which_two_copies_of_a_cluster_drift_apart():
    """beta lambda_2 is the factor by which one plain step stretches a small split."""
    pxy = random_joint(6, 6, 5)
    beta = 3 * critical_beta(pxy).item()
    encoder = information_bottleneck(pxy, 0.8 * beta).encoder.numpy()
    p_x = pxy.sum(1)
    rows = pxy / p_x[:, None]
    rng = np.random.default_rng(0)
    for t, splitting in enumerate(splitting_betas(pxy, encoder).tolist()):
        r = p_x * encoder[:, t] / (p_x @ encoder[:, t])
        shift = rng.normal(size=6)
        for _ in range(400):  # power iteration of the linearised step
            shift -= r @ shift
            shift /= np.abs(shift).max()
            before = shift
            shift = rows @ (((r * shift) @ rows) / (r @ rows))
        stretch = (r * before) @ shift / ((r * before) @ before)
        assert 1 / stretch == pytest.approx(splitting, rel=1e-5)


def test_a_cluster_without_mass_never_splits():
    encoder = np.array([[1.0, 0], [1, 0], [1, 0]])
    first, second = splitting_betas(random_joint(0, 3, 3), encoder).tolist()
    assert first == pytest.approx(critical_beta(random_joint(0, 3, 3)).item(), rel=1e-12)
    assert second == np.inf
