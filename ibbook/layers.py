"""Layers of many members at once: every weight carries a leading member axis.

A layer maps `[members, batch, ...]` to `[members, batch, ...]`, by one matrix product for all
members. Convolutions are PyTorch's own, member by member, on a CPU; see `Convolutions`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from math import prod
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from ibbook.noise import uniform

Initial = Literal["uniform", "glorot"]
KERNEL = 4  # with stride 2 and padding 1, each convolution halves the picture


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


class Masked(Linear):
    """y = x W + b, where a group of outputs sees only the groups of inputs before its own.

    With `own` it sees its own group as well. As in MADE (Germain et al., 2015).
    """

    def __init__(
        self,
        seeds: Tensor,
        inputs: int,
        outputs: int,
        stream: int,
        initial: Initial,
        *,
        groups: int,
        own: bool,
    ) -> None:
        super().__init__(seeds, inputs, outputs, stream, initial)
        mask = torch.ones(groups, groups, device=seeds.device, dtype=torch.float32)
        mask = mask.triu(0 if own else 1)
        mask = mask.repeat_interleave(inputs // groups, 0)
        mask = mask.repeat_interleave(outputs // groups, 1)
        self.register_buffer("mask", mask, persistent=False)

    def forward(self, x: Float[Tensor, "members batch i"]) -> Float[Tensor, "members batch o"]:
        return torch.baddbmm(self.bias[:, None], x, self.weight * self.mask)


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


class Same(Layer):
    """A convolution with a 3x3 kernel and padding 1: as high and wide, all members in one call."""

    @staticmethod
    def layout(inputs: int, outputs: int) -> tuple[tuple[int, ...], tuple[int, int]]:
        return (outputs, inputs, 3, 3), (inputs * 9, outputs * 9)

    def forward(self, x: Float[Tensor, "members batch i h w"]) -> Tensor:
        members = len(x)
        weight, bias = self.weight.flatten(0, 1), self.bias.flatten()
        y = F.conv2d(x.transpose(0, 1).flatten(1, 2), weight, bias, padding=1, groups=members)
        return y.unflatten(1, (members, -1)).transpose(0, 1)


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
