from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import distributions as D

from ibbook.datasets import Dataset
from ibbook.networks import mlp, stack
from ibbook.objective import Objective
from ibbook.schedules import Schedule, cyclical, linear
from ibbook.training import Ensemble, Optimiser, fit, grid
from tests.training.small_networks import LABELS, SMALL, VIB, assert_same

LINEAR = mlp((1, 8, 8), latents=3, hidden=(16,), decoder=())


STEPS = {"steps": 4, "batch_size": 32}


@pytest.fixture(scope="module")
def linear_ensemble(digits):
    """Linear decoders, whose mean output and mean squared error have closed forms."""
    objective = Objective(output="gaussian", variance=0.5)
    return fit(LINEAR, objective, digits, grid(seed=[4, 9, 4]), steps=20, batch_size=16)


def closed_form(ensemble, data):
    """Mean, variance and squared error of every pixel's prediction, of every member."""
    x = data.images[:] / data.scale
    mean, log_variance = ensemble.encode(x)
    (layer,) = (m for m in ensemble.models.decoder if hasattr(m, "weight"))
    output = mean @ layer.weight + layer.bias[:, None]
    variance = log_variance.exp() @ layer.weight.square()
    return output, variance, (output - x.flatten(1)).square() + variance


def test_an_ensemble_comes_back_from_its_file_and_chooses_members(digits, tmp_path):
    mixed = [1.0, linear(0, 1, 5), 3.0]
    members = [{"seed": 0, "beta": cyclical(10, 2)}, {"seed": 1, "beta": mixed}]
    objective = Objective(anchors={2: 0.5}, l2=0.1)
    ensemble = fit(SMALL, objective, digits, members, steps=10, batch_size=32)
    ensemble.save(tmp_path / "ensemble")
    back = Ensemble.load(tmp_path / "ensemble")
    assert_same(dict(ensemble.models.state_dict()), dict(back.models.state_dict()), rtol=0, atol=0)
    assert (back.network, back.objective) == (SMALL, objective)
    assert back.members == ensemble.members
    assert isinstance(back.members[0]["beta"], Schedule)
    assert back.members[1]["beta"] == mixed
    assert back.history.equals(ensemble.history)

    images = digits.images[:7] / digits.scale
    mean, log_variance = back.encode(images)
    assert mean.shape == log_variance.shape == (2, 7, 3)
    torch.testing.assert_close(back.encode(images, [1])[0], mean[1:])
    assert back.decode(mean).shape == (2, 7, 64)
    steps = back.traverse(images[0], torch.linspace(-2, 2, 5), [1])
    assert steps.shape == (1, 3, 5, 1, 8, 8)
    z = mean[1:, :1].clone()
    z[..., 2] = 2
    torch.testing.assert_close(steps[:, 2, 4].flatten(1), back.decode(z, [1])[:, 0])
    with pytest.raises(ValueError, match=r"members must be some of 0..1, got \[2\]"):
        back.encode(images, [2])


def test_a_selection_is_an_ensemble_of_those_members_counted_anew(digits):
    members = [{"seed": 0}, {"seed": 1, "learning_rate": 1e30}, {"seed": 2}]
    ensemble = fit(SMALL, Objective(), digits, members, steps=10, batch_size=32)
    assert list(ensemble.diverged) == [1]
    some = ensemble.select([2, 1, 2])
    x = digits.images[:5] / digits.scale
    assert torch.equal(some.encode(x, [0, 2])[0], ensemble.encode(x, [2, 2])[0])
    assert [m["seed"] for m in some.members] == [2, 1, 2]
    assert some.diverged == {1: ensemble.diverged[1]}
    history = ensemble.history
    own = history[history.member == 2].drop(columns="member").reset_index(drop=True)
    for k in (0, 2):
        rows = some.history[some.history.member == k].drop(columns="member")
        assert rows.reset_index(drop=True)[own.columns].equals(own)


@pytest.mark.parametrize("layers", [1, 2])
def test_an_ensemble_put_under_another_is_the_stack_of_both(digits, layers):
    seeds = grid(seed=[3, 4])
    low = fit(SMALL, Objective(), digits, seeds, **STEPS)
    if layers == 2:
        low = fit(stack(SMALL, latents=3, hidden=(5,)), Objective(), digits, seeds, **STEPS)
    codes = Dataset.from_codes(torch.randn(64, 3))
    net = mlp((3, 1, 1), latents=5, hidden=(4,), latent="categorical", outputs=6)
    explain = Objective(output="gaussian", variance="learned")
    top = fit(net, explain, codes, seeds, **STEPS)
    both = low.under(top)
    assert both.network == stack(low.network, latents=5, hidden=(4,), latent="categorical")
    x, z = digits.images[:9] / digits.scale, torch.randn(2, 9, 3)
    assert torch.equal(both.encode(x)[0], low.encode(x)[0])
    layer = both.models.above if layers == 1 else both.models.above.above
    pictures = z[..., None, None]
    assert torch.equal(layer.encode(pictures)[0], top.models.encode(pictures)[0])
    with pytest.raises(ValueError, match="top must have a member for each of 2, got 1"):
        low.under(top.select([0]))


def test_predictions_average_over_the_noise_of_a_linear_decoder(digits, linear_ensemble):
    few = digits.sample(40)
    output, variance, _ = closed_form(linear_ensemble, few)
    for samples in (1, 400):
        predicted = linear_ensemble.predict(few.images[:] / few.scale, samples=samples)
        scores = (predicted - output) / (variance / samples).sqrt()
        assert scores.mean().abs() < 5 * (3 / scores.numel()) ** 0.5 * 64**0.5
        assert scores.square().mean().sqrt().item() == pytest.approx(1, abs=0.1)


def test_predictions_depend_on_member_seed_and_place_and_not_on_company(digits, linear_ensemble):
    x = digits.images[:1500] / digits.scale
    whole = linear_ensemble.predict(x, samples=2)
    assert whole.shape == (3, 1500, 64)
    torch.testing.assert_close(linear_ensemble.predict(x[:7], samples=2), whole[:, :7])
    torch.testing.assert_close(linear_ensemble.predict(x, samples=2, members=[1]), whole[1:2])
    torch.testing.assert_close(whole[0], whole[2])  # the same member twice
    output = linear_ensemble.decode(linear_ensemble.encode(x)[0])
    one, other = whole - output, linear_ensemble.predict(x, samples=2, seed=1) - output
    for a, b in ((one[0], other[0]), (one[0], one[1]), (one[0, 1:], one[0, :-1])):
        assert torch.corrcoef(torch.stack([a.flatten(), b.flatten()]))[0, 1].abs() < 0.05


def test_evaluation_of_images_has_the_closed_form_of_a_linear_decoder(digits, linear_ensemble):
    table = linear_ensemble.evaluate(digits, samples=30)
    columns = ["member", "seed", "samples", "distortion", "rate", "rate_0", "rate_1", "rate_2"]
    assert list(table.columns) == [*columns, "error"]
    assert table[["member", "seed", "samples"]].values.tolist() == [
        [0, 4, 30],
        [1, 9, 30],
        [2, 4, 30],
    ]
    error = closed_form(linear_ensemble, digits)[2].sum(2).mean(1)
    np.testing.assert_allclose(table["error"], error, rtol=0.01)
    constant = 32 * np.log(2 * np.pi * 0.5)
    np.testing.assert_allclose(table["distortion"], table["error"] + constant, rtol=1e-5)
    mean, log_variance = linear_ensemble.encode(digits.images[:] / digits.scale)
    p, r = D.Normal(mean, (log_variance / 2).exp()), D.Normal(torch.zeros(()), torch.ones(()))
    rate = D.kl_divergence(p, r).mean(1)
    np.testing.assert_allclose(table[["rate_0", "rate_1", "rate_2"]], rate, rtol=1e-4)
    np.testing.assert_allclose(table["rate"], rate.sum(1), rtol=1e-4)
    part = linear_ensemble.evaluate(digits, samples=30, members=[1])
    np.testing.assert_allclose(part, table.iloc[1:2], rtol=1e-5)


@pytest.mark.parametrize("latent", ["gaussian", "categorical", "point"])
def test_evaluation_of_labels_is_that_of_the_averaged_probabilities(digits, latent):
    optimiser = Optimiser(learning_rate=1e-2)
    ensemble = fit(
        replace(VIB, latent=latent), LABELS, digits, grid(beta=[0.01, 1.0]),
        steps=100, batch_size=50, optimiser=optimiser,
    )  # fmt: skip
    table = ensemble.evaluate(digits, samples=3)
    x = digits.images[:] / digits.scale
    probabilities = ensemble.predict(x, samples=3)
    torch.testing.assert_close(probabilities.sum(-1), torch.ones(2, len(digits)))
    right = (probabilities.argmax(-1) == digits.labels).float().mean(1)
    np.testing.assert_allclose(table["accuracy"], right, rtol=1e-6)
    assert table["accuracy"][0] > 0.2  # of 10 classes
    if latent == "categorical":
        weight = ensemble.encode(x)[0].softmax(-1)
        each = torch.stack([ensemble.decode(torch.eye(3)[k].expand(2, 1, 3)) for k in range(3)], 2)
        torch.testing.assert_close(probabilities, (weight[..., None] * each).sum(2))
        nats = -(weight * each.log()[..., digits.labels].squeeze(1).mT).sum(-1).mean(1)
    elif latent == "point":
        q = D.Categorical(ensemble.decode(ensemble.encode(x)[0]))
        nats = -q.log_prob(digits.labels).mean(1)
        assert (table["rate"] == 0).all()
    else:
        nats = table["distortion"]
        mixed = -D.Categorical(probabilities).log_prob(digits.labels).mean(1)
        assert (mixed.numpy() < nats).all()  # Jensen: averaging probabilities costs fewer nats
    np.testing.assert_allclose(table["distortion"], nats, rtol=1e-5)


def test_bad_evaluations_are_named(digits, linear_ensemble):
    x = digits.images[:3] / digits.scale
    for call, message in (
        (
            lambda: linear_ensemble.predict(digits.images[:3]),
            "images must be real numbers",
        ),
        (lambda: linear_ensemble.predict(x[0]), r"images must be .* got .*\(1, 8, 8\)"),
        (lambda: linear_ensemble.encode(x[:, :, :4]), r"shape \(n, 1, 8, 8\)"),
        (
            lambda: linear_ensemble.predict(x, samples=0),
            "samples must be .* >= 1, got 0",
        ),
        (
            lambda: linear_ensemble.predict(x, seed=-1),
            "seed must be .* from 0 .*, got -1",
        ),
        (lambda: linear_ensemble.evaluate(digits, samples=1.5), "samples must be a whole number"),
        (lambda: linear_ensemble.evaluate(digits, members=[3]), "members must be some of 0..2"),
        (
            lambda: linear_ensemble.evaluate(Dataset.from_arrays(np.zeros((4, 6, 6), np.uint8))),
            "data has pictures of shape",
        ),
    ):
        with pytest.raises(ValueError, match=message):
            call()


def test_a_decoder_with_a_past_is_scored_on_the_pixels_that_it_sees(digits, tmp_path):
    network = replace(LINEAR, past=2)
    ensemble = fit(network, Objective(), digits, grid(seed=[4, 9]), steps=20, batch_size=16)
    ensemble.save(tmp_path / "ensemble")
    back = Ensemble.load(tmp_path / "ensemble")
    few = digits.select(range(12))
    x = few.images[:] / few.scale
    mean, log_variance = back.encode(x)
    noise = torch.randn(2, 12, 4000, 3, generator=torch.Generator().manual_seed(0))
    z = mean[:, :, None] + (log_variance / 2).exp()[:, :, None] * noise
    flat = x.flatten(1).expand(2, -1, -1)
    every = flat[:, :, None].expand(-1, -1, 4000, -1)
    logits = back.models.decode(z.flatten(1, 2), every.flatten(1, 2)).detach()
    losses = Objective().distortion(logits, every.flatten(1, 2)).mean(1)
    alone = Objective().distortion(back.models.decoder(z.flatten(1, 2)), every.flatten(1, 2))
    assert ((alone.mean(1) - losses).abs() > 0.02 * losses).all()  # the pixels before do count
    found = back.evaluate(few, samples=2000)["distortion"]
    np.testing.assert_allclose(found, losses, rtol=5e-3)
    for use in (back.decode, back.predict):
        with pytest.raises(ValueError, match="network has past: its decoder needs the pixels"):
            use(mean if use == back.decode else x)
    vib = Objective(output="categorical", target="labels")
    with pytest.raises(ValueError, match="network has past, for pictures"):
        fit(network, vib, digits, [{}], steps=1, batch_size=16)
