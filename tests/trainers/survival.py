"""What every trainer is put through: edits, a kill, a restore into a fresh job, one compilation."""

from collections.abc import Callable
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np

import lrsched

HORIZON = 20
SCHEDULE = lrsched.warmup(2) * 0.1 >> lrsched.cosine(0.1, steps=HORIZON - 2)


def plain_schedule(step):
    """Return `SCHEDULE` as a callable, for optax."""
    return SCHEDULE(step)


class Trainer(NamedTuple):
    """A training loop in somebody's manner.

    Attributes:
      start: Function that makes the job of the unedited configuration.
      step: Function from a job to the job after a step, or after several; compiled once.
      edit: ``edit(job, change)`` returns the job with another optimizer state.
      save: ``save(job, path)`` writes it.
      restore: ``restore(job, path)`` fills a fresh job.
      opt_state: Function from a job to what holds its optimizer state. Defaults to the job itself.
    """

    start: Callable[[], Any]
    step: Callable[[Any], Any]
    edit: Callable[[Any, Callable[[Any], Any]], Any]
    save: Callable[[Any, Any], None]
    restore: Callable[[Any, Any], Any]
    opt_state: Callable[[Any], Any] = lambda job: job


def one_trace(function, **options):
    """Return ``jax.jit(function)`` that fails at a second trace."""
    chex.clear_trace_counter()
    return jax.jit(chex.assert_max_traces(function, n=1), **options)


def regression():
    """Return inputs and targets, of shape (8, 4) and (8, 1)."""
    x = np.random.default_rng(0).normal(size=(8, 4)).astype(np.float32)
    return jnp.asarray(x), jnp.asarray(x.sum(1, keepdims=True))


def loss_of(params):
    """Return the mean squared error of a linear model."""
    x, y = regression()
    return jnp.mean((x @ params["kernel"] + params["bias"] - y) ** 2)


def parameters():
    """Return the parameters of the linear model."""
    return {"kernel": jnp.zeros((4, 1)), "bias": jnp.zeros(1)}


def check_survival(trainer: Trainer, path: Any, group: str | None = None) -> None:
    """Train, read, extend twice, cool down, kill, restore into a fresh job, continue.

    The killed job must equal the one that was not killed in every bit.
    """
    job = steps(trainer, trainer.start(), 3)
    labels = lrsched.learning_rates(trainer.opt_state(job))
    assert all(np.isfinite(rate) and rate > 0 for rate in labels.values())
    for total in (3 * HORIZON, 10 * HORIZON):
        edited = trainer.edit(job, lambda s, total=total: lrsched.extend(s, total, group=group))
        chex.assert_trees_all_equal_structs(edited, job)
        job = steps(trainer, edited, 2)
    job = trainer.edit(
        job, lambda s: lrsched.start_cooldown(s, 50, ramp="power:1.2", start=0.9, group=group)
    )
    job = steps(trainer, job, 2)
    trainer.save(job, path)
    survivor = steps(trainer, job, 3)
    jax.block_until_ready(survivor)
    del job
    restored = trainer.restore(trainer.start(), path)
    restored = steps(trainer, restored, 3)
    chex.assert_trees_all_equal(bits(restored), bits(survivor))
    schedule = lrsched.learning_rate_schedule(trainer.opt_state(survivor), group=group)
    assert "power:1.2" in repr(schedule)


def steps(trainer, job, count):
    """Return the job after a number of steps."""
    for _ in range(count):
        job = trainer.step(job)
    return job


def bits(job):
    """Return the arrays of a job, of random keys their data."""
    arrays = [leaf for leaf in jax.tree.leaves(job) if isinstance(leaf, jax.Array)]
    return [
        jax.random.key_data(leaf) if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key) else leaf
        for leaf in arrays
    ]
