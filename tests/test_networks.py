from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from ibbook.layers import Convolutions, Double, Halve, Linear, Same
from ibbook.networks import Network, conv, mlp, stack
from ibbook.objective import Objective

SEEDS = torch.tensor([3, 4, 5])


def plain_conv(seed_model, member, channels=(8, 16)):
    """The same convolutional network for one member, as anyone would write it in PyTorch."""

    def copy(layer, source):
        weight = source.weight[member]
        layer.weight.data = weight.T if isinstance(layer, nn.Linear) else weight
        layer.bias.data = source.bias[member]
        return layer

    weighted = [m for m in seed_model.modules() if hasattr(m, "weight")]
    sources = iter(weighted)
    encoder = nn.Sequential(
        copy(nn.Conv2d(1, 8, 4, 2, 1), next(sources)),
        nn.ReLU(),
        copy(nn.Conv2d(8, 16, 4, 2, 1), next(sources)),
        nn.ReLU(),
    )
    dense = [copy(nn.Linear(256, 32), next(sources)), copy(nn.Linear(32, 6), next(sources))]
    back = [copy(nn.Linear(3, 32), next(sources)), copy(nn.Linear(32, 256), next(sources))]
    decoder = nn.Sequential(
        copy(nn.ConvTranspose2d(16, 8, 4, 2, 1), next(sources)),
        nn.ReLU(),
        copy(nn.ConvTranspose2d(8, 1, 4, 2, 1), next(sources)),
    )

    def encode(x):
        h = encoder(x).permute(0, 2, 3, 1).flatten(1)
        return dense[1](dense[0](h).relu()).chunk(2, -1)

    def decode(z):
        h = back[1](back[0](z).relu()).relu().unflatten(1, (4, 4, 16)).permute(0, 3, 1, 2)
        return decoder(h).flatten(1)

    return encode, decode


def test_each_member_of_a_convolutional_network_is_the_plain_network():
    model = conv((1, 16, 16), latents=3, channels=(8, 16), hidden=32).build(SEEDS)
    x = torch.rand(3, 5, 1, 16, 16)
    mean, log_variance = model.encode(x)
    decoded = model.decode(mean)
    for i in range(3):
        encode, decode = plain_conv(model, i)
        torch.testing.assert_close((mean[i], log_variance[i]), encode(x[i]))
        torch.testing.assert_close(decoded[i], decode(mean[i]))


@pytest.mark.parametrize("kind", [Halve, Double])
@pytest.mark.parametrize("members", [1, 3])
def test_convolutions_as_matrix_products_are_the_convolutions(kind, members):
    layers = Convolutions(
        kind(SEEDS[:members], *widths, 0, "uniform") for widths in ((5, 7), (7, 4))
    ).double()
    x = torch.randn(members, 2, 5, 8, 12, dtype=torch.float64, requires_grad=True)
    one, other = layers.one_by_one(x), layers.as_products(x)
    torch.testing.assert_close(one, other)
    probe = torch.randn_like(one)
    gradients = [torch.autograd.grad(y, [x, *layers.parameters()], probe) for y in (one, other)]
    torch.testing.assert_close(*gradients)


def test_a_convolution_that_keeps_the_size_is_the_convolution_of_each_member():
    layer, x = Same(SEEDS, 5, 7, 0, "uniform"), torch.randn(3, 2, 5, 8, 6)
    each = [
        nn.functional.conv2d(*parts, padding=1)
        for parts in zip(x, layer.weight, layer.bias, strict=True)
    ]
    torch.testing.assert_close(layer(x), torch.stack(each))


def test_each_member_of_an_mlp_is_the_plain_network():
    model = mlp((1, 4, 4), latents=2, hidden=(8, 6), decoder=(), outputs=3).build(SEEDS)
    x = torch.rand(3, 5, 1, 4, 4)
    mean, log_variance = model.encode(x)
    first, second, third, last = (m for m in model.modules() if hasattr(m, "weight"))
    for i in range(3):
        h = x[i].flatten(1)
        for layer in (first, second):
            h = (h @ layer.weight[i] + layer.bias[i]).relu()
        code = h @ third.weight[i] + third.bias[i]
        torch.testing.assert_close(torch.cat([mean[i], log_variance[i]], 1), code)
        expected = mean[i] @ last.weight[i] + last.bias[i]
        torch.testing.assert_close(model.decode(mean)[i], expected)


def test_a_point_is_what_the_encoder_says():
    model = mlp((1, 4, 4), latents=2, hidden=(8,), latent="point").build(SEEDS)
    x = torch.rand(3, 5, 1, 4, 4)
    (z,) = model.encode(x)
    first, second = (m for m in model.encoder if hasattr(m, "weight"))
    for i in range(3):
        h = (x[i].flatten(1) @ first.weight[i] + first.bias[i]).relu()
        torch.testing.assert_close(z[i], h @ second.weight[i] + second.bias[i])
    assert model.decode(z).shape == (3, 5, 16)


def test_softplus_gives_the_deviation_of_the_vib_paper():
    options = {"latents": 2, "hidden": (8,)}
    plain = mlp((1, 4, 4), **options).build(SEEDS)
    soft = mlp((1, 4, 4), **options, spread="softplus").build(SEEDS)
    x = torch.rand(3, 5, 1, 4, 4)
    raw, log_variance = plain.encode(x)[1], soft.encode(x)[1]
    torch.testing.assert_close((log_variance / 2).exp(), torch.nn.functional.softplus(raw - 5))


def test_initial_weights_have_the_spread_of_pytorch_and_depend_on_the_own_seed_only():
    network = mlp((1, 8, 8), latents=4, hidden=(256,))
    model = network.build(SEEDS)
    alone = network.build(SEEDS[1:2])
    for together, single in zip(model.parameters(), alone.parameters(), strict=True):
        assert torch.equal(together[1:2], single)
        assert not torch.equal(together[0], together[1])
    weight = next(m for m in model.modules() if hasattr(m, "weight")).weight
    bound = 1 / 64**0.5
    assert 0.99 * bound < weight.abs().max() <= bound
    assert weight.std().item() == pytest.approx(bound / 3**0.5, rel=0.02)


@pytest.mark.parametrize(
    ("layer", "plain"),
    [
        (lambda: Linear(SEEDS, 60, 90, 0, "glorot"), nn.Linear(60, 90)),
        (lambda: Halve(SEEDS, 20, 40, 0, "glorot"), nn.Conv2d(20, 40, 4)),
        (lambda: Same(SEEDS, 20, 40, 0, "glorot"), nn.Conv2d(20, 40, 3)),
        (lambda: Double(SEEDS, 20, 40, 0, "glorot"), nn.ConvTranspose2d(20, 40, 4)),
    ],
    ids=["linear", "halve", "same", "double"],
)
def test_glorot_weights_have_the_spread_of_pytorchs_and_no_biases(layer, plain):
    layer = layer()
    nn.init.xavier_uniform_(plain.weight)
    own, other = layer.weight, plain.weight
    assert own.abs().max().item() == pytest.approx(other.abs().max().item(), rel=0.01)
    assert own.std().item() == pytest.approx(other.std().item(), rel=0.03)
    assert not layer.bias.any()


def test_a_centred_network_sees_pixels_from_minus_one_to_one():
    options = {"latents": 2, "hidden": (8,)}
    plain = mlp((1, 4, 4), **options).build(SEEDS)
    centred = mlp((1, 4, 4), **options, centred=True).build(SEEDS)
    x = torch.rand(3, 5, 1, 4, 4)
    torch.testing.assert_close(centred.encode(x), plain.encode(2 * x - 1))


def test_without_a_code_the_encoder_gives_the_output():
    network = mlp((1, 4, 4), latents=3, outputs=3, hidden=(8,), decoder=(), latent="none")
    model = network.build(SEEDS)
    x = torch.rand(3, 5, 1, 4, 4)
    (logits,) = model.encode(x)
    first, second = (m for m in model.modules() if hasattr(m, "weight"))
    for i in range(3):
        h = (x[i].flatten(1) @ first.weight[i] + first.bias[i]).relu()
        torch.testing.assert_close(logits[i], h @ second.weight[i] + second.bias[i])
    assert torch.equal(model.decode(logits), logits)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: mlp((8, 8), latents=2), r"picture must be \(channels, height, width\)"),
        (lambda: mlp((1, 8, 8), latents=0), "latents must be a whole number >= 1, got 0"),
        (lambda: mlp((1, 8, 8), latents=2, latent="beta"), "'point' or 'none', got 'beta'"),
        (lambda: mlp((1, 8, 8), latents=2, latent="none"), "leaves no decoder and as many latents"),
        (
            lambda: replace(mlp((1, 8, 8), latents=2), above=mlp((3, 1, 1), latents=2)),
            "above must take 2 Gaussian latents",
        ),
        (
            lambda: stack(mlp((1, 8, 8), latents=2, latent="point"), latents=2, hidden=(4,)),
            "below are 2 point latents",
        ),
        (lambda: mlp((1, 8, 8), latents=2, initial="zeros"), "initial must be 'uniform' or 'glo"),
        (lambda: mlp((1, 8, 8), latents=2, spread="exp"), "spread must be 'log_variance'"),
        (lambda: conv((1, 20, 20), latents=2), "divisible by 16 for 4 halvings, got 20x20"),
        (lambda: conv((1, 16, 32), latents=2), "picture must be square"),
        (lambda: Network("rnn", (1, 8, 8), 2, 64, (8,), (8,)), "kind must be 'mlp' or 'conv'"),
    ],
)
def test_bad_networks_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_a_decoder_with_a_past_sees_the_pixels_before_and_no_others():
    network = mlp((1, 3, 3), latents=2, hidden=(8,), past=4)
    model = network.build(SEEDS)
    z, x = torch.randn(3, 1, 2), torch.rand(3, 1, 9)
    seen = torch.autograd.functional.jacobian(lambda x: model.decode(z, x).sum((0, 1)), x)
    sees = seen[:, :, 0].abs().amax(1) > 0  # [output, pixel]
    assert not sees.triu().any()
    assert sees.sum() > 25  # of 36 pairs; a hidden unit of ReLU may be silent
    first, second = model.past[0], model.past[2]
    for i in range(3):  # as anyone would write it: pixel by pixel
        for pixel in range(9):
            logit = model.decoder(z)[i, 0, pixel] + second.bias[i, pixel]
            for unit in range(4 * (pixel + 1)):
                below = 0.0 + first.bias[i, unit]
                for other in range(unit // 4):
                    below = below + x[i, 0, other] * first.weight[i, other, unit]
                logit = logit + below.relu() * second.weight[i, unit, pixel]
            torch.testing.assert_close(model.decode(z, x)[i, 0, pixel], logit)


def test_what_q_says_of_all_pictures_with_a_past_sums_to_one():
    model = mlp((1, 2, 2), latents=2, hidden=(8,), past=3).build(SEEDS)
    every = (
        torch.tensor([[k >> i & 1 for i in range(4)] for k in range(16)]).float().expand(3, -1, -1)
    )
    z = torch.randn(3, 1, 2).expand(-1, 16, -1)
    chance = (-Objective().distortion(model.decode(z, every), every)).exp().sum(1)
    torch.testing.assert_close(chance, torch.ones(3))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"past": -1}, "past must be a whole number >= 0, got -1"),
        ({"past": 1.5}, "past must be a whole number >= 0, got 1.5"),
        ({"past": 2, "latent": "point"}, "from Gaussian latents, got point latents"),
        ({"past": 2, "outputs": 10}, "and 10 outputs"),
    ],
)
def test_a_past_that_does_not_fit_is_refused(options, words):
    with pytest.raises(ValueError, match=words):
        mlp((1, 3, 3), latents=2, hidden=(8,), **options)
