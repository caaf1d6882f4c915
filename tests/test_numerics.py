import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lrsched.numerics import (
    MAX_STEP,
    count_passed,
    fraction,
    int_power,
    lerp,
    rescale_step,
    resolve_steps,
)

lengths = st.integers(1, MAX_STEP)
values = st.floats(-1e3, 1e3, width=32, allow_subnormal=False)


@given(lengths, st.data())
def test_fraction_is_right_to_the_last_step(whole, data):
    part = data.draw(st.integers(0, whole))
    assert float(fraction(jnp.int32(part), jnp.int32(whole))) == pytest.approx(
        part / whole, rel=2e-7, abs=0
    )


def test_rescaled_steps_are_whole_where_they_are_whole():
    horizon, times = np.meshgrid(np.arange(1, 60), np.arange(1, 60))
    for at in (0, 1, 3, 7, 40):
        steps = np.minimum(at, horizon)
        found = jax.jit(rescale_step)(times * steps, horizon, times * horizon)
        np.testing.assert_array_equal(found, steps)


@given(lengths, lengths, st.data())
def test_rescaled_steps_are_right(horizon, steps, data):
    step = data.draw(st.integers(0, steps))
    found = rescale_step(jnp.int32(step), jnp.int32(horizon), jnp.int32(steps))
    assert float(found) == pytest.approx(step * horizon / steps, rel=3e-7, abs=0)


def test_fraction_is_clipped_and_a_phase_of_no_length_is_over():
    assert fraction(jnp.int32(-3), jnp.int32(10)) == 0
    assert fraction(jnp.int32(11), jnp.int32(10)) == 1
    assert fraction(jnp.int32(0), jnp.int32(0)) == 1


@given(values, values, st.floats(0, 1, width=32))
def test_mix_keeps_its_ends_and_stays_between_them(first, second, weight):
    low, high = sorted([first, second])
    assert lerp(jnp.float32(first), jnp.float32(second), jnp.float32(0)) == np.float32(first)
    assert lerp(jnp.float32(first), jnp.float32(second), jnp.float32(1)) == np.float32(second)
    assert low <= float(lerp(jnp.float32(first), jnp.float32(second), jnp.float32(weight))) <= high


@given(st.floats(0.5, 1, width=32), st.integers(0, MAX_STEP))
def test_power_is_right_for_exponents_that_float32_cannot_hold(base, exponent):
    exact = float(base) ** exponent
    got = float(int_power(base, jnp.int32(exponent)))
    assert got == pytest.approx(exact, rel=4e-7, abs=float(np.finfo(np.float32).tiny))


def test_power_takes_a_whole_float_as_an_exponent():
    assert int_power(0.5, jnp.float32(3)) == 0.125


@pytest.mark.parametrize(
    ("length", "steps"), [(7, 7), (0, 0), (0.1, 100), (0.25, 250), (0.3334, 333)]
)
def test_resolve_rounds_fractions_to_the_nearest_step(length, steps):
    resolved = resolve_steps(length, 1000)
    assert resolved == steps
    assert resolved.dtype == jnp.int32


def test_boundaries_count_from_their_own_step_on():
    assert count_passed(jnp.array([3, 5]), jnp.arange(7)).tolist() == [0, 0, 0, 1, 1, 2, 2]
    assert count_passed(jnp.zeros(0, jnp.int32), 3) == 0


def test_gradients_are_finite_at_the_ends():
    slope = jax.grad(lambda weight: lerp(0.0, 2.0, weight))
    assert slope(0.0) == slope(1.0) == 2.0
