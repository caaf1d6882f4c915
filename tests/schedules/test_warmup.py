import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import lrsched
from lrsched.schedules.ramps import RAMPS


@pytest.mark.parametrize("shape", RAMPS)
@given(steps=st.integers(0, 300), init=st.floats(0, 1, width=32, allow_subnormal=False))
def test_a_warmup_rises_from_init_to_one(shape, steps, init):
    values = np.asarray(lrsched.warmup(steps, shape, init)(np.arange(steps + 5)))
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
    assert lrsched.warmup(4, shape=jnp.sqrt)(1) == 0.5


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: lrsched.warmup(5, "sine"),
            "shape='sine' is not accepted; shape must be one of 'linear', 'cosine', '1-sqrt', "
            r"'square', or a function from \[0, 1\] to \[0, 1\]",
        ),
        (lambda: lrsched.warmup(5, 3), "shape=3 is not accepted"),
        (lambda: lrsched.warmup(-1), "steps=-1 is not accepted"),
    ],
)
def test_bad_input(make, message):
    with pytest.raises(ValueError, match=message):
        make()
