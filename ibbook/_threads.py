"""Threads on a CPU: how many PyTorch uses for a while, and problems solved side by side."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

SMALL = 2**18  # numbers; what has fewer is not worth a second thread


@contextmanager
def threads(count: int) -> Iterator[None]:
    """`count` threads inside, as many as before after it.

    >>> before = torch.get_num_threads()
    >>> with threads(1):
    ...     torch.get_num_threads()
    1
    >>> torch.get_num_threads() == before
    True
    """
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def flushed() -> Iterator[None]:
    """Numbers below float32's full precision, some 1e-38, count as 0 in this thread and new ones.

    What a collapsed network's gradients leave in Adam's averages is that small, and a processor
    takes many times as long for it.

    >>> tiny = torch.tensor(1e-38)
    >>> with flushed():
    ...     print((tiny / 1000).item())
    0.0
    >>> (tiny / 1000).item() > 0
    True
    """
    before = (torch.tensor(1e-38) / 1000).item() == 0
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(before)


@contextmanager
def workers(count: int, own: int = 1) -> Iterator[Callable[..., Iterator[Any]]]:
    """`map` on `count` threads of Python, with `own` of PyTorch's threads in each.

    Many small problems want this: PyTorch's own threads wait for each other after every operation,
    and on a busy machine they wait long. These meet once, at the end.

    >>> with workers(2) as each:
    ...     list(each(lambda n: (n, torch.get_num_threads()), range(3)))
    [(0, 1), (1, 1), (2, 1)]
    """
    with threads(own):
        if count == 1:
            yield map
        else:
            with ThreadPoolExecutor(count, "ibbook", torch.set_num_threads, (own,)) as pool:
                yield pool.map


def deal(
    solve: Callable[[slice], tuple[Tensor, ...]], count: int, numbers: int, device: torch.device
) -> list[Tensor]:
    """`solve` for `count` problems of `numbers` numbers each, dealt out to threads.

    `solve(some)` returns tensors with a row for each problem of the slice `some`. A GPU gets all at
    once.

    >>> deal(lambda some: (torch.arange(5)[some] ** 2,), 5, 10**6, torch.device("cpu"))
    [tensor([ 0,  1,  4,  9, 16])]
    """
    large = device.type == "cpu" and count * numbers > SMALL
    own = torch.get_num_threads() if large else 1
    hands = min(count, own)
    with workers(hands, own // hands) as each:
        dealt = [*each(solve, [slice(k, None, hands) for k in range(hands)])]
    gathered = [torch.cat(parts) for parts in zip(*dealt, strict=True)]
    for whole, *parts in zip(gathered, *dealt, strict=True):
        for k, part in enumerate(parts):
            whole[k::hands] = part
    return gathered
