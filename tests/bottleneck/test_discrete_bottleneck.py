"""The bottleneck against closed forms, dit, independent optimisers and its own theory."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st
from scipy.optimize import minimize
from scipy.special import rel_entr, xlogy

from ibbook.bottleneck import (
    critical_beta,
    information_bottleneck,
    information_curve,
    splitting_betas,
)
from tests.bottleneck.joints import (
    EXACT,
    binary,
    contraction_beta,
    information,
    joints,
    noisy_copy,
    plane,
    product,
    random_joint,
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


def test_too_few_iterations_are_reported():
    pxy = random_joint(0, 20, 20)
    beta = 0.99 * critical_beta(pxy).item()
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
