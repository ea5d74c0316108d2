"""Numbers of numpy and torch count as Python's own; what is no number is refused by name."""

from __future__ import annotations

from dataclasses import is_dataclass

import numpy as np
import pytest
import torch

from ibbook.bottleneck import gaussian_bottleneck, information_bottleneck
from ibbook.closed_forms import gaussian_rate
from ibbook.datasets import load
from ibbook.denoising import fit_denoiser
from ibbook.diffusion import cosine_alpha_bar, linear_alpha_bar, sqrt_alpha_bar
from ibbook.information import entropy, gaussian_mutual_information
from ibbook.linear_gaussian import (
    collapse_threshold,
    collapse_thresholds,
    descend,
    factor_problem,
    fixed_point,
    linear_vae_rates,
    optimum,
    turned,
)
from ibbook.metrics import mig, sap
from ibbook.networks import conv, mlp
from ibbook.rate_distortion import blahut_arimoto, rate_at, rate_distortion
from ibbook.sampling import marginal_draws
from ibbook.schedules import constant, cyclical, linear

COV = torch.tensor([[2.0, 0.5, 0.0], [0.5, 1.0, 0.0], [0.0, 0.0, 1.0]]).double()
HAMMING = [[0.0, 1.0], [1.0, 0.0]]
JOINT = [[0.4, 0.1], [0.1, 0.4]]
CODE, FACTORS = torch.randn(60, 2), torch.arange(120).reshape(60, 2) % 3
SILENT = torch.zeros(1, 4, 2)


def half_steps(**given):
    return fixed_point(COV, **{"beta": 2.0, "latents": 2, "sweeps": 5, "seeds": [0], **given})


def descent(**given):
    return descend(COV, 2.0, 0.5, **{"latents": 2, "steps": 3, "seeds": [0], **given})


def denoiser(**given):
    given = {"steps": 1, "seeds": [0], "snr": (0.1, 10.0), **given}
    points = torch.zeros(1, 4, 1)
    found = fit_denoiser(lambda step: points, torch.zeros(1), torch.eye(1), **given)
    return found(torch.ones(1, 3, 1), torch.ones(1, 3))


WHOLE = {  # the argument, a value of it, and a call with it
    "fixed_point latents": (2, lambda v: half_steps(latents=v)),
    "fixed_point sweeps": (5, lambda v: half_steps(sweeps=v)),
    "fixed_point seeds": (3, lambda v: half_steps(seeds=[v])),
    "descend latents": (2, lambda v: descent(latents=v)),
    "descend steps": (3, lambda v: descent(steps=v)),
    "descend seeds": (3, lambda v: descent(seeds=[v])),
    "optimum latents": (2, lambda v: optimum(COV, 2.0, 0.5, latents=v)),
    "linear_vae_rates latents": (2, lambda v: linear_vae_rates(COV, 0.5, [1.0], latents=v)),
    "factor_problem n": (4, lambda v: factor_problem(n=v, factors=2)),
    "factor_problem factors": (2, lambda v: factor_problem(n=4, factors=v)),
    "factor_problem seed": (1, lambda v: factor_problem(n=4, factors=2, seed=v)),
    "reduced extra": (1, lambda v: factor_problem(n=4, factors=2).reduced(v)),
    "turned draws": (3, lambda v: turned(COV, COV, draws=v, seed=0)),
    "turned seed": (3, lambda v: turned(COV, COV, draws=3, seed=v)),
    "linear_alpha_bar steps": (5, linear_alpha_bar),
    "cosine_alpha_bar steps": (5, cosine_alpha_bar),
    "sqrt_alpha_bar steps": (5, sqrt_alpha_bar),
    "fit_denoiser steps": (1, lambda v: denoiser(steps=v)),
    "fit_denoiser seeds": (3, lambda v: denoiser(seeds=[v])),
    "marginal_draws draws": (3, lambda v: marginal_draws(SILENT, SILENT, v)),
    "marginal_draws seed": (3, lambda v: marginal_draws(SILENT, SILENT, 3, seed=v)),
    "cyclical cycles": (2, lambda v: cyclical(10, v, 0.5)),
    "linear steps": (5, lambda v: linear(0, 1, v)),
    "mlp past": (2, lambda v: mlp((1, 4, 4), latents=2, hidden=(4,), past=v)),
    "mlp latents": (2, lambda v: mlp((1, 4, 4), latents=v, hidden=(4,))),
    "conv hidden": (8, lambda v: conv((1, 16, 16), latents=2, hidden=v)),
    "load size": (16, lambda v: load("dsprites", size=v).name),
    "sample n": (5, lambda v: load("digits").sample(v).images[:]),
    "sample seed": (5, lambda v: load("digits").sample(5, seed=v).images[:]),
    "blahut_arimoto iterations": (
        5,
        lambda v: blahut_arimoto([0.5, 0.5], HAMMING, 2.0, iterations=v),
    ),
    "information_bottleneck clusters": (
        2,
        lambda v: information_bottleneck(JOINT, 4.0, clusters=v),
    ),
    "gaussian_bottleneck dim_x": (1, lambda v: gaussian_bottleneck(COV, v, 3.0)),
    "gaussian_mutual_information dim_x": (1, lambda v: gaussian_mutual_information(COV, v)),
    "mig bins": (5, lambda v: mig(CODE, FACTORS, bins=v)),
    "sap seed": (5, lambda v: sap(CODE, FACTORS, estimator="classifier", seed=v)),
}
REAL = {
    "fixed_point beta": (2.0, lambda v: half_steps(beta=v)),
    "fixed_point l2": (0.5, lambda v: half_steps(l2=v)),
    "fixed_point tol": (0.5, lambda v: half_steps(tol=v)),
    "fixed_point noise": (0.5, lambda v: half_steps(noise=v)),
    "descend learning_rate": (0.5, lambda v: descent(learning_rate=v)),
    "collapse_threshold l2": (0.5, lambda v: collapse_threshold(COV, l2=v)),
    "collapse_threshold noise": (0.5, lambda v: collapse_threshold(COV, noise=v)),
    "collapse_thresholds noise": (0.5, lambda v: collapse_thresholds(COV, v)),
    "linear_vae_rates noise": (0.5, lambda v: linear_vae_rates(COV, v, [1.0], latents=2)),
    "factor_problem noise": (0.5, lambda v: factor_problem(n=4, factors=2, noise=v)),
    "fit_denoiser snr": (0.5, lambda v: denoiser(snr=(v, 10.0))),
    "fit_denoiser learning_rate": (0.5, lambda v: denoiser(learning_rate=v)),
    "cyclical ratio": (0.5, lambda v: cyclical(10, 2, v)),
    "constant beta": (0.5, constant),
    "split fractions": (0.5, lambda v: load("digits").split(v)[0].images[:]),
    "rate_distortion beta": (2.0, lambda v: rate_distortion([0.5, 0.5], HAMMING, v)),
    "rate_distortion tol": (0.5, lambda v: rate_distortion([0.5, 0.5], HAMMING, 2, tol=v)),
    "rate_at targets": (0.25, lambda v: rate_at([0.5, 0.5], HAMMING, v)),
    "information_bottleneck beta": (4.0, lambda v: information_bottleneck(JOINT, v)),
    "gaussian_bottleneck beta": (4.0, lambda v: gaussian_bottleneck(COV, 1, v)),
    "entropy base": (2.0, lambda v: entropy([0.5, 0.5], base=v)),
    "gaussian_rate distortion": (0.5, lambda v: gaussian_rate([1.0, 2.0], v)),
}
WHOLE_KINDS = [np.int64, np.int32, np.array, torch.tensor]
REAL_KINDS = [np.float64, np.float32, torch.tensor, lambda v: torch.tensor(v, requires_grad=True)]
CASES = [
    *((name, value, call, WHOLE_KINDS, (2.5, True)) for name, (value, call) in WHOLE.items()),
    *((name, value, call, REAL_KINDS, ()) for name, (value, call) in REAL.items()),
]


@pytest.mark.parametrize(
    ("name", "value", "call", "kinds", "more"), CASES, ids=[case[0] for case in CASES]
)
def test_a_number_is_one_whatever_library_it_is_of(name, value, call, kinds, more):
    plain = call(value)
    for kind in kinds:
        assert_equal(call(kind(value)), plain)
    argument = name.split()[-1]
    bad_ones = ("x", float("nan"), -3, *more, *([] if argument == "clusters" else [None]))
    for bad in bad_ones:
        with pytest.raises(ValueError, match=rf"\b{argument}\b"):
            call(bad)


def assert_equal(found, expected):
    assert type(found) is type(expected)
    if isinstance(expected, torch.Tensor):
        torch.testing.assert_close(found, expected)
    elif isinstance(expected, tuple | list):
        for one, other in zip(found, expected, strict=True):
            assert_equal(one, other)
    elif is_dataclass(expected):
        assert_equal(list(vars(found).items()), list(vars(expected).items()))
    else:
        assert found == expected
