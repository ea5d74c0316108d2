"""Joints to try the bottleneck on, and what is known of them."""

from __future__ import annotations

from functools import reduce

import numpy as np
from hypothesis import strategies as st
from scipy.optimize import brentq, minimize
from scipy.special import rel_entr, xlogy

EXACT = 1e-9  # agreement with a closed form; the solver stops at a residual of 1e-8


def binary(agree: float) -> np.ndarray:
    """A fair bit and its copy, equal with probability `agree`."""
    return np.array([[agree, 1 - agree], [1 - agree, agree]]) / 2


def product(*agree: float) -> np.ndarray:
    """Independent pairs of bits, one joint."""
    return reduce(np.kron, [binary(a) for a in agree])


def random_joint(seed: int, x: int, y: int, concentration: float = 1.0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.dirichlet(np.full(x * y, concentration)).reshape(x, y)


def information(joint: np.ndarray) -> float:
    return rel_entr(joint, joint.sum(1, keepdims=True) * joint.sum(0)).sum()


def plane(pxy: np.ndarray, encoder: np.ndarray) -> tuple[float, float]:
    """I(X;T) and I(T;Y), in numpy and from the definitions."""
    return information(pxy.sum(1)[:, None] * encoder), information(encoder.T @ pxy)


def binary_entropy(p: float) -> float:
    return -xlogy(p, p) - xlogy(1 - p, 1 - p)


def noisy_copy(agree: float, beta: float) -> tuple[float, float]:
    """The optimum for the fair bit: T is X through a symmetric channel (Mrs Gerber's lemma)."""

    def slope(flip: float) -> float:
        error = flip * agree + (1 - flip) * (1 - agree)
        return np.log((1 - flip) / flip) - beta * (2 * agree - 1) * np.log((1 - error) / error)

    flip = brentq(slope, 1e-15, 0.5 - 1e-6, xtol=1e-15)
    error = flip * agree + (1 - flip) * (1 - agree)
    return np.log(2) - binary_entropy(flip), np.log(2) - binary_entropy(error)


def contraction_beta(pxy: np.ndarray) -> float:
    """1/eta: the least D_KL[r || p_x] / D_KL[r W || p_y], by a general optimiser."""
    p_x, p_y = pxy.sum(1), pxy.sum(0)
    rows = pxy / p_x[:, None]

    def ratio(logits: np.ndarray) -> float:
        r = np.exp(logits - logits.max())
        r /= r.sum()
        return rel_entr(r, p_x).sum() / rel_entr(r @ rows, p_y).sum()

    starts = [np.log(p_x) + 4 * np.eye(len(p_x))[i] for i in range(len(p_x))]
    return min(minimize(ratio, start, method="BFGS").fun for start in starts)


joints = st.builds(
    random_joint,
    st.integers(0, 10**6),
    st.integers(2, 6),
    st.integers(2, 6),
    st.sampled_from([0.2, 1.0, 5.0]),
)
