"""The lowest functional that is found at every beta of one source."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ibbook.bottleneck._clusters import agglomerate, compact, merge, reweight, tree
from ibbook.bottleneck._problem import (
    TINY,
    Problem,
    iterate,
    joint_of,
    lower,
    pad,
    plane,
    sufficient,
    trivial,
    weights_of,
)
from ibbook.bottleneck._relax import relax
from ibbook.bottleneck._search import search_clusters, splits, tilted
from ibbook.bottleneck.stability import second_order

TRACE = 1e-6  # share of p(y) mixed into decoders that are tried at another beta
PATIENCE = 56  # iterations before weights are found by the convex solver
EXTRA = 8  # missing clusters added at a time
LONGEST = 64  # iterations between two looks at what has settled
GAP = 1e-10  # ln D above which a cluster is missing
FAINT = 1e-6  # mass below which a cluster is left to starve; a rarer x keeps its own
ENVELOPE_ROUNDS = 3


def solve(
    pxy: Tensor, beta: Tensor, clusters: int | None, method: str, tol: float, max_iterations: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Encoders, residuals and gaps of one joint for a vector of betas, heaviest clusters first."""
    p, rows, label = sufficient(pxy)
    problem = Problem(p, rows, beta, tree(p, rows), tol, max_iterations)
    limit = min(clusters or len(p), len(p))
    encoder = trivial(problem)
    second, direction = second_order(p, rows, encoder[0, :, :1])
    unstable = beta * second > 1 + 1e-12
    search = unstable if method == "annealing" else beta > 1  # up to 1, L >= 0 by data processing
    if limit > 1 and search.any():
        part = problem.at(search)
        encoder[search] = _lowest(part, limit, direction[0], unstable[search])
    weights = weights_of(problem, encoder)
    p_x = pxy.sum(1)
    place = p_x * torch.arange(len(p_x), device=p.device) / len(p_x)
    middle = torch.einsum("x,kxt->kt", place, encoder[:, label]) / weights.clamp_min(TINY)
    rank = middle - (1e6 * weights).round()  # heaviest first; of ties, the one of lower x
    order = torch.where(weights > 0, rank, math.inf).argsort(dim=-1)
    order = order[:, : int((weights > 0).sum(-1).max())]
    encoder = encoder.gather(-1, order[:, None].expand(-1, len(p), -1))
    log_partition, update, _ = iterate(problem, joint_of(problem, encoder))
    residual = (update - encoder).abs().sum(-1).amax(-1)
    gap = search_clusters(problem, log_partition)[0].amax(-1).clamp_min(0)
    return encoder[:, label], residual, gap


def _lowest(problem: Problem, limit: int, direction: Tensor, unstable: Tensor) -> Tensor:
    """The encoder with the lowest functional found, for every beta."""
    p, rows, beta = problem.p, problem.rows, problem.beta
    start = (problem.starts / len(problem.starts)).expand(len(beta), -1, -1)
    encoder = _descend(problem, reweight(problem, start, 1e-4), limit)
    stuck = unstable & ((weights_of(problem, encoder) > 0).sum(-1) == 1)
    if stuck.any():  # just above the critical beta: start along the unstable direction
        atoms = (tilted(p, direction) @ rows / 8).expand(int(stuck.sum()), -1, -1)
        part = problem.at(stuck)
        encoder[stuck] = _descend(part, reweight(part, atoms), limit)
    known = [trivial(problem)[:1]]
    if limit == len(p):
        known.append(torch.eye(len(p), dtype=p.dtype, device=p.device)[None])
    for _ in range(ENVELOPE_ROUNDS):  # what was found at one beta may be better at another
        choices = torch.cat([encoder, *known])
        complexity, relevance = plane(problem, choices)
        value = complexity - beta[:, None] * relevance
        lowest, which = value.min(-1)
        improve = lowest < value.diagonal() - 10 * GAP * (1 + lowest.abs())
        if not improve.any():
            break
        part, start = problem.at(improve), choices[which[improve]]
        joint = joint_of(part, start)
        joint = (1 - TRACE) * joint + TRACE * joint.sum(-1, keepdim=True) * (p @ rows)
        encoder[improve] = lower(part, start, _descend(part, joint, limit))
    return _without_faint(problem, encoder)


def _without_faint(problem: Problem, encoder: Tensor) -> Tensor:
    """The same solutions, settled again without the clusters that have next to no mass."""
    weights = weights_of(problem, encoder)
    faint = (weights > 0) & (weights < min(FAINT, problem.p.min().item() / 2))
    redo = faint.any(-1)
    if redo.any():
        part = problem.at(redo)
        kept = torch.where(faint[redo][:, None], 0.0, encoder[redo])
        joint = compact(joint_of(part, kept / kept.sum(-1, keepdim=True)))
        size = encoder.shape[-1]
        settled = iterate(part, _settle(part, joint, search=False))[1]
        encoder[redo] = pad(settled, size)[..., :size]
    return encoder


def _descend(problem: Problem, joint: Tensor, limit: int) -> Tensor:
    """The encoder reached from p(t, y), with as many clusters as help, or at most `limit`."""
    size = len(problem.p)
    joint = _settle(problem, joint, search=True)
    if joint.shape[1] > limit:
        joint = _settle(problem, agglomerate(problem, joint, limit), search=False)
    return pad(iterate(problem, joint)[1], size)[..., :size]


def _settle(problem: Problem, joint: Tensor, search: bool) -> Tensor:
    """Relax, merge, look for missing clusters, weigh them; until nothing moves and none is missing.

    The weighing is a convex problem, rate-distortion with the decoders as reproductions, so it
    removes the superfluous clusters that plain iteration takes forever to starve.
    """
    settled = joint.new_zeros(len(joint), 2 * len(problem.p) + 2 * EXTRA, joint.shape[-1])
    index = torch.arange(len(joint), device=joint.device)
    steps, spent = 8, 0
    while True:
        joint = merge(problem, relax(problem, joint, steps))
        spent += steps
        log_partition, encoder, after = iterate(problem, joint)
        residual = (iterate(problem, after)[1] - encoder).abs().sum(-1).amax(-1)
        done = residual <= problem.tol / 2
        room = search & ((joint.sum(-1) > 0).sum(-1) <= len(problem.p))
        added = joint.new_zeros(len(joint), 2 * EXTRA, joint.shape[-1])
        if (look := done & room).any():
            level, found = search_clusters(problem.at(look), log_partition[look])
            level, best = level.topk(min(EXTRA, level.shape[-1]), dim=-1)
            found = found.gather(1, best[..., None].expand(-1, -1, found.shape[-1]))
            added[look, : found.shape[1]] = torch.where((level > GAP)[..., None], found, 0.0)
        if (look := (done | (spent >= PATIENCE)) & room).any():
            added[look, EXTRA:] = splits(problem.at(look), encoder[look])
        added *= 1e-3
        done &= (added == 0).flatten(1).all(-1)
        settled[index, : joint.shape[1]] = joint
        settled[index, joint.shape[1] :] = 0
        if done.all() or spent >= problem.max_iterations:
            return compact(settled)
        index, problem, joint = index[~done], problem.at(~done), joint[~done]
        added = added[~done]
        if spent >= PATIENCE or added.any():
            joint = reweight(problem, torch.cat([joint, added], 1))
        joint = compact(joint)
        steps = min(steps + steps // 2, LONGEST)
