from __future__ import annotations

import numpy as np
import pytest
import torch
from torch._dynamo.backends.debugging import aot_eager

from ibbook._threads import threads
from ibbook.networks import Convolutions, conv, mlp
from ibbook.objective import Objective
from ibbook.schedules import linear
from ibbook.training import fit, grid, share, terms
from tests.training.small_networks import CASES, SMALL, assert_same, weights


@pytest.mark.parametrize(
    ("network", "objective"),
    [
        (mlp((1, 8, 8), latents=4, hidden=(64,)), Objective()),
        (conv((1, 8, 8), latents=4, channels=(8, 16), hidden=32), Objective(l2=0.1)),
    ],
    ids=["mlp", "conv"],
)
def test_bfloat16_moves_losses_by_less_than_2_and_gradients_by_less_than_5_percent(
    digits, monkeypatch, network, objective
):
    def trained():
        return fit(network, objective, digits, grid(seed=range(3)), steps=60, batch_size=32)

    exact = trained()
    monkeypatch.setattr(share, "_precision", lambda _: torch.autocast("cpu", torch.bfloat16))
    rough = trained()
    columns = ["loss", "distortion", "error"]
    np.testing.assert_allclose(rough.history[columns], exact.history[columns], rtol=0.02)
    np.testing.assert_allclose(rough.history["rate"], exact.history["rate"], atol=0.05)
    assert not (rough.history["loss"] == exact.history["loss"]).any()
    assert {w.dtype for w in rough.models.parameters()} == {torch.float32}

    model = network.build(torch.tensor([1, 2]))
    x, noise = digits.images[:256].unflatten(0, (2, 128)) / digits.scale, torch.zeros(2, 128, 4)
    gradients = []
    for enabled in (False, True):
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            parts = terms(model, objective, x, x.flatten(2), noise)
        assert {parts.distortion.dtype, parts.rate.dtype, parts.error.dtype} == {torch.float32}
        loss = parts.distortion + parts.rate.sum(1) + parts.error
        gradients.append(torch.autograd.grad(loss.sum(), list(model.parameters())))
    for one, other in zip(*gradients, strict=True):
        assert one.dtype == other.dtype == torch.float32
        assert (one - other).norm() < 0.05 * one.norm()


def compile_with(backend, monkeypatch):
    """What a GPU compiles in a long run, compiled on this machine in any run."""
    real = torch.compile
    torch.compiler.reset()
    monkeypatch.setattr(torch, "compile", lambda f, **options: real(f, backend=backend, **options))
    monkeypatch.setattr(share, "_fuses", lambda *_: True)


@pytest.mark.parametrize("products", [False, True])
@pytest.mark.parametrize("case", CASES)
def test_compiled_steps_are_the_plain_ones(digits, monkeypatch, case, products):
    network, objective = CASES[case]
    if products:
        monkeypatch.setattr(Convolutions, "forward", Convolutions.as_products)
    members = grid(beta=[1, linear(0, 4, 8)], seed=range(2))

    def trained():
        with threads(2):
            return fit(network, objective, digits, members, steps=60, batch_size=32)

    plain, graphs = trained(), []

    def backend(graph, inputs):
        graphs.append(graph)
        return aot_eager(graph, inputs)

    compile_with(backend, monkeypatch)
    fused = trained()
    assert len(graphs) == 1  # for both threads, and none later, in the second epoch
    np.testing.assert_allclose(fused.history["loss"], plain.history["loss"], rtol=1e-5)
    for member in range(4):
        assert_same(weights(fused, member), weights(plain, member), rtol=0, atol=1e-5)


def test_a_machine_that_cannot_compile_trains_all_the_same_and_says_so(digits, monkeypatch):
    def trained():
        return fit(SMALL, Objective(), digits, grid(seed=[3]), steps=5, batch_size=32)

    def broken(*_):
        raise OSError("no C compiler")

    plain = trained()
    compile_with(broken, monkeypatch)
    with pytest.warns(UserWarning, match="(?s)without compiled steps.*no C compiler"):
        fused = trained()
    assert_same(weights(fused), weights(plain), rtol=0, atol=0)


@pytest.mark.parametrize(
    ("device", "steps", "expected"),
    [("cuda", 10_000, True), ("cuda", 9_999, False), ("cpu", 1_000_000, False)],
)
def test_only_long_runs_on_a_gpu_are_compiled(device, steps, expected):
    assert share._fuses(torch.device(device), steps) is expected
