"""Capacities against closed forms, a general optimiser and their own bounds."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize
from scipy.special import entr, rel_entr

from ibbook.capacity import channel_capacity


def information(p: np.ndarray, channel: np.ndarray) -> float:
    return p @ rel_entr(channel, p @ channel).sum(1)


def symmetric(flip: float) -> np.ndarray:
    return np.array([[1 - flip, flip], [flip, 1 - flip]])


CASES = {
    "noiseless": (np.eye(5), np.log(5)),
    "useless": (np.tile([0.2, 0.5, 0.3], (4, 1)), 0.0),
    "symmetric": (symmetric(0.1), np.log(2) - entr([0.1, 0.9]).sum()),
    "erasure": (np.array([[0.7, 0.0, 0.3], [0.0, 0.7, 0.3]]), 0.7 * np.log(2)),
    "Z": (np.array([[1.0, 0.0], [0.3, 0.7]]), np.log(1 + 0.7 * 0.3 ** (0.3 / 0.7))),
    "typewriter": ((np.eye(6) + np.roll(np.eye(6), 1, axis=1)) / 2, np.log(3)),
    # symmetric in the weak sense: rows are permutations, columns have equal sums
    "weakly symmetric": (
        np.array([[1 / 3, 1 / 6, 1 / 2], [1 / 3, 1 / 2, 1 / 6]]),
        np.log(3) - entr([1 / 3, 1 / 6, 1 / 2]).sum(),
    ),
    # two inputs that are one, beside two that are told apart from it
    "copies": (np.array([[1.0, 0, 0], [1.0, 0, 0], [0, 1, 0], [0, 0, 1]]), np.log(3)),
    "one input": (np.array([[0.4, 0.6]]), 0.0),
}


@pytest.mark.parametrize("name", CASES)
def test_channels_with_a_closed_form(name):
    channel, capacity = CASES[name]
    found = channel_capacity(channel)
    assert found.converged
    assert found.capacity.item() == pytest.approx(capacity, abs=1e-8)
    assert information(found.input.numpy(), channel) == pytest.approx(capacity, abs=1e-8)
    assert "-" not in str(found.capacity.item())
    torch.testing.assert_close(found.input.sum(), torch.tensor(1.0).double())


channels = st.builds(
    lambda seed, x, y, c: np.random.default_rng(seed).dirichlet(np.full(y, c), size=x),
    st.integers(0, 10**6),
    st.integers(1, 7),
    st.integers(1, 7),
    st.sampled_from([0.05, 0.5, 5.0]),
)


@settings(max_examples=40)
@given(channels, st.integers(0, 10**6))
def test_no_input_gets_more_through_and_the_bounds_meet(channel, seed):
    found = channel_capacity(channel)
    p, capacity = found.input.numpy(), found.capacity.item()
    assert found.converged
    assert found.gap <= 1e-9
    assert information(p, channel) == pytest.approx(capacity, abs=1e-12)
    # the upper bound, from the definition
    assert rel_entr(channel, p @ channel).sum(1).max() <= capacity + found.gap.item() + 1e-12
    for other in np.random.default_rng(seed).dirichlet(np.full(len(channel), 0.5), size=20):
        assert information(other, channel) <= capacity + 1e-9


@pytest.mark.parametrize("seed", range(3))
def test_not_below_a_general_optimiser(seed):
    channel = np.random.default_rng(seed).dirichlet(np.full(5, 0.3), size=4)

    def lost(logits: np.ndarray) -> float:
        p = np.exp(logits - logits.max())
        return -information(p / p.sum(), channel)

    best = -minimize(lost, np.zeros(4), method="BFGS").fun
    assert channel_capacity(channel).capacity.item() == pytest.approx(best, abs=1e-6)


def test_many_channels_at_once_are_each_alone():
    channel = np.random.default_rng(0).dirichlet(np.full(4, 0.5), size=(2, 3, 5))
    found = channel_capacity(torch.as_tensor(channel))
    assert found.input.shape == (2, 3, 5)
    for i in range(2):
        for j in range(3):
            alone = channel_capacity(channel[i, j])
            torch.testing.assert_close(found.capacity[i, j], alone.capacity, atol=1e-9, rtol=0)


@pytest.mark.parametrize(
    ("channel", "message"),
    [
        ([0.5, 0.5], "channel must have an axis for its inputs and one for its outputs"),
        ([[0.5, 0.6], [0.5, 0.5]], "channel sums to 1.1, not 1"),
        ([[1.5, -0.5]], "channel has negative mass -0.5"),
        ([[np.nan, 1.0]], "channel must be finite"),
    ],
)
def test_bad_channels_are_named(channel, message):
    with pytest.raises(ValueError, match=message):
        channel_capacity(channel)


@pytest.mark.parametrize("tol", [0.0, -1.0, "small"])
def test_bad_tolerances_are_named(tol):
    with pytest.raises(ValueError, match="tol must be"):
        channel_capacity(np.eye(2), tol=tol)
