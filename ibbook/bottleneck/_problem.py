"""One source at many betas, and the quantities that its solvers share."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float64
from torch import Tensor

TINY, LOG_TINY = 1e-300, -690.0
RARE = 1e-12  # mass of an x up to which no cluster is sought for it: it carries 1e-10 nats at most


@dataclass(frozen=True)
class Problem:
    """One source, reduced to its sufficient statistic s, at many betas."""

    p: Float64[Tensor, "s"]
    rows: Float64[Tensor, "s y"]  # p(y|s)
    beta: Float64[Tensor, "k"]
    starts: Float64[Tensor, "n y"]  # decoders at every scale, none with a zero
    tol: float
    max_iterations: int

    def at(self, chosen: Tensor) -> Problem:
        return replace(self, beta=self.beta[chosen])

    @property
    def dust(self) -> float:
        """Mass up to which a cluster is none."""
        return min(1e-10, 1e-2 * self.p.min().item())


def sufficient(pxy: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Probabilities and rows p(y|s) of the minimal sufficient statistic s(x), and s itself.

    A rare x has the s of the heaviest one.
    """
    p_x, seen = pxy.sum(1), pxy.sum(0) > 0
    rows = pxy[:, seen] / p_x[:, None].clamp_min(TINY)
    rows = torch.where(p_x[:, None] > RARE, rows, rows[p_x.argmax()])
    _, label = torch.unique((rows * 1e12).round(), dim=0, return_inverse=True)
    joint = pxy.new_zeros(int(label.max()) + 1, rows.shape[1]).index_add_(0, label, pxy[:, seen])
    p_s = joint.sum(1)
    return p_s, joint / p_s[:, None], label


def iterate(problem: Problem, joint: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """ln Z(s) up to a constant in s, the encoder of the clusters p(t, y), and their update."""
    weights = joint.sum(-1)
    log_weights = weights.log()
    log_decoder = joint.clamp_min(TINY).log_().sub_(log_weights.clamp_min(LOG_TINY)[..., None])
    log_decoder *= problem.beta[:, None, None]
    logits = (problem.rows @ log_decoder.mT).add_(log_weights[:, None])
    top = logits.amax(-1, keepdim=True)
    encoder = logits.sub_(top).exp_()
    partition = encoder.sum(-1, keepdim=True)
    encoder /= partition
    return (top + partition.log())[..., 0], encoder, joint_of(problem, encoder)


def joint_of(problem: Problem, encoder: Tensor) -> Tensor:
    """p(t, y)."""
    return (encoder * problem.p[:, None]).mT @ problem.rows


def weights_of(problem: Problem, encoder: Tensor) -> Tensor:
    """p(t)."""
    return torch.einsum("s,kst->kt", problem.p, encoder)


def silent(problem: Problem) -> Tensor:
    """Everything in the first of as many clusters as there can be."""
    size = len(problem.p)
    encoder = problem.p.new_zeros(len(problem.beta), size, size)
    encoder[..., 0] = 1
    return encoder


def information(weights: Tensor, rows: Tensor) -> Tensor:
    """I between a variable with probabilities `weights` and one with conditionals `rows`."""
    mean = (weights[..., None] * rows).sum(-2)
    entropies = torch.xlogy(rows, rows).sum(-1)
    return (weights * entropies).sum(-1) - torch.xlogy(mean, mean).sum(-1)


def plane(problem: Problem, encoder: Tensor) -> tuple[Tensor, Tensor]:
    """I(X;T) and I(T;Y)."""
    weights = weights_of(problem, encoder)
    decoder = joint_of(problem, encoder) / weights.clamp_min(TINY)[..., None]
    complexity = information(problem.p.expand(len(encoder), -1), encoder)
    return complexity.clamp_min(0), information(weights, decoder).clamp_min(0)


def functional(problem: Problem, encoder: Tensor) -> Tensor:
    """L = I(X;T) - beta I(T;Y)."""
    complexity, relevance = plane(problem, encoder)
    return complexity - problem.beta * relevance


def lower(problem: Problem, one: Tensor, other: Tensor) -> Tensor:
    """Of two encoders for every beta, the one with the lower functional."""
    better = functional(problem, other) <= functional(problem, one)
    return torch.where(better[:, None, None], other, one)


def pad(part: Tensor, columns: int) -> Tensor:
    return torch.nn.functional.pad(part, (0, columns - part.shape[-1]))
