"""The search for clusters that are missing, and for those that must split."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ibbook.bottleneck._problem import TINY, Problem, iterate, joint_of

CLIMBS, LEAP = 6, 30.0  # accelerated mean-shift steps in the search for a missing cluster
POWERS, UNSTABLE = 24, 1 + 1e-7  # steps and threshold of the search for a cluster that splits


def missing(problem: Problem, encoder: Tensor) -> tuple[Tensor, Tensor]:
    """ln W(q) and q of the clusters that a solution may lack; it does where one is above 0."""
    log_partition = iterate(problem, joint_of(problem, encoder))[0]
    starts = problem.starts.expand(len(encoder), -1, -1)
    return climbed(problem, log_partition, torch.cat([starts, splits(problem, encoder)], 1))


def climbed(problem: Problem, log_partition: Tensor, starts: Tensor) -> tuple[Tensor, Tensor]:
    """ln W(q) and q, climbed from every start by mean shift; above 0, a cluster is missing."""
    p, rows, beta = problem.p, problem.rows, problem.beta[:, None, None]
    offset = (p.log() - log_partition)[..., None]
    decoder = starts.expand(len(beta), -1, -1)
    level = decoder.new_full(decoder.shape[:-1], -math.inf)
    best = decoder

    def climb(decoder: Tensor) -> Tensor:
        nonlocal level, best
        mass = decoder.sum(-1, keepdim=True)  # what is above 1 would count beta times
        decoder = decoder / mass.clamp_min(TINY)
        logits = offset + beta * (rows @ decoder.clamp_min(TINY).log().mT)
        height = logits.logsumexp(1)
        higher = height > level
        level = torch.where(higher, height, level)
        best = torch.where(higher[..., None], decoder, best)
        return logits.softmax(1).mT @ rows

    for _ in range(CLIMBS):  # squared extrapolation of Varadhan and Roland (2008)
        once = climb(decoder)
        twice = climb(once)
        move, bend = once - decoder, twice - 2 * once + decoder
        length = move.norm(dim=-1, keepdim=True) / bend.norm(dim=-1, keepdim=True).clamp_min(TINY)
        length = length.clamp(1, LEAP)
        ahead = decoder + 2 * length * move + length**2 * bend
        decoder = torch.maximum(ahead, 0.1 * twice)
    climb(decoder)
    return level, best


def splits(problem: Problem, encoder: Tensor) -> Tensor:
    """Decoders on both sides of the most unstable cluster; all 0 where every cluster is stable.

    beta C_t is what one step of the self-consistent equations does to a small difference between
    two copies of cluster t. Its largest eigenvalue, apart from the 1 of lambda_1, by iteration.
    """
    p, rows = problem.p, problem.rows
    source = (encoder * p[:, None]).mT
    source = source / source.sum(-1, keepdim=True).clamp_min(TINY)  # p(s|t)
    decoder = source @ rows
    share = torch.where(decoder > 0, 1 / decoder.clamp_min(TINY), 0.0)
    tilt = (2.4 * torch.arange(len(p), device=p.device)).cos().to(p).expand_as(source)
    for _ in range(POWERS):
        tilt = tilt - (source * tilt).sum(-1, keepdim=True)
        tilt = tilt / tilt.norm(dim=-1, keepdim=True).clamp_min(TINY)
        before, tilt = tilt, ((source * tilt @ rows) * share) @ rows.mT
    strength = (source * before * tilt).sum(-1) / (source * before**2).sum(-1).clamp_min(TINY)
    strength, worst = (problem.beta[:, None] * strength).max(-1)
    worst = worst[:, None, None].expand(-1, 1, len(p))
    source, tilt = source.gather(1, worst), tilt.gather(1, worst)
    return torch.where((strength > UNSTABLE)[:, None, None], tilted(source, tilt) @ rows, 0.0)


def tilted(source: Tensor, tilt: Tensor) -> Tensor:
    """p(s|t) pushed to both sides along a direction, by more and by less."""
    size = 0.9 / tilt.abs().amax(-1, keepdim=True).clamp_min(TINY)
    push = tilt.new_tensor([1, 0.3, 0.1, 0.03])[:, None]
    return source * (1 + torch.cat([push, -push]) * size * tilt)
