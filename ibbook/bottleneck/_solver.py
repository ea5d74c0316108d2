"""The lowest functional that is found at every beta of one source."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ibbook.bottleneck._clusters import agglomerate, compact, merge, reweight, tree
from ibbook.bottleneck._generalised import generalised, harder
from ibbook.bottleneck._newton import newton
from ibbook.bottleneck._problem import (
    TINY,
    Problem,
    functional,
    iterate,
    joint_of,
    lower,
    pad,
    plane,
    silent,
    sufficient,
    weights_of,
)
from ibbook.bottleneck._relax import relax
from ibbook.bottleneck._search import climbed, missing, splits, tilted
from ibbook.bottleneck.stability import second_order

TRACE = 1e-6  # share of p(y) mixed into decoders that are tried at another beta
PATIENCE = 56  # iterations before weights are found by the convex solver
EXTRA = 8  # missing clusters added at a time
LONGEST = 64  # iterations between two looks at what has settled
GAP = 1e-10  # ln D above which a cluster is missing
FAINT = 1e-6  # mass below which a cluster is left to starve; a rarer x keeps its own
ENVELOPE_ROUNDS = 3
NEWTON_SIZE = 1024  # unknowns p(t, y), with a cluster for each s, for which Newton's method is used
NEWTON_ROUNDS = 6
HANDOVER = 150  # iterations before Newton's method takes over
PLAIN, UNSETTLED = (
    6,
    1e-9,
)  # steps to see how fast the encoder still changes; what may be left of it
TIE = 1e-12  # nats between functionals of which the simpler solution is taken
SAME = 1e-10  # beta chi^2 between decoders that Newton's method takes for one


def solve(
    pxy: Tensor,
    beta: Tensor,
    alpha: float,
    clusters: int | None,
    trivial: str,
    tol: float,
    max_iterations: int,
) -> tuple[Tensor, Tensor, Tensor]:
    """Encoders, residuals and gaps of one joint for a vector of betas, heaviest clusters first."""
    p, rows, label = sufficient(pxy)
    problem = Problem(p, rows, beta, tree(p, rows), tol, max_iterations)
    limit = min(clusters or len(p), len(p))
    encoder = silent(problem)
    second, direction = second_order(p, rows, encoder[0, :, :1])
    unstable = beta * second > 1 + 1e-12
    # up to beta = 1, L >= 0 by data processing
    search = unstable if trivial == "while-stable" and alpha == 1 else beta > 1
    if limit > 1 and search.any():
        encoder[search] = _lowest(problem.at(search), limit, direction[0], unstable[search])
    if alpha < 1:
        encoder = generalised(problem, encoder, alpha, limit)
    encoder = _in_order(problem, encoder, pxy.sum(1), label)
    if alpha < 1:
        update, gap = harder(problem, encoder, alpha), torch.full_like(beta, math.nan)
    else:
        update = iterate(problem, joint_of(problem, encoder))[1]
        gap = missing(problem, encoder)[0].amax(-1).clamp_min(0)
    return encoder[:, label], (update - encoder).abs().sum(-1).amax(-1), gap


def _in_order(problem: Problem, encoder: Tensor, p_x: Tensor, label: Tensor) -> Tensor:
    """Clusters with mass, heaviest first; of equal ones, the one of lower x."""
    weights = weights_of(problem, encoder)
    place = p_x * torch.arange(len(p_x), device=p_x.device) / len(p_x)
    middle = torch.einsum("x,kxt->kt", place, encoder[:, label]) / weights.clamp_min(TINY)
    rank = middle - (1e6 * weights).round()
    order = torch.where(weights > 0, rank, math.inf).argsort(dim=-1)
    order = order[:, : int((weights > 0).sum(-1).max())]
    return encoder.gather(-1, order[:, None].expand(-1, len(problem.p), -1))


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
    known = [silent(problem)[:1]]
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
    return _simplest(problem, encoder, limit)


def _simplest(problem: Problem, encoder: Tensor, limit: int) -> Tensor:
    """The same solutions without twins, and without clusters of next to no mass, if none is missed.

    Next to a bifurcation, what rounding decides is not a cluster.
    """
    weights = weights_of(problem, encoder)
    faint = (weights > 0) & (weights < min(FAINT, problem.p.min().item() / 2))
    kept = torch.where(faint[:, None], 0.0, encoder)
    joint = merge(problem, joint_of(problem, kept / kept.sum(-1, keepdim=True)))
    redo = (joint.sum(-1) > 0).sum(-1) < (weights > 0).sum(-1)
    if redo.any():
        part, old = problem.at(redo), encoder[redo]
        fewer = _padded(part, _settle(part, compact(joint[redo]), search=False))
        fewer = _sharpened(part, fewer, search=False)
        worse = functional(part, fewer) > functional(part, old) + TIE
        if limit == len(problem.p):
            worse |= missing(part, fewer)[0].amax(-1) > 5 * GAP
        encoder[redo] = torch.where(worse[:, None, None], old, fewer)
    return encoder


def _descend(problem: Problem, joint: Tensor, limit: int) -> Tensor:
    """The encoder reached from p(t, y), with as many clusters as help, or at most `limit`."""
    joint = _settle(problem, joint, search=True)
    if joint.shape[1] > limit:
        joint = _settle(problem, agglomerate(problem, joint, limit), search=False)
    return _sharpened(problem, _padded(problem, joint), search=limit == len(problem.p))


def _padded(problem: Problem, joint: Tensor) -> Tensor:
    """The encoder of clusters p(t, y), with as many columns as there can be clusters."""
    size = len(problem.p)
    return pad(iterate(problem, joint)[1], size)[..., :size]


def _sharpened(problem: Problem, encoder: Tensor, search: bool) -> Tensor:
    """The same solutions, by Newton's method where iteration had not arrived.

    Next to a bifurcation the residual is small long before the encoder is right: there the change
    from step to step falls so slowly that what is still to come is large.
    """
    if not _small(problem):
        return encoder
    after, change = encoder, []
    for _ in range(PLAIN):
        before, after = after, iterate(problem, joint_of(problem, after))[1]
        change.append((after - before).abs().sum(-1).amax(-1))
    rate = change[-1] / change[-2].clamp_min(TINY)
    unsettled = change[-1] > UNSETTLED * (1 - rate)
    if search:
        unsettled |= missing(problem, encoder)[0].amax(-1) > GAP
    for k in unsettled.nonzero().flatten():
        part, old = problem.at(k[None]), encoder[k[None]]
        new = _padded(part, _by_newton(part, old, search))
        if functional(part, new) <= functional(part, old) + TIE:
            encoder[k] = new[0]
    return encoder


def _by_newton(problem: Problem, encoder: Tensor, search: bool) -> Tensor:
    """Clusters p(t, y) by Newton's method at one beta, until none is missing or must split."""
    joint = joint_of(problem, encoder)
    for _ in range(NEWTON_ROUNDS):
        joint = newton(problem, merge(problem, reweight(problem, joint), SAME))
        if not search:
            break
        level, found = missing(problem, iterate(problem, joint)[1])
        if not (level > GAP).any():
            break
        joint = torch.cat([joint, 1e-3 * found[level > GAP][None]], 1)
    most = len(problem.p)
    return joint if joint.shape[1] <= most else agglomerate(problem, joint, most)


def _small(problem: Problem) -> bool:
    """Whether Newton's method is worth its cost."""
    return problem.rows.numel() <= NEWTON_SIZE


def _settle(problem: Problem, joint: Tensor, search: bool) -> Tensor:
    """Relax, merge, look for missing clusters, weigh them; until nothing moves and none is missing.

    The weighing is a convex problem, rate-distortion with the decoders as reproductions, so it
    removes the superfluous clusters that plain iteration takes forever to starve.
    """
    settled = joint.new_zeros(len(joint), 2 * len(problem.p) + 2 * EXTRA, joint.shape[-1])
    index = torch.arange(len(joint), device=joint.device)
    steps, spent = 8, 0
    most = min(problem.max_iterations, HANDOVER) if _small(problem) else problem.max_iterations
    while True:
        joint = merge(problem, relax(problem, joint, steps))
        spent += steps
        log_partition, encoder, after = iterate(problem, joint)
        residual = (iterate(problem, after)[1] - encoder).abs().sum(-1).amax(-1)
        done = residual <= problem.tol / 2
        room = search & ((joint.sum(-1) > 0).sum(-1) <= len(problem.p))
        added = joint.new_zeros(len(joint), 2 * EXTRA, joint.shape[-1])
        if (look := done & room).any():
            level, found = climbed(problem.at(look), log_partition[look], problem.starts)
            level, best = level.topk(min(EXTRA, level.shape[-1]), dim=-1)
            found = found.gather(1, best[..., None].expand(-1, -1, found.shape[-1]))
            added[look, : found.shape[1]] = torch.where((level > GAP)[..., None], found, 0.0)
        if (look := (done | (spent >= PATIENCE)) & room).any():
            added[look, EXTRA:] = splits(problem.at(look), encoder[look])
        added *= 1e-3
        done &= (added == 0).flatten(1).all(-1)
        settled[index, : joint.shape[1]] = joint
        settled[index, joint.shape[1] :] = 0
        if done.all() or spent >= most:
            return compact(settled)
        index, problem, joint = index[~done], problem.at(~done), joint[~done]
        added = added[~done]
        if spent >= PATIENCE or added.any():
            joint = reweight(problem, torch.cat([joint, added], 1))
        joint = compact(joint)
        steps = min(steps + steps // 2, LONGEST)
