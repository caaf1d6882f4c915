"""A learning rate in use: the transform that applies a schedule and keeps it in its state."""

from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike

from lrsched._schedule import Schedule
from lrsched.algebra import as_schedule, in_hand
from lrsched.transforms.composition import rate_factor, scheduled_rate_factor
from lrsched.transforms.flax_serialization import register_with_flax

Data = TypeVar("Data")


class ScaleByLearningRateState(NamedTuple):
    """State of `scale_by_learning_rate`.

    Attributes:
      count: int32 scalar, the updates that this transform has applied.
      schedule: the schedule as `by_hand` of it, its numbers as float32 and int32 arrays.
      learning_rate: float32 scalar, the rate of the latest update; before the first, the rate that
        it will have.
    """

    count: jax.Array  # type: ignore[assignment]
    schedule: Schedule
    learning_rate: jax.Array


rate_factor.register(ScaleByLearningRateState, scheduled_rate_factor)


def scale_by_learning_rate(
    learning_rate: ArrayLike | Schedule | optax.Schedule, *, flip_sign: bool = True
) -> optax.GradientTransformationExtraArgs:
    """Multiply the updates by minus the learning rate: ``u_t = -schedule(t) g_t``.

    A drop-in for ``optax.scale_by_learning_rate`` whose state holds the schedule and the rate last
    applied, so that both are saved with a checkpoint and `learning_rate` reads the rate. A number,
    a schedule and a callable give the same state. The rate is float32 and multiplies in float32 or
    better, whatever the parameters' dtype; the updates keep the gradients' dtypes.

    The step is the number of updates that this transform has applied. ``update(..., step=)`` gives
    it another clock: the schedule is read there, and the count goes on from it.

    Args:
      learning_rate: a number, a `Schedule`, or any callable of the step.
      flip_sign: whether to apply the minus of descent.

    Raises:
      ValueError: ``learning_rate`` is none of these, or gives something else than one number.

    >>> import jax.numpy as jnp, lrsched, optax
    >>> optimizer = optax.chain(
    ...     optax.scale_by_adam(), lrsched.scale_by_learning_rate(lrsched.cosine(0.1, steps=100)))
    >>> params = {"w": jnp.ones(3)}
    >>> state = optimizer.init(params)
    >>> updates, state = optimizer.update({"w": jnp.ones(3)}, state, params)
    >>> float(lrsched.learning_rate(state)) == float(lrsched.cosine(0.1, steps=100)(0))
    True
    """
    schedule = as_schedule(learning_rate)
    sign = -1 if flip_sign else 1

    def init(params: optax.Params) -> ScaleByLearningRateState:
        del params
        return ScaleByLearningRateState(
            jnp.zeros([], jnp.int32), in_use(schedule), evaluate_scalar(schedule, 0)
        )

    def update(
        updates: optax.Updates,
        state: ScaleByLearningRateState,
        params: optax.Params | None = None,
        *,
        step: ArrayLike | None = None,
        **extra: Any,
    ) -> tuple[optax.Updates, ScaleByLearningRateState]:
        del params, extra
        now = current_step(state.count, step)
        rate = evaluate_scalar(state.schedule, now)
        updates = jax.tree.map(lambda update: scale_update(update, sign * rate), updates)
        return updates, ScaleByLearningRateState(optax.safe_increment(now), state.schedule, rate)

    return optax.GradientTransformationExtraArgs(init, update)


def current_step(count: jax.Array, step: ArrayLike | None) -> jax.Array:
    """The step of this update: a transform's own count, or what it is given from outside."""
    return count if step is None else jnp.asarray(step, jnp.int32)


def in_use(schedule: Schedule) -> Schedule:
    """A schedule as a state keeps that of a learning rate: one that can be changed by hand."""
    return to_state(in_hand(schedule))


def to_state(data: Data) -> Data:
    """A schedule, or a rule, with its numbers as float32 and int32 arrays of its own."""

    def own(leaf: Any) -> jax.Array:
        is_integer = jnp.issubdtype(jnp.result_type(leaf), jnp.integer)
        return jnp.array(leaf, jnp.int32 if is_integer else jnp.float32)

    register_with_flax(type(data))
    owned: Data = jax.tree.map(own, data)
    return owned


def evaluate_scalar(schedule: Schedule, count: ArrayLike) -> jax.Array:
    """The schedule's value at ``count``, which must be one number."""
    value = schedule(count)
    if value.shape:
        raise ValueError(
            f"the schedule {schedule} gives an array of shape {value.shape}; a learning rate must "
            "be one number (use jax.vmap to train with several)."
        )
    return value


def scale_update(update: jax.Array, rate: jax.Array) -> jax.Array:
    """``rate * update`` in float32 or better, and in the update's dtype again."""
    wide = jnp.promote_types(update.dtype, jnp.float32)
    return (rate.astype(wide) * update.astype(wide)).astype(update.dtype)
