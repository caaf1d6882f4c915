import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import lrsched
from lrsched.numerics import MAX_STEP

lengths = st.integers(1, 60)
STEPS = np.arange(130)


@st.composite
def finite(draw) -> lrsched.Schedule:
    """A schedule that has a horizon."""
    steps = draw(lengths)
    return draw(
        st.sampled_from(
            [
                lrsched.linear(0.0, 1.0, steps),
                lrsched.cosine(0.5, steps, end=0.1),
                lrsched.wsd(0.2, steps, warmup=0.3, cooldown=0.3),
                lrsched.constant(0.3, steps),
                lrsched.warmup(steps) * 0.7,
            ]
        )
    )


@settings(max_examples=12)  # nearly each one compiles programs of its own
@given(finite(), finite())
def test_join_is_the_first_for_its_horizon_then_the_second_from_its_step_0(a, b):
    joined = a >> b
    expected = np.where(a.horizon > STEPS, a(STEPS), b(np.maximum(STEPS - a.horizon, 0)))
    np.testing.assert_allclose(joined(STEPS), expected, rtol=5e-7)
    assert joined.horizon == a.horizon + b.horizon


@given(finite(), finite(), finite())
def test_operators_are_associative(a, b, c):
    assert (a >> b) >> c == a >> (b >> c) == lrsched.join(a, b, c)
    assert (a * b) * c == a * (b * c)
    assert (a + b) + c == a + (b + c) == lrsched.add(a, b, c)


@settings(max_examples=12)
@given(finite(), finite())
def test_sums_products_and_extremes_are_pointwise(a, b):
    x, y = np.asarray(a(STEPS)), np.asarray(b(STEPS))
    for schedule, values in (
        (a * b, x * y),
        (a + b, x + y),
        (lrsched.minimum(a, b), np.minimum(x, y)),
        (lrsched.maximum(a, b), np.maximum(x, y)),
    ):
        np.testing.assert_allclose(schedule(STEPS), values, rtol=1e-6, atol=1e-9)
        assert schedule.horizon == max(a.horizon, b.horizon)


@pytest.mark.parametrize("two", [2, 2.0, np.float32(2), np.float64(2), jnp.float32(2)], ids=type)
def test_numbers_stand_on_either_side(two):
    a = lrsched.linear(0.0, 1.0, 4)
    for schedule, expected in ((two * a, 1.0), (a * two, 1.0), (two + a, 2.5), (a + two, 2.5)):
        assert schedule(2) == expected
        assert schedule.horizon == 4
    assert (a >> two)(9) == 2.0


def test_plain_callables_stand_where_a_schedule_may():
    doubled = lrsched.linear(0.0, 1.0, 4) * (lambda step: 2.0 * step)
    assert doubled(2) == 2.0
    assert doubled.horizon is None


def test_other_operands_are_refused():
    a = lrsched.linear(0.0, 1.0, 4)
    for operate in (lambda: a * set(), lambda: {} + a, lambda: a >> None):
        with pytest.raises(TypeError, match="unsupported operand"):
            operate()


def test_join_needs_a_horizon_on_the_left_but_not_on_the_right():
    tail = lrsched.linear(0.0, 1.0, 4) >> lrsched.inverse_sqrt(1.0, 4)
    assert tail.horizon is None
    assert (tail(4), tail(16)) == (1.0, 0.5)
    for left in (lrsched.inverse_sqrt(1.0, 4), lrsched.constant(0.1), 0.1):
        with pytest.raises(ValueError, match=r"join: .* has no horizon, .*; give it a length"):
            lrsched.join(left, lrsched.linear(0.0, 1.0, 4))
        with pytest.raises(ValueError, match="has no horizon"):
            left >> lrsched.linear(0.0, 1.0, 4)
    with pytest.raises(ValueError, match=r"sum to 2147483648, above the largest step 2\*\*31 - 1"):
        lrsched.constant(0.1, MAX_STEP) >> lrsched.constant(0.1, 1)
    with pytest.raises(ValueError, match=r"join: operands=\(\) is not accepted"):
        lrsched.join()


def test_later_parts_never_see_a_negative_step():
    with jax.debug_nans(True):
        schedule = lrsched.linear(0.0, 1.0, 4) >> (lambda step: 1 / jnp.sqrt(1.0 + step))
        assert np.all(np.isfinite(schedule(STEPS)))


@given(finite(), st.floats(0, 0.5, width=32), st.floats(0.5, 1, width=32))
def test_clip_stays_within_its_bounds(a, low, high):
    schedule = lrsched.clip(a, low, high)
    np.testing.assert_array_equal(schedule(STEPS), np.clip(a(STEPS), low, high))
    assert schedule.horizon == a.horizon


@given(finite(), st.integers(1, 5))
def test_repeat_begins_again_and_holds_the_last_value(a, times):
    h = a.horizon
    schedule = lrsched.repeat(a, times)
    local = np.where(h * times > STEPS, STEPS % h, h)
    np.testing.assert_allclose(schedule(STEPS), a(local), rtol=5e-7)
    np.testing.assert_allclose(lrsched.repeat(a)(STEPS), a(STEPS % h), rtol=5e-7)
    assert (schedule.horizon, lrsched.repeat(a).horizon) == (h * times, None)


@given(finite(), st.integers(-70, 70))
def test_shift_moves_the_clock(a, steps):
    schedule = lrsched.shift(a, steps)
    np.testing.assert_allclose(schedule(STEPS), a(np.maximum(STEPS - steps, 0)), rtol=5e-7)
    assert schedule.horizon == max(a.horizon + steps, 0)
    assert schedule(MAX_STEP) == pytest.approx(float(a(MAX_STEP)), rel=5e-7)


@given(finite(), st.integers(1, 4))
def test_stretch_passes_through_the_same_values(a, times):
    schedule = lrsched.stretch(a, times * a.horizon)
    np.testing.assert_allclose(schedule(times * STEPS), a(STEPS), rtol=2e-6, atol=1e-9)
    assert schedule.horizon == times * a.horizon


@given(finite())
def test_reverse_runs_backwards_and_twice_is_the_same(a):
    backwards = lrsched.reverse(a)
    np.testing.assert_allclose(
        backwards(STEPS), a(np.maximum(a.horizon - STEPS, 0)), rtol=5e-7, atol=0
    )
    np.testing.assert_allclose(lrsched.reverse(backwards)(STEPS), a(STEPS), rtol=5e-7, atol=0)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: lrsched.clip(lrsched.constant(1.0), 2, 1),
            "low=2.0 is not accepted; low must be at most high=1.0",
        ),
        (
            lambda: lrsched.clip("a", 0, 1),
            "inner='a' is not accepted; inner must be a number, a Schedule",
        ),
        (lambda: lrsched.repeat(lrsched.constant(1.0)), "repeat: .* must have a horizon"),
        (lambda: lrsched.repeat(lrsched.linear(0, 1, 2**20), 2**12), r"at most 2\*\*31 - 1"),
        (lambda: lrsched.repeat(lrsched.linear(0, 1, 5), 0), "times=0 is not accepted"),
        (lambda: lrsched.reverse(lrsched.constant(1.0)), "reverse: .* must have a horizon"),
        (lambda: lrsched.stretch(lrsched.constant(1.0), 5), "stretch: .* must have a horizon"),
        (lambda: lrsched.shift(lrsched.constant(1.0), 0.5), "steps=0.5 is not accepted"),
        (lambda: lrsched.multiply(lrsched.constant(1.0), "a"), "operands='a' is not accepted"),
        (lambda: lrsched.multiply(np.inf, 1.0), "operands=inf is not accepted"),
        (lambda: lrsched.as_schedule("fast"), "'fast' is not a learning rate; it must be a number"),
    ],
)
def test_bad_operands_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_traced_horizons_add_up():
    @jax.jit
    def value(first, step):
        schedule = lrsched.linear(0.0, 1.0, first) >> lrsched.cosine(1.0, 10)
        return schedule(step), schedule.horizon, lrsched.repeat(schedule, 2).horizon

    assert value(5, 5) == (1.0, 15, 30)
    assert value(8, 4) == (0.5, 18, 36)


def test_a_composition_compiles_once_for_other_numbers():
    traces = []

    @jax.jit
    def value(schedule):
        traces.append(schedule)
        return schedule(7)

    first, second = (
        value(lrsched.warmup(5) * peak >> lrsched.repeat(lrsched.cosine(peak, 5), times=3))
        for peak in (0.1, 0.2)
    )
    assert len(traces) == 1
    assert second == pytest.approx(2 * float(first))


@given(finite(), st.integers(1, 40))
def test_a_staircase_holds_each_value_for_as_many_updates(a, every):
    schedule = lrsched.staircase(a, every)
    np.testing.assert_array_equal(schedule(STEPS), a(STEPS // every))
    assert schedule.horizon == a.horizon * every
    np.testing.assert_array_equal(schedule(schedule.horizon + 1), a(a.horizon))


def test_a_staircase_of_a_longer_course_than_can_be_counted_saturates():
    assert lrsched.staircase(lrsched.linear(1.0, 0.0, 2**20), every=2**15).horizon == MAX_STEP
    assert lrsched.staircase(lrsched.constant(0.3), every=7).horizon is None


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda step: 0.3 if step < 7 else 0.1, "jnp.where.*lrsched.table"),
        (lambda step: 0.3 / float(step + 1), "jnp.where.*lrsched.table"),
        (lambda step: np.sqrt(step), "jnp.where.*lrsched.table"),
        (lambda step: [0.3, 0.2][step], "jnp.where.*lrsched.table"),
        (lambda: 0.3, "calling it with a step fails"),
        (0.3, "function=0.3 is not accepted; function must be a function of the step"),
    ],
)
def test_a_function_that_needs_a_python_step_says_what_to_write(function, message):
    with pytest.raises(ValueError, match=message):
        lrsched.from_function(function)
