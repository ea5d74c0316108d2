"""Where a GPU would be: members train and are scored on another device, without mixing the two."""

from __future__ import annotations

from contextlib import nullcontext

import numpy as np
import pytest
import torch

from ibbook import _device, metrics
from ibbook.datasets import Dataset, load
from ibbook.training import Optimiser, feed, fit, grid, share
from tests.second_device import DEVICE, Remote, SecondDevice
from tests.training.small_networks import CASES


@pytest.mark.parametrize(("network", "objective"), CASES.values(), ids=CASES)
def test_all_of_training_but_the_backward_pass_runs_there(monkeypatch, network, objective):
    def flat(share, loss):
        """In place of autograd, which knows no second device."""
        return [torch.zeros_like(w) for w in share.weights]

    monkeypatch.setattr(share.Share, "_gradients", flat)
    monkeypatch.setattr(share, "_precision", lambda _: nullcontext())  # it has no bfloat16
    monkeypatch.setattr(_device, "KNOWN", ("cpu", DEVICE.type))
    monkeypatch.setitem(feed.NUMBERS, DEVICE.type, feed.NUMBERS["cpu"])
    digits = load("digits")
    digits = Dataset.from_arrays(
        digits.images[:], labels=digits.labels, factors=digits.labels[:, None], scale=digits.scale
    )
    members = grid(beta=[1, 4], seed=range(2), learning_rate=[1e-4, 1e-3])

    def results(device):
        optimiser = Optimiser(average=0.9)
        ensemble = fit(
            network, objective, digits, members,
            steps=60, batch_size=32, optimiser=optimiser, device=device,
        )  # fmt: skip
        pixels = digits.images[:20] / digits.scale
        tables = [ensemble.history.drop(columns="seconds"), ensemble.evaluate(digits, samples=2)]
        if network.latent == "gaussian":
            tables.append(
                metrics.evaluate(
                    ensemble, digits, ["mig", "sap"], seeds=range(2), points=1000, codes="sample"
                )
            )
        return tables, ensemble.encode(pixels)[0]

    expected, code = results("cpu")
    with SecondDevice():
        found, there = results(DEVICE)
    assert isinstance(there, Remote)
    torch.testing.assert_close(there.local, code, rtol=1e-4, atol=1e-5)
    for one, other in zip(found, expected, strict=True):
        numbers = one.select_dtypes("number").columns
        np.testing.assert_allclose(one[numbers], other[numbers], rtol=1e-4, atol=1e-5)
