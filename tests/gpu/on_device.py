"""Tests of the device against the CPU, which the step `correctness` collects.

The device is `$IBBOOK_GPU_DEVICE`, by default a GPU where there is one. Without one these tests
compare the CPU with itself, and show that they run.
"""

from __future__ import annotations

import os
from contextlib import nullcontext

import numpy as np
import pytest
import torch

from ibbook import metrics
from ibbook.bottleneck import information_bottleneck, information_curve
from ibbook.datasets import Dataset, dsprites, load
from ibbook.datasets._grid import classes_of
from ibbook.denoising import code_information, denoising_errors, fit_denoiser
from ibbook.information import entropy, mutual_information, total_correlation
from ibbook.networks import Convolutions
from ibbook.noise import normal, uniform
from ibbook.rate_distortion import rate_distortion
from ibbook.training import Ensemble, fit, grid, share
from tests.training.small_networks import CASES, assert_same, weights

DEVICE = os.environ.get("IBBOOK_GPU_DEVICE", "cuda" if torch.cuda.is_available() else "cpu")
FEW = {"steps": 12, "batch_size": 32, "log_every": 4}
COLUMNS = ["loss", "distortion", "rate", "error"]
MEMBERS = grid(beta=[1, 4], seed=range(2))


@pytest.fixture(scope="module")
def digits() -> Dataset:
    return load("digits")


@pytest.fixture
def in_float32(monkeypatch):
    """Without bfloat16, so that only the order of sums differs."""
    monkeypatch.setattr(share, "_precision", lambda _: nullcontext())


def close(found, expected, tolerance: float) -> None:
    """Every entry within a tolerance, relative where it is above 1."""
    if isinstance(found, torch.Tensor):
        found = found.cpu()
    torch.testing.assert_close(found, expected, rtol=tolerance, atol=tolerance)


def curves(ensemble: Ensemble) -> np.ndarray:
    return ensemble.history[COLUMNS].to_numpy()


# Trainer


def test_random_numbers_are_those_of_the_cpu():
    seeds = torch.arange(3)
    there, here = (uniform(s, 0, (1000,), stream=5) for s in (seeds.to(DEVICE), seeds))
    assert torch.equal(there.cpu(), here)
    there, here = (normal(s, range(4), (50,), stream=7) for s in (seeds.to(DEVICE), seeds))
    close(there, here, 1e-5)


@pytest.mark.parametrize(("network", "objective"), CASES.values(), ids=CASES)
def test_members_train_as_on_the_cpu(digits, in_float32, network, objective):
    here = fit(network, objective, digits, MEMBERS, **FEW, device="cpu")
    there = fit(network, objective, digits, MEMBERS, **FEW, device=DEVICE)
    assert there.models.seeds.device.type == torch.device(DEVICE).type
    np.testing.assert_allclose(curves(there), curves(here), rtol=1e-3, atol=1e-3)
    pixels = digits.images[:50] / digits.scale
    close(there.encode(pixels)[0], here.encode(pixels)[0], 0.01)
    mine, theirs = there.evaluate(digits, samples=2), here.evaluate(digits, samples=2)
    numbers = theirs.select_dtypes("number").columns
    np.testing.assert_allclose(mine[numbers], theirs[numbers], rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(("network", "objective"), CASES.values(), ids=CASES)
def test_bfloat16_stays_near_float32(digits, network, objective):
    here = fit(network, objective, digits, MEMBERS, **FEW, device="cpu")
    there = fit(network, objective, digits, MEMBERS, **FEW, device=DEVICE)
    np.testing.assert_allclose(curves(there), curves(here), rtol=0.03, atol=0.1)
    assert {w.dtype for w in there.models.parameters()} == {torch.float32}


@pytest.mark.parametrize(("network", "objective"), CASES.values(), ids=CASES)
def test_a_member_alone_is_that_of_the_ensemble(digits, in_float32, network, objective):
    together = fit(network, objective, digits, MEMBERS, **FEW, device=DEVICE)
    alone = fit(network, objective, digits, MEMBERS[2:3], **FEW, device=DEVICE)
    same = together.history.query("member == 2")[COLUMNS].to_numpy()
    np.testing.assert_allclose(curves(alone), same, rtol=1e-4, atol=1e-4)


@pytest.mark.filterwarnings("error:training without compiled steps")
def test_compiled_steps_are_the_plain_ones(digits, in_float32, monkeypatch):
    network, objective = CASES["convolutional"]
    plain = fit(network, objective, digits, MEMBERS, **FEW, device=DEVICE)
    real = torch.compile
    if DEVICE == "cpu":  # its compiler would take a minute
        monkeypatch.setattr(torch, "compile", lambda f, **_: real(f, backend="eager"))
    monkeypatch.setattr(share, "_fuses", lambda *_: True)
    fused = fit(network, objective, digits, MEMBERS, **FEW, device=DEVICE)
    np.testing.assert_allclose(curves(fused), curves(plain), rtol=1e-4, atol=1e-4)


def test_both_forms_of_convolution_are_the_same(digits, in_float32, monkeypatch):
    network, objective = CASES["convolutional"]
    one = fit(network, objective, digits, MEMBERS, **FEW, device=DEVICE)
    monkeypatch.setattr(Convolutions, "forward", Convolutions.one_by_one)
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    other = fit(network, objective, digits, MEMBERS, **FEW, device=DEVICE)
    np.testing.assert_allclose(curves(one), curves(other), rtol=1e-4, atol=1e-4)


def test_a_checkpoint_is_gone_on_with_on_its_own_device_only(digits, in_float32, tmp_path, capsys):
    network, objective = CASES["vae"]
    few = FEW | {"checkpoint": tmp_path}
    fit(network, objective, digits, MEMBERS, **few | {"steps": 8}, device=DEVICE)
    here = fit(network, objective, digits, MEMBERS, **few, device="cpu")
    there = fit(network, objective, digits, MEMBERS, **few, device=DEVICE)
    own = 1 if DEVICE == "cpu" else 2
    assert len(list(tmp_path.iterdir())) == own
    assert capsys.readouterr().out.count("resumed at step 8") == 1
    np.testing.assert_allclose(curves(there), curves(here), rtol=1e-3, atol=1e-3)


def test_a_denoiser_learns_and_measures_as_on_the_cpu():
    points = normal(torch.arange(2), range(1), (200, 3))[0]

    def measured(device):
        found = fit_denoiser(
            lambda step: points, [0.0] * 3, torch.eye(3), [0, 1],
            steps=20, snr=(0.1, 10.0), hidden=(16,), device=device,
        )  # fmt: skip
        levels = [0.1, 1.0, 10.0]
        errors = denoising_errors(found, points, levels)
        return errors, code_information(found, points, torch.zeros_like(points), levels)

    for there, here in zip(measured(DEVICE), measured("cpu"), strict=True):
        assert there.device.type == torch.device(DEVICE).type
        close(there, here, 1e-3)


def test_an_ensemble_saved_there_is_read_here(digits, tmp_path):
    network, objective = CASES["convolutional"]
    there = fit(network, objective, digits, MEMBERS, **FEW, device=DEVICE)
    there.save(tmp_path / "trained.safetensors")
    here = Ensemble.load(tmp_path / "trained.safetensors")
    assert_same({k: v.cpu() for k, v in weights(there).items()}, weights(here), rtol=0, atol=0)
    pixels = digits.images[:50] / digits.scale
    close(there.encode(pixels)[0], here.encode(pixels)[0], 1e-4)


# Metrics


@pytest.fixture(scope="module")
def arrays():
    generator = torch.Generator().manual_seed(0)
    factors = torch.stack([torch.randint(0, k, (400,), generator=generator) for k in (4, 3)], 1)
    codes = torch.randn(2, 400, 3, generator=generator, dtype=torch.float64)
    codes[..., :2] += factors
    return codes, torch.randn(2, 400, 3, generator=generator, dtype=torch.float64), factors


SCORES = {
    "mig": lambda z, s, v: metrics.mig(z, v),
    "mig, quantiles": lambda z, s, v: metrics.mig(z, v, binning="quantile"),
    "sap": lambda z, s, v: metrics.sap(z, v),
    "modularity": lambda z, s, v: metrics.modularity(z, v),
    "i_m": lambda z, s, v: metrics.i_m(z, v),
    "beta-VAE": lambda z, s, v: metrics.beta_vae_score(z, v, train=400, test=200),
    "FactorVAE": lambda z, s, v: metrics.factor_vae_score(z, v, train=400, test=200),
    "active units": lambda z, s, v: metrics.active_units(z),
    "total correlation": lambda z, s, v: metrics.code_total_correlation(z),
    "rate": lambda z, s, v: metrics.rate(z, s),
    "I(x; z_j)": lambda z, s, v: metrics.latent_information(z, s),
    "I(x; z)": lambda z, s, v: metrics.aggregate_information(z, s).upper,
}


@pytest.mark.parametrize("score", SCORES.values(), ids=SCORES)
def test_scores_are_those_of_the_cpu(arrays, score):
    found = score(*(array.to(DEVICE) for array in arrays))
    assert found.device.type == torch.device(DEVICE).type
    close(found, score(*arrays), 1e-9)


# Solvers


def test_measures_of_information_are_those_of_the_cpu():
    generator = torch.Generator().manual_seed(1)
    p = torch.rand(5, 4, 3, generator=generator, dtype=torch.float64)
    p /= p.sum()
    close(entropy(p.flatten().to(DEVICE)), entropy(p.flatten()), 1e-12)
    pxy = p.sum(2)
    close(mutual_information(pxy.to(DEVICE)), mutual_information(pxy), 1e-12)
    close(total_correlation(p.to(DEVICE)), total_correlation(p), 1e-12)


def test_rate_distortion_is_that_of_the_cpu():
    x = torch.linspace(-4, 4, 40, dtype=torch.float64)
    problem = ((-(x**2) / 2).softmax(0), (x[:, None] - x) ** 2, torch.logspace(-1, 2, 8).double())
    found = rate_distortion(*(t.to(DEVICE) for t in problem))
    expected = rate_distortion(*problem)
    assert found.rate.device.type == torch.device(DEVICE).type
    assert found.converged.all()
    # both are certified to 1e-9 nats of the same number
    for name in ("rate", "distortion"):
        close(getattr(found, name), getattr(expected, name), 1e-6)


def test_the_bottleneck_is_that_of_the_cpu():
    generator = torch.Generator().manual_seed(2)
    pxy = torch.rand(8, 6, generator=generator, dtype=torch.float64) ** 4
    pxy /= pxy.sum()
    betas = torch.tensor([2.0, 5.0, 12.0], dtype=torch.float64)
    found = information_bottleneck(pxy.to(DEVICE), betas.to(DEVICE))
    expected = information_bottleneck(pxy, betas)
    assert found.complexity.device.type == torch.device(DEVICE).type
    close(found.functional, expected.functional, 1e-8)
    curve = information_curve(pxy.to(DEVICE), betas.to(DEVICE))
    close(curve.relevance, information_curve(pxy, betas).relevance, 1e-5)


# Renderers


@pytest.mark.parametrize("size", [64, 32, 16])
def test_sprites_are_those_of_the_cpu_bit_for_bit(size):
    rows = torch.randperm(dsprites.COUNT, generator=torch.Generator().manual_seed(3))[:2048]
    classes = classes_of(rows, dsprites.FACTOR_SIZES)
    drawn = dsprites.render(classes.to(DEVICE), size=size)
    assert drawn.device.type == torch.device(DEVICE).type
    assert torch.equal(drawn.cpu(), dsprites.render(classes, size=size))


def test_batches_are_those_of_the_cpu():
    data = load("dsprites", size=16)
    rows = torch.arange(0, len(data), 997)[None].expand(2, -1)
    assert torch.equal(data.batch(rows, torch.device(DEVICE)).cpu(), data.batch(rows))
