"""Width and slant of what is drawn in a picture, by the moments of its ink."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from ibbook._checks import real


class Ink(NamedTuple):
    """Width in pixels, and pixels to the right for a pixel up."""

    width: Float64[Tensor, "*n"]
    slant: Float64[Tensor, "*n"]


def ink(images: Float[Tensor, "*n h w"]) -> Ink:
    """The shape of the ink, of which pixels hold amounts.

    The slant is cov(right, up) / var(up), the slope of the line along which the drawing leans; the
    width is the standard deviation of ink to the left and right of that line. What has no height
    has no slant: 0.

    >>> ink(torch.eye(5).flip(0))  # a line of pixels that rises to the right
    Ink(width=tensor(0., dtype=torch.float64), slant=tensor(1., dtype=torch.float64))
    """
    images = real(images, "images")
    if images.ndim < 2 or (images < 0).any() or (images.sum((-2, -1)) <= 0).any():
        raise ValueError(
            "images must be [..., h, w] with pixels >= 0 and some ink in each, got shape "
            f"{tuple(images.shape)}, least pixel {images.min():g}, least ink "
            f"{images.sum((-2, -1)).min() if images.ndim > 1 else 0:g}"
        )
    weight = images / images.sum((-2, -1), keepdim=True)
    right = torch.arange(images.shape[-1]).to(weight)
    up = -torch.arange(images.shape[-2]).to(weight)[:, None]

    def mean(value: Tensor) -> Tensor:
        return (weight * value).sum((-2, -1))

    x, y = mean(right), mean(up)
    across = mean(right**2) - x**2
    height = mean(up**2) - y**2
    together = mean(right * up) - x * y
    slant = torch.where(height > 1e-9, together / height, 0.0)
    return Ink((across - slant * together).clamp(min=0).sqrt(), slant)
