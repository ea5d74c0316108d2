"""The generalised bottleneck for alpha < 1, whose encoders are harder, and hard at alpha = 0."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float64
from torch import Tensor

from ibbook.bottleneck._problem import TINY, Problem, joint_of

ROUNDS = 2000


def generalised(
    problem: Problem, soft: Float64[Tensor, "k s t"], alpha: float, limit: int
) -> Float64[Tensor, "k s t"]:
    """The encoder of the lowest H(T) - alpha H(T|X) - beta I(T;Y) found, for every beta.

    The three minimisations of Strouse and Schwab (2017, section 3) start from the
    encoders in `soft` and from partitions of every size: those that joining the best pair again and
    again leaves, each then improved by moving one s at a time.
    """
    found = []
    for k in range(len(problem.beta)):
        part = problem.at(torch.tensor([k]))
        encoder = _partitions(part, limit)
        if limit == len(problem.p):
            encoder = torch.cat([encoder, soft[k, None]])
        for _ in range(ROUNDS):
            before, encoder = encoder, harder(part, encoder, alpha)
            if (encoder - before).abs().sum(-1).max() <= problem.tol / 2:
                break
        found.append(encoder[cost(part, encoder, alpha).argmin()])
    return torch.stack(found)


def cost(problem: Problem, encoder: Tensor, alpha: float) -> Tensor:
    """H(T) - alpha H(T|X) - beta I(T;Y), but for a constant."""
    joint = joint_of(problem, encoder)
    hidden = torch.special.entr(encoder).sum(-1) @ problem.p
    weights = torch.special.entr(joint.sum(-1)).sum(-1)
    unsaid = torch.special.entr(joint).sum((-2, -1)) - weights  # H(Y|T)
    return weights - alpha * hidden + problem.beta * unsaid


def harder(problem: Problem, encoder: Tensor, alpha: float) -> Tensor:
    """p(t|s) proportional to exp((ln p(t) - beta D_KL[p(y|s) || p(y|t)]) / alpha)."""
    joint = joint_of(problem, encoder)
    weights = joint.sum(-1)
    log_decoder = joint.clamp_min(TINY).log() - weights.clamp_min(TINY).log()[..., None]
    score = weights.log()[:, None] + problem.beta[:, None, None] * (problem.rows @ log_decoder.mT)
    if alpha:
        return (score / alpha).softmax(-1)
    # of clusters that serve as well, the one that s is in
    chosen = torch.where(score >= score.amax(-1, keepdim=True) - 1e-12, encoder + 1e-9, 0.0)
    return torch.nn.functional.one_hot(chosen.argmax(-1), encoder.shape[-1]).to(encoder)


def _partitions(problem: Problem, limit: int) -> Float64[Tensor, "n s t"]:
    """Hard encoders with 1 to `limit` clusters, none of them better with one s elsewhere."""
    size, beta = len(problem.p), problem.beta
    single = problem.p[:, None] * problem.rows  # p(s, y)
    encoder, found = torch.eye(size).to(single), []
    while True:
        mass = encoder.mT @ single
        count = int((mass.sum(-1) > 0).sum())
        if count <= limit:
            found.append(_improved(encoder, single, beta))
        if count == 1:
            return torch.stack(found)
        own = _price(mass, beta)
        gain = _price(mass[:, None] + mass, beta) - own[:, None] - own
        empty = mass.sum(-1) == 0
        gain[empty], gain[:, empty] = math.inf, math.inf
        into, gone = divmod(int(gain.fill_diagonal_(math.inf).argmin()), size)
        encoder[:, into] += encoder[:, gone]
        encoder[:, gone] = 0


def _improved(encoder: Tensor, single: Tensor, beta: Tensor) -> Tensor:
    """The partition after moves of one s to another of its clusters, each lowering the cost."""
    encoder = encoder.clone()
    used, row = encoder.sum(0) > 0, torch.arange(len(encoder), device=encoder.device)
    while True:
        mass, home = encoder.mT @ single, encoder.argmax(-1)
        left = (mass[home] - single).clamp_min(0)
        gain = _price(left, beta)[:, None] - _price(mass[home], beta)[:, None]
        gain = gain + _price(mass + single[:, None], beta) - _price(mass, beta)
        gain[row, home] = 0
        gain[:, ~used] = math.inf
        which, to = divmod(int(gain.argmin()), len(encoder))
        if gain[which, to] >= -1e-13:
            return encoder
        encoder[which] = 0
        encoder[which, to] = 1


def _price(mass: Tensor, beta: Tensor) -> Tensor:
    """What a cluster p(t, y) adds to H(T) + beta H(Y|T)."""
    return beta * torch.special.entr(mass).sum(-1) + (1 - beta) * torch.special.entr(mass.sum(-1))
