from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import distributions as D

from ibbook.networks import conv, mlp, stack
from ibbook.noise import normal
from ibbook.objective import Objective
from ibbook.training import terms
from ibbook.training.loss import divergence_count, divergences, noise_count
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


def plain_rate(model, mean, log_variance, noise):
    """ln p(z|x) - E ln q(z|z') + D_KL[p(z'|z) || r(z')] of one member, layer by layer."""
    p = D.Normal(mean, (log_variance / 2).exp())
    z = p.loc + p.scale * noise[:, : mean.shape[1]]
    top = model.above
    higher = top.encode(z[None, ..., None, None])
    if top.network.latent == "categorical":
        chance = D.Categorical(logits=higher[0][0])
        prior = 0.0
        for k in range(top.network.latents):
            one = torch.eye(top.network.latents)[k].expand(1, len(z), -1)
            at, spread = top.decode(one).chunk(2, -1)
            q = D.Normal(at[0], (spread[0] / 2).exp())
            prior = prior + chance.probs[:, k, None] * q.log_prob(z)
        uniform = D.Categorical(logits=torch.zeros_like(chance.logits))
        above = D.kl_divergence(chance, uniform)
    else:
        upper = D.Normal(higher[0][0], (higher[1][0] / 2).exp())
        drawn = upper.loc + upper.scale * noise[:, mean.shape[1] :]
        at, spread = top.decode(drawn[None]).chunk(2, -1)
        prior = D.Normal(at[0], (spread[0] / 2).exp()).log_prob(z)
        above = D.kl_divergence(upper, D.Normal(0.0, 1.0)).sum(1)
    return (p.log_prob(z) - prior).sum(1) + above


@pytest.mark.parametrize("latent", ["categorical", "gaussian"])
def test_a_stack_pays_for_each_layer_against_the_one_above(latent):
    network = stack(mlp((1, 4, 4), latents=3, hidden=(6,)), latents=2, hidden=(5,), latent=latent)
    model = network.build(torch.tensor([4, 9]))
    x, noise = torch.rand(2, 7, 1, 4, 4), torch.randn(2, 7, 5)
    parts = terms(model, Objective(), x, x.flatten(2), noise)
    assert parts.rate.shape == (2, divergence_count(network))
    mean, log_variance = model.encode(x)
    for i in range(2):
        alone = network.build(torch.tensor([[4, 9][i]]))
        expected = plain_rate(alone, mean[i], log_variance[i], noise[i])
        torch.testing.assert_close(parts.rate[i].sum(), expected.mean())


def test_a_layer_that_gives_the_standard_normal_and_hears_nothing_costs_what_none_costs():
    below = mlp((1, 4, 4), latents=3, hidden=(6,))
    model = stack(below, latents=2, hidden=(5,)).build(torch.tensor([4]))
    for layer in (model.above.encoder[-1], model.above.decoder[-1]):
        layer.weight.data.zero_()
        layer.bias.data.zero_()
    x, noise = torch.rand(1, 20_000, 1, 4, 4), torch.randn(1, 20_000, 5)
    with torch.no_grad():
        rate = divergences(model, model.encode(x), noise)
        plain = divergences(below.build(torch.tensor([4])), model.encode(x), noise)
    assert torch.equal(rate[..., 3:], torch.zeros(1, 20_000, 2))
    error = (rate[..., :3] - plain).mean((0, 1))
    assert (error.abs() < 5 * (rate[..., :3] - plain).std((0, 1)) / 20_000**0.5).all()


def test_three_layers_are_a_stack_on_a_stack():
    two = stack(mlp((1, 4, 4), latents=3, hidden=(6,)), latents=2, hidden=(5,))
    three = stack(two, latents=4, hidden=(5,), latent="categorical")
    assert three.above.above.picture == (2, 1, 1)
    assert (divergence_count(three), noise_count(three)) == (3 + 2 + 1, 3 + 2 + 4)
    layers = three.build(torch.tensor([0])).named_parameters()
    weights = [w.detach().flatten()[:4] for name, w in layers if "weight" in name]
    patterns = {tuple((w / w[0]).round(decimals=4).tolist()) for w in weights}
    assert len(patterns) == len(weights)  # no layer begins as a scaled copy of another
