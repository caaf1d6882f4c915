"""`noise_scale` against closed forms; what all transforms guarantee is in test_contract.py."""

import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import lrsched

# Linear regression: y = x . w* + 2 n with x ~ N(0, diag(1, 4)), at w - w* = (1, 1). In closed form
# |G|**2 = 17 and tr S = (e.C e + 4) tr C + |G|**2 = 62.
ERROR, SCALES, SIGMA = jnp.ones(2), jnp.array([1.0, 2.0]), 2.0
TRACE, GRADIENT_SQ = 62.0, 17.0


def gradients(key, shape):
    """Gradients of single examples at the same parameters, of shape ``(*shape, 2)``."""
    key_x, key_n = jax.random.split(key)
    x = SCALES * jax.random.normal(key_x, (*shape, 2))
    return x * (x @ ERROR - SIGMA * jax.random.normal(key_n, shape))[..., None]


def measured(optimizer, calls, small=None):
    """The state after these gradients, all at the same parameters."""

    def step(state, inputs):
        gradient, small = inputs
        extra = {} if small is None else {"small_gradients": small}
        return optimizer.update(gradient, state, jnp.zeros(2), **extra)[1], None

    return jax.jit(lambda: jax.lax.scan(step, optimizer.init(jnp.zeros(2)), (calls, small))[0])()


def check(state, samples):
    result = lrsched.critical_batch_size(state)
    assert result.num_samples == samples
    assert result.low < TRACE / GRADIENT_SQ < result.high
    np.testing.assert_allclose(result.trace, TRACE, rtol=0.1)
    np.testing.assert_allclose(result.gradient_norm_sq, GRADIENT_SQ, rtol=0.1)
    assert result.high - result.low < result.value
    return result


def test_micro_batches_give_the_closed_form():
    calls = gradients(jax.random.key(0), (8000, 4)).mean(axis=1)
    optimizer = lrsched.noise_scale(optax.sgd(0.0), 4, micro_batches=8, decay=0.998)
    check(measured(optimizer, calls), 1000)


def test_two_batch_sizes_give_the_closed_form():
    examples = gradients(jax.random.key(1), (1000, 32))
    optimizer = lrsched.noise_scale(optax.sgd(0.0), 32, small_batch_size=4, decay=0.998)
    check(measured(optimizer, examples.mean(axis=1), examples[:, :4].mean(axis=1)), 1000)


def test_the_gradients_of_an_axis_give_the_closed_form_and_their_mean_is_applied():
    calls = gradients(jax.random.key(2), (1000, 8, 4)).mean(axis=2)
    optimizer = lrsched.noise_scale(optax.sgd(1.0), 4, axis_name="data", decay=0.998)
    state = optimizer.init(jnp.zeros(2))

    def step(state, gradient):
        updates, states = jax.vmap(
            lambda g: optimizer.update(g, state, jnp.zeros(2)), axis_name="data"
        )(gradient)
        return jax.tree.map(lambda x: x[0], states), updates[0]

    state, updates = jax.jit(lambda: jax.lax.scan(step, state, calls))()
    check(state, 1000)
    np.testing.assert_allclose(updates, -calls.mean(axis=1), rtol=1e-5, atol=1e-6)


def test_the_interval_holds_its_level():
    def interval(key):
        calls = gradients(key, (200, 4)).mean(axis=1)
        optimizer = lrsched.noise_scale(optax.sgd(0.0), 4, micro_batches=2, decay=0.99)
        step = lambda s, g: (optimizer.update(g, s, jnp.zeros(2))[1], None)  # noqa: E731
        return jax.lax.scan(step, optimizer.init(jnp.zeros(2)), calls)[0]

    keys = jax.random.split(jax.random.key(3), 200)
    states = jax.device_get(jax.jit(jax.vmap(interval))(keys))
    results = [
        lrsched.critical_batch_size(jax.tree.map(lambda x: x[i], states))  # noqa: B023
        for i in range(200)
    ]
    covered = np.mean([r.low <= TRACE / GRADIENT_SQ <= r.high for r in results])
    assert 0.88 <= covered <= 0.99


# Cases of a float64 reference, written apart from the library.
@pytest.mark.parametrize(
    ("decay", "expected"),
    [
        (0.9, [102.4, 56.24242424, 124.88389513, 111.83281087, 99.77986028]),
        (0.0, [102.4, 32.3678161, np.inf, 89.8245614, 66.56]),
    ],
)
def test_the_moments_are_averaged_before_they_are_divided(decay, expected):
    pairs = [[3.0, 1.0], [2.5, 1.4], [2.8, 0.2], [3.1, 1.1], [2.2, 0.9]]
    optimizer = lrsched.noise_scale(optax.sgd(0.0), 256, small_batch_size=32, decay=decay)
    state, values = optimizer.init(jnp.zeros(1)), []
    for small, big in np.sqrt(pairs):
        _, state = optimizer.update(
            jnp.array([big]), state, jnp.zeros(1), small_gradients=jnp.array([small])
        )
        values.append(lrsched.critical_batch_size(state).value)
    np.testing.assert_allclose(values, expected, rtol=1e-5)


def test_the_updates_are_those_of_multi_steps():
    params, rng = jnp.ones(3), np.random.default_rng(0)
    ours = lrsched.noise_scale(optax.adam(0.1), 4, micro_batches=3)
    theirs = optax.MultiSteps(optax.adam(0.1), 3)
    states = [ours.init(params), theirs.init(params)]
    updates = [jax.jit(ours.update), jax.jit(theirs.update)]
    for _ in range(7):
        gradient = jnp.asarray(rng.normal(size=3), jnp.float32)
        results = [f(gradient, s, params) for f, s in zip(updates, states, strict=True)]
        states = [state for _, state in results]
        np.testing.assert_allclose(results[0][0], results[1][0], rtol=1e-6)
    assert lrsched.critical_batch_size(states[0]).num_samples == 2


def test_a_sample_that_is_not_finite_is_skipped_and_bfloat16_is_summed_in_float32():
    params = jnp.zeros(10_000, jnp.bfloat16)
    optimizer = lrsched.noise_scale(optax.sgd(0.1), 2, small_batch_size=1)
    state = optimizer.init(params)
    for big, small in ((1.0, 2.0), (jnp.nan, 1.0), (1.0, jnp.inf)):
        _, state = optimizer.update(params + big, state, params, small_gradients=params + small)
    assert (int(state.count), int(state.nonfinite_count)) == (1, 2)
    result = lrsched.critical_batch_size(state)
    np.testing.assert_allclose(result.trace, 60_000, rtol=1e-6)
    assert (result.low, result.high) == (0.0, np.inf)
    assert "1 samples" in str(result)


def test_a_micro_batch_that_is_not_finite_costs_one_sample():
    optimizer = lrsched.noise_scale(optax.sgd(0.1), batch_size=1, micro_batches=2)
    params = jnp.zeros(1)
    state = optimizer.init(params)
    last = []
    for gradient in (1.0, 3.0, jnp.nan, 1.0, 1.0, 3.0):
        updates, state = optimizer.update(jnp.array([gradient]), state, params)
        last.append(float(updates[0]))
    assert int(state.nonfinite_count) == 1
    assert lrsched.critical_batch_size(state).num_samples == 2
    np.testing.assert_allclose(last[-1], -0.2, rtol=1e-6)


def test_the_rate_is_read_and_changed_through_it():
    optimizer = lrsched.noise_scale(lrsched.scale_by_learning_rate(0.5), 1, micro_batches=2)
    state = lrsched.set_learning_rate(optimizer.init(jnp.zeros(1)), 0.25)
    for _ in range(2):
        updates, state = optimizer.update(jnp.ones(1), state, jnp.zeros(1))
    assert (float(lrsched.learning_rate(state)), updates.tolist()) == (0.25, [-0.25])


def test_on_devices_of_a_mesh_there_is_one_all_reduce():
    root = Path(__file__).parents[2]
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=4"
    subprocess.run(
        [sys.executable, "-m", "tests.adaptive.sharded_noise"],
        cwd=root,
        env=os.environ | {"XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"},
        check=True,
        timeout=300,
    )


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: lrsched.noise_scale(optax.sgd(0.1), 4), "no source is not accepted"),
        (
            lambda: lrsched.noise_scale(optax.sgd(0.1), 4, micro_batches=2, axis_name="data"),
            "micro_batches, axis_name is not accepted; pass exactly one",
        ),
        (lambda: lrsched.noise_scale(optax.sgd(0.1), 4, micro_batches=1), "micro_batches=1 is not"),
        (
            lambda: lrsched.noise_scale(optax.sgd(0.1), 4, small_batch_size=4),
            "small_batch_size must be below batch_size=4",
        ),
        (
            lambda: lrsched.critical_batch_size(optax.adam(0.1).init(1.0)),
            "holds 0 states of noise_scale",
        ),
        (
            lambda: lrsched.critical_batch_size(
                lrsched.noise_scale(optax.sgd(0.1), 4, micro_batches=2).init(jnp.zeros(1))
            ),
            "no sample yet",
        ),
    ],
)
def test_bad_input(make, message):
    with pytest.raises(ValueError, match=message):
        make()
