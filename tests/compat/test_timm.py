"""Horizons of timm's schedules with a warmup that is not a prefix."""

import jax.numpy as jnp
import numpy as np
import pytest

from lrsched.compat import timm
from lrsched.expressions import parse


@pytest.mark.parametrize(("t_initial", "warmup_t"), [(7, 30), (30, 7), (12, 12)])
def test_the_horizon_is_the_longer_of_curve_and_warmup(t_initial, warmup_t):
    schedule = timm.CosineLRScheduler(0.2, t_initial, lr_min=0.01, warmup_t=warmup_t)
    assert schedule.horizon == max(t_initial, warmup_t)
    after = schedule(schedule.horizon + jnp.arange(5))
    np.testing.assert_array_equal(after, np.float32([0.01] * 5))


@pytest.mark.parametrize("factor", [1e30, 0.5])
@pytest.mark.parametrize(("numerator", "denominator"), [(64, 8), (1, 2**30), (7, 1000)])
def test_steps_of_a_fractional_period_are_finite(factor, numerator, denominator):
    schedule = parse(f"timm.fractional_steps(1e30, {factor}, {numerator}, {denominator}, 10**9)")
    rates = np.asarray(schedule(np.array([0, 1, 17, 1000, 2**24 + 1, 2**31 - 1])))
    assert np.all(np.isfinite(rates))
    assert np.all(np.sign(np.diff(rates)) == (1 if factor > 1 else -1) * (np.diff(rates) != 0))
