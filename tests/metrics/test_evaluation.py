"""The table of scores of trained members."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch

from ibbook.datasets import Dataset, load
from ibbook.metrics import active_units, dci, evaluate, factor_vae_score, mig
from ibbook.metrics.evaluation import NAMES
from ibbook.networks import mlp
from ibbook.objective import Objective
from ibbook.training import fit, grid

STEPS = {"steps": 30, "batch_size": 32}


@pytest.fixture(scope="module")
def data():
    """Sprites of three shapes in nine places."""
    sprites = load("dsprites", size=16).sample(5000)
    shape, _, _, x, y = sprites.factors.T
    return Dataset.from_arrays(
        sprites.images[:],
        factors=torch.stack([shape, x // 11, y // 11], 1).numpy(),
        factor_names=("shape", "x", "y"),
        scale=sprites.scale,
        name="sprites",
    )


@pytest.fixture(scope="module")
def ensemble(data):
    network = mlp((1, 16, 16), latents=3, hidden=(32,))
    return fit(network, Objective(), data, grid(beta=[1, 4], seed=[0, 1]), **STEPS)


def encoded(ensemble, data, points, seed):
    sample = data.sample(points, seed)
    return ensemble.encode(sample.images[:] / sample.scale), sample.factors


def test_one_row_for_each_member_and_metric(ensemble, data):
    table = evaluate(ensemble, data, ["sap", "mig"], seeds=range(2), points=200)
    columns = ["member", "beta", "seed", "metric", "score", "low", "high"]
    assert list(table.columns) == columns
    assert table.member.tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
    assert table.metric.tolist() == ["sap", "mig"] * 4
    assert table.beta.tolist() == [1, 1, 1, 1, 4, 4, 4, 4]
    assert table.seed.tolist() == [0, 0, 1, 1] * 2


def test_every_name_gives_its_scores(ensemble, data):
    few = evaluate(ensemble, data, NAMES, seeds=range(2), points=300)
    named = {name for name in NAMES if name != "dci"}
    parts = {"dci_disentanglement", "dci_completeness", "dci_informativeness"}
    assert set(few.metric) == named | parts
    assert not few.isna().any().any()
    assert (few.low <= few.score).all()
    assert (few.score <= few.high).all()


def test_the_score_is_the_mean_over_seeds_of_the_function_itself(ensemble, data):
    seeds = [3, 5]
    table = evaluate(ensemble, data, ["mig", "dci", "factor_vae_score"], seeds=seeds, points=90)
    draws = {seed: encoded(ensemble, data, 90, seed) for seed in seeds}
    expected = {
        "mig": [mig(z[0], v) for z, v in draws.values()],
        "dci_completeness": [dci(z[0], v, seed=s).completeness for s, (z, v) in draws.items()],
        "factor_vae_score": [
            factor_vae_score(z[0], v, threshold=0.05, seed=s) for s, (z, v) in draws.items()
        ],
    }
    for name, values in expected.items():
        scores = table[table.metric == name].score
        assert np.allclose(scores, torch.stack(values).mean(0), atol=1e-12)


def test_the_interval_covers_the_seeds_and_narrows_with_more(ensemble, data):
    options = {"metrics": ["mig"], "points": 100}
    table = evaluate(ensemble, data, seeds=range(20), **options)
    values = torch.stack(
        [mig(z[0], v) for z, v in (encoded(ensemble, data, 100, s) for s in range(20))]
    )
    error = values.std(0) / np.sqrt(20)
    assert np.allclose(table.high - table.low, 2 * 1.96 * error, rtol=0.25)
    assert np.allclose((table.high + table.low) / 2, values.mean(0), atol=0.5 * error.max().item())


def test_equal_arguments_give_equal_tables(ensemble, data):
    tables = [evaluate(ensemble, data, ["mig"], seeds=range(3), points=100) for _ in range(2)]
    assert tables[0].equals(tables[1])


def test_functions_with_options_go_by_their_labels(ensemble, data):
    metrics = {"robust": partial(mig, binning="quantile"), "alive": lambda z, v: active_units(z)}
    table = evaluate(ensemble, data, metrics, seeds=range(2), points=100)
    assert table.metric.tolist()[:2] == ["robust", "alive"]
    draws = [encoded(ensemble, data, 100, seed) for seed in range(2)]
    expected = torch.stack([mig(z[0], v, binning="quantile") for z, v in draws]).mean(0)
    assert np.allclose(table[table.metric == "robust"].score, expected)


def test_samples_have_the_spread_of_the_posterior(ensemble, data):
    spread = {"variance": lambda z, v: z.double().var(1).mean(1)}
    mean, sample = (
        evaluate(ensemble, data, spread, seeds=range(2), points=4000, codes=codes).score
        for codes in ("mean", "sample")
    )
    noise = [encoded(ensemble, data, 4000, s)[0][1].exp().mean((1, 2)) for s in range(2)]
    assert np.allclose(sample - mean, torch.stack(noise).mean(0), rtol=0.05)


def test_points_have_no_noise_to_sample(data):
    network = mlp((1, 16, 16), latents=2, hidden=(8,), latent="point")
    ensemble = fit(network, Objective(beta=0.0), data, grid(seed=[0]), **STEPS)
    tables = [
        evaluate(ensemble, data, ["mig"], seeds=range(2), points=100, codes=codes)
        for codes in ("mean", "sample")
    ]
    assert tables[0].equals(tables[1])


def test_members_that_diverged_are_left_out(data):
    network = mlp((1, 16, 16), latents=2, hidden=(8,))
    members = [{"seed": 0}, {"seed": 1, "learning_rate": 1e30}, {"seed": 2}]
    ensemble = fit(network, Objective(), data, members, **STEPS)
    assert list(ensemble.diverged) == [1]
    table = evaluate(ensemble, data, ["mig"], seeds=range(2), points=100)
    assert table.member.tolist() == [0, 2]
    assert table.seed.tolist() == [0, 2]
    z, v = encoded(ensemble, data, 100, 0)[0][0][[0, 2]], data.sample(100, 0).factors
    w, u = encoded(ensemble, data, 100, 1)[0][0][[0, 2]], data.sample(100, 1).factors
    assert np.allclose(table.score, (mig(z, v) + mig(w, u)) / 2)
    lost = fit(network, Objective(), data, members[1:2], **STEPS)
    with pytest.raises(ValueError, match="ensemble has no member left to score: all diverged"):
        evaluate(lost, data, ["mig"], seeds=range(2), points=100)


def test_factors_that_do_not_vary_are_left_out(ensemble, data):
    squares = data.select((data.factors[:, 0] == 0).nonzero()[:, 0])
    table = evaluate(ensemble, squares, ["mig"], seeds=range(2), points=200)
    draws = [encoded(ensemble, squares, 200, seed) for seed in range(2)]
    expected = torch.stack([mig(z[0], v[:, 1:]) for z, v in draws]).mean(0)
    assert np.allclose(table.score, expected)


def nothing_varies():
    return Dataset.from_arrays(np.zeros((9, 16, 16), np.uint8), factors=np.ones((9, 1), int))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"metrics": ["mgi"]}, "metrics must be some of mig, sap, .*, got 'mgi'"),
        ({"seeds": [0]}, r"seeds must hold at least 2 for an interval, got \[0\]"),
        ({"codes": "mu"}, "codes must be 'mean' or 'sample', got 'mu'"),
        ({"points": 10**9}, "points must be at most 5000, the pictures of sprites"),
        ({"dataset": load("digits")}, "dataset digits has no factors"),
        ({"dataset": nothing_varies(), "points": 5}, "dataset own has no factor that varies"),
    ],
)
def test_bad_input_is_named(ensemble, data, change, message):
    options = {"dataset": data, "metrics": ["mig"], "seeds": range(2), "points": 100} | change
    with pytest.raises(ValueError, match=message):
        evaluate(ensemble, **options)


def test_a_categorical_latent_has_no_codes_to_score(data):
    network = mlp((1, 16, 16), latents=3, hidden=(8,), latent="categorical")
    ensemble = fit(network, Objective(), data, grid(seed=[0]), **STEPS)
    with pytest.raises(ValueError, match="ensemble must have Gaussian or point latents"):
        evaluate(ensemble, data, ["mig"], seeds=range(2), points=100)
