"""The fixed points of Vu, Wan and Wei's grid, 5 betas by 5 penalties by 50 starts, and AdamW's.

Run with `pytest -s tests/benchmarks/bench_linear_gaussian.py`. Goals: the grid by fixed point in
under a minute on 2 cores, each end within 0.001 nats of the closed form's reconstruction error. The
cells of beta = 1 are left out but for lambda = 0: with lambda > 0 no model is the best there.
"""

from __future__ import annotations

import pytest
import torch

from ibbook.linear_gaussian import (
    best_decoder,
    descend,
    factor_problem,
    fixed_point,
    optimum,
    terms,
)

BETAS = torch.tensor([4.0, 8.0, 16.0, 32.0]).double()[:, None]
PENALTIES = torch.tensor([0.0, 2.0, 4.0, 6.0, 8.0]).double()


@pytest.fixture(autouse=True)
def two_threads():
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(threads)


def reconstruction(cov, encoder, code_cov):
    return terms(cov, encoder, code_cov, *best_decoder(cov, encoder, code_cov)).nll


@pytest.mark.parametrize("coordinates", ["observed", "reduced"])
def test_the_grid_by_fixed_point(benchmark, coordinates):
    problem = factor_problem()
    cov = (problem if coordinates == "observed" else problem.reduced(10)).covariance

    def run():
        flat = fixed_point(cov, 1.0, latents=10, seeds=range(50), tol=1e-5)
        return flat, fixed_point(cov, BETAS, PENALTIES, latents=10, seeds=range(50), tol=1e-5)

    flat, found = benchmark.pedantic(run, rounds=1)
    assert flat.converged.all()
    assert found.converged.all()
    best = optimum(cov, BETAS, PENALTIES, latents=10).nll[..., None]
    off = (reconstruction(cov, found.encoder, found.code_cov) - best).abs().max().item()
    print(
        f"\n{coordinates}: 1,050 models of {len(cov)} dimensions in "
        f"{benchmark.stats.stats.max:.1f} s, at most {found.sweeps.max()} sweeps, "
        f"{off:.1e} nats off the closed form"
    )
    assert off < 1e-3
    assert benchmark.stats.stats.max < 60


def test_the_grid_by_adamw(benchmark):
    cov = factor_problem().reduced(10).covariance
    encoder, code_cov = benchmark.pedantic(
        descend,
        (cov, BETAS, PENALTIES),
        {"latents": 10, "seeds": range(5), "steps": 2000},
        rounds=1,
    )
    best = optimum(cov, BETAS, PENALTIES, latents=10).nll[..., None]
    off = (reconstruction(cov, encoder, code_cov) - best).abs().max().item()
    print(f"\n100 models in {benchmark.stats.stats.max:.1f} s, {off:.1e} nats off the closed form")
    assert off < 0.02
