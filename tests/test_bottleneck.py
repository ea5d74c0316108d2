"""The bottleneck against closed forms, dit, embo, independent optimisers and its own theory."""

from __future__ import annotations

from functools import reduce

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st
from scipy.optimize import brentq, minimize
from scipy.special import rel_entr, xlogy

from ibbook import bottleneck as module
from ibbook.bottleneck import (
    critical_beta,
    gaussian_bottleneck,
    information_bottleneck,
    information_curve,
    splitting_betas,
)

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
    """1/eta: the least KL(r || p_x) / KL(r W || p_y), by a general optimiser from every vertex."""
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


class TestKnownAnswers:
    @pytest.mark.parametrize("agree", [0.9, 0.75, 0.62])
    def test_a_noisy_bit_has_its_closed_form(self, agree):
        critical = 1 / (2 * agree - 1) ** 2
        beta = critical * np.array([1.05, 1.5, 3.0, 10.0])
        solution = information_bottleneck(binary(agree), beta)
        expected = np.array([noisy_copy(agree, b) for b in beta])
        np.testing.assert_allclose(solution.complexity, expected[:, 0], atol=EXACT)
        np.testing.assert_allclose(solution.relevance, expected[:, 1], atol=EXACT)
        assert solution.converged.all()

    @pytest.mark.parametrize("trivial", ["while-stable", "while-lowest"])
    def test_independent_bits_switch_on_one_by_one(self, trivial):
        agree = (0.9, 0.75, 0.62)
        beta = np.array([1.5, 1.55, 1.575, 3.98, 4.02, 17.3, 17.45])
        solution = information_bottleneck(product(*agree), beta, trivial=trivial)
        assert solution.clusters.tolist() == [1, 1, 2, 2, 4, 4, 8]
        for i, b in enumerate(beta):  # the functional adds up over independent pairs
            parts = [noisy_copy(a, b) for a in agree if b * (2 * a - 1) ** 2 > 1]
            expected = np.sum(parts, 0) if parts else np.zeros(2)
            np.testing.assert_allclose(solution.complexity[i], expected[0], atol=1e-7)
            np.testing.assert_allclose(solution.relevance[i], expected[1], atol=1e-7)

    def test_critical_betas_of_independent_bits(self):
        assert critical_beta(binary(0.9)).item() == pytest.approx(1.5625, abs=1e-12)
        pxy = product(0.9, 0.75, 0.62)
        assert critical_beta(pxy).item() == pytest.approx(1.5625, abs=1e-12)
        for index, exact in [(2, 4.0), (4, 1 / 0.24**2)]:
            # with the first bits in use, all clusters split together where the next one switches on
            near = information_bottleneck(pxy, exact * (1 - 1e-4))
            assert near.clusters.item() == index
            np.testing.assert_allclose(splitting_betas(pxy, near.encoder), exact, rtol=1e-6)

    def test_no_cluster_is_past_the_beta_where_it_must_split(self):
        beta = np.linspace(2, 14, 40)
        for seed in range(3):
            pxy = random_joint(seed, 12, 5)
            solution = information_bottleneck(pxy, beta, trivial="while-lowest")
            splitting = splitting_betas(pxy, solution.encoder)
            assert (splitting >= solution.beta[:, None] * (1 - 1e-6)).all()

    def test_no_information_no_critical_beta(self):
        pxy = np.outer([0.2, 0.3, 0.5], [0.6, 0.4])
        assert critical_beta(pxy).item() == np.inf
        assert critical_beta([[0.3, 0.7]]).item() == np.inf
        for trivial in ("while-stable", "while-lowest"):
            solution = information_bottleneck(pxy, [0.5, 2.0, 1e3, 1e6], trivial=trivial)
            assert solution.clusters.tolist() == [1, 1, 1, 1]
            assert not solution.complexity.any()
        assert information_curve(pxy, [2.0, 9.0]).at(1.0).item() == pytest.approx(0, abs=1e-15)

    @pytest.mark.parametrize("trivial", ["while-stable", "while-lowest"])
    def test_a_function_of_x_gives_only_the_corner(self, trivial):
        pxy = np.zeros((5, 3))
        pxy[[0, 1, 2, 3, 4], [0, 0, 1, 2, 2]] = [0.1, 0.2, 0.3, 0.15, 0.25]
        assert critical_beta(pxy).item() == pytest.approx(1, abs=1e-12)
        solution = information_bottleneck(pxy, [0.5, 0.99, 1.0, 1.01, 2, 50], trivial=trivial)
        entropy = -xlogy([0.3, 0.3, 0.4], [0.3, 0.3, 0.4]).sum()
        corner = np.array([0, 0, 0, 1, 1, 1]) * entropy
        np.testing.assert_allclose(solution.complexity, corner, atol=EXACT)
        np.testing.assert_allclose(solution.relevance, corner, atol=EXACT)
        assert solution.clusters.tolist() == [1, 1, 1, 3, 3, 3]
        curve = information_curve(pxy, [0.5, 2.0, 9.0])
        inner = np.linspace(0, entropy, 7)
        np.testing.assert_allclose(curve.at(inner), inner, atol=EXACT)
        assert curve.at(2 * entropy).item() == pytest.approx(entropy, abs=EXACT)

    def test_the_symmetric_erasure_channel_leaves_the_trivial_solution_at_the_predicted_beta(self):
        """T through any channel keeps the share 1 - erased of I(X;T): slope and corner."""
        erased = 0.4
        pxy = np.array([[1 - erased, 0, erased], [0, 1 - erased, erased]]) / 2
        assert critical_beta(pxy).item() == pytest.approx(1 / (1 - erased), abs=1e-12)
        solution = information_bottleneck(pxy, np.array([0.98, 1.02]) / (1 - erased))
        np.testing.assert_allclose(solution.complexity, [0, np.log(2)], atol=EXACT)


class TestPeers:
    @pytest.mark.parametrize("seed", [0, 1])
    def test_not_above_dit(self, seed):
        """dit minimises with scipy; its solver by Blahut-Arimoto is wrong above critical_beta."""
        dit = pytest.importorskip("dit")
        from dit.rate_distortion import IBCurve

        pxy = random_joint(seed, 3, 3, 0.3)
        outcomes = [f"{i}{j}" for i in range(3) for j in range(3)]
        critical = critical_beta(pxy).item()
        starts = [  # from random encoders; now and then one stops at a worse optimum
            IBCurve(
                dit.Distribution(outcomes, pxy.ravel()),
                rvs=[[0], [1]],
                beta_min=0.8 * critical,
                beta_max=3 * critical,
                beta_num=3,
                method="sp",
            )
            for _ in range(4)
        ]
        values = np.stack([c.complexities - c.betas * c.relevances for c in starts]) * np.log(2)
        best = values.argmin(0)
        relevances = np.stack([c.relevances for c in starts])[best, range(3)] * np.log(2)
        ours = information_bottleneck(pxy, starts[0].betas, trivial="while-lowest")
        assert (ours.functional.numpy() <= values + 1e-9).all()
        np.testing.assert_allclose(ours.functional, values.min(0), atol=2e-5)  # dit: about 1e-6
        np.testing.assert_allclose(ours.relevance, relevances, atol=1e-3)

    @pytest.mark.parametrize(("size", "low", "high"), [(8, 0.8, 4.0), (32, 0.5, 1.0)])
    def test_the_curve_is_nowhere_below_embo(self, size, low, high):
        """At equal I(X;T), on our polygon. embo's beta times ln 2 is the one of its mixed units."""
        errors = np.geterr()
        embo = pytest.importorskip("embo")
        pxy = random_joint(7, size, size)
        betas = critical_beta(pxy).item() * np.linspace(low, high, 12)
        p_x, p_y = pxy.sum(1), pxy.sum(0)
        np.random.seed(0)  # noqa: NPY002, embo draws from the global generator
        theirs = np.array(
            [
                embo.InformationBottleneck.beta_iter(
                    1, b * np.log(2), p_x, p_y, pxy.T / p_x, size, 1, 300, rtol=1e-8
                )
                for b in betas
            ]
        )
        np.seterr(**errors)
        x, y = np.log(2) * theirs[:, 0], np.log(2) * theirs[:, 1]
        curve = information_curve(pxy, critical_beta(pxy).item() * np.linspace(low, high, 60))
        place = torch.searchsorted(curve.complexity, torch.as_tensor(x)).clamp(
            1, len(curve.beta) - 1
        )
        ends = curve.beta.clamp(curve.beta[1] * 0.9, 2 * betas[-1]).tolist()
        fine = [torch.linspace(ends[i - 1], ends[i], 12) for i in set(place.tolist())]
        curve = information_curve(pxy, torch.cat([curve.beta[1:-1], *fine]))
        assert (curve.at(np.maximum(x, 0)).numpy() >= y - 1e-6).all()
        ours = information_bottleneck(pxy, betas, trivial="while-lowest")
        assert (ours.functional.numpy() <= x - betas * y + 1e-12).all()
        assert (y > 1e-3).any()  # the comparison is not of trivial solutions

    @pytest.mark.parametrize("seed", range(3))
    def test_not_above_a_general_optimiser(self, seed):
        """L-BFGS on the encoder's logits, from random starts."""
        pxy = random_joint(seed, 6, 5, 0.5)
        beta = 1.5 * critical_beta(pxy).item()
        joint = torch.as_tensor(pxy)
        p_x, p_y = joint.sum(1), joint.sum(0)

        def value(logits: np.ndarray) -> tuple[float, np.ndarray]:
            free = torch.tensor(logits.reshape(6, 6), requires_grad=True)
            encoder = free.softmax(-1)
            p_t, p_ty = p_x @ encoder, encoder.T @ joint
            complexity = (p_x[:, None] * encoder * (encoder.log() - p_t.log())).sum()
            relevance = (p_ty * (p_ty.log() - p_t.log()[:, None] - p_y.log())).sum()
            (complexity - beta * relevance).backward()
            return (complexity - beta * relevance).item(), free.grad.numpy().ravel()

        rng = np.random.default_rng(seed)
        found = [
            minimize(value, rng.normal(size=36), jac=True, method="L-BFGS-B").fun for _ in range(15)
        ]
        ours = information_bottleneck(pxy, beta).functional.item()
        assert ours <= min(found) + 1e-9
        assert ours == pytest.approx(min(found), abs=1e-4)


class TestProperties:
    @given(joints, st.lists(st.floats(0.01, 8), min_size=1, max_size=5))
    @examples(max_examples=25)
    def test_the_solution_is_what_it_says(self, pxy, factors):
        beta = critical_beta(pxy).item() * np.sort(factors)
        solution = information_bottleneck(pxy, beta, trivial="while-lowest")
        p_x, total = pxy.sum(1), information(pxy)
        for i in range(len(beta)):
            encoder = solution.encoder[i].numpy()
            np.testing.assert_allclose(encoder.sum(-1), 1, atol=1e-12)
            np.testing.assert_allclose(solution.marginal[i], p_x @ encoder, atol=1e-14)
            used = solution.marginal[i].numpy() > 0
            np.testing.assert_allclose(
                solution.decoder[i][used] * solution.marginal[i][used, None],
                (encoder.T @ pxy)[used],
                atol=1e-14,
            )
            complexity, relevance = plane(pxy, encoder)
            assert solution.complexity[i].item() == pytest.approx(complexity, abs=1e-12)
            assert solution.relevance[i].item() == pytest.approx(relevance, abs=1e-12)
            # data processing
            assert relevance <= min(complexity, total) + 1e-12
            # the self-consistent equations, term by term
            decoder = solution.decoder[i].numpy()[used]
            divergence = rel_entr((pxy / p_x[:, None])[:, None], decoder).sum(-1)
            weight = solution.marginal[i].numpy()[used] * np.exp(
                -beta[i] * (divergence - divergence.min(1, keepdims=True))
            )
            expected = weight / weight.sum(1, keepdims=True)
            worst = abs(encoder[:, used] - expected).sum(1).max()
            assert worst == pytest.approx(solution.residual[i].item(), abs=1e-9)
        assert (solution.residual <= 1e-8).all()
        assert solution.converged.all()
        assert (solution.gap <= 1e-8).all()

    @given(joints)
    @examples(max_examples=20)
    def test_the_trivial_solution_is_left_at_the_critical_beta(self, pxy):
        """It stays while it is stable, for every joint; the global minimum is never later."""
        critical = critical_beta(pxy).item()
        beta = critical * np.array([0.0, 0.3, 0.9, 0.9999, 1.0001, 1.01, 1.1, 3.0])
        solution = information_bottleneck(pxy, beta)
        assert solution.clusters[:4].tolist() == [1, 1, 1, 1]
        assert not solution.complexity[:4].any()
        assert not solution.relevance[:4].any()
        assert (solution.clusters[4:] > 1).all()
        assert (solution.complexity[4:] > 0).all()
        assert (solution.functional[4:] < 0).all()
        best = information_bottleneck(pxy, beta, trivial="while-lowest")
        assert (best.functional <= solution.functional + 1e-12).all()
        torch.testing.assert_close(best.functional[4:], solution.functional[4:], atol=1e-8, rtol=0)

    @pytest.mark.parametrize("seed", range(5))
    def test_the_global_minimum_leaves_the_trivial_solution_at_the_contraction_coefficient(
        self, seed
    ):
        pxy = random_joint(seed, 8, 8)
        threshold, critical = contraction_beta(pxy), critical_beta(pxy).item()
        assert threshold < 0.999 * critical  # without symmetry the two differ
        beta = threshold * np.array([0.99, 0.999, 1.002, 1.01])
        solution = information_bottleneck(pxy, beta, trivial="while-lowest")
        assert (solution.clusters > 1).tolist() == [False, False, True, True]
        assert (solution.functional[2:] < 0).all()
        # the trivial solution says itself when it is not the best one
        kept = information_bottleneck(pxy, beta)
        assert kept.clusters.tolist() == [1, 1, 1, 1]
        assert (kept.gap[:2] < 1e-12).all()
        assert (kept.gap[2:] > 0).all()
        assert (solution.functional >= -kept.gap).all()

    @given(joints, st.integers(0, 10**6))
    @examples(max_examples=20)
    def test_no_encoder_is_better(self, pxy, seed):
        rng = np.random.default_rng(seed)
        beta = critical_beta(pxy).item() * np.array([0.7, 1.2, 2.0])
        value = information_bottleneck(pxy, beta, trivial="while-lowest").functional.numpy()
        assert (value <= 0).all()
        size = len(pxy)
        for sharpness in (0.03, 0.3, 3.0):
            encoder = rng.dirichlet(np.full(size, sharpness), size=size)
            complexity, relevance = plane(pxy, encoder)
            assert (value <= complexity - beta * relevance + 1e-10).all()
        complexity, relevance = plane(pxy, np.eye(size))
        assert (value <= complexity - beta * relevance + 1e-10).all()

    def test_one_large_cluster_among_single_symbols_is_found(self):
        """Where keeping all symbols apart is a local minimum, and the large cluster is far off."""
        pxy = random_joint(0, 32, 32)
        beta = critical_beta(pxy).item() * np.linspace(0.5, 0.9, 9)
        value = information_bottleneck(pxy, beta, trivial="while-lowest").functional.numpy()
        p_x = pxy.sum(1)
        order = np.argsort(rel_entr(pxy / p_x[:, None], pxy.sum(0)).sum(1) + np.log(p_x) / beta[0])
        complexity, relevance = plane(pxy, np.eye(32))
        apart = complexity - beta * relevance
        gain = 0.0
        for size in range(2, 33):  # the `size` least telling symbols in one cluster
            label = np.zeros(32, dtype=int)
            label[order[size:]] = np.arange(1, 33 - size)
            complexity, relevance = plane(pxy, np.eye(32)[label])
            assert (value <= complexity - beta * relevance + 1e-10).all()
            gain = max(gain, (apart - complexity + beta * relevance).max())
        assert gain > 0.01

    @given(joints)
    @examples(max_examples=15)
    def test_the_curve_is_concave_and_increasing_with_slope_one_over_beta(self, pxy):
        betas = critical_beta(pxy).item() * np.geomspace(0.5, 6, 12)
        curve = information_curve(pxy, betas)
        dx, dy = curve.complexity.diff().numpy(), curve.relevance.diff().numpy()
        assert (dx > 0).all()
        assert (dy > 0).all()
        slope = dy / dx
        assert (np.diff(slope) < 1e-9).all()
        assert slope[0] <= 1 + 1e-9
        # between two corners the slope lies between theirs
        left, right = curve.beta[:-1].numpy(), curve.beta[1:].numpy()
        assert (slope[1:] <= 1 / left[1:] + 1e-6).all()
        assert (slope >= 1 / right - 1e-6).all()
        assert curve.relevance[-1].item() == pytest.approx(information(pxy), abs=1e-9)
        # and every single solution is on or under it
        solution = information_bottleneck(pxy, betas)
        assert (curve.at(solution.complexity) >= solution.relevance - 1e-9).all()

    @given(joints, st.randoms(use_true_random=False))
    @examples(max_examples=10)
    def test_names_do_not_matter(self, pxy, random):
        rows = random.sample(range(pxy.shape[0]), pxy.shape[0])
        columns = random.sample(range(pxy.shape[1]), pxy.shape[1])
        beta = critical_beta(pxy).item() * np.array([0.9, 1.3, 3.0])
        one = information_bottleneck(pxy, beta, trivial="while-lowest")
        other = information_bottleneck(pxy[rows][:, columns], beta, trivial="while-lowest")
        torch.testing.assert_close(one.functional, other.functional, atol=1e-9, rtol=0)
        torch.testing.assert_close(
            splitting_betas(pxy, np.ones((len(pxy), 1))),
            splitting_betas(pxy[rows][:, columns], np.ones((len(pxy), 1))),
        )

    @given(joints, st.integers(2, 4))
    @examples(max_examples=10)
    def test_equal_rows_count_as_one(self, pxy, copies):
        share = np.random.default_rng(0).dirichlet(np.ones(copies))
        repeated = np.concatenate([share[i] * pxy for i in range(copies)])
        beta = critical_beta(pxy).item() * np.array([0.8, 1.5, 4.0])
        assert critical_beta(repeated).item() == pytest.approx(critical_beta(pxy).item(), rel=1e-9)
        one = information_bottleneck(pxy, beta)
        many = information_bottleneck(repeated, beta)
        torch.testing.assert_close(one.complexity, many.complexity, atol=1e-7, rtol=0)
        torch.testing.assert_close(one.functional, many.functional, atol=1e-9, rtol=0)
        blocks = many.encoder.reshape(3, copies, len(pxy), -1)
        torch.testing.assert_close(blocks, blocks[:, :1].expand_as(blocks))


class TestBatches:
    def test_all_betas_at_once_or_one_by_one(self):
        pxy = random_joint(1, 7, 6)
        beta = critical_beta(pxy).item() * np.linspace(0.5, 4, 8)
        together = information_bottleneck(pxy, beta, trivial="while-lowest")
        for i, b in enumerate(beta):
            alone = information_bottleneck(pxy, b, trivial="while-lowest")
            assert alone.beta.shape == alone.complexity.shape == ()
            assert alone.encoder.ndim == alone.decoder.ndim == 2
            assert alone.clusters == together.clusters[i]
            torch.testing.assert_close(alone.functional, together.functional[i], atol=1e-9, rtol=0)
            torch.testing.assert_close(
                alone.encoder, together.encoder[i, :, : alone.clusters], atol=1e-5, rtol=0
            )

    def test_leading_axes_of_the_joint(self):
        joints = np.stack([[random_joint(s, 4, 3) for s in row] for row in ([0, 1, 2], [3, 4, 5])])
        beta = [1.5, 6.0, 20.0]
        together = information_bottleneck(joints, beta)
        assert together.encoder.shape[:-1] == (2, 3, 3, 4)
        assert together.beta.shape == together.functional.shape == (2, 3, 3)
        assert critical_beta(joints).shape == (2, 3)
        for i in np.ndindex(2, 3):
            alone = information_bottleneck(joints[i], beta)
            torch.testing.assert_close(together.relevance[i], alone.relevance)
            torch.testing.assert_close(critical_beta(joints)[i], critical_beta(joints[i]))
            padding = together.marginal[i] == 0
            expected = torch.as_tensor(joints[i].sum(0)).expand(int(padding.sum()), -1)
            torch.testing.assert_close(together.decoder[i][padding], expected)

    def test_symbols_without_mass(self):
        pxy = random_joint(2, 5, 4)
        padded = np.zeros((7, 6))
        padded[np.ix_([0, 2, 3, 5, 6], [1, 2, 4, 5])] = pxy
        beta = critical_beta(pxy).item() * np.array([0.9, 2.0, 5.0])
        assert critical_beta(padded).item() == pytest.approx(critical_beta(pxy).item(), rel=1e-9)
        one, other = information_bottleneck(pxy, beta), information_bottleneck(padded, beta)
        torch.testing.assert_close(one.functional, other.functional, atol=1e-10, rtol=0)
        torch.testing.assert_close(other.encoder.sum(-1), torch.ones(3, 7, dtype=torch.float64))
        assert not other.decoder[..., [0, 3]].any()

    def test_extreme_betas(self):
        pxy = random_joint(3, 6, 4)
        solution = information_bottleneck(pxy, [0.0, 1e3, 1e6, 1e9])
        p_x = pxy.sum(1)
        assert solution.complexity[0] == 0
        np.testing.assert_allclose(solution.complexity[1:], -xlogy(p_x, p_x).sum(), atol=1e-6)
        np.testing.assert_allclose(solution.relevance[1:], information(pxy), atol=1e-9)
        assert solution.converged.all()

    def test_float32_and_lists_are_taken(self):
        pxy = random_joint(4, 4, 4).astype(np.float32)
        one = information_bottleneck(pxy, np.float32(9.0))
        assert one.encoder.dtype == torch.float64
        other = information_bottleneck((pxy.astype(float) / pxy.sum(dtype=float)).tolist(), 9)
        torch.testing.assert_close(one.functional, other.functional, atol=1e-12, rtol=0)


class TestClusters:
    def test_a_bound_is_kept_and_costs_no_more_than_any_partition(self):
        pxy = random_joint(5, 6, 5, 0.3)
        beta = critical_beta(pxy).item() * np.array([0.9, 1.5, 4.0, 50.0])
        free = information_bottleneck(pxy, beta).functional
        last = torch.zeros(4, dtype=torch.float64)
        for bound in range(1, 7):
            solution = information_bottleneck(pxy, beta, clusters=bound)
            assert (solution.clusters <= bound).all()
            assert (solution.functional <= last + 1e-9).all()
            assert (solution.functional >= free - 1e-9).all()
            assert (solution.residual < 1e-6).all()
            last = solution.functional
        torch.testing.assert_close(last, free)
        two = information_bottleneck(pxy, beta, clusters=2)
        assert two.clusters.tolist() == [1, 2, 2, 2]
        values = []
        for code in range(1, 2**5):  # every way to cut six symbols in two
            label = np.array([(code >> i) & 1 for i in range(6)])
            complexity, relevance = plane(pxy, np.eye(2)[label])
            values.append(complexity - beta[1:] * relevance)
        assert (two.functional[1:].numpy() <= np.min(values, 0) + 1e-9).all()


class TestSecondOrder:
    def test_the_rate_at_which_two_copies_of_a_cluster_drift_apart(self):
        """beta lambda_2 is the factor by which one plain step stretches a small split."""
        pxy = random_joint(6, 6, 5)
        beta = 3 * critical_beta(pxy).item()
        encoder = information_bottleneck(pxy, 0.8 * beta).encoder.numpy()
        p_x = pxy.sum(1)
        rows = pxy / p_x[:, None]
        rng = np.random.default_rng(0)
        for t, splitting in enumerate(splitting_betas(pxy, encoder).tolist()):
            r = p_x * encoder[:, t] / (p_x @ encoder[:, t])
            shift = rng.normal(size=6)
            for _ in range(400):  # power iteration of the linearised step
                shift -= r @ shift
                shift /= np.abs(shift).max()
                before = shift
                shift = rows @ (((r * shift) @ rows) / (r @ rows))
            stretch = (r * before) @ shift / ((r * before) @ before)
            assert 1 / stretch == pytest.approx(splitting, rel=1e-5)

    def test_a_cluster_without_mass_never_splits(self):
        encoder = np.array([[1.0, 0], [1, 0], [1, 0]])
        first, second = splitting_betas(random_joint(0, 3, 3), encoder).tolist()
        assert first == pytest.approx(critical_beta(random_joint(0, 3, 3)).item(), rel=1e-12)
        assert second == np.inf


class TestGaussian:
    @staticmethod
    def covariance(seed: int, x: int, y: int) -> np.ndarray:
        a = np.random.default_rng(seed).normal(size=(x + y, x + y + 2))
        return a @ a.T

    @staticmethod
    def plane(cov, dim_x, projection):
        """I(X;T) and I(T;Y) of T = projection X + N(0, 1), from determinants."""
        xx, xy, yy = cov[:dim_x, :dim_x], cov[:dim_x, dim_x:], cov[dim_x:, dim_x:]
        noise = np.eye(len(projection))
        t = projection @ xx @ projection.T + noise
        given_y = t - projection @ xy @ np.linalg.solve(yy, xy.T) @ projection.T
        return np.linalg.slogdet(t)[1] / 2, (
            np.linalg.slogdet(t)[1] - np.linalg.slogdet(given_y)[1]
        ) / 2

    @pytest.mark.parametrize(("x", "y"), [(5, 4), (3, 5), (1, 1), (2, 1)])
    def test_the_projection_attains_what_is_stated(self, x, y):
        cov = self.covariance(0, x, y)
        beta = np.array([1.02, 1.5, 4, 100])
        solution = gaussian_bottleneck(cov, x, beta)
        for i in range(len(beta)):
            complexity, relevance = self.plane(cov, x, solution.projection[i].numpy())
            assert solution.complexity[i].item() == pytest.approx(complexity, abs=1e-9)
            assert solution.relevance[i].item() == pytest.approx(relevance, abs=1e-9)
        assert (solution.critical_betas[:-1] <= solution.critical_betas[1:]).all()
        assert solution.critical_betas.isinf().sum() == max(0, x - y)

    @pytest.mark.parametrize("beta", [1.5, 4.0, 30.0])
    def test_the_iterative_algorithm_ends_there(self, beta):
        """Chechik et al. 2005, section 6."""
        cov, x = self.covariance(1, 5, 4), 5
        xx, xy, yy = cov[:x, :x], cov[:x, x:], cov[x:, x:]
        x_given_y = xx - xy @ np.linalg.solve(yy, xy.T)
        a, noise = np.random.default_rng(2).normal(size=(x, x)), np.eye(x)
        for _ in range(3000):
            t = a @ xx @ a.T + noise
            t_given_y = a @ x_given_y @ a.T + noise
            noise = np.linalg.inv(beta * np.linalg.inv(t_given_y) - (beta - 1) * np.linalg.inv(t))
            a = (
                beta
                * noise
                @ np.linalg.solve(t_given_y, a)
                @ (np.eye(x) - np.linalg.solve(xx, x_given_y).T)
            )
        whitened = np.linalg.solve(np.linalg.cholesky(noise), a)
        solution = gaussian_bottleneck(cov, x, beta)
        expected = self.plane(cov, x, whitened)
        assert solution.complexity.item() == pytest.approx(expected[0], abs=1e-6)
        assert solution.relevance.item() == pytest.approx(expected[1], abs=1e-6)

    def test_no_projection_is_better(self):
        cov, x, beta = self.covariance(3, 3, 3), 3, 3.0
        solution = gaussian_bottleneck(cov, x, beta)
        ours = (solution.complexity - beta * solution.relevance).item()

        def value(flat):
            complexity, relevance = self.plane(cov, x, flat.reshape(x, x))
            return complexity - beta * relevance

        rng = np.random.default_rng(0)
        found = min(minimize(value, rng.normal(size=9)).fun for _ in range(5))
        assert ours == pytest.approx(found, abs=1e-6)

    def test_a_fine_grid_comes_close(self):
        """The discrete solver knows nothing of Gaussians; the grid costs it little."""
        rho, beta = 0.8, np.array([1.3, 3.0])
        grid = np.linspace(-4, 4, 25)
        pxy = np.exp(
            -(grid[:, None] ** 2 - 2 * rho * grid[:, None] * grid + grid**2) / (2 * (1 - rho**2))
        )
        solution = information_bottleneck(pxy / pxy.sum(), beta, max_iterations=300)
        exact = gaussian_bottleneck([[1, rho], [rho, 1]], 1, beta)
        torch.testing.assert_close(solution.functional[0], exact.relevance[0] * 0, atol=0, rtol=0)
        assert solution.relevance[1].item() == pytest.approx(exact.relevance[1].item(), abs=0.01)
        value = (exact.complexity - exact.beta * exact.relevance)[1].item()
        assert solution.functional[1].item() == pytest.approx(value, abs=2e-3)
        assert critical_beta(pxy / pxy.sum()).item() == pytest.approx(1 / rho**2, rel=2e-3)

    def test_batches(self):
        covs = np.stack([self.covariance(s, 3, 2) for s in range(4)])
        together = gaussian_bottleneck(covs, 3, [2.0, 5.0])
        assert together.projection.shape == (4, 2, 3, 3)
        for i in range(4):
            for k, beta in enumerate([2.0, 5.0]):
                alone = gaussian_bottleneck(covs[i], 3, beta)
                assert alone.complexity.shape == ()
                torch.testing.assert_close(alone.complexity, together.complexity[i, k])
                torch.testing.assert_close(alone.relevance, together.relevance[i, k])


class TestBadInput:
    good = binary(0.9)

    @pytest.mark.parametrize(
        ("pxy", "says"),
        [
            ([[0.5, 0.6], [-0.1, 0.0]], "pxy has negative mass -0.1"),
            ([[0.5, 0.6], [0.1, 0.0]], "pxy sums to 1.2"),
            ([[0.5, np.nan], [0.5, 0.0]], "pxy must be finite"),
            ([0.5, 0.5], "pxy must have at least 2 axes"),
            (np.zeros((0, 2)), "pxy must not be empty"),
            ("joint", "pxy must be an array"),
        ],
    )
    def test_pxy(self, pxy, says):
        calls = [
            lambda: information_bottleneck(pxy, 1.0),
            lambda: critical_beta(pxy),
            lambda: splitting_betas(pxy, [[1.0], [1.0]]),
        ]
        for call in calls:
            with pytest.raises(ValueError, match=says):
                call()

    def test_pxy_of_a_curve(self):
        with pytest.raises(ValueError, match="pxy must have two axes"):
            information_curve(np.full((2, 2, 2), 1 / 8), [2.0])
        with pytest.raises(ValueError, match=r"pxy sums to 1\.2"):
            information_curve([[0.5, 0.6], [0.1, 0.0]], [2.0])

    @pytest.mark.parametrize(
        ("beta", "says"),
        [
            (-1.0, "must be >= 0, got -1"),
            ([1, np.inf], "must be finite"),
            ([[1.0]], "must be a scalar or a vector"),
            ([], "must not be empty"),
        ],
    )
    def test_beta(self, beta, says):
        with pytest.raises(ValueError, match=f"beta {says}"):
            information_bottleneck(self.good, beta)
        with pytest.raises(ValueError, match=f"betas {says}"):
            information_curve(self.good, beta)
        with pytest.raises(ValueError, match=f"beta {says}"):
            gaussian_bottleneck(np.eye(2), 1, beta)

    @pytest.mark.parametrize("bad", [0, -1, 2.0, True, "2"])
    def test_whole_numbers(self, bad):
        with pytest.raises(ValueError, match="clusters must be a whole number"):
            information_bottleneck(self.good, 2.0, clusters=bad)
        with pytest.raises(ValueError, match="clusters must be a whole number"):
            information_curve(self.good, [2.0], clusters=bad)
        with pytest.raises(ValueError, match="max_iterations must be a whole number"):
            information_bottleneck(self.good, 2.0, max_iterations=bad)
        with pytest.raises(ValueError, match="dim_x must be a whole number"):
            gaussian_bottleneck(np.eye(3), bad, 2.0)

    def test_method(self):
        with pytest.raises(
            ValueError, match='trivial must be "while-stable" or "while-lowest", got \'ba\''
        ):
            information_bottleneck(self.good, 2.0, trivial="ba")

    @pytest.mark.parametrize("tol", [0, -1e-9, np.inf, np.nan, "small"])
    def test_tol(self, tol):
        with pytest.raises(ValueError, match="tol must be a positive number"):
            information_bottleneck(self.good, 2.0, tol=tol)

    def test_encoder(self):
        with pytest.raises(ValueError, match="one row for each of the 2 values of x"):
            splitting_betas(self.good, np.ones((3, 1)))
        with pytest.raises(ValueError, match="encoder sums to 2"):
            splitting_betas(self.good, np.ones((2, 2)))

    def test_complexity(self):
        curve = information_curve(self.good, [2.0])
        with pytest.raises(ValueError, match=r"complexity must be >= 0, got -0\.5"):
            curve.at([-0.5])

    def test_covariance(self):
        with pytest.raises(ValueError, match="cov must be positive definite"):
            gaussian_bottleneck([[1, 1], [1, 1]], 1, 2.0)
        with pytest.raises(ValueError, match="dim_x must leave at least one axis for Y"):
            gaussian_bottleneck(np.eye(2), 2, 2.0)


def test_too_few_iterations_are_reported():
    pxy = random_joint(0, 20, 20)
    beta = 0.9 * critical_beta(pxy).item()
    short = information_bottleneck(pxy, beta, trivial="while-lowest", max_iterations=1)
    assert not short.converged
    assert short.residual > 1e-8
    torch.testing.assert_close(short.encoder.sum(-1), torch.ones(20, dtype=torch.float64))
    assert short.functional >= information_bottleneck(pxy, beta, trivial="while-lowest").functional


def test_threads_are_given_back():
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        information_bottleneck(binary(0.9), 3.0)
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)


def test_every_public_name_has_an_example():
    public = [getattr(module, name) for name in module.__all__]
    assert all(">>>" in f.__doc__ for f in public if not isinstance(f, type))


def test_clusters_that_starve_just_above_a_bifurcation_are_gone_and_rows_still_sum_to_one():
    sources = [
        torch.tensor([[1 - f, f], [f, 1 - f]], dtype=torch.float64) / 2 for f in (0.1, 0.25, 0.38)
    ]
    pxy = torch.kron(torch.kron(sources[0], sources[1]), sources[2])
    betas = torch.logspace(0.01, np.log10(30), 60, dtype=torch.float64)
    expected = [2 ** sum(beta * (1 - 2 * f) ** 2 > 1 for f in (0.1, 0.25, 0.38)) for beta in betas]
    for solved, counts in (
        (information_bottleneck(pxy, betas), expected),
        (information_bottleneck(pxy, betas[24]), expected[24]),
    ):
        assert solved.clusters.tolist() == counts
        assert solved.converged.all()
        assert (solved.encoder.sum(-1) - 1).abs().max() < 1e-12
