"""Disentanglement scores on plain arrays: codes [*members, n, latents] and factors [n, k].

Numpy arrays and tensors are accepted, the arithmetic is float64 on the device of the codes, and a
score has one entry for each member. No score is NaN: a code that is constant but for rounding is
dead, and scores 0. Bad input is a ValueError.
"""

from ibbook.metrics.mutual_information import i_m, mig
from ibbook.metrics.predictors import sap
from ibbook.metrics.rates import (
    aggregate_information,
    label_information,
    latent_information,
    rate,
)
from ibbook.metrics.unsupervised import active_units, code_total_correlation

__all__ = [
    "active_units",
    "aggregate_information",
    "code_total_correlation",
    "i_m",
    "label_information",
    "latent_information",
    "mig",
    "rate",
    "sap",
]
