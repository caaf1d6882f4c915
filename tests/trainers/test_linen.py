"""Flax linen: a ``TrainState`` and ``flax.training.checkpoints``."""

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from flax.training import checkpoints, train_state

import lrsched
from tests.trainers.survival import (
    SCHEDULE,
    Trainer,
    check_survival,
    one_trace,
    plain_schedule,
    regression,
)

MODEL = nn.Dense(1)
OURS = optax.chain(optax.scale_by_adam(), lrsched.scale_by_learning_rate(SCHEDULE))
PLAIN = optax.adam(plain_schedule)


def start(tx=OURS):
    params = MODEL.init(jax.random.key(0), regression()[0])
    return train_state.TrainState.create(apply_fn=MODEL.apply, params=params, tx=tx)


def step(state):
    x, y = regression()

    def loss(params):
        return jnp.mean((state.apply_fn(params, x) - y) ** 2)

    return state.apply_gradients(grads=jax.grad(loss)(state.params))


def edit(state, change):
    return state.replace(opt_state=change(state.opt_state))


def save(state, path):
    checkpoints.save_checkpoint_multiprocess(path, state, 1)


def restore(state, path):
    # Flax's checkpoints restore NumPy arrays, which a compiled step takes as new types.
    return jax.tree.map(jnp.asarray, checkpoints.restore_checkpoint(path, state))


def test_a_killed_run_continues(tmp_path):
    check_survival(Trainer(start, one_trace(step), edit, save, restore), tmp_path)


def test_a_checkpoint_of_plain_optax_is_taken_over(tmp_path):
    old = step(step(start(PLAIN)))
    save(old, tmp_path)
    restored, fresh = restore(start(PLAIN), tmp_path), start()
    new = fresh.replace(
        step=restored.step,
        params=restored.params,
        opt_state=lrsched.migrate(restored.opt_state, fresh.opt_state),
    )
    chex.assert_trees_all_close(step(new).params, step(old).params, rtol=1e-6)
