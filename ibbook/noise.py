"""Random numbers that are a function of a seed and a step: no state, so nothing depends on order.

Each member of an ensemble draws from its own seed. It gets the same numbers alone as beside others,
on a CPU as on a GPU, and after a restart as without one. The generator is Philox4x32-10 (Salmon,
Moraes, Dror and Shaw, "Parallel Random Numbers: As Easy as 1, 2, 3", 2011).
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from jaxtyping import Float32, Int64
from torch import Tensor

WORD = 0xFFFFFFFF
MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
WEYL = (0x9E3779B9, 0xBB67AE85)
ROUNDS = 10


def philox(
    counter: Iterable[Int64[Tensor, "*n"]], key: Iterable[Int64[Tensor, "*#n"]]
) -> Int64[Tensor, "4 *n"]:
    """Four random 32-bit words for each counter of four words and key of two.

    >>> zeros = torch.zeros(4, 1, dtype=torch.int64)
    >>> [f"{word:08x}" for word in philox(zeros, zeros[:2])[:, 0].tolist()]
    ['6627e8d5', 'e169c58d', 'bc57ac4c', '9b00dbd8']
    """
    a, b, c, d = counter
    left, right = key
    for _ in range(ROUNDS):
        product, other = a * MULTIPLIERS[0], c * MULTIPLIERS[1]
        a, b, c, d = (
            _high(other).bitwise_xor_(b).bitwise_xor_(left),
            other.bitwise_and_(WORD),
            _high(product).bitwise_xor_(d).bitwise_xor_(right),
            product.bitwise_and_(WORD),
        )
        left, right = (left + WEYL[0]) & WORD, (right + WEYL[1]) & WORD
    return torch.stack([a, b, c, d])


def _high(product: Int64[Tensor, "*n"]) -> Int64[Tensor, "*n"]:
    """The upper 32 bits of an unsigned product."""
    return (product >> 32).bitwise_and_(WORD)


def uniform(
    seeds: Int64[Tensor, "members"], step: int, shape: tuple[int, ...], *, stream: int = 0
) -> Float32[Tensor, "members *shape"]:
    """Numbers in (0, 1], a function of each member's seed, the step and the stream.

    >>> seeds = torch.tensor([3, 7])
    >>> torch.equal(uniform(seeds, 5, (2, 2))[1], uniform(seeds[1:], 5, (2, 2))[0])
    True
    """
    draws = _uniform(seeds, range(step, step + 1), math.prod(shape), stream)
    return draws.reshape(len(seeds), *shape)


def normal(
    seeds: Int64[Tensor, "members"], steps: range, shape: tuple[int, ...], *, stream: int = 0
) -> Float32[Tensor, "steps members *shape"]:
    """Standard normal numbers for some steps at once, by the transform of Box and Muller (1958).

    >>> z = normal(torch.arange(4), range(2), (10_000,))
    >>> z.mean().abs().item() < 0.02, round(z.std().item(), 1)
    (True, 1.0)
    """
    count = math.prod(shape)
    half = -(-count // 2)
    first, second = _uniform(seeds, steps, 2 * half, stream).split(half, -1)
    radius, angle = (-2 * first.log()).sqrt(), 2 * math.pi * second
    both = torch.cat([radius * angle.cos(), radius * angle.sin()], -1)
    return both[..., :count].reshape(len(steps), len(seeds), *shape)


def _uniform(
    seeds: Int64[Tensor, "members"], steps: range, count: int, stream: int
) -> Float32[Tensor, "steps members count"]:
    index = torch.arange(-(-count // 4), device=seeds.device)
    step = torch.arange(steps.start, steps.stop, device=seeds.device)[:, None, None]
    size = (len(steps), len(seeds), len(index))
    words = (index, step, torch.full_like(index, stream), torch.zeros_like(index))
    key = ((seeds & WORD)[:, None], (seeds >> 32 & WORD)[:, None])
    draws = philox((word.expand(size) for word in words), key)
    draws = draws.permute(1, 2, 3, 0).flatten(2)[..., :count]
    return (draws.float() + 0.5) / 2**32  # whatever the default precision is
