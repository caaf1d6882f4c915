"""A linen train state whose optimizer is told what controllers and outside clocks need."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax.core import FrozenDict
from flax.training import train_state

import lrsched
from lrsched.flax import TrainState

PLATEAU = optax.chain(
    optax.scale_by_adam(),
    lrsched.scale_by_learning_rate(0.5),
    lrsched.reduce_on_plateau(factor=0.5, patience=1),
)


def state_of(tx, kind=TrainState):
    model = nn.Dense(2)
    params = model.init(jax.random.key(0), jnp.ones((1, 3)))
    return kind.create(apply_fn=model.apply, params=params, tx=tx)


def grads_of(state):
    return jax.tree.map(jnp.ones_like, state.params)


def test_a_metric_reaches_the_controller_in_a_step_that_is_compiled_once():
    traces = []

    @jax.jit
    def step(state, loss):
        traces.append(1)
        return state.apply_gradients(grads=grads_of(state), value=loss)

    state = state_of(PLATEAU)
    for loss in (1.0, 2.0, 3.0):
        state = step(state, jnp.float32(loss))
    assert float(lrsched.learning_rate(state)) == 0.125
    assert (len(traces), int(state.step), state.tx is PLATEAU) == (1, 3, True)
    with pytest.raises(TypeError, match="value"):
        state_of(PLATEAU, train_state.TrainState).apply_gradients(grads=grads_of(state), value=1.0)


def test_without_extras_it_is_flaxs():
    ours, theirs = state_of(optax.adam(0.1)), state_of(optax.adam(0.1), train_state.TrainState)
    for _ in range(3):
        ours = ours.apply_gradients(grads=grads_of(ours), value=1.0)
        theirs = theirs.apply_gradients(grads=grads_of(theirs))
    jax.tree.map(np.testing.assert_array_equal, ours.params, theirs.params)
    jax.tree.map(np.testing.assert_array_equal, ours.opt_state, theirs.opt_state)


def test_an_outside_clock_and_fields_of_ones_own():
    class WithStatistics(TrainState):
        batch_stats: FrozenDict

    tx = lrsched.scale_by_learning_rate(lrsched.linear(1.0, 0.0, steps=10))
    params = {"w": jnp.ones(2)}
    state = WithStatistics.create(apply_fn=None, params=params, tx=tx, batch_stats={"mean": 0.0})
    state = state.apply_gradients(grads=params, step=4, batch_stats={"mean": 1.0})
    np.testing.assert_allclose(lrsched.learning_rate(state), 0.6, rtol=1e-6)
    assert state.batch_stats == {"mean": 1.0}
    assert int(state.step) == 1


def test_parameters_that_are_overwritten_with_their_gradient_are():
    params = {"params": {"w": jnp.ones(2)}, "_overwrite_with_gradient": {"scale": jnp.ones(1)}}
    state = TrainState.create(apply_fn=None, params=params, tx=PLATEAU)
    grads = jax.tree.map(lambda p: 3 * p, params)
    new = state.apply_gradients(grads=grads, value=1.0)
    np.testing.assert_array_equal(new.params["_overwrite_with_gradient"]["scale"], 3.0)
    np.testing.assert_allclose(new.params["params"]["w"], 0.5, rtol=1e-5)
