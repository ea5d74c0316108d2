"""Networks for many members at once: every weight carries a leading member axis.

A layer maps `[members, batch, ...]` to `[members, batch, ...]`, by one matrix product for all
members. Convolutions are PyTorch's own, member by member, on a CPU; see `Convolutions`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import count, pairwise
from math import prod
from typing import Literal

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn import functional as F

from ibbook._numbers import integer
from ibbook.noise import uniform

Latent = Literal["gaussian", "categorical", "point", "none"]
Initial = Literal["uniform", "glorot"]
KERNEL = 4  # with stride 2 and padding 1, each convolution halves the picture


@dataclass(frozen=True)
class Network:
    """An encoder p(z | x) and a decoder q(target | z); `mlp` and `conv` make one.

    picture:  (channels, height, width) of the input
    latents:  number of latents, or classes of the one categorical latent
    latent:   "gaussian", "categorical", "point" (z is what the encoder says, without noise or
              rate), or "none" (that is the output: an ordinary network, no decoder)
    outputs:  size of the decoder's output: pixels, or classes
    spread:   how the encoder states a standard deviation: "log_variance", or
              "softplus", softplus(. - 5) as in the authors' code for Alemi et al. (2017)
    initial:  the first weights: "uniform" within 1 / sqrt(fan in), biases too, as in PyTorch, or
              "glorot", uniform within sqrt(6 / (fan in + fan out)), biases zero, as in TensorFlow
              (Glorot and Bengio, 2010, equation 16)
    centred:  the encoder sees 2 x - 1, from -1 to 1, in place of pixels x from 0 to 1
    above:    a network that takes the code z for its picture, p(z' | z), and gives the prior that z
              is held against, q(z | z'); `stack` makes one
    """

    kind: Literal["mlp", "conv"]
    picture: tuple[int, int, int]
    latents: int
    outputs: int
    encoder: tuple[int, ...]
    decoder: tuple[int, ...]
    latent: Latent = "gaussian"
    spread: Literal["log_variance", "softplus"] = "log_variance"
    initial: Initial = "uniform"
    centred: bool = False
    above: Network | None = None

    def __post_init__(self) -> None:
        if self.kind not in ("mlp", "conv"):
            raise ValueError(f"kind must be 'mlp' or 'conv', got {self.kind!r}")
        if self.latent not in ("gaussian", "categorical", "point", "none"):
            raise ValueError(
                f"latent must be 'gaussian', 'categorical', 'point' or 'none', got {self.latent!r}"
            )
        if self.spread not in ("log_variance", "softplus"):
            raise ValueError(f"spread must be 'log_variance' or 'softplus', got {self.spread!r}")
        if self.initial not in ("uniform", "glorot"):
            raise ValueError(f"initial must be 'uniform' or 'glorot', got {self.initial!r}")
        if len(self.picture) != 3:
            raise ValueError(f"picture must be (channels, height, width), got {self.picture}")
        for name in ("latents", "outputs"):
            object.__setattr__(self, name, integer(getattr(self, name), name, 1))
        for name in ("picture", "encoder", "decoder"):
            sizes = tuple(integer(size, f"a size in {name}", 1) for size in getattr(self, name))
            object.__setattr__(self, name, sizes)
        if self.latent == "none" and (self.decoder or self.latents != self.outputs):
            raise ValueError(
                "latent 'none' leaves no decoder and as many latents as outputs, "
                f"got decoder={self.decoder}, latents={self.latents}, outputs={self.outputs}"
            )
        if self.kind == "conv":
            _, height, width = self.picture
            if height != width or height % 2 ** len(self.encoder):
                raise ValueError(
                    f"picture must be square with a side divisible by {2 ** len(self.encoder)} "
                    f"for {len(self.encoder)} halvings, got {height}x{width}"
                )

        if self.above is not None and (
            self.latent != "gaussian"
            or self.above.picture != (self.latents, 1, 1)
            or self.above.outputs != 2 * self.latents
        ):
            raise ValueError(
                f"above must take {self.latents} Gaussian latents and give their means and log "
                f"variances; below are {self.latents} {self.latent} latents, and above takes "
                f"{self.above.picture} and gives {self.above.outputs}; `stack` fits them"
            )

    @property
    def topmost(self) -> Network:
        """The layer that has none above it."""
        return self if self.above is None else self.above.topmost

    def under(self, top: Network) -> Network:
        """This network with `top` above its topmost layer; its size must fit."""
        return replace(self, above=top if self.above is None else self.above.under(top))

    def build(self, seeds: Int64[Tensor, "members"]) -> Model:
        """The network of each member, its weights a function of its own seed, on seeds' device.

        >>> model = mlp((1, 8, 8), latents=2, hidden=(16,)).build(torch.tensor([0, 1]))
        >>> mean, log_variance = model.encode(torch.zeros(2, 5, 1, 8, 8))
        >>> mean.shape, model.decode(mean).shape
        (torch.Size([2, 5, 2]), torch.Size([2, 5, 64]))
        """
        return Model(self, seeds)


def mlp(
    picture: tuple[int, int, int],
    *,
    latents: int,
    hidden: tuple[int, ...] = (512, 512),
    decoder: tuple[int, ...] | None = None,
    outputs: int | None = None,
    latent: Latent = "gaussian",
    spread: Literal["log_variance", "softplus"] = "log_variance",
    initial: Initial = "uniform",
    centred: bool = False,
) -> Network:
    """Fully connected layers with ReLU; the decoder mirrors the encoder unless it is given.

    >>> mlp((1, 28, 28), latents=256, hidden=(1024, 1024), decoder=(), outputs=10).decoder
    ()
    """
    return Network(
        "mlp",
        tuple(picture),
        latents,
        prod(picture) if outputs is None else outputs,
        tuple(hidden),
        tuple(reversed(hidden)) if decoder is None else tuple(decoder),
        latent,
        spread,
        initial,
        centred,
    )


def conv(
    picture: tuple[int, int, int],
    *,
    latents: int,
    channels: tuple[int, ...] = (32, 32, 64, 64),
    hidden: int = 256,
    latent: Latent = "gaussian",
) -> Network:
    """The convolutional VAE of the beta-VAE papers: 4x4 kernels, stride 2, one hidden layer.

    The defaults are those of Locatello et al. (2019), after Higgins et al. (2017), for 64x64
    pixels; give fewer `channels` for smaller pictures. The decoder mirrors the encoder.

    >>> conv((1, 16, 16), latents=6, channels=(16, 32), hidden=64).outputs
    256
    """
    return Network(
        "conv", tuple(picture), latents, prod(picture), tuple(channels), (hidden,), latent
    )


def stack(
    below: Network,
    *,
    latents: int,
    hidden: tuple[int, ...],
    latent: Latent = "gaussian",
    initial: Initial = "uniform",
) -> Network:
    """The network with one more layer: a code z' of its topmost code z, and q(z | z').

    Gao et al. (2018), section 6.1; with a categorical `latent`, the top layer of their figure 3.
    The new layer's decoder mirrors its encoder.

    >>> digits = mlp((1, 28, 28), latents=64, hidden=(512, 512))
    >>> two = stack(digits, latents=10, hidden=(32, 32, 16, 16), latent="categorical")
    >>> two.above.picture, two.above.decoder, two.above.outputs
    ((64, 1, 1), (16, 16, 32, 32), 128)
    """
    size = below.topmost.latents
    options = {"latents": latents, "hidden": hidden, "latent": latent, "initial": initial}
    return below.under(mlp((size, 1, 1), outputs=2 * size, **options))


class Model(nn.Module):
    """The members' networks, with their weights stacked along the first axis."""

    def __init__(
        self,
        network: Network,
        seeds: Int64[Tensor, "members"],
        stream: Iterator[int] | None = None,
    ) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("seeds", seeds, persistent=False)
        stream, initial = stream or count(), network.initial
        code = network.latents * (2 if network.latent == "gaussian" else 1)

        def dense(widths: list[int]) -> list[nn.Module]:
            layers: list[nn.Module] = []
            for inputs, outputs in pairwise(widths):
                layers += [
                    Linear(seeds, inputs, outputs, next(stream), initial),
                    nn.ReLU(inplace=True),
                ]
            return layers[:-1]

        if network.kind == "mlp":
            pixels = prod(network.picture)
            encoder = [Flatten(), *dense([pixels, *network.encoder, code])]
            decoder = (
                []
                if network.latent == "none"
                else dense([network.latents, *network.decoder, network.outputs])
            )
        else:
            maps = [network.picture[0], *network.encoder]
            side = network.picture[1] // 2 ** len(network.encoder)
            corner = (side, side, maps[-1])
            halve = Convolutions(
                Halve(seeds, *pair, next(stream), initial) for pair in pairwise(maps)
            )
            dense_in = dense([prod(corner), *network.decoder, code])
            encoder = [halve, nn.ReLU(inplace=True), ChannelsLast(), Flatten(), *dense_in]
            dense_out = dense([network.latents, *network.decoder, prod(corner)])
            double = Convolutions(
                Double(seeds, *pair, next(stream), initial) for pair in pairwise(maps[::-1])
            )
            decoder = [*dense_out, nn.ReLU(inplace=True), Unflatten(corner), ChannelsFirst()]
            decoder += [double, Flatten()]
        self.encoder, self.decoder = nn.Sequential(*encoder), nn.Sequential(*decoder)
        self.above = None if network.above is None else Model(network.above, seeds, stream)

    @property
    def topmost(self) -> Model:
        """The layer that has none above it."""
        return self if self.above is None else self.above.topmost

    def encode(self, x: Float[Tensor, "members batch c h w"]) -> tuple[Tensor, ...]:
        """(mean, log variance) of Gaussian latents, (logits,) of a categorical one, or (z,)."""
        code = self.encoder(2 * x - 1 if self.network.centred else x).float()
        if self.network.latent != "gaussian":
            return (code,)
        mean, spread = code.chunk(2, -1)
        if self.network.spread == "softplus":
            spread = 2 * F.softplus(spread - 5).log()
        return mean, spread

    def decode(self, z: Float[Tensor, "members batch latents"]) -> Float[Tensor, "members batch o"]:
        """Logits or means of q(target | z); pixels in the order channel, row, column."""
        return self.decoder(z).float()


class Layer(nn.Module):
    """Weights and biases of every member, each drawn from its own seed.

    A kind of layer says in `layout` the shape of its weight, and its fans in and out.
    """

    layout: Callable[[int, int], tuple[tuple[int, ...], tuple[int, int]]]

    def __init__(
        self, seeds: Tensor, inputs: int, outputs: int, stream: int, initial: Initial
    ) -> None:
        super().__init__()
        shape, fans = self.layout(inputs, outputs)
        draw = uniform(seeds, 0, (prod(shape) + outputs,), stream=stream) * 2 - 1
        weight, bias = draw.split([prod(shape), outputs], 1)
        if initial == "glorot":
            weight, bias = weight * (6 / sum(fans)) ** 0.5, torch.zeros_like(bias)
        else:
            weight, bias = weight / fans[0] ** 0.5, bias / fans[0] ** 0.5
        self.weight = nn.Parameter(weight.reshape(-1, *shape).contiguous())
        self.bias = nn.Parameter(bias.contiguous())


class Linear(Layer):
    """y = x W + b."""

    @staticmethod
    def layout(inputs: int, outputs: int) -> tuple[tuple[int, ...], tuple[int, int]]:
        return (inputs, outputs), (inputs, outputs)

    def forward(self, x: Float[Tensor, "members batch i"]) -> Float[Tensor, "members batch o"]:
        return torch.baddbmm(self.bias[:, None], x, self.weight)


class Convolutions(nn.Sequential):
    """Convolutions with ReLU between them: one by one on a CPU, one product a layer on a GPU.

    A CPU has fast convolutions for one member, and gains nothing from the products, nor from
    grouped convolutions where a picture has more than a few hundred pixels.
    """

    def __init__(self, layers: Iterable[Halve | Double]) -> None:
        super().__init__(*layers)

    def forward(self, x: Float[Tensor, "members batch i h w"]) -> Tensor:
        return self.one_by_one(x) if x.device.type == "cpu" else self.as_products(x)

    def one_by_one(self, x: Float[Tensor, "members batch i h w"]) -> Tensor:
        weights = (zip(layer.weight, layer.bias, strict=True) for layer in self)
        outputs = []
        for y, *each in zip(x, *weights, strict=True):
            for k, (layer, (weight, bias)) in enumerate(zip(self, each, strict=True)):
                y = layer.plain(y.relu_() if k else y, weight, bias, stride=2, padding=1)
            outputs.append(y)
        return torch.stack(outputs)

    def as_products(self, x: Float[Tensor, "members batch i h w"]) -> Tensor:
        x = x.permute(0, 1, 3, 4, 2)
        for k, layer in enumerate(self):
            x = layer(x.relu_() if k else x)
        return x.permute(0, 1, 4, 2, 3)


class Halve(Layer):
    """A convolution with a 4x4 kernel, stride 2, padding 1: half as high and wide."""

    plain = staticmethod(F.conv2d)

    @staticmethod
    def layout(inputs: int, outputs: int) -> tuple[tuple[int, ...], tuple[int, int]]:
        fans = inputs * KERNEL**2, outputs * KERNEL**2
        return (outputs, inputs, KERNEL, KERNEL), fans

    def forward(self, x: Float[Tensor, "members batch h w i"]) -> Tensor:
        """As one matrix product over all members, of patches and weights."""
        members, batch, height, width, inputs = x.shape
        h, w = height // 2, width // 2
        x = F.pad(x, (0, 0, 1, 1, 1, 1)).reshape(members, batch, h + 1, 2, w + 1, 2, inputs)
        x = x.permute(0, 1, 2, 4, 3, 5, 6).flatten(4)
        patches = torch.cat([x[:, :, i : h + i, j : w + j] for i in (0, 1) for j in (0, 1)], -1)
        weight = self.weight.unflatten(3, (2, 2)).unflatten(-1, (2, 2))
        weight = weight.permute(0, 3, 5, 4, 6, 2, 1).flatten(1, 5)
        y = torch.baddbmm(self.bias[:, None], patches.flatten(1, 3), weight)
        return y.unflatten(1, (batch, h, w))


class Double(Layer):
    """A transposed convolution with a 4x4 kernel, stride 2, padding 1: twice as high and wide."""

    plain = staticmethod(F.conv_transpose2d)

    @staticmethod
    def layout(inputs: int, outputs: int) -> tuple[tuple[int, ...], tuple[int, int]]:
        # PyTorch counts the fans of a transposed kernel this way
        fans = outputs * KERNEL**2, inputs * KERNEL**2
        return (inputs, outputs, KERNEL, KERNEL), fans

    def forward(self, x: Float[Tensor, "members batch h w i"]) -> Tensor:
        """As one matrix product over all members, of patches and weights."""
        batch, h, w = x.shape[1:4]
        x = F.pad(x, (0, 0, 1, 1, 1, 1))
        windows = [x[:, :, i : h + 1 + i, j : w + 1 + j] for i in (0, 1) for j in (0, 1)]
        # an output row 2i + p meets input rows i + p - 1 and i + p through kernel rows 3 - p, 1 - p
        weight = self.weight.flip(3, 4).unflatten(3, (2, 2)).unflatten(-1, (2, 2))
        weight = weight.permute(0, 3, 5, 1, 4, 6, 2).flatten(1, 3).flatten(2)
        y = (torch.cat(windows, -1).flatten(1, 3) @ weight).unflatten(1, (batch, h + 1, w + 1))
        y = y.unflatten(-1, (2, 2, -1))
        rows = [
            torch.stack([y[:, :, p : h + p, q : w + q, p, q] for q in (0, 1)], 4) for p in (0, 1)
        ]
        y = torch.stack(rows, 3).flatten(4, 5).flatten(2, 3)
        return y + self.bias[:, None, None, None]


class Flatten(nn.Module):
    """[members, batch, ...] to [members, batch, features]."""

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(2)


class Unflatten(nn.Module):
    """The features as a small picture, channels last."""

    def __init__(self, shape: tuple[int, int, int]) -> None:
        super().__init__()
        self.shape = shape

    def forward(self, x: Tensor) -> Tensor:
        return x.unflatten(2, self.shape)


class ChannelsLast(nn.Module):
    """[members, batch, c, h, w] to [members, batch, h, w, c]."""

    def forward(self, x: Tensor) -> Tensor:
        return x.permute(0, 1, 3, 4, 2)


class ChannelsFirst(nn.Module):
    """[members, batch, h, w, c] to [members, batch, c, h, w]."""

    def forward(self, x: Tensor) -> Tensor:
        return x.permute(0, 1, 4, 2, 3)
