from __future__ import annotations

import math

import pytest
import torch
from torch import distributions as D

from ibbook.objective import Objective, categorical_kl, gaussian_kl, squared_error
from ibbook.schedules import linear


def test_gaussian_kl_is_that_of_torch():
    mean, log_variance = torch.randn(2, 3, 7, 4)
    expected = D.kl_divergence(
        D.Normal(mean, (log_variance / 2).exp()), D.Normal(torch.zeros(()), torch.ones(()))
    )
    torch.testing.assert_close(gaussian_kl(mean, log_variance), expected)


def test_gaussian_kl_keeps_its_digits_next_to_the_marginal():
    log_variance = torch.tensor([1e-3, -1e-4])
    exact = gaussian_kl(torch.zeros(2).double(), log_variance.double())
    torch.testing.assert_close(exact, log_variance.double() ** 2 / 4, rtol=1e-3, atol=0)
    kl = gaussian_kl(torch.zeros(2), log_variance).double()
    torch.testing.assert_close(kl, exact, rtol=1e-2, atol=0)


def test_categorical_kl_is_that_of_torch():
    logits = torch.randn(3, 7, 5)
    expected = D.kl_divergence(D.Categorical(logits=logits), D.Categorical(logits=torch.zeros(5)))
    torch.testing.assert_close(categorical_kl(logits)[..., 0], expected)


def test_a_learned_variance_is_stated_by_the_decoder_behind_the_means():
    objective = Objective(output="gaussian", variance="learned")
    mean, log_variance, target = torch.randn(3, 2, 5, 12)
    decoded = torch.cat([mean, log_variance], -1)
    reference = D.Normal(mean, (log_variance / 2).exp())
    expected = -reference.log_prob(target).sum(-1)
    torch.testing.assert_close(objective.distortion(decoded, target), expected)
    assert torch.equal(objective.mean(decoded), mean)


@pytest.mark.parametrize(
    ("objective", "reference"),
    [
        (Objective(), lambda d: D.Bernoulli(logits=d)),
        (Objective(output="gaussian", variance=0.3), lambda d: D.Normal(d, 0.3**0.5)),
    ],
    ids=["bernoulli", "gaussian"],
)
def test_distortion_of_images_is_minus_the_log_density_summed_over_pixels(objective, reference):
    decoded, target = torch.randn(2, 5, 12), torch.rand(2, 5, 12).round()
    expected = -reference(decoded).log_prob(target).sum(-1)
    torch.testing.assert_close(objective.distortion(decoded, target), expected)
    torch.testing.assert_close(objective.mean(decoded), reference(decoded).mean)


def test_distortion_of_labels_is_the_cross_entropy():
    objective = Objective(output="categorical", target="labels")
    decoded, target = torch.randn(2, 5, 10), torch.randint(10, (2, 5))
    reference = D.Categorical(logits=decoded)
    torch.testing.assert_close(objective.distortion(decoded, target), -reference.log_prob(target))
    torch.testing.assert_close(objective.mean(decoded), reference.probs)


def test_squared_error_is_a_sum_over_pixels():
    a, b = torch.randn(2, 3, 9)
    torch.testing.assert_close(
        squared_error(a, b), torch.nn.functional.mse_loss(a, b, reduction="none").sum(-1)
    )


@pytest.mark.parametrize(
    ("beta", "own", "expected"),
    [
        (2.0, None, [2, 1, 2]),
        (2.0, 6.0, [6, 3, 6]),
        ([1.0, 2.0, 3.0], None, [1, 1, 3]),
        (linear(0, 8, 4), None, [4, 2, 4]),
        (1.0, linear(4, 0, 4), [2, 1, 2]),
        ([1.0, linear(0, 8, 4), linear(4, 0, 4)], None, [1, 2, 2]),
        (2.0, [linear(0, 8, 4), 1, 3], [4, 0.5, 3]),
    ],
)
def test_beta_is_a_number_a_vector_or_a_schedule_and_anchors_weaken_it(beta, own, expected):
    objective = Objective(beta=beta, anchors={1: 0.5})
    assert objective.betas(step=2, latents=3, beta=own).tolist() == expected
    several = objective.betas(step=range(5), latents=3, beta=own)
    each = [objective.betas(step=step, latents=3, beta=own) for step in range(5)]
    assert torch.equal(several, torch.stack(each))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"beta": -1.0}, "beta must be finite and >= 0, got -1.0"),
        ({"beta": [1.0, math.nan]}, "beta must be finite and >= 0"),
        ({"beta": [[1.0]]}, "beta must be a number or one for each latent"),
        ({"l2": -0.1}, "l2 must be finite and >= 0, got -0.1"),
        ({"output": "poisson"}, "output must be 'bernoulli', 'gaussian' or 'categorical'"),
        ({"target": "x"}, "target must be 'images' or 'labels', got 'x'"),
        ({"target": "labels"}, "output 'bernoulli' does not fit target 'labels'"),
        ({"output": "categorical"}, "output 'categorical' does not fit target 'images'"),
        ({"output": "categorical", "target": "labels", "l2": 1.0}, "l2 compares images"),
        ({"variance": 0.0}, "variance must be positive and finite, or 'learned', got 0.0"),
        ({"anchors": {0: 1.5}}, r"anchors must map .* got \{0: 1.5\}"),
        ({"anchors": {-1: 0.5}}, r"anchors must map"),
    ],
)
def test_bad_options_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        Objective(**options)
