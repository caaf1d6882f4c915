"""Hypergradients, against the papers' recursions in float64."""

import jax.numpy as jnp
import numpy as np
import optax
import pytest

import lrsched

CURVATURE = np.array([1.0, 3.0, 0.2])
START = np.array([3.0, -2.0, 1.0])
SCHEDULE = lrsched.linear(1.0, 0.4, steps=60)


def sgd(gradient, memory, step):
    del memory, step
    return gradient, None


def momentum(gradient, memory, step):
    del step
    velocity = gradient + 0.9 * (0.0 if memory is None else memory)
    return velocity, velocity


def adam(gradient, memory, step):
    first, second = memory or (0.0, 0.0)
    first, second = 0.9 * first + 0.1 * gradient, 0.999 * second + 0.001 * gradient**2
    corrected = first / (1 - 0.9 ** (step + 1))
    return corrected / (np.sqrt(second / (1 - 0.999 ** (step + 1))) + 1e-8), (first, second)


BASES = {
    "sgd": (sgd, None, 1e-3),
    "momentum": (momentum, optax.trace(0.9), 1e-4),
    "adam": (adam, optax.scale_by_adam(), 1e-3),
}


@pytest.mark.parametrize("kind", ["additive", "multiplicative", "normalized"])
@pytest.mark.parametrize("base", BASES)
def test_the_rate_follows_the_papers_recursion(base, kind):
    direction_of, transform, additive = BASES[base]
    slope = {"additive": additive, "multiplicative": 0.02, "normalized": 1e-3}[kind]
    optimizer = lrsched.hypergradient(
        transform, SCHEDULE, initial_rate=0.05, hypergradient_rate=slope, update_rule=kind
    )
    params = jnp.float32(START)
    state = optimizer.init(params)
    x, rate, memory = START, 0.05, None
    before_gradient, before, outer = np.zeros(3), np.zeros(3), 0.0
    for step in range(60):
        gradient = CURVATURE * x
        agreement = gradient @ before
        if step:
            rate = {
                "additive": rate + slope * outer * agreement,
                "multiplicative": rate
                * (1 + slope * agreement / np.linalg.norm(gradient) / np.linalg.norm(before)),
                "normalized": rate + slope * agreement / (before_gradient @ before_gradient),
            }[kind]
        rate = max(rate, 0)
        direction, memory = direction_of(gradient, memory, step)
        outer = 1 - 0.6 * step / 60
        x = x - outer * rate * direction
        before_gradient, before = gradient, direction

        updates, state = optimizer.update(jnp.float32(CURVATURE) * params, state, params)
        params = optax.apply_updates(params, updates)
        np.testing.assert_allclose(lrsched.learning_rate(state), outer * rate, rtol=2e-3)
        np.testing.assert_allclose(params, x, atol=2e-3)


def test_a_rate_that_is_too_low_rises_and_one_that_is_too_high_falls():
    for first, is_higher in [(1e-4, True), (0.65, False)]:
        optimizer = lrsched.hypergradient(initial_rate=first, hypergradient_rate=0.1)
        params = jnp.float32(START)
        state = optimizer.init(params)
        for _ in range(30):
            updates, state = optimizer.update(jnp.float32(CURVATURE) * params, state, params)
            params = optax.apply_updates(params, updates)
        assert (float(lrsched.learning_rate(state)) > first) == is_higher


def test_hdm_is_the_authors_algorithm():
    """With null steps, AdaGrad for both and no estimate of the curvature."""
    eps, slope = 1e-12, 0.1
    x, x_before, best = START, START, np.inf
    gradient_at_x, rates, total, ball, ball_total = np.zeros(3), np.zeros(3), np.zeros(3), 0.95, 0.0
    tried = START
    optimizer, params = lrsched.hdm(hypergradient_rate=slope), jnp.float32(START)
    state = optimizer.init(params)
    for _ in range(25):
        value, gradient = 0.5 * CURVATURE @ tried**2, CURVATURE * tried
        size = gradient_at_x @ gradient_at_x + eps
        change = -gradient * gradient_at_x / size
        total = total + change**2
        rates = np.maximum(rates - slope * change / (np.sqrt(total) + eps), 0)
        pull = gradient @ (x - x_before) / size
        ball_total += pull**2
        ball = np.clip(ball - pull / (np.sqrt(ball_total) + eps), 0, 0.9995)
        x_before = x
        if value < best:
            x, best, gradient_at_x = tried, value, gradient
        tried = x - rates * gradient_at_x + ball * (x - x_before)

        loss = 0.5 * jnp.sum(CURVATURE * params**2)
        updates, state = optimizer.update(
            jnp.float32(CURVATURE) * params, state, params, value=loss
        )
        params = optax.apply_updates(params, updates)
        np.testing.assert_allclose(params, tried, atol=1e-4)
    assert best < 1e-2 * 0.5 * CURVATURE @ START**2


def test_a_base_must_be_a_transform():
    with pytest.raises(ValueError, match=r"base=0.1 is not accepted; base must be an optax"):
        lrsched.hypergradient(0.1)
