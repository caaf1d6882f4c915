import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import lrsched
from lrsched.schedules.ramps import RAMPS

STEPS = np.arange(320)
"""More than any length that is drawn; one ramp, so that each schedule compiles once."""


@pytest.mark.parametrize("ramp", RAMPS)
@given(
    rise=st.integers(0, 100),
    stable=st.integers(0, 100),
    fall=st.integers(0, 100),
    end=st.floats(0, 0.25, width=32, allow_subnormal=False),
)
def test_wsd_rises_stays_and_falls(ramp, rise, stable, fall, end):
    steps = max(rise + stable + fall, 1)
    schedule = lrsched.wsd(0.25, steps, rise, fall, end, ramp)
    values = np.asarray(schedule(STEPS))
    assert np.all((values >= 0) & (values <= 0.25))
    assert np.all(np.diff(values[: rise + 1]) >= 0)
    assert np.all(values[rise : steps - fall + 1] == 0.25)
    assert np.all(np.diff(values[steps - fall :]) <= 2e-8)
    assert np.all(values[steps:] == (np.float32(end) if fall else 0.25))


@given(
    st.integers(5, 100),
    st.integers(0, 50),
    st.integers(5, 100),
    st.sampled_from(["linear", "cosine"]),
)
def test_there_is_no_jump_at_any_seam(rise, hold, fall, ramp):
    steps = rise + hold + fall
    steepest = 0.5 * np.pi / min(rise, fall) + 1e-6
    for schedule in (
        lrsched.wsd(1.0, steps, rise, fall, ramp=ramp),
        lrsched.one_cycle(1.0, rise + fall, rise, ramp=ramp),
        lrsched.warmup(rise, ramp) >> lrsched.constant(1.0, hold or 1) >> lrsched.cosine(1.0, fall),
        lrsched.cooldown(lrsched.warmup(rise, ramp), rise + hold, fall, ramp=ramp),
    ):
        assert np.max(np.abs(np.diff(schedule(STEPS)))) <= steepest, schedule


def test_fractions_are_of_the_whole():
    assert np.array_equal(
        lrsched.wsd(0.1, 1000, warmup=0.05, cooldown=0.2)(np.arange(1001)),
        lrsched.wsd(0.1, 1000, warmup=50, cooldown=200)(np.arange(1001)),
    )


def test_fractions_stay_fractions_under_another_length():
    longer = lrsched.wsd(0.1, 1000, warmup=0.05, cooldown=0.2).replace(steps=2000)
    assert longer([50, 100, 1600]).tolist() == np.float32([0.05, 0.1, 0.1]).tolist()
    values = jax.vmap(lambda steps: lrsched.wsd(0.1, steps, 0.1, 0.2)(100))(jnp.array([100, 2000]))
    assert values.tolist() == np.float32([0.0, 0.05]).tolist()


def test_one_minus_sqrt_is_the_formula_of_the_paper():
    schedule = lrsched.wsd(1.0, 100, warmup=0, cooldown=50)
    done = np.arange(51) / 50
    np.testing.assert_allclose(schedule(np.arange(50, 101)), 1 - np.sqrt(done), atol=1e-7)


def test_any_function_is_a_cooldown():
    schedule = lrsched.wsd(1.0, 100, warmup=0, cooldown=100, ramp=lambda left: left**3)
    assert schedule(50) == 0.125


def test_traced_lengths_are_accepted():
    assert jax.jit(lambda w: lrsched.wsd(1.0, 100, w, 10)(5))(10) == 0.5
    assert jax.jit(lambda w: lrsched.wsd(1.0, 100, w, 10)(5))(0.1) == 0.5


def test_a_cooldown_branches_off_any_schedule_at_any_step():
    stable = lrsched.warmup(10) * 0.5 >> lrsched.inverse_sqrt(0.5, timescale=10)
    for start in (0, 5, 10, 400):
        schedule = lrsched.cooldown(stable, start, steps=50, end=0.01)
        before = np.arange(start + 1)
        np.testing.assert_allclose(schedule(before), stable(before), rtol=5e-7)
        assert schedule.horizon == start + 50
        assert schedule([start + 50, start + 99]).tolist() == np.float32([0.01, 0.01]).tolist()


def test_a_cooldown_of_a_constant_is_wsd():
    steps = np.arange(120)
    np.testing.assert_array_equal(
        lrsched.cooldown(lrsched.warmup(10) * 0.5, 80, 20)(steps),
        lrsched.wsd(0.5, 100, warmup=10, cooldown=20)(steps),
    )


@pytest.mark.parametrize("interpolation", ["linear", "cosine", "monotone"])
def test_points_are_met_and_held(interpolation):
    steps, values = [3, 10, 11, 40], [0.5, 0.125, 0.25, 1.0]
    schedule = lrsched.points(steps, values, interpolation)
    assert schedule(steps).tolist() == values
    assert schedule([0, 99]).tolist() == [0.5, 1.0]
    assert lrsched.points([5], [0.25], interpolation)([0, 5, 9]).tolist() == [0.25] * 3
    assert schedule.horizon == 40


@given(st.lists(st.floats(0, 8, width=32), min_size=3, max_size=8))
def test_the_monotone_cubic_has_no_bump_between_points(values):
    steps = 10 * np.arange(len(values))
    curve = np.asarray(lrsched.points(steps, values, "monotone")(np.arange(steps[-1] + 1)))
    for piece in range(len(values) - 1):
        ends = np.float32(values[piece : piece + 2])
        inside = curve[10 * piece : 10 * piece + 11]
        assert inside.min() >= ends.min() - 2e-6
        assert inside.max() <= ends.max() + 2e-6


def test_points_of_any_number_are_one_program():
    def size(count):
        schedule = lrsched.points(np.arange(count), np.ones(count), "cosine")
        program = jax.jit(lambda s, t: s(t)).lower(schedule, 3)
        return len(program.as_text().splitlines())

    assert size(10) == size(400)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: lrsched.points([1, 2], [0.1]), "points: 2 steps and 1 values do not match"),
        (lambda: lrsched.points([2, 1], [0.1, 1]), r"steps=\[2, 1\] is not accepted"),
        (
            lambda: lrsched.points([1, 2], [1, 2], "spline"),
            "interpolation must be one of 'linear', 'cos",
        ),
        (lambda: lrsched.points([], []), r"is not accepted"),
        (lambda: lrsched.cooldown(0.1, 2**31 - 1, 5), r"must be at most 2\*\*31 - 1"),
        (lambda: lrsched.cooldown(0.1, -1, 5), "start=-1 is not accepted"),
        (
            lambda: lrsched.wsd(0.1, 100, 60, 50),
            r"cooldown=50 are not accepted; together they take 60 \+ 50 = 110 steps, more",
        ),
        (lambda: lrsched.wsd(0.1, 100, 0.6, 0.5), r"take 60 \+ 50 = 110 steps"),
        (lambda: lrsched.wsd(0.1, 100, 1.5, 10), "warmup=1.5 is not accepted; warmup must be a"),
        (lambda: lrsched.wsd(0.1, 100, 1.0, 10), "warmup=1.0 is not accepted"),
        (lambda: lrsched.wsd(0.1, 100, -1, 10), "warmup=-1 is not accepted"),
        (lambda: lrsched.wsd(0.1, 100, 10, "long"), "cooldown='long' is not accepted"),
        (lambda: lrsched.wsd(0.1, 100, 10, 10, ramp="sqrt"), "ramp must be one of 'linear'"),
    ],
)
def test_bad_input(make, message):
    with pytest.raises(ValueError, match=message):
        make()
