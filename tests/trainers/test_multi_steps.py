"""Gradient accumulation by ``optax.MultiSteps``, around groups with their own rates, and pickle."""

import pickle

import chex
import jax
import jax.numpy as jnp
import optax

import lrsched
from tests.trainers.survival import (
    SCHEDULE,
    Trainer,
    check_survival,
    loss_of,
    one_trace,
    parameters,
    plain_schedule,
)

LABELS = {"kernel": "matrices", "bias": "rest"}


def accumulating(matrices, rest):
    groups = optax.partition({"matrices": matrices, "rest": rest}, LABELS)
    return optax.MultiSteps(groups, every_k_schedule=2)


def ours():
    return accumulating(
        optax.chain(optax.scale_by_adam(), lrsched.scale_by_learning_rate(SCHEDULE)),
        lrsched.inject_schedules(optax.sgd)(SCHEDULE * 0.5),
    )


def plain():
    return accumulating(
        optax.adam(plain_schedule), optax.sgd(lambda step: 0.5 * plain_schedule(step))
    )


def start(make=ours):
    params = parameters()
    return params, make().init(params)


def step(job, make=ours):
    params, state = job
    optimizer = make()
    for _ in range(2):
        updates, state = optimizer.update(jax.grad(loss_of)(params), state, params)
        params = optax.apply_updates(params, updates)
    return params, state


def edit(job, change):
    return job[0], change(job[1])


def save(job, path):
    (path / "job.pickle").write_bytes(pickle.dumps(job))


def restore(job, path):
    del job  # Pickle keeps the structure.
    return pickle.loads((path / "job.pickle").read_bytes())


def test_a_killed_run_continues(tmp_path):
    trainer = Trainer(start, one_trace(step), edit, save, restore)
    check_survival(trainer, tmp_path, group="matrices")


def test_all_groups_are_edited_at_once():
    compiled = one_trace(step)
    job = edit(compiled(start()), lambda s: lrsched.start_cooldown(s, 4, end=0.01))
    for _ in range(6):
        job = compiled(job)
    rates = {label: jnp.float32(0.01) for label in ("matrices", "rest")}
    chex.assert_trees_all_close(lrsched.learning_rates(job), rates, rtol=1e-6)
