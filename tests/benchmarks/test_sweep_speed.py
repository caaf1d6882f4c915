"""The comparison of sweeps: all manual ways train the same runs."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import sweep_speed

RATES = jnp.float32([0.01, 0.1])
PROBLEM = sweep_speed.Problem(
    params=lambda key: jnp.zeros(2),
    loss_fn=lambda weights, batch: jnp.mean((batch[0] @ weights - batch[1]) ** 2),
    data=(jnp.arange(1.0, 9.0).reshape(4, 2), jnp.arange(1.0, 5.0)),
    batch_size=2,
    steps=3,
)


def test_one_loop_a_loop_in_python_and_a_vmap_give_the_same_losses():
    loop = dataclasses.replace(PROBLEM, is_scan=False)
    batched = sweep_speed._compile(PROBLEM, RATES, jax.vmap)(RATES)
    assert batched[0] != batched[1]
    np.testing.assert_allclose(sweep_speed._compile(loop, RATES, jax.vmap)(RATES), batched, 1e-6)
    for problem in (PROBLEM, loop):
        train = sweep_speed._compile(problem, RATES[0])
        np.testing.assert_allclose([train(rate) for rate in RATES], batched, 1e-6)


def test_the_ratio_is_to_the_better_way_by_hand_in_the_same_round():
    times = {
        "fresh": [(9.0, 1.0)],
        "inject": [(1.0, 1.0), (2.0, 2.0), (1.0, 2.0)],
        "vmap": [(1.0, 3.0), (1.0, 1.0), (1.0, 3.0)],
        "lrsched": [(1.0, 2.0), (0.5, 0.5), (1.0, 2.0)],
    }
    ratios = list(sweep_speed.sweep_table("mlp", times).columns[4].cells)
    assert ratios == ["5.00", "1.00", "1.33", "1.00"]
