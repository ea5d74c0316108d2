from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from ibbook.datasets import Dataset
from ibbook.networks import mlp
from ibbook.objective import Objective
from ibbook.training import Optimiser, fit, grid, share
from tests.training.small_networks import (
    CASES,
    LABELS,
    MEMBERS,
    SMALL,
    STACKED,
    VIB,
    assert_same,
    weights,
)


@pytest.mark.parametrize(("network", "objective"), CASES.values(), ids=CASES)
def test_a_member_alone_equals_the_same_member_among_sixteen(digits, network, objective):
    options = {"steps": 100, "batch_size": 16, "log_every": 50}
    together = fit(network, objective, digits, MEMBERS, **options)
    for i in (0, 6, 15):
        alone = fit(network, objective, digits, [MEMBERS[i]], **options)
        assert_same(weights(together, i), weights(alone), atol=1e-5, rtol=1e-5)
        rows = together.history.query("member == @i")
        np.testing.assert_allclose(rows["loss"], alone.history["loss"], rtol=1e-5)


def test_the_order_of_members_does_not_matter(digits):
    options = {"steps": 30, "batch_size": 16}
    forward = fit(SMALL, Objective(), digits, MEMBERS, **options)
    backward = fit(SMALL, Objective(), digits, MEMBERS[::-1], **options)
    for i in range(16):
        assert_same(weights(forward, i), weights(backward, 15 - i), atol=1e-6, rtol=1e-6)


def test_threads_share_the_members_and_do_not_change_them(digits, tmp_path):
    options = {"batch_size": 16, "log_every": 7, "checkpoint": tmp_path}
    wild = [*MEMBERS[:4], {"seed": 1, "learning_rate": 1e30}]
    try:
        torch.set_num_threads(3)
        fit(SMALL, Objective(), digits, wild, steps=42, **options)
        assert torch.get_num_threads() == 3
        torch.set_num_threads(2)
        shared = fit(SMALL, Objective(), digits, wild, steps=63, **options)
    finally:
        torch.set_num_threads(1)
    assert len(list(tmp_path.iterdir())) == 1
    options.pop("checkpoint")
    alone = fit(SMALL, Objective(), digits, wild, steps=63, **options)
    for i in range(4):
        assert_same(weights(shared, i), weights(alone, i), atol=1e-5, rtol=1e-5)
    assert shared.diverged.keys() == alone.diverged.keys() == {4}
    columns = ["member", "step", "loss", "rate"]
    np.testing.assert_allclose(shared.history[columns], alone.history[columns], rtol=1e-5)


@pytest.mark.parametrize("before", [False, True])
@pytest.mark.parametrize("count", [1, 2])
def test_numbers_too_small_for_full_precision_are_flushed_in_training_only(
    digits, monkeypatch, before, count
):
    def flushes():
        return (torch.tensor(1e-38) / 1000).item() == 0

    found, train = [], share.Share.train
    monkeypatch.setattr(share.Share, "train", lambda *a: (found.append(flushes()), train(*a))[1])
    torch.set_flush_denormal(before)
    try:
        torch.set_num_threads(count)
        fit(SMALL, Objective(), digits, grid(seed=[0, 1]), steps=1, batch_size=8)
        assert flushes() == before
    finally:
        torch.set_num_threads(1)
        torch.set_flush_denormal(False)
    assert found == [True] * count


def test_a_mistake_in_one_thread_is_raised_and_the_threads_are_given_back(digits, monkeypatch):
    def broken(*args):
        raise ArithmeticError("a mistake")

    monkeypatch.setattr(share, "terms", broken)
    try:
        torch.set_num_threads(2)
        with pytest.raises(ArithmeticError, match="a mistake"):
            fit(SMALL, Objective(), digits, MEMBERS, steps=5, batch_size=16)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(1)


def test_training_lowers_the_loss_and_beta_lowers_the_rate(digits):
    ensemble = fit(
        SMALL,
        Objective(),
        digits,
        grid(beta=[0.5, 8.0], seed=range(2)),
        steps=400,
        batch_size=64,
        log_every=100,
        optimiser=Optimiser(learning_rate=3e-3),
    )
    table = ensemble.history.pivot(index="step", columns="member", values="loss")
    assert (table.iloc[-1] < table.iloc[0]).all()
    rate = ensemble.final.groupby("beta")["rate"].mean()
    assert rate[0.5] > 2 * rate[8.0]


UNLABELLED = Dataset.from_arrays(np.zeros((20, 8, 8), np.uint8))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"members": [{"bta": 1.0}]}, r"member 0 has the key 'bta'.*did you mean 'beta'"),
        ({"members": []}, "members must not be empty"),
        ({"members": [{"beta": -1.0}]}, "beta must be finite and >= 0, got -1.0"),
        ({"members": [{"beta": [1.0, 2.0]}]}, "beta has 2 entries for 3 latents"),
        ({"members": [{"l2": -1.0}]}, "l2 must be finite and >= 0"),
        (
            {"members": [{"seed": 0.5}]},
            "member 0: seed must be a whole number .*, got 0.5",
        ),
        ({"members": [{"learning_rate": 0.0}]}, "learning_rate must be positive"),
        ({"steps": math.inf}, "steps must be a whole number >= 1, got inf"),
        ({"log_every": 0.5}, "log_every must be a whole number >= 1, got 0.5"),
        ({"checkpoint_seconds": "3"}, "checkpoint_seconds must be a finite number, got '3'"),
        ({"steps": 0}, "steps must be a whole number >= 1, got 0"),
        ({"batch_size": 21}, "batch_size must be a whole number from 1 to 20, got 21"),
        ({"network": mlp((1, 4, 4), latents=2)}, r"pictures of shape \(1, 8, 8\), but network"),
        ({"network": VIB}, "network.outputs must be 64"),
        ({"network": VIB, "objective": LABELS}, "target is 'labels', but own has none"),
        (
            {"objective": Objective(output="gaussian", variance="learned")},
            "network.outputs must be 128, two for each pixel",
        ),
        ({"objective": Objective(anchors={3: 0.5})}, "anchors names latent 3, but there are 3"),
        ({"frozen": ["above.encoder"]}, r"of \['encoder', 'decoder'\], got \['above.encoder'\]"),
        ({"frozen": "encoder"}, "frozen must be a list of parts of the model, .* got 'encoder'"),
    ],
)
def test_bad_input_is_named_before_training_starts(change, message):
    call = {
        "network": SMALL,
        "objective": Objective(),
        "members": [{}],
        "steps": 1,
        "batch_size": 4,
    }
    call |= change
    with pytest.raises(ValueError, match=message):
        fit(call.pop("network"), call.pop("objective"), UNLABELLED, call.pop("members"), **call)


@pytest.mark.parametrize("network", [SMALL, STACKED], ids=["plain", "stacked"])
def test_a_start_is_where_the_members_go_on(digits, network, tmp_path):
    ensemble = fit(network, Objective(), digits, grid(seed=[0, 1]), steps=8, batch_size=32)
    brief = {"steps": 1, "batch_size": 32, "optimiser": Optimiser(learning_rate=1e-30)}
    same = fit(network, Objective(), digits, grid(seed=[0, 1]), start=ensemble, **brief)
    assert_same(dict(same.models.state_dict()), dict(ensemble.models.state_dict()))
    for start in (ensemble, ensemble.select([1, 0]), None):
        fit(
            network,
            Objective(),
            digits,
            grid(seed=[0, 1]),
            start=start,
            checkpoint=tmp_path,
            **brief,
        )
    assert len(list(tmp_path.iterdir())) == 3


@pytest.mark.parametrize("frozen", [["above.encoder"], ["decoder", "above.decoder"], ["encoder"]])
def test_frozen_parts_keep_their_weights_and_all_others_move(digits, frozen, tmp_path):
    options = {"batch_size": 32, "optimiser": Optimiser(0.01, average=0.5)}
    begun = fit(STACKED, Objective(), digits, grid(seed=[0, 1]), steps=3, **options)
    options |= {"start": begun, "frozen": frozen, "checkpoint": tmp_path}
    for steps in (2, 4):  # the second goes on from the first's checkpoint
        trained = fit(STACKED, Objective(), digits, grid(seed=[0, 1]), steps=steps, **options)
    assert len(list(tmp_path.iterdir())) == 1
    for name, weight in trained.models.named_parameters():
        within = name.rpartition(".")[0].rpartition(".")[0] in frozen
        assert torch.equal(weight, begun.models.state_dict()[name]) == within, name


def test_a_start_that_does_not_fit_is_named(digits):
    start = fit(SMALL, Objective(), digits, [{}], steps=1, batch_size=32)
    for network, members in ((SMALL, [{}, {}]), (STACKED, [{}])):
        with pytest.raises(
            ValueError, match=r"start must be \d members of the same network, got 1"
        ):
            fit(network, Objective(), digits, members, steps=1, batch_size=32, start=start)


def test_labels_beyond_the_outputs_are_named(digits):
    network = mlp((1, 8, 8), latents=3, hidden=(16,), decoder=(), outputs=5)
    with pytest.raises(ValueError, match=r"data has 10 classes, but network\.outputs is 5"):
        fit(network, LABELS, digits, [{}], steps=1, batch_size=4)


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_a_gpu_that_is_not_there_is_named():
    with pytest.raises(ValueError, match="device is 'cuda', but this machine has no GPU"):
        fit(SMALL, Objective(), UNLABELLED, [{}], steps=1, batch_size=4, device="cuda")


@pytest.mark.parametrize("device", ["meta", "gpu", 0.5])
def test_a_device_that_no_one_has_tried_is_refused(digits, device):
    with pytest.raises(ValueError, match=f"device must be 'cpu' or 'cuda', got '{device}'"):
        fit(SMALL, Objective(), digits, grid(seed=[0]), steps=1, batch_size=8, device=device)
