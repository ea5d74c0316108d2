"""Numbers of numpy and torch train as Python's own, and no setting of the caller changes any."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

from ibbook.datasets import Dataset, load
from ibbook.metrics import evaluate
from ibbook.networks import conv, mlp
from ibbook.noise import normal, uniform
from ibbook.objective import Objective
from ibbook.schedules import Schedule, cyclical, linear
from ibbook.training import Ensemble, Optimiser, fit, grid, mixture_layer
from tests.training.small_networks import SMALL, assert_same, weights

BRIEF = {"steps": 4, "batch_size": 32}


def test_members_of_numpy_and_torch_are_those_of_python(digits, tmp_path):
    plain = grid(beta=[0.5, 4], seed=range(2), l2=[0.5], learning_rate=[1e-3])
    own = grid(
        beta=[np.float32(0.5), torch.tensor(4)],
        seed=np.arange(2),
        l2=np.array([0.5], np.float32),
        learning_rate=torch.tensor([1e-3], dtype=torch.float64),
    )
    one = fit(SMALL, Objective(), digits, plain, **BRIEF)
    other = fit(SMALL, Objective(), digits, own, steps=np.int64(4), batch_size=torch.tensor(32))
    assert_same(weights(one), weights(other), rtol=0, atol=0)
    columns = ["member", "beta", "seed", "l2", "learning_rate", "step"]
    pd.testing.assert_frame_equal(one.final[columns], other.final[columns])
    other.save(tmp_path / "a")
    assert Ensemble.load(tmp_path / "a").members == one.members


def test_objectives_schedules_and_networks_of_numpy_are_those_of_python(tmp_path, digits):
    assert Objective(beta=np.array([1, 4])) == Objective(beta=[1, 4])
    assert Objective(beta=torch.tensor(4.0), l2=np.float32(0.5)) == Objective(beta=4.0, l2=0.5)
    assert Objective(anchors={np.int64(1): np.float64(0.5)}) == Objective(anchors={1: 0.5})
    assert linear(np.float32(0), np.int64(1), np.int64(4)) == linear(0, 1, 4)
    assert cyclical(np.int64(8), np.int64(2)) == cyclical(8, 2)
    assert Schedule(np.array([[0, 0.0], [8, 1.0]])) == Schedule(((0, 0.0), (8, 1.0)))
    assert Optimiser(np.float64(1e-3), average=np.float32(0.5)) == Optimiser(1e-3, average=0.5)
    assert mlp(np.array([1, 8, 8]), latents=np.int64(2)) == mlp((1, 8, 8), latents=2)
    assert conv((1, 16, 16), latents=2, channels=np.array([8, 8]), hidden=np.int64(4)) == conv(
        (1, 16, 16), latents=2, channels=(8, 8), hidden=4
    )
    objective = Objective(
        beta=np.array([1, 4, 2]),
        anchors={np.int64(0): np.float32(0.5)},
        l2=np.float32(0.5),
        output="gaussian",
        variance=torch.tensor(0.5),
    )
    rate, half = np.float32(2**-10), np.float32(0.5)
    optimiser = Optimiser(rate, (half, half), epsilon=rate, average=torch.tensor(0.5))
    more = {"optimiser": optimiser, "checkpoint": tmp_path / "points"} | BRIEF
    network = mlp(np.array([1, 8, 8]), latents=np.int64(3), hidden=np.array([16]))
    made = fit(network, objective, digits, [{"beta": linear(0, np.float32(1), 4)}], **more)
    made.save(tmp_path / "a")
    assert Ensemble.load(tmp_path / "a").objective == objective
    for wrong in ("4", True, None, [[1.0]], np.nan, 1j):
        with pytest.raises(ValueError, match="beta must be"):
            Objective(beta=wrong)


def test_homes_in_paths_are_expanded(tmp_path, monkeypatch, digits):
    monkeypatch.setenv("HOME", str(tmp_path))
    made = fit(SMALL, Objective(), digits, [{}], checkpoint="~/points", **BRIEF)
    made.save("~/a")
    assert_same(weights(Ensemble.load("~/a")), weights(made), rtol=0, atol=0)
    (point,) = (tmp_path / "points").iterdir()
    with pytest.raises(ValueError, match="is no ensemble"):
        Ensemble.load(point)


def test_pictures_and_values_may_be_arrays(digits):
    made = fit(SMALL, Objective(), digits, [{}], **BRIEF)
    pictures = digits.images[:3] / digits.scale
    array = pictures.numpy()
    for given in (array, pictures.double(), array.astype(">f8"), array[::-1].copy()[::-1]):
        assert torch.equal(made.encode(given)[0], made.encode(pictures)[0])
        assert torch.equal(made.predict(given), made.predict(pictures))
    shown = made.traverse(pictures[0], torch.linspace(-2, 2, 5))
    assert torch.equal(made.traverse(pictures[0].numpy(), np.linspace(-2, 2, 5)), shown)
    assert torch.equal(made.traverse(pictures[0].tolist(), range(-2, 3)), shown)
    code = made.encode(pictures)[0]
    assert torch.equal(made.decode(code.numpy()), made.decode(code))
    assert torch.equal(made.decode(code.numpy().astype(">f4")), made.decode(code))
    with pytest.raises(ValueError, match=r"z must be .*complex"):
        made.decode(code.numpy() + 1j)
    with pytest.raises(ValueError, match=r"z must have shape \[1 members, n, latents\], got \(3"):
        made.decode(code[0])
    with pytest.raises(ValueError, match=r"images must be .*masked"):
        made.encode(np.ma.array(array, mask=array > 0))
    with pytest.raises(ValueError, match=r"beta must be .*got masked"):
        Objective(beta=np.ma.array([1.0, 2.0], mask=[0, 1]))


def test_numbers_of_members_are_those_of_python_whatever_library_they_are_of(digits):
    made = fit(SMALL, Objective(), digits, [{}, {"learning_rate": 1e30}], **BRIEF | {"steps": 9})
    assert list(made.diverged) == [1]
    for chosen in (torch.tensor([1]), np.array([1]), pd.Series([1], index=[7])):
        assert list(made.select(chosen).diverged) == [0]
        assert made.evaluate(digits, members=chosen).member.tolist() == [1]
    for wrong in ([True, False], [1.0], 1, [], "1"):
        with pytest.raises(ValueError, match=r"members must be some of 0..1, got"):
            made.select(wrong)


def test_members_that_all_diverged_early_leave_an_empty_table(digits):
    made = fit(SMALL, Objective(), digits, [{"learning_rate": 1e30}], **BRIEF | {"steps": 9},
               log_every=9)  # fmt: skip
    assert list(made.diverged) == [0]
    assert made.final.empty
    assert {"member", "step", "loss"} <= set(made.final.columns)


def test_a_score_of_more_pictures_than_there_are_names_what_was_given():
    pictures = np.zeros((300, 8, 8), np.uint8)
    data = Dataset.from_arrays(pictures, factors=np.arange(300)[:, None] % 3)
    made = fit(SMALL, Objective(), data, [{}], **BRIEF)
    with pytest.raises(ValueError, match="points must be at most 300"):
        evaluate(made, data, ["mig"])


def numbers() -> list[torch.Tensor]:
    """Random numbers, pictures, weights and predictions."""
    parts = [uniform(torch.arange(3), 5, (1000,)), normal(torch.arange(3), range(2), (1000,))]
    for name in ("dsprites", "shapes3d", "gaussian-factors"):
        data = load(name)
        parts.append(data.images[torch.arange(8) * (len(data) // 8)])
    digits, objective = load("digits"), Objective(beta=0.3, l2=0.3)
    for kind in ({"latent": "gaussian"}, {"latent": "categorical"}, {"past": 2}):
        network = mlp((1, 8, 8), latents=2, hidden=(8,), **kind)
        made = fit(network, objective, digits, [{}, {"seed": 1}], **BRIEF)
        parts += made.models.state_dict().values()
        parts.append(torch.tensor(made.final[["loss", "distortion", "rate"]].to_numpy()))
        if not network.past:
            parts.append(made.predict(digits.images[:9] / digits.scale))
    sprites = load("dsprites", size=16)
    made = fit(mlp((1, 16, 16), latents=2, hidden=(8,)), objective, sprites, [{}], **BRIEF)
    scores = evaluate(made, sprites, ["mig"], seeds=range(2), points=100, codes="sample").score
    parts.append(torch.tensor(scores.to_numpy()))
    top = mlp((2, 1, 1), latents=2, hidden=(8,), latent="categorical", outputs=4)
    codes = normal(torch.arange(1), range(1), (50, 2))[0]
    parts += (
        mixture_layer(top, codes, torch.zeros_like(codes), [0], restarts=1, steps=4)
        .models.state_dict()
        .values()
    )
    return parts


def test_the_callers_default_precision_changes_no_number():
    single = numbers()
    torch.set_default_dtype(torch.float64)
    try:
        double = numbers()
    finally:
        torch.set_default_dtype(torch.float32)
    for one, other in zip(single, double, strict=True):
        assert one.dtype == other.dtype
        assert torch.equal(one, other)
