from __future__ import annotations

import numpy as np
import pytest

from ibbook.objective import Objective
from ibbook.training import fit
from tests.training.small_networks import SMALL, assert_same, weights


@pytest.mark.parametrize("rate", [1e6, 1e30])
def test_a_diverging_member_is_frozen_and_reported_and_the_others_do_not_notice(digits, rate):
    wild = [{"seed": 0}, {"seed": 1, "learning_rate": rate}, {"seed": 2}]
    options = {"steps": 60, "batch_size": 16, "log_every": 10}
    ensemble = fit(SMALL, Objective(), digits, wild, **options)
    assert list(ensemble.diverged) == [1]
    assert 0 < ensemble.diverged[1] < 60
    calm = fit(SMALL, Objective(), digits, [wild[0], wild[2]], **options)
    for i, j in ((0, 0), (2, 1)):
        assert_same(weights(ensemble, i), weights(calm, j), atol=1e-6, rtol=1e-6)
    assert all(w[1].isnan().all() for w in ensemble.models.parameters())
    for log_every in (1, 10):
        options["log_every"] = log_every
        steps = fit(SMALL, Objective(), digits, wild, **options).history.query("member == 1")[
            "step"
        ]
        assert steps.tolist() == list(range(log_every, ensemble.diverged[1] + 1, log_every))


def test_history_is_tidy(digits):
    members = [{"beta": 2.0, "seed": 3, "l2": 0.5}, {"beta": 1.0, "seed": 4, "l2": 0.0}]
    ensemble = fit(SMALL, Objective(), digits, members, steps=10, batch_size=32, log_every=5)
    history = ensemble.history
    assert history["step"].tolist() == [5, 5, 10, 10]
    assert history["member"].tolist() == [0, 1, 0, 1]
    np.testing.assert_allclose(history[["rate_0", "rate_1", "rate_2"]].sum(axis=1), history["rate"])
    expected = (
        history["distortion"] + history["beta"] * history["rate"] + history["l2"] * history["error"]
    )
    np.testing.assert_allclose(history["loss"], expected, rtol=1e-6)
    assert ensemble.final["step"].tolist() == [10, 10]
