"""The Gaussian bottleneck against an iteration, an optimiser and a fine grid."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.optimize import minimize

from ibbook.bottleneck import (
    critical_beta,
    gaussian_bottleneck,
    information_bottleneck,
)


class TestGaussian:
    @staticmethod
    def covariance(seed: int, x: int, y: int) -> np.ndarray:
        a = np.random.default_rng(seed).normal(size=(x + y, x + y + 2))
        return a @ a.T

    @staticmethod
    def plane(cov, dim_x, projection):
        """I(X;T) and I(T;Y) of T = projection X + N(0, 1), from determinants."""
        xx, xy, yy = cov[:dim_x, :dim_x], cov[:dim_x, dim_x:], cov[dim_x:, dim_x:]
        noise = np.eye(len(projection))
        t = projection @ xx @ projection.T + noise
        given_y = t - projection @ xy @ np.linalg.solve(yy, xy.T) @ projection.T
        return np.linalg.slogdet(t)[1] / 2, (
            np.linalg.slogdet(t)[1] - np.linalg.slogdet(given_y)[1]
        ) / 2

    @pytest.mark.parametrize(("x", "y"), [(5, 4), (3, 5), (1, 1), (2, 1)])
    def test_the_projection_attains_what_is_stated(self, x, y):
        cov = self.covariance(0, x, y)
        beta = np.array([1.02, 1.5, 4, 100])
        solution = gaussian_bottleneck(cov, x, beta)
        for i in range(len(beta)):
            complexity, relevance = self.plane(cov, x, solution.projection[i].numpy())
            assert solution.complexity[i].item() == pytest.approx(complexity, abs=1e-9)
            assert solution.relevance[i].item() == pytest.approx(relevance, abs=1e-9)
        assert (solution.critical_betas[:-1] <= solution.critical_betas[1:]).all()
        assert solution.critical_betas.isinf().sum() == max(0, x - y)

    @pytest.mark.parametrize("beta", [1.5, 4.0, 30.0])
    def test_the_iterative_algorithm_ends_there(self, beta):
        """Chechik et al. 2005, section 6."""
        cov, x = self.covariance(1, 5, 4), 5
        xx, xy, yy = cov[:x, :x], cov[:x, x:], cov[x:, x:]
        x_given_y = xx - xy @ np.linalg.solve(yy, xy.T)
        a, noise = np.random.default_rng(2).normal(size=(x, x)), np.eye(x)
        for _ in range(3000):
            t = a @ xx @ a.T + noise
            t_given_y = a @ x_given_y @ a.T + noise
            noise = np.linalg.inv(beta * np.linalg.inv(t_given_y) - (beta - 1) * np.linalg.inv(t))
            a = (
                beta
                * noise
                @ np.linalg.solve(t_given_y, a)
                @ (np.eye(x) - np.linalg.solve(xx, x_given_y).T)
            )
        whitened = np.linalg.solve(np.linalg.cholesky(noise), a)
        solution = gaussian_bottleneck(cov, x, beta)
        expected = self.plane(cov, x, whitened)
        assert solution.complexity.item() == pytest.approx(expected[0], abs=1e-6)
        assert solution.relevance.item() == pytest.approx(expected[1], abs=1e-6)

    def test_no_projection_is_better(self):
        cov, x, beta = self.covariance(3, 3, 3), 3, 3.0
        solution = gaussian_bottleneck(cov, x, beta)
        ours = (solution.complexity - beta * solution.relevance).item()

        def value(flat):
            complexity, relevance = self.plane(cov, x, flat.reshape(x, x))
            return complexity - beta * relevance

        rng = np.random.default_rng(0)
        found = min(minimize(value, rng.normal(size=9)).fun for _ in range(5))
        assert ours == pytest.approx(found, abs=1e-6)

    def test_a_fine_grid_comes_close(self):
        """The discrete solver knows nothing of Gaussians; the grid costs it little."""
        rho, beta = 0.8, np.array([1.3, 3.0])
        grid = np.linspace(-4, 4, 25)
        pxy = np.exp(
            -(grid[:, None] ** 2 - 2 * rho * grid[:, None] * grid + grid**2) / (2 * (1 - rho**2))
        )
        solution = information_bottleneck(pxy / pxy.sum(), beta, max_iterations=300)
        exact = gaussian_bottleneck([[1, rho], [rho, 1]], 1, beta)
        torch.testing.assert_close(solution.functional[0], exact.relevance[0] * 0, atol=0, rtol=0)
        assert solution.relevance[1].item() == pytest.approx(exact.relevance[1].item(), abs=0.01)
        value = (exact.complexity - exact.beta * exact.relevance)[1].item()
        assert solution.functional[1].item() == pytest.approx(value, abs=2e-3)
        assert critical_beta(pxy / pxy.sum()).item() == pytest.approx(1 / rho**2, rel=2e-3)

    def test_batches(self):
        covs = np.stack([self.covariance(s, 3, 2) for s in range(4)])
        together = gaussian_bottleneck(covs, 3, [2.0, 5.0])
        assert together.projection.shape == (4, 2, 3, 3)
        for i in range(4):
            for k, beta in enumerate([2.0, 5.0]):
                alone = gaussian_bottleneck(covs[i], 3, beta)
                assert alone.complexity.shape == ()
                torch.testing.assert_close(alone.complexity, together.complexity[i, k])
                torch.testing.assert_close(alone.relevance, together.relevance[i, k])
