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
    ours = lrsched.one_cycle(0.5, 50, div=10.0, final_div=100.0)
    theirs = optax.cosine_onecycle_schedule(50, 0.5, 0.3, div_factor=10.0, final_div_factor=100.0)
    steps = np.arange(51)
    np.testing.assert_allclose(ours(steps), jax.vmap(theirs)(steps), rtol=1e-4, atol=1e-8)


@given(st.integers(2, 400), st.floats(0.01, 0.99))
def test_one_cycle_rises_to_the_peak_and_falls_below_its_start(steps, warmup):
    values = np.asarray(lrsched.one_cycle(0.5, steps, warmup)(np.arange(steps + 3)))
    rise = int(np.rint(np.float32(warmup) * steps))
    assert values[rise] == values.max() == 0.5
    assert np.all(np.diff(values[: rise + 1]) >= 0)
    assert np.all(np.diff(values[rise:]) <= 0)
    assert values[-1] == values[steps] == pytest.approx(0.5 / 25 / 1e4, rel=1e-6)


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


def test_the_program_is_small_and_free_of_loops():
    schedule = lrsched.cosine_restarts(1.0, 10, growth=2)
    program = jax.jit(lambda s, t: s(t)).lower(schedule, 3).as_text()
    assert "while" not in program
    assert len(program.splitlines()) < 400


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: lrsched.triangular(0, 1, 0), "up=0 is not accepted"),
        (lambda: lrsched.one_cycle(0.1, 100, warmup=200), "warmup=200 .* more than steps=100"),
        (lambda: lrsched.one_cycle(0.1, 100, div=0), "div=0 is not accepted"),
        (lambda: lrsched.cosine_restarts(0.1, 10, growth=1.5), "growth=1.5 is not accepted"),
        (lambda: lrsched.cosine_restarts(0.1, 10, growth=0), "growth=0 is not accepted"),
    ],
)
def test_bad_input(make, message):
    with pytest.raises(ValueError, match=message):
        make()
