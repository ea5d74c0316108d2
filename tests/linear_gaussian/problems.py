"""Covariances and codes that the tests share."""

from __future__ import annotations

import torch

NOISES = ("full", "diagonal", "isotropic", 0.4)


def covariance(n=6, seed=0):
    root = torch.randn(n, n, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return root @ root.T / n + 0.1 * torch.eye(n, dtype=torch.float64)


def code(m=3, n=6, seed=1):
    generator = torch.Generator().manual_seed(seed)
    encoder = torch.randn(m, n, generator=generator, dtype=torch.float64)
    root = torch.randn(m, m, generator=generator, dtype=torch.float64)
    return encoder, root @ root.T / m + 0.2 * torch.eye(m, dtype=torch.float64)


def trace(matrix):
    return matrix.diagonal(dim1=-2, dim2=-1).sum(-1)
