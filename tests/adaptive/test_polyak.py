"""Steps out of the loss, against closed forms on quadratics."""

import jax.numpy as jnp
import numpy as np
import optax
import pytest

import lrsched

CURVATURE = np.array([1.0, 4.0])


def run(optimizer, steps, start=(3.0, -2.0), lowest=0.0):
    params = jnp.array(start)
    state, rates, points = optimizer.init(params), [], [np.array(start)]
    for _ in range(steps):
        value = lowest + 0.5 * jnp.sum(CURVATURE * params**2)
        updates, state = optimizer.update(CURVATURE * params, state, params, value=value)
        params = optax.apply_updates(params, updates)
        rates.append(float(lrsched.learning_rate(state)))
        points.append(np.asarray(params))
    return np.array(points), np.array(rates)


@pytest.mark.parametrize("lowest", [0.0, -3.0, 2.0])
def test_polyaks_step_is_the_gap_over_the_squared_gradient(lowest):
    optimizer = lrsched.polyak(f_min=lowest, c=1.0, max_rate=10.0)
    points, rates = run(optimizer, 8, lowest=lowest)
    gap = 0.5 * (CURVATURE * points[:-1] ** 2).sum(-1)
    np.testing.assert_allclose(rates, gap / ((CURVATURE * points[:-1]) ** 2).sum(-1), rtol=1e-3)
    distances = np.linalg.norm(points, axis=-1)
    assert np.all(np.diff(distances) < 0)


def test_polyaks_step_grows_no_faster_than_it_may():
    flat = lrsched.polyak(c=1.0, max_rate=1e-3, max_growth=1.5)
    _, rates = run(flat, 10)
    np.testing.assert_allclose(rates, 1e-3, rtol=1e-6)
    _, rates = run(lrsched.polyak(lrsched.linear(1.0, 0.0, 10), c=1.0, max_rate=1e-3), 10)
    np.testing.assert_allclose(rates, 1e-3 * (1 - np.arange(10) / 10), rtol=1e-6)


def test_a_loss_below_the_least_makes_no_step():
    for optimizer in (lrsched.polyak(f_min=100.0), lrsched.alig(1.0)):
        points, rates = run(optimizer, 3, lowest=-50.0)
        np.testing.assert_array_equal(points, points[:1].repeat(4, 0))
        assert np.all(rates == 0)


def test_momo_with_a_memory_of_one_step_is_polyaks_capped():
    points, rates = run(lrsched.momo(0.3, momentum=0.0), 20)
    square = ((CURVATURE * points[:-1]) ** 2).sum(-1)
    gap = 0.5 * (CURVATURE * points[:-1] ** 2).sum(-1)
    np.testing.assert_allclose(rates, np.minimum(gap / square, 0.3), rtol=1e-4)


def test_momo_does_not_step_below_its_lower_bound():
    points, _ = run(lrsched.momo(1.0, lower_bound=1.0), 200)
    assert 0.5 * (CURVATURE * points[-1] ** 2).sum() == pytest.approx(1.0, abs=0.2)
