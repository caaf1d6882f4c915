import jax.numpy as jnp
import numpy as np
import optax

import lrsched


def test_adagrad_norm_is_its_sum_of_squares():
    optimizer, params = lrsched.adagrad_norm(2.0, b0=0.5), jnp.array([3.0, -2.0])
    state, total = optimizer.init(params), 0.25
    for _ in range(50):
        gradient = np.asarray(params) * [1.0, 4.0]
        total += gradient @ gradient
        updates, state = optimizer.update(jnp.float32(gradient), state, params)
        np.testing.assert_allclose(lrsched.learning_rate(state), 2 / np.sqrt(total), rtol=1e-5)
        params = optax.apply_updates(params, updates)


def test_adagrad_norm_converges_from_a_rate_that_is_far_too_high():
    optimizer, params = lrsched.adagrad_norm(100.0), jnp.array([3.0, -2.0])
    state = optimizer.init(params)
    for _ in range(300):
        updates, state = optimizer.update(params * jnp.array([1.0, 4.0]), state, params)
        params = optax.apply_updates(params, updates)
    assert float(jnp.linalg.norm(params)) < 1e-3
