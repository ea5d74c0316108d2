"""Anderson's acceleration of the self-consistent equations."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ibbook.bottleneck._problem import TINY, Problem, iterate

MEMORY = 6  # steps that Anderson's acceleration looks back on


def relax(problem: Problem, joint: Tensor, steps: int) -> Tensor:
    """Anderson's acceleration of the self-consistent equations, never uphill.

    It works on sqrt p(t, y), where distances are those of information geometry. The bound
    -E ln Z falls at every plain step; where the accelerated one raises it, the plain one is taken.
    Near a saddle the acceleration points back to it, against the plain step. There the plain step
    is stretched instead, twice as far each time that this goes well.
    """
    shape, memory = joint.shape, min(MEMORY, steps)
    moves = joint.new_zeros(len(joint), memory, shape[1] * shape[2])
    changes = torch.zeros_like(moves)
    gram = joint.new_zeros(len(joint), memory, memory)
    ridge = 1e-10 * torch.eye(memory, dtype=joint.dtype, device=joint.device)
    lowest = joint.new_full((len(joint),), math.inf)
    plain, fresh = joint, torch.ones(len(joint), dtype=torch.bool, device=joint.device)
    last_image = last_change = joint.flatten(1)
    stretch = joint.new_ones(len(joint), 1)
    stretched = torch.zeros_like(stretch, dtype=torch.bool)
    for step in range(steps):
        log_partition, _, after = iterate(problem, joint)
        value = -(log_partition @ problem.p)
        uphill = value > lowest + 1e-13 * (1 + value.abs())
        image = after.sqrt().flatten(1)
        change = image - joint.sqrt().flatten(1)
        slot = step % memory
        torch.sub(image, last_image, out=moves[:, slot])
        torch.sub(change, last_change, out=changes[:, slot])
        if (fresh := fresh | uphill).any():
            moves[fresh, slot], changes[fresh, slot] = 0, 0
            changes[uphill], gram[uphill] = 0, 0
        row = (changes @ changes[:, slot, :, None])[..., 0]
        gram[:, slot], gram[:, :, slot] = row, row
        scale = gram.diagonal(dim1=-2, dim2=-1)
        scale = torch.where(scale > 0, scale.clamp_min(TINY).rsqrt(), 0.0)
        normal = gram * scale[:, :, None] * scale[:, None] + ridge
        normal = normal + torch.diag_embed((scale == 0).to(gram))
        right = (changes @ change[..., None])[..., 0] * scale
        blend = torch.linalg.solve(normal, right[..., None])[..., 0] * scale
        shift = change - (blend[:, None] @ moves)[:, 0]
        stretch = torch.where(stretched & uphill[:, None], (stretch / 8).clamp_min(1), stretch)
        stretch = torch.where(stretched & ~uphill[:, None], 2 * stretch, stretch)
        backward = (shift * change).sum(-1, keepdim=True) <= 0
        stretched = backward & ~stretched  # every other step is plain, which smooths
        if backward.any():
            farther = torch.where(stretched, 1 + stretch, 1.0) * change
            shift = torch.where(backward, farther, shift)
        ahead = torch.maximum(shift.add_(image).sub_(change), 0.1 * image).square_()
        ahead /= ahead.sum(-1, keepdim=True)
        ahead = ahead.reshape(shape)
        if uphill.any():
            after = torch.where(uphill[:, None, None], plain, after)
            ahead = torch.where(uphill[:, None, None], plain, ahead)
        plain, joint, lowest = after, ahead, torch.minimum(lowest, value)
        last_image, last_change, fresh = image, change, uphill
    return plain
