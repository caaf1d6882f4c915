"""Ramps with a parameter, and cooldowns that start below the plateau."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import lrsched
from tests.parity.frontier import cases


@pytest.mark.parametrize("power", [0.5, 1.2, 3.0])
def test_a_power_of_what_is_left(power):
    schedule = lrsched.wsd(2.0, steps=100, warmup=0, cooldown=40, ramp=f"power:{power}")
    steps = np.arange(120)
    expected = 2.0 * np.clip((100 - steps) / 40, 0, 1) ** power
    np.testing.assert_allclose(schedule(steps), expected, rtol=1e-6)
    assert lrsched.from_dict(lrsched.to_dict(schedule)) == schedule
    slope = jax.grad(lambda peak: schedule.replace(peak=peak)(110))(2.0)
    assert jnp.isfinite(slope)


def test_a_running_job_cools_down_by_a_power():
    optimizer = lrsched.scale_by_learning_rate(1.0)
    params = jnp.ones(1)
    state = lrsched.start_cooldown(optimizer.init(params), steps=4, ramp="power:2")
    for expected in (1.0, 0.5625, 0.25, 0.0625, 0.0):
        updates, state = optimizer.update(params, state, params)
        assert float(updates[0]) == -expected


@pytest.mark.parametrize(("inputs", "expected", "rtol"), cases("lowered_linear"))
def test_a_lowered_line_is_a_plateau_and_a_line(inputs, expected, rtol):
    del rtol  # Rates are float32.
    down = inputs["decay_steps"]
    plateau = lrsched.constant(1.0, steps=inputs["steps"] - down)
    schedule = plateau >> lrsched.linear(inputs.get("start", 0.7), 0.0, steps=down)
    assert float(schedule(inputs["step"])) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("ramp", ["power:", "power:-1", "power:0", "power:inf", "power:x", "cubic"])
def test_bad_ramps(ramp):
    with pytest.raises(ValueError, match=r"ramp='.*' is not accepted.*'power:P' with P above 0"):
        lrsched.warmup(10, ramp=ramp)
