import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given
from hypothesis import strategies as st

import lrsched
from lrsched.schedules.ramps import RAMPS


@pytest.mark.parametrize("ramp", RAMPS)
@given(steps=st.integers(0, 300), init=st.floats(0, 1, width=32, allow_subnormal=False))
def test_a_warmup_rises_from_init_to_one(ramp, steps, init):
    values = np.asarray(lrsched.warmup(steps, ramp, init)(np.arange(310)))
    assert values[0] == (np.float32(init) if steps else 1)
    assert np.all(values[steps:] == 1)
    assert np.all(np.diff(values) >= -2e-7)


def test_no_warmup_is_one_from_the_start():
    assert lrsched.warmup(0)(0) == 1
    assert (lrsched.warmup(0) * 0.5 >> lrsched.linear(0.5, 0.0, 2))([0, 1]).tolist() == [0.5, 0.25]


def test_as_a_factor_the_clock_runs_as_a_prefix_it_waits():
    cosine = lrsched.cosine(0.2, 100)
    factor, prefix = lrsched.warmup(10) * cosine, lrsched.warmup(10) * 0.2 >> cosine
    assert factor(5) == pytest.approx(0.5 * float(cosine(5)))
    assert factor(10) == cosine(10)
    assert prefix(5) == pytest.approx(0.1)
    assert prefix(10) == cosine(0)
    assert (factor.horizon, prefix.horizon) == (100, 110)


def test_any_function_of_the_unit_interval_is_a_shape():
    assert lrsched.warmup(4, ramp=jnp.sqrt)(1) == 0.5


def test_untuned_warmups_are_those_of_the_paper():
    b2 = 0.999
    length = round(2 / (1 - b2))
    linear = lrsched.untuned_warmup(b2)
    assert linear(length - 1) == pytest.approx(1, rel=1e-4)
    assert linear(length + 1) == 1
    steps = np.arange(5000)
    np.testing.assert_allclose(
        lrsched.untuned_warmup(b2, "exponential")(steps),
        lrsched.exponential_warmup(1 / (1 - b2))(steps),
        rtol=2e-4,
    )


@pytest.mark.parametrize("b2", [0.61, 0.9, 0.99])  # above, optax's own r - 4 is mostly rounding
def test_the_radam_warmup_is_optaxs_rectification(b2):
    """One Adam step of RAdam over one of Adam, from the first step where it rectifies."""
    adam, radam = optax.scale_by_adam(b2=b2), optax.scale_by_radam(b2=b2, threshold=4.0)
    gradient = {"w": jnp.ones(1)}
    states = adam.init(gradient), radam.init(gradient)
    ratios = []
    for _ in range(60):
        plain, first = adam.update(gradient, states[0])
        rectified, second = radam.update(gradient, states[1])
        states = first, second
        ratios.append(float(rectified["w"][0] / plain["w"][0]))
    factor = np.asarray(lrsched.radam_warmup(b2)(np.arange(40)))
    offset = next(i for i in range(20) if abs(ratios[i] - factor[0]) < 2e-3 * factor[0])
    np.testing.assert_allclose(ratios[offset : offset + 40], factor, rtol=2e-2)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: lrsched.untuned_warmup(1.0),
            "b2=1.0 is not accepted; b2 must be a number above 0 and",
        ),
        (lambda: lrsched.untuned_warmup(0.9, "cosine"), "ramp must be one of 'linear', 'exp"),
        (
            lambda: lrsched.radam_warmup(0.5),
            "b2=0.5 is not accepted; b2 must be a number above 0.6",
        ),
        (lambda: lrsched.log_warmup(0), "steps=0 is not accepted"),
        (lambda: lrsched.exponential_warmup(0), "timescale=0 is not accepted"),
        (
            lambda: lrsched.warmup(5, "sine"),
            "ramp='sine' is not accepted; ramp must be one of 'linear', 'cosine', "
            "'mirror-cosine', '1-sqrt', "
            r"'square', 'exponential', or 'power:P' with P above 0, or a function from \[0, 1\] to",
        ),
        (lambda: lrsched.warmup(5, 3), "ramp=3 is not accepted"),
        (lambda: lrsched.warmup(-1), "steps=-1 is not accepted"),
    ],
)
def test_bad_input(make, message):
    with pytest.raises(ValueError, match=message):
        make()
