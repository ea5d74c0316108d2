"""The trainer against a plain PyTorch loop on the same work, in the same run.

Run with `pytest -s tests/benchmarks/bench_training.py`. Goals: one member at most 1.2 times as slow
as the plain loop; 16 small MLPs at least 3 times as fast on 2 CPU cores as 16 plain loops one after
another, and 16 small convolutional VAEs never slower; 64 members 30 times as fast on a GPU.

Two clocks: the wall, and the processor time of the calling thread, which other programs disturb
less. While waiting threads sleep (the package asks OpenMP for that) the second leaves out what the
other thread does meanwhile, so with two threads it is about the time on two free cores.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from functools import partial
from statistics import median

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ibbook.datasets import Dataset, load
from ibbook.networks import Network, conv, mlp
from ibbook.objective import Objective
from ibbook.training import Runs, fit, grid

BATCH, LATENTS = 64, 8
NETWORKS = {
    "mlp": mlp((1, 8, 8), latents=LATENTS, hidden=(128, 128)),
    "conv": conv((1, 16, 16), latents=LATENTS, channels=(16, 32), hidden=64),
}
STEPS = {"mlp": 512, "conv": 128}
ROUNDS = 5


def plain_mlp() -> tuple[nn.Module, nn.Module]:
    encoder = nn.Sequential(
        nn.Flatten(), nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 128), nn.ReLU(),
        nn.Linear(128, 2 * LATENTS),
    )  # fmt: skip
    decoder = nn.Sequential(
        nn.Linear(LATENTS, 128), nn.ReLU(), nn.Linear(128, 128), nn.ReLU(), nn.Linear(128, 64)
    )
    return encoder, decoder


def plain_conv() -> tuple[nn.Module, nn.Module]:
    encoder = nn.Sequential(
        nn.Conv2d(1, 16, 4, 2, 1), nn.ReLU(), nn.Conv2d(16, 32, 4, 2, 1), nn.ReLU(),
        nn.Flatten(), nn.Linear(512, 64), nn.ReLU(), nn.Linear(64, 2 * LATENTS),
    )  # fmt: skip
    decoder = nn.Sequential(
        nn.Linear(LATENTS, 64), nn.ReLU(), nn.Linear(64, 512), nn.ReLU(),
        nn.Unflatten(1, (32, 4, 4)), nn.ConvTranspose2d(32, 16, 4, 2, 1), nn.ReLU(),
        nn.ConvTranspose2d(16, 1, 4, 2, 1), nn.Flatten(),
    )  # fmt: skip
    return encoder, decoder


def plain(kind: str, images: Tensor, steps: int, seed: int = 0) -> float:
    """A VAE as anyone would write it, with what is fast in PyTorch; the last loss, in nats."""
    torch.manual_seed(seed)
    encoder, decoder = (part.to(images.device) for part in PLAIN[kind]())
    weights = [*encoder.parameters(), *decoder.parameters()]
    optimiser = torch.optim.Adam(weights, lr=1e-3, fused=True)
    epoch = len(images) // BATCH
    for step in range(steps):
        if step % epoch == 0:
            order = torch.randperm(len(images), device=images.device)
        x = images[order[step % epoch * BATCH :][:BATCH]]
        mean, log_variance = encoder(x).chunk(2, 1)
        decoded = decoder(mean + (log_variance / 2).exp() * torch.randn_like(mean))
        distortion = F.binary_cross_entropy_with_logits(decoded, x.flatten(1), reduction="sum")
        rate = (mean.square() + log_variance.exp() - 1 - log_variance).sum() / 2
        loss = (distortion + rate) / BATCH
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return loss.item()


PLAIN = {"mlp": plain_mlp, "conv": plain_conv}


def pictures(kind: str) -> Dataset:
    if kind == "mlp":
        return load("digits")
    drawn = load("dsprites", size=16).sample(4096)
    return Dataset.from_arrays(drawn.images[:], scale=drawn.scale)


def ensemble(kind: str, data: Dataset, steps: int, members: int) -> Runs:
    network: Network = NETWORKS[kind]
    return fit(
        network,
        Objective(),
        data,
        grid(seed=range(members)),
        steps=steps,
        batch_size=BATCH,
        log_every=64,  # as in a run of 6,400 steps
    )


def clocks(*runs: Callable[[], object]) -> Iterator[tuple[float, float]]:
    """Median seconds of each (calling thread, wall), all of them in turn in each round."""
    spent: list[list[tuple[float, float]]] = [[] for _ in runs]
    for each in range(ROUNDS + 1):
        for run, times in zip(runs, spent, strict=True):
            start = time.thread_time(), time.perf_counter()
            run()
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            if each:  # the first round warms up
                times.append((time.thread_time() - start[0], time.perf_counter() - start[1]))
    for times in spent:
        yield tuple(median(column) for column in zip(*times, strict=True))


def on(threads: int, run: Callable[..., object], *args: object) -> Callable[[], object]:
    def call() -> None:
        torch.set_num_threads(threads)
        run(*args)

    return call


@pytest.fixture(autouse=True)
def same_threads_afterwards():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.skipif(torch.cuda.is_available(), reason="`fit` would take the GPU")
@pytest.mark.parametrize("kind", NETWORKS)
def test_one_and_sixteen_members_on_two_cores(kind):
    data, steps = pictures(kind), STEPS[kind]
    images = data.images[:] / data.scale
    runs = [
        on(threads, *call)
        for threads in (1, 2)
        for call in (
            (plain, kind, images, steps),
            (ensemble, kind, data, steps, 1),
            (ensemble, kind, data, steps, 16),
        )
    ]
    for clock, spent in zip(("thread", "wall"), zip(*clocks(*runs), strict=True), strict=True):
        peer, one, sixteen = ([spent[k], spent[k + 3]] for k in range(3))
        slower = [ours / theirs for ours, theirs in zip(one, peer, strict=True)]
        faster = [16 * min(peer) / ours for ours in sixteen]
        print(
            f"\n{kind}, by the {clock}'s clock: a step of the plain loop takes "
            f"{1e3 * peer[0] / steps:.2f} ms on one thread and {1e3 * peer[1] / steps:.2f} on two; "
            f"one member {slower[0]:.2f} and {slower[1]:.2f} times as long; 16 members are "
            f"{faster[0]:.2f} and {faster[1]:.2f} times as fast as 16 of the faster plain loops"
        )
        if clock == "thread":
            assert min(one) < 1.2 * min(peer)
            assert faster[1] > (3 if kind == "mlp" else 1)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="this machine has no GPU")
@pytest.mark.parametrize("kind", NETWORKS)
def test_64_members_on_a_gpu(kind):
    data, steps = pictures(kind), 2048
    images = (data.images[:] / data.scale).cuda()
    peer, one, many = clocks(
        partial(plain, kind, images, steps),
        partial(ensemble, kind, data, steps, 1),
        partial(ensemble, kind, data, steps, 64),
    )
    slower, faster = one[1] / peer[1], 64 * peer[1] / many[1]
    print(
        f"\n{kind}, GPU: plain {1e3 * peer[1] / steps:.2f} ms a step; one member {slower:.2f} "
        f"times as long, 64 members {faster:.1f} times as fast as 64 plain loops"
    )
    assert slower < 1.2
    assert faster > 30


@pytest.mark.parametrize("kind", NETWORKS)
def test_both_do_the_same_work(kind):
    data, steps = pictures(kind), 4 * STEPS[kind]
    images = data.images[:] / data.scale
    theirs = [plain(kind, images, steps, seed) for seed in range(4)]
    ours = ensemble(kind, data, steps, 4).final["loss"]
    print(f"\n{kind}: loss after {steps} steps, plain {theirs}, ours {ours.tolist()}")
    assert ours.mean() == pytest.approx(sum(theirs) / 4, rel=0.05)
