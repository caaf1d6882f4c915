"""Horizons of timm's schedules with a warmup that is not a prefix."""

import jax.numpy as jnp
import numpy as np
import pytest

from lrsched.compat import timm


@pytest.mark.parametrize(("t_initial", "warmup_t"), [(7, 30), (30, 7), (12, 12)])
def test_the_horizon_is_the_longer_of_curve_and_warmup(t_initial, warmup_t):
    schedule = timm.CosineLRScheduler(0.2, t_initial, lr_min=0.01, warmup_t=warmup_t)
    assert schedule.horizon == max(t_initial, warmup_t)
    after = schedule(schedule.horizon + jnp.arange(5))
    np.testing.assert_array_equal(after, np.float32([0.01] * 5))
