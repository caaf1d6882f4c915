import jax
import numpy as np
import optax
import pytest
from hypothesis import given
from hypothesis import strategies as st

import lrsched
from lrsched.numerics import MAX_STEP


@given(st.integers(1, 50), st.integers(1, 50), st.integers(0, 10**7))
def test_triangles_touch_base_and_peak_in_every_period(up, down, period):
    schedule = lrsched.triangular(0.125, 0.5, up, down)
    start = period * (up + down)
    assert schedule([start, start + up, start + up + down]).tolist() == [0.125, 0.5, 0.125]
    assert schedule.horizon is None


def test_down_is_as_long_as_up_by_default():
    steps = np.arange(50)
    np.testing.assert_array_equal(
        lrsched.triangular(0.0, 1.0, 7)(steps), lrsched.triangular(0.0, 1.0, 7, 7)(steps)
    )


def test_one_cycle_has_the_values_of_optax():
    ours = lrsched.one_cycle(0.5, 50, div_factor=10.0, final_div_factor=100.0)
    theirs = optax.cosine_onecycle_schedule(50, 0.5, 0.3, div_factor=10.0, final_div_factor=100.0)
    steps = np.arange(51)
    np.testing.assert_allclose(ours(steps), jax.vmap(theirs)(steps), rtol=1e-4, atol=1e-8)


@given(st.integers(2, 400), st.floats(0.01, 0.99))
def test_one_cycle_rises_to_the_peak_and_falls_below_its_start(steps, warmup):
    values = np.asarray(lrsched.one_cycle(0.5, steps, warmup)(np.arange(410)))
    rise = int(np.rint(np.float32(warmup) * steps))
    assert values[rise] == values.max() == 0.5
    assert np.all(np.diff(values[: rise + 1]) >= 0)
    assert np.all(np.diff(values[rise:]) <= 0)
    end = 0.5 / 25 / 1e4 if rise < steps else 0.5
    assert values[-1] == values[steps] == pytest.approx(end, rel=1e-6)


@pytest.mark.parametrize("growth", [1, 2, 3, 5, 10])
@pytest.mark.parametrize("steps", [1, 10, 7919])
def test_every_restart_is_found(growth, steps):
    start, starts, peaks = 0, [], []
    while start <= MAX_STEP and len(starts) < 300:
        starts.append(start)
        peaks.append(0.5 ** min(len(peaks), 100))
        start += steps * growth ** len(starts) // growth
    schedule = lrsched.cosine_restarts(1.0, steps, growth=growth, decay=0.5)
    np.testing.assert_array_equal(schedule(starts)[:100], np.float32(peaks)[:100])
    before = lrsched.cosine_restarts(1.0, steps, growth=growth)(np.array(starts[1:]) - 1)
    if steps > 1:
        assert np.all(before < 0.1)


def test_the_restart_that_logarithms_miss():
    schedule = lrsched.cosine_restarts(1.0, steps=10, growth=3)
    assert schedule(1210) == 1.0
    assert schedule(1209) == pytest.approx(np.sin(0.5 * np.pi / 810) ** 2, rel=1e-6)


def test_a_cycle_longer_than_int32_is_still_a_cosine():
    schedule = lrsched.cosine_restarts(1.0, steps=2**30, growth=3)
    local = MAX_STEP - 2**30
    expected = np.cos(0.5 * np.pi * local / (3 * 2**30)) ** 2
    assert schedule(MAX_STEP) == pytest.approx(expected, rel=1e-6)


def test_a_single_cycle_over_all_of_int32_is_exact_to_its_last_step():
    schedule = lrsched.cosine_restarts(1.0, MAX_STEP)
    exact = np.sin(0.5 * np.pi * 5 / MAX_STEP) ** 2
    assert schedule(MAX_STEP - 5) == pytest.approx(exact, rel=1e-6, abs=0)


@pytest.mark.parametrize("growth", [1.1, 1.5, 2.0, 2.7])
@pytest.mark.parametrize("steps", [7, 100])
def test_restarts_with_a_real_growth_are_at_the_rounded_starts(growth, steps):
    real = np.float64(np.float32(growth))
    number = np.arange(200)
    starts = np.rint(steps * (real**number - 1) / (real - 1))
    starts = starts[starts < 10**5].astype(int)
    schedule = lrsched.cosine_restarts(1.0, steps, growth=growth, decay=0.75)
    np.testing.assert_allclose(schedule(starts), 0.75 ** np.arange(len(starts)), rtol=1e-6)
    before = np.asarray(schedule.replace(decay=1.0)(starts[1:] - 1))
    assert np.all(before < np.sin(0.5 * np.pi * 1.5 / np.diff(starts)) ** 2)


def test_a_real_growth_of_a_whole_number_is_the_whole_one():
    steps = np.arange(3000)
    np.testing.assert_array_equal(
        lrsched.cosine_restarts(1.0, 10, growth=3.0, end=0.1)(steps),
        lrsched.cosine_restarts(1.0, 10, growth=3, end=0.1)(steps),
    )
    np.testing.assert_allclose(
        lrsched.cosine_restarts(1.0, 10, growth=1.0)(steps),
        lrsched.cosine_restarts(1.0, 10, growth=1)(steps),
        rtol=1e-6,
    )


def test_every_cycle_begins_with_its_warmup():
    schedule = lrsched.cosine_restarts(1.0, 10, growth=2, decay=0.5, warmup=4, end=0.25)
    assert schedule([0, 2, 4]).tolist() == [0.25, 0.625, 1.0]
    assert schedule([10, 12, 14, 30, 34]).tolist() == [0.25, 0.375, 0.5, 0.25, 0.25]


def test_rate_and_momentum_of_one_cycle_mirror_each_other():
    steps = np.arange(101)
    rate = np.asarray(lrsched.one_cycle(1.0, 100, div_factor=1e6, final_div_factor=1.0)(steps))
    momentum = np.asarray(lrsched.one_cycle_momentum(0.85, 0.95, 100)(steps))
    np.testing.assert_allclose(momentum, 0.95 - 0.1 * rate, atol=1e-6)


def test_scales_of_ones_own_are_a_product():
    scaled = 0.01 + lrsched.triangular(0.0, 0.09, 5) * (lambda step: 1 / (1 + step))
    assert scaled(5) == pytest.approx(0.01 + 0.09 / 6)


def test_noise_is_its_seeds_and_its_steps():
    steady = lrsched.constant(0.5)
    schedule = lrsched.noise(steady, seed=3, scale=0.1)
    values = np.asarray(schedule(np.arange(4000)))
    assert schedule(17) == values[17]
    assert jax.jit(schedule)(17) == pytest.approx(values[17], rel=1e-6)
    assert np.any(values != lrsched.noise(steady, seed=4, scale=0.1)(np.arange(4000)))
    assert np.mean(values) == pytest.approx(0.5, abs=3e-3)
    assert np.std(values) == pytest.approx(0.05, rel=0.05)
    assert lrsched.noise(steady, seed=3, scale=9.0)(np.arange(100)).min() == 0
    assert schedule(np.zeros((2, 3), np.int32)).shape == (2, 3)


def test_the_program_is_small_and_free_of_loops():
    schedule = lrsched.cosine_restarts(1.0, 10, growth=2)
    program = jax.jit(lambda s, t: s(t)).lower(schedule, 3).as_text()
    assert "while" not in program
    assert len(program.splitlines()) < 500


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: lrsched.triangular(0, 1, 0), "up_steps=0 is not accepted"),
        (lambda: lrsched.one_cycle(0.1, 100, warmup=200), "warmup=200 .* more than steps=100"),
        (lambda: lrsched.one_cycle(0.1, 100, div_factor=0), "div_factor=0 is not accepted"),
        (lambda: lrsched.cosine_restarts(0.1, 10, growth=0.5), "growth=0.5 is not accepted"),
        (lambda: lrsched.cosine_restarts(0.1, 10, growth=0), "growth=0 is not accepted"),
        (lambda: lrsched.cosine_restarts(0.1, 10, warmup=10), "warmup=10 is not accepted"),
        (
            lambda: lrsched.one_cycle(0.1, 100, warmup=60, three_phase=True),
            r"take 60 \+ 60 = 120 steps, more than steps=100",
        ),
        (
            lambda: lrsched.noise(lrsched.constant(1.0), 0, 0.1, "pink"),
            "distribution must be one of",
        ),
        (lambda: lrsched.triangular(0, 1, 5, cycle_factor=0), "cycle_factor=0 is not accepted"),
    ],
)
def test_bad_input(make, message):
    with pytest.raises(ValueError, match=message):
        make()
