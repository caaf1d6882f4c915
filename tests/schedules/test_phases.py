import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

import lrsched
from lrsched.schedules.ramps import RAMPS


@pytest.mark.parametrize("shape", RAMPS)
@given(
    steps=st.integers(1, 300),
    rise=st.integers(0, 300),
    fall=st.integers(0, 300),
    end=st.floats(0, 0.25, width=32, allow_subnormal=False),
)
def test_wsd_rises_stays_and_falls(shape, steps, rise, fall, end):
    assume(rise + fall <= steps)
    schedule = lrsched.wsd(0.25, steps, rise, fall, end, shape)
    values = np.asarray(schedule(np.arange(steps + 5)))
    assert np.all((values >= 0) & (values <= 0.25))
    assert np.all(np.diff(values[: rise + 1]) >= 0)
    assert np.all(values[rise : steps - fall + 1] == 0.25)
    assert np.all(np.diff(values[steps - fall :]) <= 2e-8)
    assert np.all(values[steps:] == (np.float32(end) if fall else 0.25))


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
    schedule = lrsched.wsd(1.0, 100, warmup=0, cooldown=100, shape=lambda left: left**3)
    assert schedule(50) == 0.125


def test_traced_lengths_are_accepted():
    assert jax.jit(lambda w: lrsched.wsd(1.0, 100, w, 10)(5))(10) == 0.5
    assert jax.jit(lambda w: lrsched.wsd(1.0, 100, w, 10)(5))(0.1) == 0.5


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: lrsched.wsd(0.1, 100, 60, 50),
            r"wsd: warmup=60 and cooldown=50 take 60 \+ 50 = 110 steps, more than steps=100",
        ),
        (lambda: lrsched.wsd(0.1, 100, 0.6, 0.5), r"take 60 \+ 50 = 110 steps"),
        (lambda: lrsched.wsd(0.1, 100, 1.5, 10), "warmup=1.5 is not accepted; warmup must be a"),
        (lambda: lrsched.wsd(0.1, 100, 1.0, 10), "warmup=1.0 is not accepted"),
        (lambda: lrsched.wsd(0.1, 100, -1, 10), "warmup=-1 is not accepted"),
        (lambda: lrsched.wsd(0.1, 100, 10, "long"), "cooldown='long' is not accepted"),
        (lambda: lrsched.wsd(0.1, 100, 10, 10, shape="sqrt"), "shape must be one of 'linear'"),
    ],
)
def test_bad_input(make, message):
    with pytest.raises(ValueError, match=message):
        make()
