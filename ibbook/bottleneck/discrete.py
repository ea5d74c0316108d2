"""The bottleneck of two discrete variables, for every beta at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Float64, Int64
from numpy.typing import ArrayLike
from torch import Tensor

from ibbook import _checks
from ibbook._numbers import integer, number
from ibbook._threads import threads
from ibbook.bottleneck._problem import TINY, information, pad
from ibbook.bottleneck._solver import solve

SMALL = 128 * 128  # entries of a joint


@dataclass(frozen=True)
class Bottleneck:
    """Encoders for every beta, and where they lie in the information plane.

    `batch` are the leading axes of the joint, `k` the axis of beta, which a scalar beta does not
    have. Clusters come heaviest first. A solution with fewer than t clusters has mass 0 in its last
    columns, and there the decoder is p(y).
    """

    beta: Float64[Tensor, "*batch k"]
    alpha: float
    complexity: Float64[Tensor, "*batch k"]  # I(X;T)
    relevance: Float64[Tensor, "*batch k"]  # I(T;Y)
    encoder: Float64[Tensor, "*batch k x t"]  # p(t|x)
    marginal: Float64[Tensor, "*batch k t"]  # p(t)
    decoder: Float64[Tensor, "*batch k t y"]  # p(y|t)
    clusters: Int64[Tensor, "*batch k"]  # how many have mass
    residual: Float64[Tensor, "*batch k"]  # max over x of sum_t |p(t|x) - its right-hand side|
    gap: Float64[Tensor, "*batch k"]  # ln of the largest W(q) that a search finds; nan if alpha < 1
    converged: Bool[Tensor, "*batch k"]  # residual <= tol

    @property
    def functional(self) -> Float64[Tensor, "*batch k"]:
        """L = I(X;T) - beta I(T;Y), and for alpha < 1 H(T) - alpha H(T|X) - beta I(T;Y)."""
        spread = torch.special.entr(self.marginal).sum(-1)
        compression = self.alpha * self.complexity + (1 - self.alpha) * spread
        return compression - self.beta * self.relevance


def information_bottleneck(
    pxy: Float64[Tensor, "*batch x y"] | ArrayLike,
    beta: Float64[Tensor, "k"] | ArrayLike | float,
    *,
    alpha: float = 1.0,
    clusters: int | None = None,
    trivial: Literal["while-stable", "while-lowest"] = "while-stable",
    tol: float = 1e-8,
    max_iterations: int = 1000,
) -> Bottleneck:
    """Encoders p(t|x) that minimise I(X;T) - beta I(T;Y), for every beta at once.

    Every beta starts from clusters of all sizes, those that the agglomerative bottleneck forms from
    single x (values of x with the same p(y|x) are one). They get their weights from a convex
    solver, move by the self-consistent equations and merge where their decoders coincide. A cluster
    that is unstable is split, and new ones join as long as a search finds a decoder with D > 1.
    Where that crawls, as next to a bifurcation, Newton's method goes on, for joints of up to some
    1,000 entries. Last, an encoder found at one beta is tried at the others.

    `clusters` bounds their number: then those are joined that cost least, and the result is a local
    minimum. Without a bound, a `gap` near 0 says that the search found nothing better. That is
    strong evidence but no proof, since the search is finite.

    `trivial` decides how long the solution is the trivial one, T independent of X:

    - "while-stable": up to and including `critical_beta`, as in a system that is cooled slowly
      (Rose 1998). Up to there the result is exactly trivial.
    - "while-lowest": until something is lower. This is at beta = 1/eta, with eta the
      `contraction_coefficient` of the channel (Anantharam et al. 2013), and eta >= rho^2. For a
      symmetric binary channel both agree. For a joint without symmetry 1/eta is smaller: a rare
      but telling x is then worth a cluster of its own before any small change is worth its cost.
      In between the trivial solution is stable to splitting but not optimal, and its `gap` is
      above 0.

    With `alpha` below 1 the cost of saying T is H(T) - alpha H(T|X) in place of I(X;T), the
    generalised bottleneck of Strouse and Schwab (2017): harder encoders, and hard ones at
    alpha = 0, the deterministic bottleneck. There the trivial solution is stable at every beta, so
    the lowest solution found is returned, and no test like W(q) > 1 is known: `gap` is nan.

    Where Y = f(X), the curve is the straight line I(T;Y) = I(X;T) up to H(Y) and flat beyond, so
    no beta has an inner point of it as its only solution: for beta > 1 every solution
    is the corner T = f(X), for beta < 1 it is trivial, and at beta = 1, the critical beta, every
    point is optimal and the trivial one is returned (Kolchinsky, Tracey and Van Kuyk 2019). Inner
    points come from `encoder_at`, which mixes codes.

    Rows of mass 0 get the encoder of the heaviest row, and so do those of less than 1e-12, which
    carry 1e-10 nats at most. `converged` is true where the self-consistent equations of all others
    hold to `tol`. Where decoders lie close on a curve, as for a finely
    discretised Gaussian, the number of clusters is ill-conditioned: then L is right to `gap` long
    before the encoder is.

    >>> solution = information_bottleneck([[0.45, 0.05], [0.05, 0.45]], [1.5, 3.0])
    >>> solution.clusters.tolist()
    [1, 2]
    >>> solution.encoder[1].numpy().round(3)
    array([[0.994, 0.006],
           [0.006, 0.994]])
    """
    pxy = _checks.distribution(pxy, "pxy", axes=2)
    beta = _checks.slopes(beta).to(pxy.device)
    clusters = clusters if clusters is None else integer(clusters, "clusters", 1)
    max_iterations = integer(max_iterations, "max_iterations", 1)
    tol = number(tol, "tol", "a positive number", lambda t: t > 0, "; 1e-8 is usual")
    one = "; 1 is the usual cost"
    alpha = number(alpha, "alpha", "a number in [0, 1]", lambda a: 0 <= a <= 1, one)
    if trivial not in ("while-stable", "while-lowest"):
        raise ValueError(f'trivial must be "while-stable" or "while-lowest", got {trivial!r}')
    joints = pxy.reshape(-1, *pxy.shape[-2:])
    # several threads wait for each other longer than they work on a small joint
    with threads(1 if joints[0].numel() <= SMALL else torch.get_num_threads()):
        solved = [
            solve(p, beta.reshape(-1), alpha, clusters, trivial, tol, max_iterations)
            for p in joints
        ]
    most = max(encoder.shape[-1] for encoder, _, _ in solved)
    encoder = torch.stack([pad(encoder, most) for encoder, _, _ in solved])
    weights = torch.einsum("bx,bkxt->bkt", joints.sum(-1), encoder)
    mass = torch.einsum("bkxt,bxy->bkty", encoder, joints)
    decoder = torch.where(
        weights[..., None] > 0,
        mass / weights[..., None].clamp_min(TINY),
        joints.sum(1)[:, None, None],
    )
    nontrivial = (weights > 0).sum(-1) > 1
    complexity = information(joints.sum(-1)[:, None], encoder).clamp_min(0)
    relevance = information(weights, decoder).clamp_min(0)
    residual = torch.stack([residual for _, residual, _ in solved])
    parts = {
        "complexity": torch.where(nontrivial, complexity, 0.0),
        "relevance": torch.where(nontrivial, relevance, 0.0),
        "encoder": encoder,
        "marginal": weights,
        "decoder": decoder,
        "clusters": (weights > 0).sum(-1),
        "residual": residual,
        "gap": torch.stack([gap for _, _, gap in solved]),
        "converged": residual <= tol,
    }
    shape = pxy.shape[:-2] + beta.shape
    parts = {name: part.reshape(shape + part.shape[2:]) for name, part in parts.items()}
    return Bottleneck(beta=beta.expand(shape), alpha=alpha, **parts)
