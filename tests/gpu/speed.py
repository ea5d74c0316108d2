"""How fast the device is at what the book does, and beside each number the floor that it has.

A floor is the larger of operations over the measured rate of a large matrix product, and bytes
over the measured bandwidth of a large copy. Formulas stand in the JSON beside the numbers.
"""

from __future__ import annotations

import math
import platform
import statistics
import time
import warnings
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any
from unittest import mock

import numpy as np
import torch

from ibbook import metrics
from ibbook.bottleneck import critical_beta, information_bottleneck
from ibbook.datasets import Dataset, dsprites, load
from ibbook.datasets._grid import classes_of
from ibbook.networks import Convolutions, Double, Halve, Linear, Network, conv
from ibbook.objective import Objective
from ibbook.rate_distortion import rate_distortion
from ibbook.training import fit, grid, share
from tests.benchmarks.bench_rate_distortion import squared_error_source
from tests.benchmarks.bench_training import BATCH, NETWORKS, pictures, plain
from tests.gpu.steps import UNUSED, Run, StandIn

WHITE = 128_328_864  # pixels of the whole grid, as `ibbook.datasets.dsprites` says
LONGEST = 25.0  # seconds that a measurement with compiled steps may take
SCORES = {
    "mig": metrics.mig,
    "sap": metrics.sap,
    "i_m": metrics.i_m,
    "modularity": metrics.modularity,
    "factor_vae_score": metrics.factor_vae_score,
    "active_units": lambda z, _: metrics.active_units(z),
    "code_total_correlation": lambda z, _: metrics.code_total_correlation(z),
}


def seconds(device: str, call: Callable[[], Any], repeats: int = 5) -> float:
    """Median seconds of a call that has run once before."""
    spent = []
    for _ in range(repeats + 1):
        _wait(device)
        start = time.perf_counter()
        call()
        _wait(device)
        spent.append(time.perf_counter() - start)
    return statistics.median(spent[1:])


def _wait(device: str) -> None:
    if device.startswith("cuda"):
        torch.cuda.synchronize()


def machine(run: Run) -> None:
    """The card, its versions, and two ceilings: flop/s of matrix products, bytes/s of a copy."""
    device, size = run.device, 256 if run.dry else 8192
    gpu = device.startswith("cuda")
    about = {
        "name": torch.cuda.get_device_name() if gpu else platform.processor() or "CPU",
        "memory_bytes": torch.cuda.get_device_properties(device).total_memory if gpu else None,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "missing": [name for name in UNUSED if isinstance(find_spec(name).loader, StandIn)],
    }
    ceilings = {}
    for name, dtype in (("bfloat16", torch.bfloat16), ("float64", torch.float64)):
        n = size if name == "bfloat16" else size // 2
        a, b = (torch.randn(n, n, device=device, dtype=dtype) for _ in range(2))
        ceilings[name] = 2 * n**3 / seconds(device, lambda: a @ b)  # noqa: B023
    source = torch.randint(0, 255, (size**2 * 16,), device=device, dtype=torch.uint8)
    target = torch.empty_like(source)
    ceilings["copy"] = 2 * len(source) / seconds(device, lambda: target.copy_(source))
    run.save(
        {"about": about, "ceilings": ceilings, "units": "flop/s, flop/s, bytes/s read or written"},
        f"{about['name']}: bf16 {ceilings['bfloat16'] / 1e12:.0f} Tflop/s, float64 "
        f"{ceilings['float64'] / 1e12:.1f}, copy {ceilings['copy'] / 1e12:.2f} TB/s",
    )


def floor(run: Run, flops: float, moved: float, kind: str = "bfloat16") -> dict[str, Any]:
    """The least seconds of so many operations and bytes; None where nothing was measured."""
    ceilings = run.ceilings()
    least = max(flops / ceilings[kind], moved / ceilings["copy"]) if ceilings else None
    return {"flops": flops, "bytes": moved, "floor_seconds": least}


def work(network: Network, members: int, batch: int) -> tuple[float, float]:
    """Operations and bytes of one training step of all members.

    Operations: 6 for each product of a weight and an input, 2 forward and 4 backward. Bytes: a
    weight and Adam's two moments are read and written once, 24 bytes; each output of a layer is
    written once and read once, 2 bytes each.
    """
    model = network.build(torch.zeros(1, dtype=torch.int64))
    products = outputs = 0
    side = network.picture[1]
    for layer in model.modules():
        if isinstance(layer, Linear):
            products, outputs = products + layer.weight[0].numel(), outputs + layer.bias.shape[1]
        elif isinstance(layer, Halve | Double):
            places = (side // 2) ** 2 if isinstance(layer, Halve) else side**2
            products += places * layer.weight[0].numel()
            side = side // 2 if isinstance(layer, Halve) else side * 2
            outputs += side**2 * layer.bias.shape[1]
    weights = sum(w.numel() for w in model.parameters())
    return 6.0 * products * batch * members, members * (24.0 * weights + 4 * outputs * batch)


def step_seconds(
    run: Run, network: Network, data: Dataset, members: int, steps: int, compiled: bool
) -> float:
    """Seconds of one step, without compiling, once all has run (a dry run does not wait for it)."""
    options: dict[str, Any] = {"steps": steps, "batch_size": BATCH, "device": run.device}
    options["log_every"] = min(64, steps)
    with (
        mock.patch.object(share, "_fuses", return_value=compiled),
        _quick_compiler(run),
        warnings.catch_warnings(),
    ):
        warnings.filterwarnings("error", "training without compiled steps")
        for _ in range(1 if run.dry else 2):
            ensemble = fit(network, Objective(), data, grid(seed=range(members)), **options)
    return float(ensemble.final["seconds"].max()) / steps


def _quick_compiler(run: Run) -> Any:
    """On a CPU the compiler would take a minute: trace the steps, and run them as they are."""
    real = torch.compile
    quick = real if run.device.startswith("cuda") else lambda f, **_: real(f, backend="eager")
    return mock.patch.object(torch, "compile", quick)


def speed_of(run: Run, network: Network, members: int, each: float) -> dict[str, Any]:
    """Seconds of a step beside their floor, and the share of the rate of a large product."""
    flops, moved = work(network, members, BATCH)
    about = {"members": members, "step_seconds": each, **floor(run, flops, moved)}
    if ceilings := run.ceilings():
        about["share_of_bfloat16"] = flops / each / ceilings["bfloat16"]
        about["share_of_floor"] = about["floor_seconds"] / each
    return about


def training(run: Run) -> None:
    """64 small members and one against the plain loop; plain and compiled; forms of convolution."""
    steps, many = (8, 3) if run.dry else (1024, 64)
    results: dict[str, Any] = {"formula": work.__doc__}
    sets, said = {kind: pictures(kind) for kind in NETWORKS}, []
    for kind, data in sets.items():
        images = (data.images[:] / data.scale).to(run.device)
        plain(kind, images, 2)
        start = time.perf_counter()
        plain(kind, images, steps)
        results[kind] = {"loop_step_seconds": (time.perf_counter() - start) / steps}

    def measure(kind: str, name: str, members: int, compiled: bool) -> None:
        network, found, loop = NETWORKS[kind], results[kind], results[kind]["loop_step_seconds"]
        if run.left < LONGEST:
            found[name] = {"not_measured": f"{run.left:.0f} s were left"}
            return
        try:
            each = step_seconds(run, network, sets[kind], members, steps, compiled)
        except UserWarning as warning:  # that the steps stayed plain
            found[name] = {"not_measured": str(warning)[:300]}
            return
        times = members * loop / each
        found[name] = speed_of(run, network, members, each) | {"times_the_loop": times}
        if members == many:
            said.append(f"{kind} {name} {times:.1f} times the loop")
        run.save(results, "; ".join(said))

    for members, word in ((many, "many"), (1, "one")):
        for kind in NETWORKS:
            measure(kind, f"{word}, plain", members, False)
            measure(kind, f"{word}, compiled", members, True)
    with mock.patch.object(Convolutions, "forward", Convolutions.one_by_one):
        measure("conv", "many, plain, one by one", many, False)
    run.save(results, "; ".join(said))


def sprites(run: Run) -> None:
    """Chapter 5's network on all of dSprites, and the drawing of the whole grid."""
    size = 16 if run.dry else 64
    data = load("dsprites", size=size)
    network = conv((1, size, size), latents=10, channels=(8, 8) if run.dry else (32, 32, 64, 64))
    results: dict[str, Any] = {"render": _render(run), "formula": work.__doc__, "training": {}}
    said = f"{results['render']['pictures_per_second'] / 1e6:.2f} million sprites a second"
    run.save(results, said)
    for members in (2,) if run.dry else (4, 8, 16, 64):
        each = step_seconds(run, network, data, members, 4 if run.dry else 128, False)
        results["training"][str(members)] = speed_of(run, network, members, each)
        run.save(results, f"{said}; {members} members {1e3 * each:.2f} ms a step, plain")


def _render(run: Run) -> dict[str, Any]:
    """The whole grid, in parts; a floor is one byte written a pixel."""
    count, part = (4096, 1024) if run.dry else (dsprites.COUNT, 4096)

    def draw() -> int:
        rows = torch.arange(count, device=run.device).split(part)
        white = [dsprites.render(classes_of(r, dsprites.FACTOR_SIZES)).sum() for r in rows]
        return int(torch.stack(white).sum())

    white, spent = draw(), seconds(run.device, draw, 2)
    if not run.dry and white != WHITE:
        raise AssertionError(f"the grid has {white} white pixels, expected {WHITE}")
    least = floor(run, 0.0, count * 64.0 * 64.0)
    about = {"pictures": count, "white_pixels": white, "seconds": spent, **least}
    return about | {"pictures_per_second": count / spent, "formula": "bytes = 64 * 64 a picture"}


def solvers(run: Run) -> None:
    """64 slopes of a source of 256 symbols, and a bottleneck of 512 symbols and 32 clusters."""
    symbols, slopes, many = (16, 4, 12) if run.dry else (256, 64, 512)
    problem = [t.to(run.device) for t in squared_error_source("gaussian", symbols, slopes)]
    solution = rate_distortion(*problem)
    spent = seconds(run.device, lambda: rate_distortion(*problem), 2)
    count = int(solution.iterations.sum())
    flops = count * (2.0 * symbols**3 + symbols**3 / 3 + 4 * symbols**2)
    results: dict[str, Any] = {
        "rate_distortion": {
            "symbols": symbols,
            "slopes": slopes,
            "seconds": spent,
            "iterations": count,
            "largest_gap_nats": solution.gap.max().item(),
            "all_converged": bool(solution.converged.all()),
            **floor(run, flops, count * 16.0 * symbols**2, "float64"),
            "formula": "an iteration of a slope: a Hessian of 2 n^3 operations, its factor of "
            "n^3 / 3, two products of 2 n^2; the kernel read twice, 8 bytes an entry",
        }
    }
    said = f"{slopes} slopes of {symbols} symbols {spent:.2f} s"
    run.save(results, said)

    pxy = torch.as_tensor(np.random.default_rng(0).dirichlet(np.full(many**2, 0.1)))
    pxy, clusters = pxy.reshape(many, many).to(run.device), 4 if run.dry else 32
    first = critical_beta(pxy).item()
    start = time.perf_counter()
    found = information_bottleneck(pxy, 1.1 * first, clusters=clusters)
    _wait(run.device)
    spent = time.perf_counter() - start
    flops = 4.0 * many**2 * clusters
    results["bottleneck"] = {
        "symbols": many,
        "clusters": clusters,
        "beta": 1.1 * first,
        "seconds": spent,
        "residual": found.residual.max().item(),
        **floor(run, flops, 8.0 * many * (many + 2 * clusters), "float64"),
        "formula": "one iteration, of which a solution takes many: two products of 2 n^2 t "
        "operations; p(y|x) read, p(t|x) and p(t,y) written, 8 bytes an entry",
    }
    run.save(results, f"{said}; bottleneck of {many} symbols {spent:.2f} s")


def scores(run: Run) -> None:
    """The metrics of 64 members with ten latents, on codes of 10,000 sprites."""
    members, points = (2, 500) if run.dry else (64, 10_000)
    factors = load("dsprites", size=16).sample(points).factors
    factors = factors[:, (factors != factors[0]).any(0)]
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(members, points, 10, generator=generator)
    z[..., : factors.shape[1]] += factors
    z, factors = z.to(run.device), factors.to(run.device)
    moved = 8.0 * (z.numel() + factors.numel())
    results: dict[str, Any] = {"members": members, "points": points, "metrics": {}}
    results |= {"formula": "codes and factors read once, 8 bytes a number"}
    for name, score in SCORES.items():
        start = time.perf_counter()
        value = score(z, factors)
        _wait(run.device)
        spent = time.perf_counter() - start
        if not math.isfinite(value.sum()):
            raise AssertionError(f"{name} is not finite: {value.tolist()}")
        about = {"seconds": spent, "mean": value.double().mean().item()}
        results["metrics"][name] = about | floor(run, 0.0, moved)
        total = sum(one["seconds"] for one in results["metrics"].values())
        run.save(results, f"{len(results['metrics'])} metrics of {members} members {total:.1f} s")
