"""Where a training step's time goes: one step captured as a graph, and the dearest kernels.

Captured, a step is launched once in place of some hundred times, on the same pictures again and
again. What it gains over the step of `speed-training` is what launches and the feed cost; what is
then left over the floor, the kernels cost, and the profile says which.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

from ibbook.datasets import Dataset
from ibbook.networks import Network
from ibbook.objective import Objective
from ibbook.training import Optimiser, grid
from ibbook.training.members import check_member
from ibbook.training.share import Share
from ibbook.training.state import State
from tests.benchmarks.bench_training import BATCH, NETWORKS, pictures
from tests.gpu.speed import seconds, speed_of
from tests.gpu.steps import Run

KERNELS = 20  # of a profile, the dearest


def steps(run: Run) -> None:
    """Captured steps of 64 members, and the kernels of plain ones, for both networks."""
    members = 3 if run.dry else 64
    results: dict[str, Any] = {"formula": __doc__, "captured": {}, "kernels": {}}
    said = []
    for kind, network in NETWORKS.items():
        step = one_step(network, pictures(kind), members, run.device)
        results["kernels"][kind] = kernels(step, run.device)
        replay = captured(step, run.device)
        each = seconds(run.device, replay, 3 if run.dry else 100)
        results["captured"][kind] = speed_of(run, network, members, each)
        said.append(f"{kind}: {1e3 * each:.2f} ms a captured step")
        run.save(results, "; ".join(said))


def one_step(network: Network, data: Dataset, members: int, device: str) -> Callable[[], Any]:
    """One training step of all members, always on the same pictures and noise."""
    told = [check_member(m, i) for i, m in enumerate(grid(seed=range(members)))]
    seeds = torch.arange(members, device=device)
    state = State(network.build(seeds), Optimiser(), told)
    share = Share(state, slice(None), Objective(), data, BATCH)
    batch = [values[0].clone() for values in share.feed(range(1))]

    def step() -> tuple[torch.Tensor, ...]:
        columns = share.losses(*batch)
        share._update(share._gradients(columns[0]), 1.0)
        return columns

    return step


def captured(step: Callable[[], Any], device: str) -> Callable[[], Any]:
    """The step as one graph of a GPU; elsewhere the step itself."""
    if not device.startswith("cuda"):
        return step
    aside = torch.cuda.Stream()
    aside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(aside):
        for _ in range(3):
            step()
    torch.cuda.current_stream().wait_stream(aside)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()
    return graph.replay


def kernels(step: Callable[[], Any], device: str, count: int = 5) -> list[dict[str, Any]]:
    """The dearest kernels of a step: calls and microseconds of one step, and their share."""
    gpu = device.startswith("cuda")
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if gpu else [])]
    for _ in range(3):
        step()
    with profile(activities=activities) as seen:
        for _ in range(count):
            step()
        if gpu:
            torch.cuda.synchronize()
    which = "self_device_time_total" if gpu else "self_cpu_time_total"
    spent = sorted(((getattr(k, which), k) for k in seen.key_averages()), key=lambda p: -p[0])
    total = sum(time for time, _ in spent)
    return [
        {
            "kernel": kernel.key[:120],
            "calls": kernel.count / count,
            "microseconds": time / count,
            "share": time / total,
        }
        for time, kernel in spent[:KERNELS]
    ]
