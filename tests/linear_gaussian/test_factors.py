"""Scores of Gaussian codes: joint covariances, samples, rotations; and what is refused."""

from __future__ import annotations

import pytest
import torch

from ibbook import metrics
from ibbook.information import gaussian_entropy, gaussian_mutual_information
from ibbook.linear_gaussian import (
    FactorProblem,
    best_decoder,
    best_encoder,
    code_information,
    collapse_threshold,
    descend,
    factor_problem,
    fixed_point,
    optimum,
    scores,
    terms,
    turned,
)


@pytest.fixture
def problem():
    return factor_problem(n=8, factors=3, seed=2)


@pytest.fixture
def coded(problem):
    best = optimum(problem.covariance, 3.0, 1.0, latents=4)
    return tuple(part[0] for part in turned(best.encoder, best.code_cov, draws=1, seed=0))


def test_informations_are_those_of_the_joint_covariance(problem, coded):
    encoder, code_cov = coded
    cov, across = problem.covariance, problem.loadings @ problem.factor_cov
    total = encoder @ cov @ encoder.T + code_cov
    found = scores(problem, encoder, code_cov)
    with_data = torch.cat(
        [torch.cat([total, encoder @ cov], 1), torch.cat([cov @ encoder.T, cov], 1)]
    )
    torch.testing.assert_close(found.information, gaussian_mutual_information(with_data, 4))
    side = encoder @ across
    joint = torch.cat([torch.cat([total, side], 1), torch.cat([side.T, problem.factor_cov], 1)])
    torch.testing.assert_close(found.factor_information, gaussian_mutual_information(joint, 4))
    assert found.factor_information < found.information


def test_scores_are_those_of_many_samples(problem, coded):
    encoder, code_cov = coded
    torch.manual_seed(0)
    normal = torch.distributions.MultivariateNormal
    v = normal(torch.zeros(3).double(), problem.factor_cov).sample((100_000,))
    y = v @ problem.loadings.T + problem.noise**0.5 * torch.randn(len(v), 8).double()
    x = y @ encoder.T + normal(torch.zeros(4).double(), code_cov).sample((len(v),))
    found = scores(problem, encoder, code_cov)
    assert found.sap.item() == pytest.approx(metrics.sap(x, v).item(), abs=0.01)
    assert found.i_m.item() == pytest.approx(metrics.i_m(x, v).item(), abs=0.02)
    pairs = -torch.log1p(-metrics.mutual_information.squared_correlations(x, v)) / 2
    best = pairs.topk(2, dim=0).values
    assert found.mig.item() == pytest.approx((best[0] - best[1]).mean().item(), abs=0.02)


def test_a_rotation_changes_the_scores_but_no_information(problem, coded):
    many = scores(problem, *turned(*coded, draws=50, seed=1))
    one = scores(problem, *coded)
    for name in ("information", "factor_information"):
        same = getattr(many, name)
        torch.testing.assert_close(same, getattr(one, name).expand_as(same))
    for name in ("sap", "i_m", "mig"):
        assert getattr(many, name).std() > 0.01
    assert (many.i_m <= many.factor_information + 1e-9).all()


def test_silence_scores_nothing(problem):
    silent = torch.zeros(4, 8).double()
    assert max(s.abs().item() for s in scores(problem, silent, torch.eye(4).double())) < 1e-12


def test_rotations_are_uniform_and_orthogonal():
    q, _ = turned(torch.eye(3).double(), torch.eye(3).double(), draws=20_000, seed=3)
    torch.testing.assert_close(q @ q.mT, torch.eye(3).double().expand_as(q))
    assert q.mean(0).abs().max() < 0.03
    torch.testing.assert_close(
        q.square().mean(0), torch.full((3, 3), 1 / 3).double(), atol=0.02, rtol=0
    )


def test_a_reduced_problem_has_the_same_optimum_but_for_noise_that_nobody_tells_of(problem):
    small = problem.reduced(extra=3)
    for beta, l2 in ((3.0, 1.0), (1.05, 2.0)):
        whole, part = (optimum(p.covariance, beta, l2, latents=3) for p in (problem, small))
        torch.testing.assert_close(whole.rates, part.rates)
        dropped = 2 * gaussian_entropy([[problem.noise]])
        torch.testing.assert_close(whole.nll, part.nll + dropped)
        for p, best in ((problem, whole), (small, part)):
            found = scores(p, best.encoder, best.code_cov)
            torch.testing.assert_close(found.information, whole.rates.sum(-1))
    found = [
        scores(p, b.encoder, b.code_cov).factor_information
        for p, b in ((problem, whole), (small, part))
    ]
    torch.testing.assert_close(*found)


COV = torch.tensor([[2.0, 0.5], [0.5, 1.0]]).double()
SINGULAR = torch.ones(2, 2).double()
LOPSIDED = torch.tensor([[1.0, 0.5], [0.0, 1.0]]).double()


@pytest.mark.parametrize("call", [fixed_point, descend, optimum])
@pytest.mark.parametrize(
    ("cov", "beta", "l2", "options", "what"),
    [
        (LOPSIDED, 2.0, 0.0, {}, "cov must be symmetric"),
        (-COV, 2.0, 0.0, {"noise": 1.0}, "cov must be positive definite"),
        (SINGULAR, 2.0, 0.0, {}, "likelihood is unbounded"),
        (SINGULAR, 2.0, 0.0, {"noise": "isotropic"}, "likelihood is unbounded"),
        (COV, [0.9, 2.0], 0.0, {}, "at least 1 where noise is 'full'.* no model is the best"),
        (COV, 1.0, 0.5, {}, "above 1 where noise is 'full' and l2 > 0"),
        (COV, 2.0, -0.1, {}, "l2 must be >= 0, got -0.1"),
        (COV, 0.0, 0.0, {"noise": 1.0}, "beta must be positive"),
        (COV, 2.0, 0.0, {"noise": "round"}, "'isotropic' or a variance, got 'round'"),
        (COV, 2.0, 0.0, {"noise": 0.0}, "noise must be .* a positive variance, got 0.0"),
        (COV, 2.0, 0.0, {"latents": 3}, r"latents must be a whole number from 1 to 2, got 3"),
    ],
)
def test_bad_input_is_named(call, cov, beta, l2, options, what):
    with pytest.raises(ValueError, match=what):
        call(cov, beta, l2, **({"latents": 1} | options))


@pytest.mark.parametrize(
    ("call", "what"),
    [
        (lambda: collapse_threshold(LOPSIDED), "symmetric"),
        (lambda: collapse_threshold(SINGULAR), "likelihood is unbounded"),
        (lambda: collapse_threshold(COV, l2=-1.0), "l2 must be >= 0"),
        (lambda: collapse_threshold(COV, noise=-1.0), "noise must be .*, got -1.0"),
        (lambda: collapse_threshold(COV[None]), "cov must be one matrix"),
        (lambda: optimum(COV, 1.0, latents=1), "beta must be above 1"),
        (lambda: optimum(COV, 2.0, latents=1, noise="diagonal"), "has no closed form"),
        (lambda: optimum(COV, 0.5, latents=2, noise="isotropic"), "beta must be at least 1"),
        (lambda: fixed_point(COV, 2.0, latents=1, code_noise="round"), "code_noise must be"),
        (lambda: best_decoder(COV, COV, COV, noise="round"), "noise must be"),
        (lambda: best_encoder(COV, COV, 2.0, code_noise="round"), "code_noise must be"),
        (lambda: FactorProblem([[1.0]], [[1.0]], 0.0), "noise must be positive.*unbounded"),
        (lambda: FactorProblem([[1.0]], [[-1.0]], 1.0), "factor_cov must be positive definite"),
        (lambda: FactorProblem([[1.0]], torch.eye(2), 1.0), r"factor_cov \[s, s\]"),
        (lambda: factor_problem(n=2, factors=3), "factors must be a whole number from 1 to 2"),
        (
            lambda: factor_problem(n=4, factors=3).reduced(2),
            r"extra must be a whole number from 0 to 1",
        ),
        (
            lambda: scores(factor_problem(n=3, factors=2), torch.ones(1, 3).double(), COV[:1, :1]),
            "two latents",
        ),
    ],
)
def test_other_bad_input_is_named(call, what):
    with pytest.raises(ValueError, match=what):
        call()


def test_silence_costs_the_entropy_of_the_data():
    silent, eye = torch.zeros(1, 2).double(), torch.eye(1).double()
    parts = terms(COV, silent, eye, *best_decoder(COV, silent, eye))
    torch.testing.assert_close(parts.nll, gaussian_entropy(COV))
    assert parts.rate == 0
    assert code_information(COV, silent, eye) == 0
