from __future__ import annotations

import pytest
import torch

from ibbook.sampling import aggregate_draws, aggregate_variance, marginal_draws

MEAN = torch.tensor([[[-3.0, -3.0], [0.0, 1.0], [3.0, 2.0]]]).expand(2, -1, -1)
LOG_VARIANCE = torch.tensor([[[-2.0, 0.0], [0.0, -1.0], [-1.0, -2.0]]]).expand(2, -1, -1)


@pytest.mark.parametrize("draw", [aggregate_draws, marginal_draws])
def test_either_has_the_marginals_of_the_mixture(draw):
    z = draw(MEAN, LOG_VARIANCE, 20_000, seed=3).double()
    assert z.shape == (2, 20_000, 2)
    torch.testing.assert_close(z.mean(1), MEAN.mean(1).double(), rtol=0, atol=0.08)
    variance = aggregate_variance(MEAN, LOG_VARIANCE)
    torch.testing.assert_close(z.var(1), variance, rtol=0.05, atol=0)
    below = (z[..., 0] < -1.5).double().mean(1)  # of Gaussians, by torch
    exact = torch.distributions.Normal(MEAN, (LOG_VARIANCE / 2).exp()).cdf(torch.tensor(-1.5))
    torch.testing.assert_close(below, exact.mean(1)[:, 0].double(), rtol=0, atol=0.02)


def test_one_keeps_the_dependence_of_the_latents_and_the_other_drops_it():
    def correlation(z):
        return torch.corrcoef(z[0].T)[0, 1].item()

    centred = MEAN[0].double() - MEAN[0].double().mean(0)
    cov = (centred[:, 0] * centred[:, 1]).mean()
    exact = (cov / aggregate_variance(MEAN, LOG_VARIANCE)[0].prod().sqrt()).item()
    z = aggregate_draws(MEAN, LOG_VARIANCE, 20_000)
    assert correlation(z) == pytest.approx(exact, abs=0.03)
    assert correlation(marginal_draws(MEAN, LOG_VARIANCE, 20_000)) == pytest.approx(0, abs=0.03)


def test_members_and_seeds_draw_apart_and_a_seed_draws_again():
    for draw in (aggregate_draws, marginal_draws):
        z = draw(MEAN, LOG_VARIANCE, 50, seed=1)
        assert torch.equal(z, draw(MEAN, LOG_VARIANCE, 50, seed=1))
        assert not torch.equal(z, draw(MEAN, LOG_VARIANCE, 50, seed=2))
        assert not torch.equal(z[0], z[1])


def test_codes_that_are_none_are_named():
    with pytest.raises(ValueError, match="mean and log_variance must both be"):
        aggregate_draws(MEAN[0], LOG_VARIANCE[0], 5)
    with pytest.raises(ValueError, match="draws must be a whole number >= 1, got 0"):
        marginal_draws(MEAN, LOG_VARIANCE, 0)
