"""Bad input is named, and every public name has an example."""

from __future__ import annotations

import numpy as np
import pytest

from ibbook import bottleneck as module
from ibbook.bottleneck import (
    critical_beta,
    gaussian_bottleneck,
    information_bottleneck,
    information_curve,
    splitting_betas,
)
from tests.bottleneck.joints import (
    binary,
)


class TestBadInput:
    good = binary(0.9)

    @pytest.mark.parametrize(
        ("pxy", "says"),
        [
            ([[0.5, 0.6], [-0.1, 0.0]], "pxy has negative mass -0.1"),
            ([[0.5, 0.6], [0.1, 0.0]], "pxy sums to 1.2"),
            ([[0.5, np.nan], [0.5, 0.0]], "pxy must be finite"),
            ([0.5, 0.5], "pxy must have at least 2 axes"),
            (np.zeros((0, 2)), "pxy must not be empty"),
            ("joint", "pxy must be an array"),
        ],
    )
    def test_pxy(self, pxy, says):
        calls = [
            lambda: information_bottleneck(pxy, 1.0),
            lambda: critical_beta(pxy),
            lambda: splitting_betas(pxy, [[1.0], [1.0]]),
        ]
        for call in calls:
            with pytest.raises(ValueError, match=says):
                call()

    def test_pxy_of_a_curve(self):
        with pytest.raises(ValueError, match="pxy must have two axes"):
            information_curve(np.full((2, 2, 2), 1 / 8), [2.0])
        with pytest.raises(ValueError, match=r"pxy sums to 1\.2"):
            information_curve([[0.5, 0.6], [0.1, 0.0]], [2.0])

    @pytest.mark.parametrize(
        ("beta", "says"),
        [
            (-1.0, "must be >= 0, got -1"),
            ([1, np.inf], "must be finite"),
            ([[1.0]], "must be a scalar or a vector"),
            ([], "must not be empty"),
        ],
    )
    def test_beta(self, beta, says):
        with pytest.raises(ValueError, match=f"beta {says}"):
            information_bottleneck(self.good, beta)
        with pytest.raises(ValueError, match=f"betas {says}"):
            information_curve(self.good, beta)
        with pytest.raises(ValueError, match=f"beta {says}"):
            gaussian_bottleneck(np.eye(2), 1, beta)

    @pytest.mark.parametrize("bad", [0, -1, 2.0, True, "2"])
    def test_whole_numbers(self, bad):
        with pytest.raises(ValueError, match="clusters must be a whole number"):
            information_bottleneck(self.good, 2.0, clusters=bad)
        with pytest.raises(ValueError, match="clusters must be a whole number"):
            information_curve(self.good, [2.0], clusters=bad)
        with pytest.raises(ValueError, match="max_iterations must be a whole number"):
            information_bottleneck(self.good, 2.0, max_iterations=bad)
        with pytest.raises(ValueError, match="dim_x must be a whole number"):
            gaussian_bottleneck(np.eye(3), bad, 2.0)

    def test_method(self):
        with pytest.raises(
            ValueError, match='trivial must be "while-stable" or "while-lowest", got \'ba\''
        ):
            information_bottleneck(self.good, 2.0, trivial="ba")

    @pytest.mark.parametrize("tol", [0, -1e-9, np.inf, np.nan, "small"])
    def test_tol(self, tol):
        with pytest.raises(ValueError, match="tol must be a positive number"):
            information_bottleneck(self.good, 2.0, tol=tol)

    def test_encoder(self):
        with pytest.raises(ValueError, match="one row for each of the 2 values of x"):
            splitting_betas(self.good, np.ones((3, 1)))
        with pytest.raises(ValueError, match="encoder sums to 2"):
            splitting_betas(self.good, np.ones((2, 2)))

    def test_complexity(self):
        curve = information_curve(self.good, [2.0])
        with pytest.raises(ValueError, match=r"complexity must be >= 0, got -0\.5"):
            curve.at([-0.5])

    def test_covariance(self):
        with pytest.raises(ValueError, match="cov must be positive definite"):
            gaussian_bottleneck([[1, 1], [1, 1]], 1, 2.0)
        with pytest.raises(ValueError, match="dim_x must leave at least one axis for Y"):
            gaussian_bottleneck(np.eye(2), 2, 2.0)


def test_every_public_name_has_an_example():
    public = [getattr(module, name) for name in module.__all__]
    assert all(">>>" in f.__doc__ for f in public if not isinstance(f, type))
