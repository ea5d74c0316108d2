"""Every score of every trained member, as one tidy table."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Literal

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int64
from scipy.stats import bootstrap
from torch import Tensor

from ibbook._numbers import integer
from ibbook.datasets import Dataset
from ibbook.datasets._grid import seeded
from ibbook.metrics.interventions import beta_vae_score, factor_vae_score
from ibbook.metrics.mutual_information import i_m, mig, modularity
from ibbook.metrics.predictors import dci, explicitness, sap
from ibbook.metrics.unsupervised import active_units, code_total_correlation
from ibbook.training import Ensemble

Metric = Callable[[Tensor, Tensor], Tensor]

PLAIN = {"mig": mig, "sap": sap, "i_m": i_m, "modularity": modularity}
SEEDED = {
    "sap_classifier": partial(sap, estimator="classifier"),
    "explicitness": explicitness,
    "beta_vae_score": beta_vae_score,
    "factor_vae_score": partial(factor_vae_score, threshold=0.05),
}
ALONE = {"active_units": active_units, "code_total_correlation": code_total_correlation}
DCI_PARTS = ("disentanglement", "completeness", "informativeness")
NAMES = (*PLAIN, *SEEDED, *ALONE, "dci")


def evaluate(
    ensemble: Ensemble,
    dataset: Dataset,
    metrics: Iterable[str] | Mapping[str, Metric] = ("mig", "sap", "factor_vae_score"),
    *,
    seeds: Iterable[int] = range(5),
    points: int = 10_000,
    codes: Literal["mean", "sample"] = "mean",
) -> pd.DataFrame:
    """Scores of all members that did not diverge: one row for each member and metric.

    Columns: member and its parameters; metric; score, the mean over `seeds`; low and high, a 95 %
    bootstrap interval of that mean. Each seed draws `points` pictures of the data set, a sample of
    p(z|x) where `codes` is "sample", and what the metric itself draws. The interval resamples
    seeds, not pictures: a picture drawn twice would inflate histograms and be in training and test.
    It tells how far the score depends on the draw, not how members of other training seeds differ,
    and with few seeds it is too narrow.

    `metrics` are names of this package's functions, with "sap_classifier" for SAP by the classifier
    and "dci" for three rows; or {label: function of codes and factors} to set their options. They
    have their defaults, but the FactorVAE score leaves out codes of a deviation of at most 0.05.
    Factors are the data set's classes; those that do not vary in the sample are left out.

    >>> from ibbook.datasets import load
    >>> from ibbook.networks import mlp
    >>> from ibbook.objective import Objective
    >>> from ibbook.training import fit, grid
    >>> data = load("dsprites", size=16)
    >>> network = mlp((1, 16, 16), latents=2, hidden=(8,))
    >>> members = grid(beta=[1, 4])
    >>> ensemble = fit(network, Objective(), data, members, steps=2, batch_size=8)
    >>> table = evaluate(ensemble, data, ["mig", "active_units"], seeds=range(2), points=500)
    >>> table[["member", "beta", "metric"]].values.tolist()
    [[0, 1, 'mig'], [0, 1, 'active_units'], [1, 4, 'mig'], [1, 4, 'active_units']]
    >>> bool((table.low <= table.score).all() and (table.score <= table.high).all())
    True
    """
    seeds, named = list(seeds), not isinstance(metrics, Mapping)
    metrics = dict.fromkeys(metrics) if named else metrics
    _check(ensemble, dataset, metrics if named else (), seeds, codes)
    members = [m for m in range(len(ensemble.members)) if m not in ensemble.diverged]
    draws = []
    for seed in seeds:
        z, factors = _draw(ensemble, dataset, members, points, codes, seed)
        scores: dict[str, Tensor] = {}
        for name, function in metrics.items():
            scores |= _named(name, z, factors, seed) if named else {name: function(z, factors)}
        draws.append(np.stack([score.double().cpu().numpy() for score in scores.values()], -1))
    values = np.stack(draws)  # [seeds, members, metrics]
    interval = bootstrap(
        (values,), np.mean, method="percentile", n_resamples=1000, rng=np.random.default_rng(0)
    ).confidence_interval
    table = pd.DataFrame(
        {
            "member": np.repeat(members, len(scores)),
            "metric": list(scores) * len(members),
            "score": values.mean(0).flatten(),
            "low": interval.low.flatten(),
            "high": interval.high.flatten(),
        }
    )
    parameters = ensemble.final.loc[:, :"step"].drop(columns="step")
    return parameters.merge(table, on="member")


def _draw(
    ensemble: Ensemble,
    dataset: Dataset,
    members: list[int],
    points: int,
    codes: Literal["mean", "sample"],
    seed: int,
) -> tuple[Float[Tensor, "members n latents"], Int64[Tensor, "n k"]]:
    """The codes of one sample of pictures, and its factors that vary."""
    if integer(points, "points", 1) > len(dataset):
        raise ValueError(
            f"points must be at most {len(dataset)}, the pictures of {dataset.name}, got {points}; "
            f"give points={len(dataset)} or fewer"
        )
    sample = dataset.sample(points, seed)
    every = len(members) == len(ensemble.members)
    z, *log_variance = ensemble.encode(
        sample.images[:].float() / sample.scale, None if every else members
    )
    if codes == "sample" and log_variance:
        noise = torch.randn(z.shape, generator=seeded(seed), dtype=torch.float32).to(z)
        z = z + noise * (log_variance[0] / 2).exp()
    factors = sample.factors
    factors = factors[:, (factors != factors[0]).any(0)]
    if not factors.shape[1]:
        raise ValueError(f"dataset {dataset.name} has no factor that varies in {points} points")
    return z, factors


def _named(name: str, z: Tensor, factors: Tensor, seed: int) -> dict[str, Tensor]:
    if name in PLAIN:
        return {name: PLAIN[name](z, factors)}
    if name in SEEDED:
        return {name: SEEDED[name](z, factors, seed=seed)}
    if name in ALONE:
        return {name: ALONE[name](z)}
    score = dci(z, factors, seed=seed)
    return {f"dci_{part}": getattr(score, part) for part in DCI_PARTS}


def _check(
    ensemble: Ensemble, dataset: Dataset, names: Iterable[str], seeds: list[int], codes: str
) -> None:
    for name in names:
        if name not in NAMES:
            raise ValueError(f"metrics must be some of {', '.join(NAMES)}, got {name!r}")
    if len(seeds) < 2:
        raise ValueError(f"seeds must hold at least 2 for an interval, got {seeds}")
    if codes not in ("mean", "sample"):
        raise ValueError(f"codes must be 'mean' or 'sample', got {codes!r}")
    if ensemble.network.latent == "categorical":
        raise ValueError("ensemble must have Gaussian or point latents, got one categorical latent")
    if not dataset.factor_names:
        raise ValueError(f"dataset {dataset.name} has no factors to compare the codes with")
    if len(ensemble.diverged) == len(ensemble.members):
        raise ValueError(
            "ensemble has no member left to score: all diverged; lower the learning rate"
        )
