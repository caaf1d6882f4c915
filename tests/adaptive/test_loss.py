"""Controllers of the training loss, compared with plain Python."""

import itertools

import jax.numpy as jnp
import numpy as np
import pytest

import lrsched
from tests.adaptive.test_plateau import scales


def noisy(count, slope=-0.02, seed=0):
    return 5 + slope * np.arange(count) + 0.05 * np.random.default_rng(seed).standard_normal(count)


def test_bold_driver_raises_after_falls_and_halves_after_rises():
    losses, scale, expected = noisy(30), 1.0, [1.0]
    for before, now in itertools.pairwise(losses):
        scale = np.clip(scale * (1.1 if np.float32(now) <= np.float32(before) else 0.5), 0.1, 3)
        expected.append(scale)
    found = scales(lrsched.bold_driver(min_scale=0.1, max_scale=3.0), losses)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_a_spike_lowers_the_rate_which_then_recovers():
    losses = noisy(60)
    losses[40] += 3
    found = scales(lrsched.backoff_on_spike(recovery=1.1, threshold=6.0), losses)
    assert found[:40] == [1.0] * 40
    assert found[40] == 0.5
    assert found[41] == pytest.approx(0.55)
    assert found[48] == 1.0


def test_a_second_spike_is_detected_and_a_loss_that_stays_high_becomes_the_mean():
    losses = noisy(400, slope=0.0)
    losses[40] += 3
    losses[42] += 3
    losses[100:] += 1
    found = scales(lrsched.backoff_on_spike(threshold=6.0), losses)
    assert found[42] < found[41] < 1
    assert found[100] == found[99] / 2
    assert found[-1] == 1.0


def test_adalrs_equals_least_squares_slopes_in_plain_python():
    rng = np.random.default_rng(3)
    losses = 4 * 0.99 ** np.arange(200) + 0.02 * rng.standard_normal(200)
    window, up, down, shrink, rtol = 10, 2.0, 1.5, 0.9, 0.05
    scale, before, reference, is_trial, changes, expected = 1.0, 1.0, -np.inf, False, 0, []
    for end in range(1, 201):
        if end % window == 0:
            velocity = -np.polyfit(np.arange(window), losses[end - window : end], 1)[0]
            is_slower = velocity < reference - rtol * abs(reference)
            if is_trial and is_slower:
                scale, is_trial = before / max(down * shrink**changes, 1), False
                reference = velocity
            elif is_slower:
                before, is_trial = scale, True
                scale, changes = scale * max(up * shrink**changes, 1), changes + 1
            else:
                is_trial, reference = False, velocity
        expected.append(scale)
    found = scales(lrsched.adalrs(10), losses)
    np.testing.assert_allclose(found, expected, rtol=1e-4)
    assert len(set(np.round(expected, 6))) > 3


def test_adalrs_raises_a_rate_that_is_too_low():
    optimizer = lrsched.scale_by_learning_rate(1e-3)
    rule = lrsched.adalrs(20, rtol=0.0)
    params, state, control = jnp.array([3.0]), optimizer.init(0), rule.init(0)
    for _ in range(400):
        updates, state = optimizer.update(params, state)
        updates, control = rule.update(updates, control, value=0.5 * params[0] ** 2)
        params = params + updates
    assert float(control.scale) > 2
