"""Gaussian factors, mixed linearly: a set on which every information is known exactly."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from jaxtyping import Float64
from torch import Tensor

from ibbook.datasets._dataset import Dataset
from ibbook.datasets._grid import seeded
from ibbook.datasets._images import Images

BINS = 10


@dataclass(frozen=True, eq=False, kw_only=True)
class GaussianFactors(Dataset):
    """Observations x = mixing v + noise of independent Gaussian factors v.

    >>> data = dataset(n=100, observed=4, factors=2)
    >>> data.covariance.shape
    torch.Size([6, 6])
    """

    mixing: Float64[Tensor, "m k"] = field(repr=False)
    variances: Float64[Tensor, "k"]
    noise: float

    @property
    def covariance(self) -> Float64[Tensor, "m+k m+k"]:
        """Covariance of the observations and then the factors, as the solvers take it.

        >>> from ibbook.information import gaussian_mutual_information
        >>> data = dataset(n=1, observed=1, factors=1, noise=1.0)
        >>> gain = data.mixing[0, 0] ** 2 * data.variances[0]
        >>> known = 0.5 * torch.log1p(gain)
        >>> bool((gaussian_mutual_information(data.covariance, 1) - known).abs() < 1e-12)
        True
        """
        cross = self.mixing * self.variances
        eye = torch.eye(len(cross), dtype=torch.float64)
        top = torch.cat([cross @ self.mixing.T + self.noise * eye, cross], 1)
        return torch.cat([top, torch.cat([cross.T, self.variances.diag()], 1)])


def dataset(
    *, n: int = 10_000, observed: int = 20, factors: int = 5, noise: float = 0.05, seed: int = 0
) -> GaussianFactors:
    """Factors of variance U(0.1, 1), a mixing of N(0, 1), noise of variance `noise`.

    The one set whose observations are no pictures: `images` are float32, `[n, observed]`. The
    factors are continuous. `values` holds them; `factors` holds which of ten equally likely
    intervals each lies in, for scores that count classes.

    >>> data = dataset(n=1000)
    >>> data.images.shape, data.values.shape, data.factor_sizes
    ((1000, 20), torch.Size([1000, 5]), (10, 10, 10, 10, 10))
    """
    if min(n, observed, factors) < 1 or not noise > 0:
        raise ValueError(
            "n, observed and factors must be at least 1 and noise positive, "
            f"got {n}, {observed}, {factors} and {noise:g}"
        )
    generator = seeded(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    variances = 0.1 + 0.9 * torch.rand(factors, generator=generator, dtype=torch.float64)
    mixing = normal(observed, factors)
    standard = normal(n, factors)
    values = standard * variances.sqrt()
    observations = (values @ mixing.T + noise**0.5 * normal(n, observed)).float()
    classes = (torch.special.ndtr(standard) * BINS).long().clamp(max=BINS - 1)
    middles = torch.special.ndtri((torch.arange(BINS, dtype=torch.float64) + 0.5) / BINS)
    return GaussianFactors(
        name="gaussian-factors",
        images=Images.held(observations),
        scale=1,
        source="computed",
        factor_names=tuple(f"factor {j}" for j in range(factors)),
        factor_values=tuple(middles * v.sqrt() for v in variances),
        classes=classes,
        exact=values,
        mixing=mixing,
        variances=variances,
        noise=noise,
    )
