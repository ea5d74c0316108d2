"""The one objective of the book, for every chapter from the fourth on.

    E[-log q(target | z)] + sum_j beta_j(t) D_KL[p(z_j | x) || r(z_j)] + l2 E||x - x_hat||^2

It is minimised. The encoder is p(z | x), the decoder q(target | z), and r(z_j) the marginal: a
standard normal, or uniform over the classes of a categorical code. The first term is the distortion
D, the sum of the divergences the rate R. Everything is in nats, summed over pixels and latents,
averaged over the batch. A mean over n pixels in place of the sum would multiply beta by n.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from ibbook._numbers import integer, number
from ibbook.schedules import Schedule

Output = Literal["bernoulli", "gaussian", "categorical"]
Beta = float | Schedule | Sequence[float | Schedule]
LOG_2PI = math.log(2 * math.pi)


@dataclass(frozen=True)
class Objective:
    """What is minimised; a member's own `beta` or `l2` takes the place of the one given here.

    target:   "images" (autoencoders) or "labels" (the variational information bottleneck)
    output:   q(target | z): "bernoulli", "gaussian" or "categorical"
    variance: of a Gaussian output: a number, or "learned", where the decoder states all means and
              then the log variance of each pixel
    beta:     a number or a schedule, or one of them for each latent
    anchors:  {latent: strength}; that latent's beta is multiplied by 1 - strength (AnchorVAE:
              Gao et al., 2018, equation 21)
    l2:       weight of the squared error between image and mean reconstruction (lambda-beta-VAE)

    >>> Objective(beta=4.0).betas(step=0, latents=2).tolist()
    [4.0, 4.0]
    >>> Objective(anchors={1: 0.5}).betas(step=0, latents=3).tolist()
    [1.0, 0.5, 1.0]
    >>> from ibbook.schedules import linear
    >>> Objective(beta=[1.0, linear(0, 1, 4)]).betas(step=[0, 2], latents=2).tolist()
    [[1.0, 0.0], [1.0, 0.5]]
    """

    beta: Beta = 1.0
    anchors: Mapping[int, float] = field(default_factory=dict)
    l2: float = 0.0
    output: Output = "bernoulli"
    target: Literal["images", "labels"] = "images"
    variance: float | Literal["learned"] = 1.0

    def __post_init__(self) -> None:
        plain = {"beta": check_beta(self.beta), "l2": check_weight(self.l2, "l2")}
        for name, value in (plain | {"anchors": _anchors(self.anchors)}).items():
            object.__setattr__(self, name, value)
        if self.output not in ("bernoulli", "gaussian", "categorical"):
            raise ValueError(
                f"output must be 'bernoulli', 'gaussian' or 'categorical', got {self.output!r}"
            )
        if self.target not in ("images", "labels"):
            raise ValueError(f"target must be 'images' or 'labels', got {self.target!r}")
        if (self.output == "categorical") != (self.target == "labels"):
            raise ValueError(
                f"output {self.output!r} does not fit target {self.target!r}: "
                "labels are categorical, images are bernoulli or gaussian"
            )
        if self.l2 and self.target == "labels":
            raise ValueError(f"l2 compares images, but target is 'labels'; got l2={self.l2}")
        if self.variance != "learned":
            wanted = "positive and finite, or 'learned'"
            variance = number(self.variance, "variance", wanted, lambda v: v > 0)
            object.__setattr__(self, "variance", variance)

    def betas(
        self, *, step: int | Sequence[int], latents: int, beta: Beta | None = None
    ) -> Float[Tensor, "*steps latents"]:
        """The weight of each latent's divergence at a step, or some; `beta` is a member's own."""
        value = self.beta if beta is None else check_beta(beta)
        each = value if isinstance(value, list) else [value]
        each = [b(step) if isinstance(b, Schedule) else np.full(np.shape(step), b) for b in each]
        weights = torch.as_tensor(np.stack(each, -1), dtype=torch.float32)
        weights = weights.expand(*np.shape(step), latents).clone()
        for latent, strength in self.anchors.items():
            weights[..., latent] *= 1 - strength
        return weights

    def distortion(
        self, decoded: Float[Tensor, "*m output"], target: Tensor
    ) -> Float[Tensor, "*m"]:
        """-log q(target | z) in nats, summed over pixels; `decoded` holds logits or means.

        A Bernoulli takes grey pixels in [0, 1] as well; its value is then a cross-entropy.

        >>> Objective().distortion(torch.zeros(1, 4), torch.ones(1, 4))  # 4 ln 2
        tensor([2.7726])
        """
        if self.output == "categorical":
            shape = torch.broadcast_shapes(decoded.shape[:-1], target.shape)
            log_q = decoded.log_softmax(-1).expand(*shape, -1)
            return -log_q.gather(-1, target.expand(shape)[..., None])[..., 0]
        if self.output == "bernoulli":
            logits, pixels = torch.broadcast_tensors(decoded, target)
            losses = F.binary_cross_entropy_with_logits(logits, pixels, reduction="none")
            return losses.sum(-1)
        if self.variance == "learned":
            mean, log_variance = decoded.chunk(2, -1)
            error = (mean - target).square() / log_variance.exp()
            return (error + log_variance + LOG_2PI).sum(-1) / 2
        error = (decoded - target).square().sum(-1)
        return (error / self.variance + decoded.shape[-1] * (LOG_2PI + math.log(self.variance))) / 2

    def mean(self, decoded: Float[Tensor, "*m output"]) -> Float[Tensor, "*m output"]:
        """The mean of q(target | z): pixel values, or class probabilities.

        >>> Objective().mean(torch.zeros(2))
        tensor([0.5000, 0.5000])
        """
        if self.output == "categorical":
            return decoded.softmax(-1)
        if self.output == "bernoulli":
            return decoded.sigmoid()
        return decoded.chunk(2, -1)[0] if self.variance == "learned" else decoded

    @property
    def per_pixel(self) -> int:
        """How many numbers of the decoder's output describe one pixel."""
        return 2 if self.variance == "learned" else 1


def gaussian_kl(
    mean: Float[Tensor, "*m latents"], log_variance: Float[Tensor, "*m latents"]
) -> Float[Tensor, "*m latents"]:
    """D_KL[N(mean, variance) || N(0, 1)] of each latent, in nats.

    Kingma and Welling (2014), appendix B.

    >>> gaussian_kl(torch.tensor([1.0, 2.0]), torch.zeros(2))
    tensor([0.5000, 2.0000])
    """
    return torch.addcmul(log_variance.expm1() - log_variance, mean, mean) / 2


def categorical_kl(logits: Float[Tensor, "*m classes"]) -> Float[Tensor, "*m 1"]:
    """D_KL[softmax(logits) || uniform], in nats, with an axis of one latent.

    >>> categorical_kl(torch.tensor([0.9, 0.1]).log())  # ln 2 - H(0.1)
    tensor([0.3681])
    """
    log_p = logits.log_softmax(-1)
    return (log_p.exp() * log_p).sum(-1, keepdim=True) + math.log(logits.shape[-1])


def squared_error(
    output: Float[Tensor, "*m pixels"], target: Float[Tensor, "*m pixels"]
) -> Float[Tensor, "*m"]:
    """||x - x_hat||^2, summed over pixels.

    >>> squared_error(torch.zeros(3), torch.ones(3))
    tensor(3.)
    """
    return (output - target).square().sum(-1)


def check_beta(beta: Beta) -> Beta:
    """`beta` in Python's own numbers: schedules and finite numbers >= 0, one or more.

    >>> check_beta(np.array([1, 4]))
    [1, 4]
    """
    if isinstance(beta, Schedule):
        return beta
    if np.ndim(beta) == 0:
        return check_weight(beta, "beta")
    if np.ndim(beta) > 1 or not len(beta):
        raise ValueError(f"beta must be a number or one for each latent, got {beta!r}")
    return [b if isinstance(b, Schedule) else check_weight(b, "beta") for b in beta]


def check_weight(value: float, name: str) -> float:
    """A finite number >= 0.

    >>> check_weight(np.float32(0.5), "l2")
    0.5
    """
    return number(value, name, "finite and >= 0", lambda weight: weight >= 0)


def _anchors(given: Mapping[int, float]) -> dict[int, float]:
    anchors = {}
    for latent, strength in given.items():
        try:
            anchors[integer(latent, "latent", 0)] = weight = number(strength, "strength")
            wrong = not 0 <= weight <= 1
        except ValueError:
            wrong = True
        if wrong:
            raise ValueError(
                f"anchors must map a latent's index to a strength in [0, 1], "
                f"got {{{latent!r}: {strength!r}}}"
            )
    return anchors
