"""Equinox: a module, ``eqx.filter_value_and_grad`` and ``eqx.tree_serialise_leaves``."""

import chex
import jax
import jax.numpy as jnp
import optax
import pytest

import lrsched
from tests.trainers.survival import (
    SCHEDULE,
    Trainer,
    check_survival,
    one_trace,
    plain_schedule,
    regression,
)

eqx = pytest.importorskip("equinox")

OURS = lrsched.inject_schedules(optax.adamw)(SCHEDULE, weight_decay=0.01)
PLAIN = optax.adamw(plain_schedule, weight_decay=0.01)


def start(optimizer=OURS):
    model = eqx.nn.Linear(4, 1, key=jax.random.key(0))
    return model, optimizer.init(eqx.filter(model, eqx.is_array))


def step(job, optimizer=OURS):
    model, state = job
    x, y = regression()

    @eqx.filter_grad
    def gradient(model):
        return jnp.mean((jax.vmap(model)(x) - y) ** 2)

    updates, state = optimizer.update(gradient(model), state, model)
    return eqx.apply_updates(model, updates), state


def edit(job, change):
    return job[0], change(job[1])


def save(job, path):
    eqx.tree_serialise_leaves(path / "job.eqx", job)


def restore(job, path):
    return eqx.tree_deserialise_leaves(path / "job.eqx", job)


def test_a_killed_run_continues(tmp_path):
    check_survival(Trainer(start, one_trace(step), edit, save, restore), tmp_path)


def test_a_checkpoint_of_plain_optax_is_taken_over(tmp_path):
    old = step(step(start(PLAIN), PLAIN), PLAIN)
    save(old, tmp_path)
    model, state = restore(start(PLAIN), tmp_path)
    chain = optax.chain(
        optax.scale_by_adam(),
        optax.add_decayed_weights(0.01),
        lrsched.scale_by_learning_rate(SCHEDULE),
    )
    new = model, lrsched.migrate(state, start(chain)[1])
    chex.assert_trees_all_close(step(new, chain)[0], step(old, PLAIN)[0], rtol=1e-6)
