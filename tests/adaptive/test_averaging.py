"""Averages of the parameters, and how `eval_params` finds them."""

import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import lrsched

GRADIENTS = np.random.default_rng(0).standard_normal((60, 3))


def walk(average, rate=0.5, gradients=GRADIENTS, dtype=jnp.float32):
    """The parameters after each update of gradient descent, and the last state."""
    optimizer = optax.chain(lrsched.scale_by_learning_rate(rate), average)
    params = jnp.zeros(3, dtype)
    state, points = optimizer.init(params), []
    for gradient in gradients:
        updates, state = optimizer.update(jnp.asarray(gradient, dtype), state, params)
        params = optax.apply_updates(params, updates)
        points.append(np.asarray(params, np.float64))
    return np.array(points), params, state


def test_an_exponential_average_is_its_weights():
    points, params, state = walk(lrsched.ema_params(0.9))
    weights = 0.9 ** np.arange(60)[::-1]
    expected = weights @ points / weights.sum()
    np.testing.assert_allclose(lrsched.eval_params(state, params), expected, atol=1e-5)


def test_a_polynomial_average_of_power_0_is_the_mean():
    points, params, state = walk(lrsched.polynomial_average(0.0))
    np.testing.assert_allclose(lrsched.eval_params(state, params), points.mean(0), atol=1e-5)


def test_lawa_is_the_mean_of_its_snapshots():
    points, params, state = walk(lrsched.lawa(num_snapshots=4, updates_per_snapshot=7))
    expected = points[[34, 41, 48, 55]].mean(0)
    np.testing.assert_allclose(lrsched.eval_params(state, params), expected, atol=1e-5)
    _, params, state = walk(lrsched.lawa(num_snapshots=4, updates_per_snapshot=100))
    np.testing.assert_array_equal(lrsched.eval_params(state, params), params)


@settings(max_examples=12)  # each one compiles two programs of its own
@given(
    st.integers(1, 40),
    st.sampled_from(["linear", "cosine", "1-sqrt", "square", "mirror-cosine"]),
)
def test_an_annealing_average_at_the_peak_is_training_with_the_cooldown(fall, shape):
    schedule = lrsched.wsd(0.5, 60, warmup=0, cooldown=fall, ramp=shape)
    _, plateau, state = walk(lrsched.annealing_average(schedule))
    _, cooled, _ = walk(optax.identity(), rate=schedule)
    np.testing.assert_allclose(lrsched.eval_params(state, plateau), cooled, atol=2e-5)


def test_an_annealing_average_is_the_parameters_before_the_fall():
    schedule = lrsched.wsd(0.5, 120, warmup=0, cooldown=50)
    _, params, state = walk(lrsched.annealing_average(schedule))
    np.testing.assert_array_equal(lrsched.eval_params(state, params), params)


@pytest.mark.parametrize(
    ("make", "value", "initial"),
    [
        (lrsched.ema_params, 0.9, 0.5),
        (lrsched.polynomial_average, 2.0, 8.0),
        (lambda every: lrsched.lawa(2, every), 7, 20),
        (lambda steps: lrsched.annealing_average(lrsched.linear(1.0, 0.0, steps)), 50, 90),
    ],
    ids=["ema_params", "polynomial_average", "lawa", "annealing_average"],
)
def test_an_update_uses_the_array_that_it_is_built_with(make, value, initial):
    _, params, state = walk(make(value))

    @jax.jit
    def final(value):
        def step(carry, gradient):
            params, state = carry
            _, state = make(value).update(-0.5 * gradient, state, params)
            return (params - 0.5 * gradient, state), None

        start = jnp.zeros(3)
        init = make(initial).init(start)
        (params, state), _ = jax.lax.scan(step, (start, init), jnp.float32(GRADIENTS))
        return lrsched.eval_params(state, params)

    np.testing.assert_allclose(final(value), lrsched.eval_params(state, params), atol=1e-5)


def test_a_traced_decay_that_is_not_legal_leaves_a_finite_average():
    @jax.jit
    def after(decay):
        optimizer = lrsched.ema_params(decay)
        _, state = optimizer.update(jnp.ones(2), optimizer.init(jnp.ones(2)), jnp.ones(2))
        return state.average

    assert np.all(np.isfinite(after(1.0)))
    assert np.all(np.isfinite(after(np.nan)))


def test_sharded_parameters_have_sharded_averages_and_one_all_reduce():
    script = Path(__file__).parent / "sharded_averages.py"
    environment = os.environ | {"JAX_NUM_CPU_DEVICES": "8"}
    done = subprocess.run(
        [sys.executable, str(script)], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_an_average_of_narrow_parameters_is_wide_and_evaluates_to_their_dtype():
    _, params, state = walk(lrsched.ema_params(0.9), dtype=jnp.bfloat16)
    assert state[-1].average.dtype == jnp.float32
    assert lrsched.eval_params(state, params).dtype == jnp.bfloat16


def test_a_parameter_that_is_not_finite_does_not_reach_the_average():
    gradients = GRADIENTS.copy()
    gradients[-1, 1] = np.nan
    _, params, state = walk(lrsched.ema_params(0.9), gradients=gradients)
    assert np.isnan(params[1])
    assert np.all(np.isfinite(lrsched.eval_params(state, params)))


def test_without_an_average_the_parameters_are_themselves():
    _, params, state = walk(optax.identity())
    assert lrsched.eval_params(state, params) is params


def test_groups_without_an_average_stay_as_they_are():
    params = {"w": jnp.ones(2), "b": {"x": jnp.ones(1), "y": jnp.ones(1, jnp.bfloat16)}}
    optimizer = optax.partition(
        {"sf": lrsched.schedule_free_sgd(0.5), "sgd": lrsched.scale_by_learning_rate(0.5)},
        {"w": "sf", "b": "sgd"},
    )
    state = optimizer.init(params)
    for _ in range(3):
        updates, state = optimizer.update(params, state, params)
        params = optax.apply_updates(params, updates)
    evaluated = jax.jit(lrsched.eval_params)(state, params)
    jax.tree.map(np.testing.assert_array_equal, evaluated["b"], params["b"])
    assert np.all(evaluated["w"] != params["w"])


def test_two_averages_of_the_same_parameters_are_refused():
    _, params, state = walk(optax.chain(lrsched.ema_params(), lrsched.lawa()))
    with pytest.raises(ValueError, match="two averages of the same parameters"):
        lrsched.eval_params(state, params)
    assert lrsched.eval_params(state[1][0], params).shape == (3,)
