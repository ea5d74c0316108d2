"""Where a GPU would be: members train and are scored on another device, without mixing the two."""

from __future__ import annotations

from contextlib import nullcontext

import numpy as np
import pytest
import torch
from second_device import DEVICE, Remote, SecondDevice, send
from test_training import CASES

from ibbook import metrics
from ibbook.datasets import Dataset, load
from ibbook.training import Optimiser, fit, grid
from ibbook.training import ensemble as training


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


def test_the_second_device_is_as_strict_as_a_gpu(arrays):
    codes = arrays[0]
    with SecondDevice():
        with pytest.raises(RuntimeError, match="same device"):
            send(codes) + codes
        with pytest.raises((RuntimeError, TypeError)):
            send(codes).numpy()
        assert isinstance(torch.zeros(3, device=DEVICE), Remote)
        assert not isinstance(send(codes).cpu(), Remote)


@pytest.mark.parametrize(("network", "objective"), CASES.values(), ids=CASES)
def test_all_of_training_but_the_backward_pass_runs_there(monkeypatch, network, objective):
    def flat(share, loss):
        """In place of autograd, which knows no second device."""
        return [torch.zeros_like(w) for w in share.weights]

    monkeypatch.setattr(training._Share, "_gradients", flat)
    monkeypatch.setattr(training, "_precision", lambda _: nullcontext())  # it has no bfloat16
    monkeypatch.setitem(training.NUMBERS, DEVICE.type, training.NUMBERS["cpu"])
    digits = load("digits")
    digits = Dataset.from_arrays(
        digits.images[:], labels=digits.labels, factors=digits.labels[:, None], scale=digits.scale
    )
    members = grid(beta=[1, 4], seed=range(2), learning_rate=[1e-4, 1e-3])

    def results(device):
        optimiser = Optimiser(average=0.9)
        runs = fit(
            network, objective, digits, members,
            steps=60, batch_size=32, optimiser=optimiser, device=device,
        )  # fmt: skip
        pixels = digits.images[:20] / digits.scale
        tables = [runs.history.drop(columns="seconds"), runs.evaluate(digits, samples=2)]
        if network.latent == "gaussian":
            tables.append(
                metrics.evaluate(
                    runs, digits, ["mig", "sap"], seeds=range(2), points=1000, codes="sample"
                )
            )
        return tables, runs.encode(pixels)[0]

    expected, code = results("cpu")
    with SecondDevice():
        found, there = results(DEVICE)
    assert isinstance(there, Remote)
    torch.testing.assert_close(there.local, code, rtol=1e-4, atol=1e-5)
    for one, other in zip(found, expected, strict=True):
        numbers = one.select_dtypes("number").columns
        np.testing.assert_allclose(one[numbers], other[numbers], rtol=1e-4, atol=1e-5)
