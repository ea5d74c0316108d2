from __future__ import annotations

import math

import pytest
import torch
from scipy import stats

from ibbook.noise import normal, philox, uniform

# kat_vectors of Random123 1.14 (Salmon et al.): counter, key, answer of philox4x32-10
KNOWN = [
    ([0] * 4, [0] * 2, [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]),
    (
        [0xFFFFFFFF] * 4,
        [0xFFFFFFFF] * 2,
        [0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD],
    ),
    (
        [0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344],
        [0xA4093822, 0x299F31D0],
        [0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1],
    ),
]


@pytest.mark.parametrize(("counter", "key", "answer"), KNOWN)
def test_philox_gives_the_known_answers(counter, key, answer):
    got = philox(torch.tensor(counter)[:, None], torch.tensor(key)[:, None])
    assert got[:, 0].tolist() == answer


def test_numbers_depend_on_each_of_seed_step_and_stream_and_on_nothing_else():
    seeds = torch.tensor([5, 6, 2**62])
    whole = uniform(seeds, 3, (2, 5), stream=1)
    assert torch.equal(whole[1:2], uniform(seeds[1:2], 3, (2, 5), stream=1))
    others = [
        uniform(seeds, 4, (2, 5), stream=1),
        uniform(seeds, 3, (2, 5), stream=2),
        whole.roll(1, 0),
    ]
    for other in others:
        assert not (whole == other).any()


def plain_philox(counter, key):
    """Figure 2 of Salmon et al. with the integers of Python, which have no end."""
    a, b, c, d = counter
    for k in range(10):
        left, right = ((w + k * bump) % 2**32 for w, bump in zip(key, WEYL, strict=True))
        (high, low), (top, bottom) = (divmod(a * 0xD2511F53, 2**32), divmod(c * 0xCD9E8D57, 2**32))
        a, b, c, d = top ^ b ^ left, bottom, high ^ d ^ right, low
    return a, b, c, d


WEYL = (0x9E3779B9, 0xBB67AE85)


def test_each_number_is_the_documented_function_of_seed_step_and_stream():
    seeds, steps, stream = torch.tensor([5, 2**40 + 7]), range(6, 9), 1_000_001
    z = normal(seeds, steps, (3, 3), stream=stream).double()
    for m, seed in enumerate(seeds.tolist()):
        for k, step in enumerate(steps):
            key = (seed % 2**32, seed >> 32)
            words = [w for i in range(3) for w in plain_philox((i, step, stream, 0), key)][:10]
            u = torch.tensor([(w + 0.5) / 2**32 for w in words], dtype=torch.float64)
            single = uniform(seeds[m : m + 1], step, (10,), stream=stream)
            torch.testing.assert_close(single[0].double(), u, rtol=1e-7, atol=0)
            radius, angle = (-2 * u[:5].log()).sqrt(), 2 * math.pi * u[5:]
            expected = torch.cat([radius * angle.cos(), radius * angle.sin()])[:9]
            torch.testing.assert_close(z[k, m].flatten(), expected, rtol=1e-4, atol=1e-5)


def test_normal_numbers_of_a_step_are_the_same_in_any_range_of_steps():
    seeds = torch.tensor([1, 2])
    some = normal(seeds, range(3, 7), (5, 3))
    assert some.shape == (4, 2, 5, 3)
    assert torch.equal(some[2:3], normal(seeds, range(5, 6), (5, 3)))


def test_uniform_numbers_are_uniform():
    u = uniform(torch.arange(20), 0, (5000,)).flatten().numpy()
    assert u.min() > 0
    assert u.max() <= 1
    assert stats.kstest(u, "uniform").pvalue > 1e-3


def test_normal_numbers_are_normal_and_independent():
    z = normal(torch.arange(20), range(7, 8), (5001,))[0]
    assert stats.kstest(z.flatten().numpy(), "norm").pvalue > 1e-3
    off_diagonal = torch.corrcoef(z) - torch.eye(20)
    assert off_diagonal.abs().max() < 5 / 5001**0.5
    halves = torch.corrcoef(z.reshape(-1)[: 20 * 5000].reshape(2, -1))[0, 1]
    assert halves.abs() < 5 / 50_000**0.5
