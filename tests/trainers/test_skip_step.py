"""Updates that are skipped where a gradient is not finite: optax's wrappers and an own one."""

from typing import NamedTuple

import chex
import flax.serialization
import jax
import jax.numpy as jnp
import optax
import pytest

import lrsched
from tests.trainers.survival import (
    SCHEDULE,
    Trainer,
    check_survival,
    loss_of,
    one_trace,
    parameters,
)


class SkipState(NamedTuple):
    """State of `skip_nonfinite`: the number of skipped updates, and the optimizer's state."""

    num_skipped: jax.Array
    inner_state: optax.OptState


def skip_nonfinite(optimizer):
    """Keep the state and the parameters where a gradient is not finite."""

    def init(params):
        return SkipState(jnp.zeros([], jnp.int32), optimizer.init(params))

    def update(updates, state, params=None):
        leaves = jax.tree.leaves(updates)
        is_finite = jnp.all(jnp.stack([jnp.all(jnp.isfinite(leaf)) for leaf in leaves]))
        new, inner = optimizer.update(updates, state.inner_state, params)
        kept = jax.tree.map(
            lambda a, b: jnp.where(is_finite, a, b),
            (new, inner),
            (jax.tree.map(jnp.zeros_like, new), state.inner_state),
        )
        return kept[0], SkipState(state.num_skipped + ~is_finite, kept[1])

    return optax.GradientTransformation(init, update)


WRAPPERS = {
    "apply_if_finite": lambda inner: optax.apply_if_finite(inner, max_consecutive_errors=3),
    "skip_not_finite": lambda inner: optax.MultiSteps(
        inner, every_k_schedule=1, should_skip_update_fn=optax.skip_not_finite
    ),
    "own": skip_nonfinite,
}


def edit(job, change):
    return (job[0], change(job[1]), job[2])


def save(job, path):
    (path / "job.msgpack").write_bytes(flax.serialization.to_bytes(job))


def restore(job, path):
    return jax.tree.map(
        jnp.asarray, flax.serialization.from_bytes(job, (path / "job.msgpack").read_bytes())
    )


OURS = optax.chain(optax.scale_by_adam(), lrsched.scale_by_learning_rate(SCHEDULE))


def trainer_of(wrap, inner=OURS, compiled=one_trace):
    optimizer = wrap(inner)

    def start():
        params = parameters()
        return params, optimizer.init(params), jnp.zeros([], jnp.int32)

    def step(job):
        params, state, count = job
        # Every third gradient overflows.
        factor = jnp.where(count % 3 == 1, jnp.inf, 1.0)
        gradients = jax.tree.map(lambda g: g * factor, jax.grad(loss_of)(params))
        updates, state = optimizer.update(gradients, state, params)
        return optax.apply_updates(params, updates), state, count + 1

    return Trainer(start, compiled(step), edit, save, restore)


@pytest.mark.parametrize("wrap", WRAPPERS.values(), ids=WRAPPERS)
def test_a_killed_run_continues_and_a_skipped_update_does_not_count(wrap, tmp_path):
    trainer = trainer_of(wrap)
    check_survival(trainer, tmp_path)
    job = trainer.start()
    for _ in range(6):
        job = trainer.step(job)
    chex.assert_tree_all_finite(job)
    # Steps 1 and 4 are skipped: the schedule has seen four updates.
    assert int(lrsched.metrics(job)["schedule_step"]) == 3
