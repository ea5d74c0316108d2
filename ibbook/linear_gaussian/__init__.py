"""Linear VAEs of data with a known covariance, in closed form: what they say, and when they stop.

Data Y with covariance cov, code X = encoder Y + N(0, code_cov), decoder N(decoder X, noise_cov),
marginal N(0, I). What is minimised is D + beta R + l2 E||Y - decoder X||^2. The decoder's noise is
"full", "diagonal" or "isotropic", all learned, or a number: that variance, fixed. The encoder's is
"full" or "diagonal". Covariances are enough: means are 0 here and cost nothing elsewhere.

Everything is in nats and float64, and leading axes are batches.
"""

from ibbook.linear_gaussian.descent import descend
from ibbook.linear_gaussian.factors import (
    FactorProblem,
    Scores,
    code_information,
    factor_problem,
    scores,
    turned,
)
from ibbook.linear_gaussian.fixed_point import FixedPoint, fixed_point
from ibbook.linear_gaussian.halves import best_decoder, best_encoder
from ibbook.linear_gaussian.optimum import Optimum, optimum
from ibbook.linear_gaussian.terms import Terms, terms
from ibbook.linear_gaussian.thresholds import (
    collapse_threshold,
    collapse_thresholds,
    linear_vae_rates,
)

__all__ = [
    "FactorProblem",
    "FixedPoint",
    "Optimum",
    "Scores",
    "Terms",
    "best_decoder",
    "best_encoder",
    "code_information",
    "collapse_threshold",
    "collapse_thresholds",
    "descend",
    "factor_problem",
    "fixed_point",
    "linear_vae_rates",
    "optimum",
    "scores",
    "terms",
    "turned",
]
