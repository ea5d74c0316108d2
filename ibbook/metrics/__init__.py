"""Disentanglement scores on plain arrays: codes [*members, n, latents] and factors [n, k].

Numpy arrays and tensors are accepted, the arithmetic is float64 on the device of the codes, and a
score has one entry for each member. No score is NaN. A code is dead where it is constant but for
rounding, that is, where its standard deviation is at most 1e-6 max(1, |mean|); codes that are all
dead score 0. Bad input is a ValueError.
"""

from ibbook.metrics.clusters import majority_accuracy, matched_accuracy
from ibbook.metrics.evaluation import evaluate
from ibbook.metrics.ink import ink
from ibbook.metrics.interventions import beta_vae_score, factor_vae_score
from ibbook.metrics.mutual_information import i_m, mig, modularity
from ibbook.metrics.predictors import DCI, axis_r2, dci, explicitness, sap
from ibbook.metrics.rates import (
    aggregate_information,
    bernoulli_floor,
    label_information,
    latent_information,
    rate,
)
from ibbook.metrics.samples import frechet_distance
from ibbook.metrics.turns import plane_turn, price_of_turn, turned_precision
from ibbook.metrics.unsupervised import active_units, code_total_correlation

__all__ = [
    "DCI",
    "active_units",
    "aggregate_information",
    "axis_r2",
    "bernoulli_floor",
    "beta_vae_score",
    "code_total_correlation",
    "dci",
    "evaluate",
    "explicitness",
    "factor_vae_score",
    "frechet_distance",
    "i_m",
    "ink",
    "label_information",
    "latent_information",
    "majority_accuracy",
    "matched_accuracy",
    "mig",
    "modularity",
    "plane_turn",
    "price_of_turn",
    "rate",
    "sap",
    "turned_precision",
]
