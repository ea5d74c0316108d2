"""The trainer against a plain PyTorch loop on the same work, in the same run.

Run with `pytest -s tests/benchmarks/bench_training.py` on an idle machine. Goals: one member at
most 1.2 times as slow as the plain loop; 16 small MLPs at least 3 times as fast on 2 CPU cores as
16 plain loops one after another, and 16 small convolutional VAEs never slower; 64 members 30 times
as fast on a GPU (not measured yet).

On two cores of an AMD EPYC, several runs: one member takes 1.03 to 1.1 times as long; 16 MLPs are
2.0 to 2.3 times as fast on one thread and 3.0 to 3.7 times on two, 16 convolutional VAEs 1.3 and
2.3 times. What limits them: on one thread a step of 16 MLPs saves the calls, and is left with 0.47
ms of arithmetic for each member, at 43 Gflop/s; a call of the convolutions is mostly arithmetic
already. Two threads gain less than twice, since they share memory and Python's lock. Two threads
in one small operation lose: they are woken for each, and the plain loop takes two to four times as
long as on one.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from statistics import median

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ibbook.datasets import Dataset, load
from ibbook.networks import Network, conv, mlp
from ibbook.objective import Objective
from ibbook.training import Ensemble, fit, grid, share

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


def ensemble(kind: str, data: Dataset, steps: int, members: int) -> Ensemble:
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


def seconds(*runs: Callable[[], object]) -> list[float]:
    """Median seconds of each, all of them in turn in each round."""
    spent: list[list[float]] = [[] for _ in runs]
    for each in range(ROUNDS + 1):
        for run, times in zip(runs, spent, strict=True):
            start = time.perf_counter()
            run()
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            if each:  # the first round warms up
                times.append(time.perf_counter() - start)
    return [median(times) for times in spent]


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
    spent = seconds(*runs)
    peer, one, sixteen = ([spent[k], spent[k + 3]] for k in range(3))
    slower = [ours / theirs for ours, theirs in zip(one, peer, strict=True)]
    faster = [16 * min(peer) / ours for ours in sixteen]
    print(
        f"\n{kind}: a step of the plain loop takes {1e3 * peer[0] / steps:.2f} ms on one thread "
        f"and {1e3 * peer[1] / steps:.2f} on two; one member {slower[0]:.2f} and {slower[1]:.2f} "
        f"times as long; 16 members are {faster[0]:.2f} and {faster[1]:.2f} times as fast as 16 "
        "of the faster plain loops"
    )
    assert min(one) < 1.2 * min(peer)
    assert faster[1] > (3 if kind == "mlp" else 1)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="this machine has no GPU")
@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("kind", NETWORKS)
def test_64_members_on_a_gpu(kind, compiled, monkeypatch):
    monkeypatch.setattr(share, "_fuses", lambda *_: compiled)
    data, steps = pictures(kind), 2048
    images = (data.images[:] / data.scale).cuda()

    def training_seconds(members: int) -> float:
        """Without compiling, which a long run does once."""
        trained = (ensemble(kind, data, steps, members) for _ in range(ROUNDS))
        return median(one.final["seconds"].max() for one in trained)

    (peer,) = seconds(partial(plain, kind, images, steps))
    slower, faster = training_seconds(1) / peer, 64 * peer / training_seconds(64)
    print(
        f"\n{kind}, GPU, {'compiled' if compiled else 'plain'}: the loop takes "
        f"{1e3 * peer / steps:.2f} ms a step; one member {slower:.2f} times as long, 64 members "
        f"{faster:.1f} times as fast as 64 loops"
    )
    if compiled:
        assert slower < 1.2
        assert faster > 30


@pytest.mark.parametrize("kind", NETWORKS)
def test_both_do_the_same_work(kind):
    data, steps = pictures(kind), 4 * STEPS[kind]
    images = data.images[:] / data.scale
    theirs = torch.tensor([plain(kind, images, steps, seed) for seed in range(8)])
    ours = torch.tensor(ensemble(kind, data, steps, 8).final["loss"].tolist())
    print(f"\n{kind}: loss after {steps} steps, plain {theirs.tolist()}, ours {ours.tolist()}")
    noise = ((theirs.var() + ours.var()) / 8).sqrt()
    assert (theirs.mean() - ours.mean()).abs() < 3 * noise
