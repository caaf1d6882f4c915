import numpy as np
import optax
import pytest
from hypothesis import given
from hypothesis import strategies as st

import lrsched
from lrsched.numerics import MAX_STEP

rates = st.floats(2**-20, 8, width=32)


@given(rates, rates, st.integers(1, 500), st.floats(0.25, 4, width=32))
def test_decays_are_monotone_within_their_bounds_and_end_exactly(first, second, steps, power):
    low, high = sorted(np.float32([first, second]))
    at = np.arange(520)
    for schedule in (
        lrsched.linear(high, low, steps),
        lrsched.polynomial(high, low, steps, power),
        lrsched.cosine(high, steps, low),
        lrsched.cosine(high, steps, low, exponent=power),
    ):
        values = np.asarray(schedule(at))
        assert np.all(np.diff(values) <= 3e-7 * high), schedule
        assert np.all((values >= low) & (values <= high)), schedule
        assert (values[0], values[steps], values[-1]) == (high, low, low), schedule


@pytest.mark.parametrize("last", [1, 10, 100])
def test_cosine_keeps_its_last_steps_where_optax_has_lost_them(last):
    steps = 10**6
    exact = 1e-3 * np.sin(0.5 * np.pi * last / steps) ** 2
    assert lrsched.cosine(1e-3, steps)(steps - last) == pytest.approx(exact, rel=1e-6, abs=0)
    theirs = float(optax.cosine_decay_schedule(1e-3, steps)(steps - last))
    assert abs(theirs / exact - 1) > 0.1


def test_a_line_to_zero_falls_to_the_last_step_of_int32():
    schedule = lrsched.linear(1.0, 0.0, MAX_STEP)
    assert schedule(MAX_STEP - 1) == pytest.approx(1 / MAX_STEP, rel=1e-6, abs=0)
    assert schedule(MAX_STEP) == 0


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (lrsched.linear(0.1, 0.02, 90), optax.linear_schedule(0.1, 0.02, 90)),
        (
            lrsched.polynomial(0.1, 0.02, 90, power=3.0),
            optax.polynomial_schedule(0.1, 0.02, 3.0, 90),
        ),
        (
            lrsched.cosine(0.1, 90, end=0.01, exponent=2.0),
            optax.cosine_decay_schedule(0.1, 90, alpha=0.1, exponent=2.0),
        ),
        (
            lrsched.exponential(0.1, 0.5, every=30, end=0.03),
            optax.exponential_decay(0.1, 30, 0.5, end_value=0.03),
        ),
        (
            lrsched.exponential(0.1, 2.0, every=30, end=0.5, staircase=True),
            optax.exponential_decay(0.1, 30, 2.0, staircase=True, end_value=0.5),
        ),
        (
            lrsched.multistep(0.1, [30, 60], factor=0.5),
            optax.piecewise_constant_schedule(0.1, {30: 0.5, 60: 0.5}),
        ),
    ],
    ids=lambda schedule: repr(schedule)[:12],
)
def test_the_twin_in_optax_has_the_same_values(ours, theirs):
    steps = np.arange(100)
    np.testing.assert_allclose(ours(steps), theirs(steps), rtol=2e-5, atol=1e-9)


@given(st.floats(0.25, 0.96875, width=32), st.integers(1, 10**6), st.integers(0, MAX_STEP))
def test_geometric_decay_is_exact_wherever_float32_can_hold_it(factor, every, step):
    exact = float(factor) ** (step / every)
    got = float(lrsched.exponential(1.0, factor, every)(step))
    assert got == pytest.approx(exact, rel=1e-6, abs=1e-37)


def test_step_decay_is_the_staircase():
    steps = np.arange(0, 1000, 7)
    np.testing.assert_array_equal(
        lrsched.step_decay(0.1, 0.5, every=30)(steps),
        lrsched.exponential(0.1, 0.5, every=30, staircase=True)(steps),
    )


def test_factors_above_one_rise():
    assert lrsched.exponential(1.0, 2.0, every=10)([0, 10, 20]).tolist() == [1, 2, 4]


def test_horizons():
    assert lrsched.multistep(0.1, [30, 60]).horizon == 60
    assert lrsched.multistep(0.1, []).horizon == 0
    assert lrsched.step_decay(0.1, 0.5, 10).horizon is None
    assert lrsched.exponential(0.1, 0.5).horizon is None


def test_special_cases_are_each_other():
    steps = np.arange(400)
    for one, other in (
        (lrsched.k_decay(0.1, 300, k=1.0), lrsched.cosine(0.1, 300)),
        (lrsched.cosine_waves(0.1, 300, waves=0.5), lrsched.cosine(0.1, 300)),
        (lrsched.rex(0.1, 300, beta=1e-6), lrsched.linear(0.1, 0.0, 300)),
    ):
        np.testing.assert_allclose(one(steps), other(steps), rtol=3e-6, atol=1e-8)


def test_the_early_course_of_hyperbolic_is_the_same_for_any_length():
    steps = np.arange(20)
    short = 0.1 - np.asarray(lrsched.hyperbolic(0.1, 200, max_steps=1000)(steps))
    long = 0.1 - np.asarray(lrsched.hyperbolic(0.1, 800, max_steps=1000)(steps))
    cosines = [0.1 - np.asarray(lrsched.cosine(0.1, n)(steps)) for n in (200, 800)]
    assert short[-1] / long[-1] < 2 < cosines[0][-1] / cosines[1][-1]


def test_chebyshev_solves_a_quadratic_faster_than_any_constant_rate():
    curvatures = np.geomspace(0.05, 1.0, 50)
    residual = np.ones(50)
    for rate in np.asarray(lrsched.chebyshev(1.0, steps=32, ratio=0.05)(range(32)), np.float64):
        residual *= 1 - rate * curvatures
    best_constant = np.abs(1 - 2 / 1.05 * curvatures).max() ** 32
    assert np.abs(residual).max() < 1e-3 * best_constant


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: lrsched.rex(0.1, 5, beta=1.0), "rex: beta=1.0 is not accepted"),
        (
            lambda: lrsched.hyperbolic(0.1, 50, max_steps=40),
            "hyperbolic: steps=50 is not accepted; steps must be at most max_steps=40",
        ),
        (
            lambda: lrsched.exp_hyperbolic(0.1, 50, 40, 0.01),
            "steps=50 is not accepted; steps must be at most max_steps=40",
        ),
        (lambda: lrsched.exp_hyperbolic(0.1, 50, 50, 0), "end=0 is not accepted"),
        (
            lambda: lrsched.chebyshev(0.1, 48),
            "steps=48 is not accepted; steps must be a power of two",
        ),
        (lambda: lrsched.chebyshev(0.1, 64, ratio=1), "ratio=1 is not accepted"),
        (lambda: lrsched.k_decay(0.1, 5, k=0), "k=0 is not accepted"),
        (lambda: lrsched.multistep(0.1, [60, 30]), r"milestones=\[60, 30\] is not accepted"),
        (lambda: lrsched.step_decay(0.1, 0.0, 10), "factor=0.0 is not accepted; factor must be"),
        (lambda: lrsched.exponential(0.1, -1), "factor=-1 is not accepted"),
        (lambda: lrsched.step_decay(0.1, 0.5, 0), "every=0 is not accepted"),
        (lambda: lrsched.exponential(0.1, 0.5, staircase=1), "staircase=1 is not accepted"),
        (lambda: lrsched.polynomial(1, 0, 5, power=0), "power=0 is not accepted"),
    ],
)
def test_bad_input(make, message):
    with pytest.raises(ValueError, match=message):
        make()
