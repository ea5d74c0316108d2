"""Networks for many members at once: an encoder, a decoder, and what stands above them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import count, pairwise
from math import prod
from typing import Literal

from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn import functional as F

from ibbook._numbers import integer
from ibbook.layers import (
    ChannelsFirst,
    ChannelsLast,
    Convolutions,
    Double,
    Flatten,
    Halve,
    Initial,
    Linear,
    Masked,
    Unflatten,
)

Latent = Literal["gaussian", "categorical", "point", "none"]


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
    past:     0, or hidden units for each pixel that see all pixels before it: with them q(x | z)
              predicts the pixels one by one, and need not take them for independent given z
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
    past: int = 0

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
        object.__setattr__(self, "past", integer(self.past, "past", 0))
        if self.past and (self.latent != "gaussian" or self.outputs != prod(self.picture)):
            raise ValueError(
                "past is for decoders of pictures from Gaussian latents, got "
                f"{self.latent} latents and {self.outputs} outputs for {self.picture}"
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

        >>> import torch
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
    past: int = 0,
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
        past=past,
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
    hidden = integer(hidden, "hidden", 1)
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
        self.past = None
        if network.past:
            pixels, hidden = network.outputs, network.past * network.outputs
            self.past = nn.Sequential(
                Masked(seeds, pixels, hidden, next(stream), initial, groups=pixels, own=False),
                nn.ReLU(inplace=True),
                Masked(seeds, hidden, pixels, next(stream), initial, groups=pixels, own=True),
            )

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

    def decode(
        self, z: Float[Tensor, "members batch latents"], x: Tensor | None = None
    ) -> Float[Tensor, "members batch o"]:
        """Logits or means of q(target | z); pixels in the order channel, row, column.

        A decoder with `past` takes the pixels x, [members, batch, pixels], too: what it says of
        each follows from z and the pixels before it.
        """
        decoded = self.decoder(z).float()
        return decoded if self.past is None else decoded + self.past(x).float()
