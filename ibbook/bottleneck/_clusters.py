"""Clusters formed, joined, weighed and dropped."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ibbook.bottleneck._problem import TINY, Problem, iterate
from ibbook.rate_distortion import optimal_marginal

BLUR = 0.05  # share of p(y) mixed into starting decoders
MERGE = 4e-6  # beta chi^2 between decoders below which clusters are one


def tree(p: Tensor, rows: Tensor) -> Tensor:
    """Decoders of all clusters that the agglomerative bottleneck (Slonim and Tishby 1999) forms.

    From one cluster for each s, it joins the pair that loses least of I(T;Y), down to one. All are
    blurred a little: no iteration ever leaves a zero.
    """
    joint = p[:, None] * rows
    nodes = [rows]
    own = _surplus(joint)
    cost = torch.stack([own + own[i] - _surplus(joint + joint[i]) for i in range(len(p))])
    cost.fill_diagonal_(math.inf)
    for _ in range(len(p) - 1):
        pair = int(cost.argmin())
        into, gone = pair // len(p), pair % len(p)
        joint[into] += joint[gone]
        own[into] = _surplus(joint[into])
        cost[gone], cost[:, gone] = math.inf, math.inf
        fresh = own + own[into] - _surplus(joint + joint[into])
        fresh = torch.where(cost[into].isinf(), math.inf, fresh)
        cost[into], cost[:, into] = fresh, fresh
        nodes.append(joint[into, None] / joint[into].sum())
    return (1 - BLUR) * torch.cat(nodes) + BLUR * (p @ rows)


def merge(problem: Problem, joint: Tensor, nearest: float = MERGE) -> Tensor:
    """Join the clusters whose decoders no x can tell apart, drop those without mass."""
    weights = joint.sum(-1)
    root = (joint / weights.clamp_min(TINY)[..., None]).sqrt()
    apart = problem.beta[:, None, None] * 8 * (1 - root @ root.mT)  # beta chi^2
    used = weights > 0
    twin = (apart < nearest) & used[:, :, None] & used[:, None]
    own = torch.arange(joint.shape[1], device=joint.device)
    first = torch.where(used, twin.to(torch.int8).argmax(-1), own)
    joint = torch.zeros_like(joint).scatter_add_(1, first[..., None].expand_as(joint), joint)
    joint = torch.where(joint.sum(-1, keepdim=True) > problem.dust, joint, 0.0)
    return compact(joint / joint.sum((-2, -1), keepdim=True))


def agglomerate(problem: Problem, joint: Tensor, limit: int) -> Tensor:
    """Join the pair of clusters that costs L least, until `limit` are left."""
    _, encoder, joint = iterate(problem, joint)
    sources = (encoder * problem.p[:, None]).mT  # p(t, s)
    beta = problem.beta[:, None]
    own = torch.arange(joint.shape[1], device=joint.device)
    batch = torch.arange(len(joint), device=joint.device)

    def price(i: Tensor) -> Tensor:
        with_s, with_y = sources[batch, i, None], joint[batch, i, None]
        cost = _surplus(sources + with_s) - _surplus(sources) - _surplus(with_s)
        cost = cost - beta * (_surplus(joint + with_y) - _surplus(joint) - _surplus(with_y))
        out = (own == i[:, None]) | (joint.sum(-1) == 0) | (with_y.sum(-1) == 0)
        return torch.where(out, math.inf, cost)

    cost = torch.stack([price(own[i].expand(len(joint))) for i in own.tolist()], 1)
    while True:
        many = (joint.sum(-1) > 0).sum(-1) > limit
        if not many.any():
            return compact(joint)
        pair = cost.flatten(1).argmin(-1)
        into, gone = pair // len(own), pair % len(own)
        for part in (sources, joint):
            moved = torch.where(many[:, None], part[batch, gone], 0.0)
            part[batch, into] += moved
            part[batch, gone] -= moved
        fresh, empty = price(into), torch.where(many[:, None], math.inf, cost[batch, gone])
        cost[batch, into], cost[batch, :, into] = fresh, fresh
        cost[batch, gone], cost[batch, :, gone] = empty, empty


def reweight(problem: Problem, joint: Tensor, coarse: float | None = None) -> Tensor:
    """The same decoders with their optimal weights; coarsely, none below that many nats."""
    weights = joint.sum(-1)
    log_decoder = joint.clamp_min(TINY).log() - weights.clamp_min(TINY).log()[..., None]
    logits = problem.rows @ (problem.beta[:, None, None] * log_decoder).mT
    logits = torch.where(weights[:, None] > 0, logits, -math.inf)
    kernel = (logits - logits.amax(-1, keepdim=True)).exp()
    best, _ = optimal_marginal(problem.p.expand(len(joint), -1), kernel, coarse or 1e-10, 50)
    best = torch.where((weights > 0) & (best > (coarse or problem.dust)), best, 0.0)
    joint = joint * (best / weights.clamp_min(TINY))[..., None]
    return compact(joint / joint.sum((-2, -1), keepdim=True))


def compact(joint: Tensor) -> Tensor:
    """The clusters with mass first, and no more columns than the largest solution needs."""
    used = joint.sum(-1) > 0
    order = used.to(torch.int8).argsort(dim=1, descending=True, stable=True)
    order = order[:, : int(used.sum(-1).max())]
    return joint.gather(1, order[..., None].expand(-1, -1, joint.shape[-1]))


def _surplus(mass: Tensor) -> Tensor:
    """sum_i m_i ln(m_i / sum_j m_j) of unnormalised masses."""
    return torch.xlogy(mass, mass).sum(-1) - torch.xlogy(mass.sum(-1), mass.sum(-1))
