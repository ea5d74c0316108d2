"""Where a GPU would be: codes are scored on another device, without mixing the two."""

from __future__ import annotations

import pytest
import torch

from ibbook import metrics
from ibbook.denoising import code_information, denoising_errors, fit_denoiser
from tests.second_device import DEVICE, Remote, SecondDevice, send


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
    "sap, classifier": lambda z, s, v: metrics.sap(z, v, estimator="classifier"),
    "dci": lambda z, s, v: metrics.dci(z, v).disentanglement,
    "dci, lasso": lambda z, s, v: metrics.dci(z, v, predictor="lasso").importance,
    "modularity": lambda z, s, v: metrics.modularity(z, v),
    "explicitness": lambda z, s, v: metrics.explicitness(z, v),
    "i_m": lambda z, s, v: metrics.i_m(z, v),
    "i_m, histogram": lambda z, s, v: metrics.i_m(z, v, estimator="histogram"),
    "beta-VAE": lambda z, s, v: metrics.beta_vae_score(z, v, train=400, test=200),
    "FactorVAE": lambda z, s, v: metrics.factor_vae_score(z, v, train=400, test=200),
    "active units": lambda z, s, v: metrics.active_units(z),
    "total correlation": lambda z, s, v: metrics.code_total_correlation(z),
    "rate": lambda z, s, v: metrics.rate(z, s),
    "I(x; z_j)": lambda z, s, v: metrics.latent_information(z, s),
    "I(x; z)": lambda z, s, v: metrics.aggregate_information(z, s).upper,
}


@pytest.mark.parametrize("score", SCORES.values(), ids=SCORES)
def test_scores_are_those_of_the_cpu_and_stay_where_the_codes_are(arrays, score):
    expected = score(*arrays)
    with SecondDevice():
        found = score(*map(send, arrays))
    assert isinstance(found, Remote)
    assert found.device.type == DEVICE.type
    torch.testing.assert_close(found.local, expected, rtol=1e-12, atol=1e-12)


def test_a_denoiser_measures_where_it_lies_points_of_the_cpu():
    generator = torch.Generator().manual_seed(0)
    points = torch.randn(2, 50, 3, generator=generator)
    found = fit_denoiser(
        lambda step: points, [0.0] * 3, torch.eye(3), [0, 1],
        steps=3, snr=(0.1, 10.0), hidden=(8,), device="cpu",
    )  # fmt: skip

    def measured():
        levels = [0.1, 1.0, 10.0]
        errors = denoising_errors(found, points, levels)
        return errors, code_information(found, points, torch.zeros_like(points), levels)

    expected = measured()
    for layer in found.network.modules():
        for name, weight in layer.named_parameters(recurse=False):
            layer._parameters[name] = torch.nn.Parameter(send(weight.detach()), False)
    for name in ("seeds", "mean", "variance", "axes"):
        setattr(found, name, send(getattr(found, name)))
    with SecondDevice():
        for there, here in zip(measured(), expected, strict=True):
            assert isinstance(there, Remote)
            torch.testing.assert_close(there.local, here)


def test_the_second_device_is_as_strict_as_a_gpu(arrays):
    codes = arrays[0]
    with SecondDevice():
        with pytest.raises(RuntimeError, match="same device"):
            send(codes) + codes
        with pytest.raises((RuntimeError, TypeError)):
            send(codes).numpy()
        assert isinstance(torch.zeros(3, device=DEVICE), Remote)
        assert not isinstance(send(codes).cpu(), Remote)
