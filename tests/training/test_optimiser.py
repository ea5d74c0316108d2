from __future__ import annotations

import pytest
import torch

from ibbook.noise import normal
from ibbook.schedules import linear
from ibbook.training import Optimiser, fit
from tests.training.small_networks import (
    LABELS,
    VIB,
    assert_same,
    digits_order,
    plain_loss,
    weights,
)


def test_adam_is_that_of_torch_with_each_members_own_rate_and_the_average_is_kept(digits):
    members = [{"seed": 0, "learning_rate": 1e-2}, {"seed": 1, "learning_rate": 1e-3}]
    decay = linear(1, 0.2, 20)
    optimiser = Optimiser(betas=(0.5, 0.9), epsilon=1e-6, decay=decay, average=0.9)
    ensemble = fit(VIB, LABELS, digits, members, steps=20, batch_size=10, optimiser=optimiser)
    for i, member in enumerate(members):
        seed = torch.tensor([member["seed"]])
        model = VIB.build(seed)
        plain = torch.optim.Adam(model.parameters(), betas=(0.5, 0.9), eps=1e-6)
        average = {k: v.clone() for k, v in model.state_dict().items()}
        order = digits_order(member["seed"], len(digits), 20 * 10)
        for step in range(20):
            rows = order[step * 10 : step * 10 + 10]
            x, noise = (
                digits.batch(rows) / digits.scale,
                normal(seed, range(step, step + 1), (10, 3), stream=1_000_001)[0],
            )
            loss = plain_loss(
                model, x, digits.labels[rows], noise[0], [1.0] * 3, 0.0, "categorical"
            )
            plain.param_groups[0]["lr"] = member["learning_rate"] * decay(step)
            plain.zero_grad()
            loss.backward()
            plain.step()
            for k, v in model.state_dict().items():
                average[k] = 0.9 * average[k] + 0.1 * v
        average = {k: v[0] for k, v in average.items()}
        assert_same(weights(ensemble, i), average, atol=2e-5, rtol=1e-4)


def test_bad_optimisers_are_named():
    with pytest.raises(ValueError, match=r"betas and average must lie in \[0, 1\)"):
        Optimiser(average=1.0)
    with pytest.raises(ValueError, match="learning_rate must be positive and finite, got -1"):
        Optimiser(learning_rate=-1)
