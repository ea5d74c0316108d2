from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import distributions as D

from ibbook.networks import conv, mlp
from ibbook.noise import normal
from ibbook.objective import Objective
from ibbook.training import terms
from tests.training.small_networks import SMALL, VIB, plain_loss


@pytest.mark.parametrize("output", ["bernoulli", "gaussian", "categorical"])
def test_loss_and_gradient_equal_an_unbatched_reference(output):
    network, target = (VIB, "labels") if output == "categorical" else (SMALL, "images")
    objective = Objective(output=output, target=target, variance=0.5)
    seeds, beta = torch.tensor([4, 9]), [0.5, 2.0, 0.0]
    l2 = 0.0 if output == "categorical" else 0.3
    model = network.build(seeds)
    x, noise = torch.rand(2, 6, 1, 8, 8), normal(seeds, range(1), (6, 3))[0]
    goal = torch.randint(10, (2, 6)) if output == "categorical" else x.flatten(2)
    parts = terms(model, objective, x, goal, noise)
    loss = parts.distortion + parts.rate @ torch.tensor(beta) + l2 * parts.error
    gradients = torch.autograd.grad(loss.sum(), list(model.parameters()))
    for i in range(2):
        single = network.build(seeds[i : i + 1])
        expected = plain_loss(single, x[i], goal[i], noise[i], beta, l2, output)
        torch.testing.assert_close(loss[i], expected)
        reference = torch.autograd.grad(expected, list(single.parameters()))
        for ours, theirs in zip(gradients, reference, strict=True):
            torch.testing.assert_close(ours[i], theirs[0], atol=1e-5, rtol=1e-4)


def test_a_categorical_code_is_summed_out_exactly():
    network = mlp((1, 4, 4), latents=3, hidden=(8,), latent="categorical")
    model = network.build(torch.tensor([1]))
    x = torch.rand(1, 5, 1, 4, 4)
    parts = terms(model, Objective(), x, x.flatten(2), torch.zeros(1, 5, 3))
    (logits,) = model.encode(x)
    expected = 0.0
    for k in range(3):
        z = torch.eye(3)[k].expand(1, 5, 3)
        losses = Objective().distortion(model.decode(z), x.flatten(2))
        expected += (logits.softmax(-1)[..., k] * losses).mean()
    torch.testing.assert_close(parts.distortion[0], expected)


@pytest.mark.parametrize(
    "network",
    [mlp((1, 8, 8), latents=4, latent="point"), conv((1, 8, 8), latents=4, channels=(4,))],
)
def test_a_point_is_a_plain_autoencoder_without_rate(network):
    network = replace(network, latent="point")
    model, x = network.build(torch.tensor([3, 8])), torch.rand(2, 5, 1, 8, 8)
    parts = terms(model, Objective(), x, x.flatten(2), torch.randn(2, 5, 4))
    logits = model.decoder(model.encoder(x))
    expected = -D.Bernoulli(logits=logits, validate_args=False).log_prob(x.flatten(2)).sum(2)
    torch.testing.assert_close(parts.distortion, expected.mean(1))
    assert torch.equal(parts.rate, torch.zeros(2, 4))
