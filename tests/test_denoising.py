from __future__ import annotations

import math

import pytest
import torch

from ibbook.denoising import code_information, denoising_errors, fit_denoiser
from ibbook.diffusion import gaussian_mmse, mixture, mixture_information, mixture_mmse

COV = torch.tensor([[2.0, 0.6], [0.6, 0.5]])
ROOT = torch.linalg.cholesky(COV)
SNR = torch.logspace(-3, 4, 36)


def gaussian_points(n, seed=0):
    return torch.randn(n, 2, generator=torch.Generator().manual_seed(seed)) @ ROOT.T + 1


def fitted(draw, mean, cov, seeds, *, steps, **options):
    return fit_denoiser(
        draw, mean, cov, seeds, steps=steps, snr=(1e-3, 1e4), hidden=(64,), **options
    )


@pytest.fixture(scope="module")
def untrained():
    """A step too small to leave the guess that is best for Gaussian points."""

    def draw(step):
        return gaussian_points(16, step).expand(3, -1, -1)

    return fitted(draw, torch.ones(2), COV, range(3), steps=1, learning_rate=1e-9)


def two_points(step, members=2, batch=64):
    which = torch.rand(members, batch, 1, generator=torch.Generator().manual_seed(step))
    return (which > 0.5).float() * 2 - 1


@pytest.fixture(scope="module")
def trained():
    return fitted(two_points, torch.zeros(1), torch.eye(1), [0, 1], steps=800, learning_rate=5e-3)


def test_before_training_it_is_the_best_for_gaussian_points(untrained):
    found = denoising_errors(untrained, gaussian_points(40_000), SNR)
    best = gaussian_mmse(SNR.double(), torch.linalg.eigvalsh(COV.double())).float()
    torch.testing.assert_close(found, best.expand(3, -1), rtol=0.03, atol=0)


def test_before_training_it_finds_the_information_in_a_gaussian_code(untrained):
    """x ~ N(0, 1) twice, z = A x + noise with unit noise: COV = A A' + noise."""
    noise = torch.tensor([0.3, 0.1])
    coded = torch.linalg.cholesky(COV - noise.diag())
    x = torch.randn(20_000, 2, generator=torch.Generator().manual_seed(1))
    mean = (x @ coded.T + 1).expand(3, -1, -1)
    found = code_information(untrained, mean, noise.log().expand_as(mean), SNR)
    truth = (torch.logdet(COV) - noise.log().sum()).item() / 2
    assert found.tolist() == pytest.approx([truth] * 3, rel=0.02)


def test_trained_on_two_points_it_comes_near_the_best_and_not_below(trained):
    data = mixture([0.5, 0.5], [-1, 1], [0, 0])
    snr = torch.tensor([0.1, 1.0, 3.0])
    found = denoising_errors(trained, two_points(0, batch=40_000), snr).double()
    best = mixture_mmse(snr, data)
    assert (found > best - 0.01).all()
    assert (found < best + 0.05).all()
    assert (found[:, 2] < 0.7 * gaussian_mmse(3.0, [1.0])).all()


def test_a_code_of_two_points_has_the_information_of_the_mixture_from_above(trained):
    """z = mean + deviation e is y at SNR 1 / deviation^2, but for scale; so is its information."""
    deviation = 0.5
    mean = two_points(0, batch=2_000)
    variance = torch.full((1, 1), 1 + deviation**2)

    def draw(step):
        noise = torch.randn(2, 64, 1, generator=torch.Generator().manual_seed(10_000 + step))
        return two_points(step) + deviation * noise

    denoiser = fitted(draw, torch.zeros(1), variance, [0, 1], steps=800, learning_rate=5e-3)
    log_variance = torch.full_like(mean, 2 * math.log(deviation))
    found = code_information(denoiser, mean, log_variance, torch.logspace(-3, 4, 71))
    data = mixture([0.5, 0.5], [-1, 1], [0, 0])
    truth = mixture_information(deviation**-2, data).item()
    assert truth < math.log(2) < math.log(1 + deviation**-2) / 2  # a Gaussian would claim more
    assert (found > truth - 0.02).all()
    assert (found < truth + 0.08).all()


def test_a_member_beside_others_is_the_member_alone():
    both = fitted(two_points, torch.zeros(1), torch.eye(1), [3, 7], steps=5)
    alone = fitted(lambda step: two_points(step)[1:], torch.zeros(1), torch.eye(1), [7], steps=5)
    y, snr = torch.linspace(-3, 3, 7)[None, :, None], torch.full((1, 7), 2.0)
    torch.testing.assert_close(both(y.expand(2, -1, -1), snr.expand(2, -1))[1:], alone(y, snr))


def stripes(step, members=2, batch=32):
    """Pictures of two columns, of which one is bright and the other dark."""
    side = torch.rand(members, batch, 1, 1, generator=torch.Generator().manual_seed(step)) > 0.5
    left = side.float().expand(-1, -1, 2, 1) * 2 - 1
    return torch.cat([left, -left], -1).flatten(2)


def test_convolutions_find_what_a_gaussian_does_not_know():
    """The guess for two pictures is that for two points, at four times the SNR."""
    points = stripes(0, 1, 64)[0]
    pattern = torch.tensor([1.0, -1.0, 1.0, -1.0])
    cov = pattern[:, None] * pattern
    options = {"steps": 800, "learning_rate": 5e-3, "picture": (1, 2, 2)}
    found = fitted(stripes, torch.zeros(4), cov, [0, 1], **options)
    errors = denoising_errors(found, points.repeat(200, 1), torch.tensor([0.75])).double()
    best = 4 * mixture_mmse(3.0, mixture([0.5, 0.5], [-1, 1], [0, 0]))
    assert (errors > best - 0.04).all()
    assert (errors < 0.75 * gaussian_mmse(0.75, [4.0])).all()


def test_a_member_of_a_convolutional_denoiser_is_the_member_alone():
    cov = torch.eye(4)
    both = fitted(stripes, torch.zeros(4), cov, [3, 7], steps=5, picture=(1, 2, 2))
    alone = fitted(
        lambda step: stripes(step)[1:], torch.zeros(4), cov, [7], steps=5, picture=(1, 2, 2)
    )
    y, snr = torch.randn(1, 6, 4, generator=torch.Generator().manual_seed(0)), torch.ones(1, 6)
    together = both(y.expand(2, -1, -1), snr.expand(2, -1))
    torch.testing.assert_close(together[1:], alone(y, snr), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"steps": 0}, "steps must be a whole number >= 1, got 0"),
        ({"snr": (1.0, 0.1)}, "snr must be two numbers, 0 < lower < upper"),
        ({"snr": (0.0, 1.0)}, "snr must be two numbers, 0 < lower < upper"),
        ({"seeds": []}, "seeds must be one or more whole numbers"),
        ({"learning_rate": 0.0}, "learning_rate must be positive, got 0"),
        ({"picture": (1, 2, 2)}, r"picture must have 1 pixels, as mean has, got \(1, 2, 2\)"),
        ({"cov": torch.eye(2)}, "cov must be 1 x 1, as mean has 1 entries"),
    ],
)
def test_bad_input_is_refused_by_name(change, words):
    given = {
        "mean": torch.zeros(1),
        "cov": torch.eye(1),
        "seeds": [0],
        "steps": 2,
        "snr": (0.1, 10),
    }
    with pytest.raises(ValueError, match=words):
        fit_denoiser(two_points, **(given | change))


@pytest.mark.parametrize("snr", [[-1.0, 1.0], [[1.0]], [math.nan]])
def test_a_bad_snr_is_refused(untrained, snr):
    with pytest.raises(ValueError, match="snr must be"):
        denoising_errors(untrained, gaussian_points(4), snr)


def test_points_of_any_precision_are_those_of_the_network():
    given = {"mean": [0.0], "cov": [[1.0]], "seeds": [0, 1], "steps": 2, "snr": (0.1, 10)}
    points = [two_points(step) for step in range(3)]
    plain = fit_denoiser(lambda step: points[step], **given)
    torch.set_default_dtype(torch.float64)
    try:
        double = fit_denoiser(lambda step: points[step].double(), **given)
        errors = denoising_errors(double, points[2].double(), [1.0])
    finally:
        torch.set_default_dtype(torch.float32)
    for one, other in zip(plain.network.parameters(), double.network.parameters(), strict=True):
        assert torch.equal(one, other)
    torch.testing.assert_close(denoising_errors(plain, points[2], [1.0]).double(), errors)
