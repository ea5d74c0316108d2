from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ibbook.schedules import Schedule, constant, cyclical, linear, staircase


@given(st.floats(0, 100), st.integers(0, 10**6))
def test_constant_is_constant(beta, step):
    assert constant(beta)(step) == beta


@given(
    st.floats(0, 9), st.floats(0, 9), st.integers(1, 1000), st.integers(0, 99), st.integers(0, 2000)
)
def test_linear_follows_the_line_between_its_ends(start, stop, steps, begin, step):
    share = min(max((step - begin) / steps, 0), 1)
    assert linear(start, stop, steps, begin=begin)(step) == pytest.approx(
        start + share * (stop - start), abs=1e-9
    )


@given(st.integers(1, 6), st.integers(10, 50), st.floats(0.1, 1))
def test_cyclical_follows_fu_et_al(cycles, period, ratio):
    total = cycles * period
    schedule = cyclical(total, cycles, ratio)
    for step in range(total):
        tau = (step % math.ceil(total / cycles)) / (total / cycles)  # equation 7
        expected = tau / ratio if tau <= ratio else 1.0  # equation 6, with f linear
        assert schedule(step) == pytest.approx(expected, abs=1e-6)
    assert schedule(total) == 1


def test_staircase_multiplies_after_each_stair():
    decay = staircase(0.97, every=1200, steps=5000)
    for step in range(0, 5000, 7):
        assert decay(step) == pytest.approx(0.97 ** (step // 1200), rel=1e-12)


@given(st.integers(1, 5), st.integers(0, 60))
def test_many_steps_at_once_are_those_steps_one_by_one(cycles, start):
    for schedule in (cyclical(60, cycles, 1.0), staircase(0.5, 10, 60), constant(2.0)):
        steps = range(start, start + 40)
        assert schedule(steps).tolist() == pytest.approx([schedule(step) for step in steps])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: constant(-1.0), "beta must be finite and >= 0"),
        (lambda: constant(math.nan), "beta must be finite and >= 0"),
        (lambda: Schedule(()), "knots must be"),
        (lambda: Schedule(((5, 1.0), (1, 1.0))), "knots must be"),
        (lambda: linear(0, 1, 0), "steps must be a whole number >= 1, got 0"),
        (lambda: cyclical(10, 0), "cycles must be a whole number from 1 to 10, got 0"),
        (lambda: cyclical(10, 11), "cycles must be a whole number from 1 to 10, got 11"),
        (lambda: cyclical(10, 2, 0.0), r"ratio must be in \(0, 1\], got 0.0"),
        (lambda: staircase(0.5, 0, 10), "every must be a whole number >= 1, got 0"),
        (lambda: staircase(-0.5, 1, 10), "factor must be finite and >= 0, got -0.5"),
    ],
)
def test_bad_schedules_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()
