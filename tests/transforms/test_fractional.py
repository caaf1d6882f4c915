"""Schedules between their whole steps: bit-equal at whole ones, accurate to the last fraction."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import lrsched
from lrsched.transforms.fractional import evaluate_between
from tests.catalogue import cases, name

BETWEEN = jax.jit(jax.vmap(evaluate_between, (None, 0, 0)))
PLAIN = jax.jit(jax.vmap(lambda schedule, step: schedule(step), (None, 0)))
CHOSEN = ["cosine(", "linear(", "wsd(", "multistep(", "one_cycle(", "triangular(", "join("]
CASES = [case for case in cases(100) if name(case).startswith(tuple(CHOSEN))]


@pytest.mark.parametrize("case", CASES, ids=name)
def test_whole_steps_are_bit_equal_and_halves_as_accurate(case):
    steps = jnp.arange(case.steps + 2)
    whole = BETWEEN(case.schedule, steps, jnp.zeros(len(steps)))
    np.testing.assert_array_equal(whole, PLAIN(case.schedule, steps))
    halves = BETWEEN(case.schedule, steps, jnp.full(len(steps), 0.5))
    exact = case.reference(np.asarray(steps) + 0.5)
    np.testing.assert_allclose(halves, exact, rtol=2e-6, atol=case.floor)


@pytest.mark.parametrize("part", [0.25, 0.875])
@pytest.mark.parametrize("make", [lrsched.linear, lambda p, e, n: lrsched.cosine(p, n, e)])
def test_the_last_steps_of_a_very_long_schedule_are_accurate(make, part):
    horizon = 2**31 - 1
    left = np.array([1, 2, 3, 100, 10**6])
    steps = jnp.asarray(horizon - left, jnp.int32)
    values = BETWEEN(make(1.0, 0.0, horizon), steps, jnp.full(len(left), part))
    fraction = (left - part) / horizon
    exact = fraction if make is lrsched.linear else np.sin(np.pi / 2 * fraction) ** 2
    np.testing.assert_allclose(values, exact, rtol=1e-6)


def test_what_has_no_meaning_between_integers_takes_the_whole_step():
    schedule = lrsched.table([1.0, 2.0, 3.0])
    np.testing.assert_array_equal(
        BETWEEN(schedule, jnp.array([0, 1, 2]), jnp.full(3, 0.5)), [1.0, 2.0, 3.0]
    )
