"""Learning rate in use: the transform that applies a schedule and keeps it in its state."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike

from lrsched._schedule import Schedule
from lrsched.algebra import as_schedule
from lrsched.transforms.composition import rate_factor, scheduled_rate_factor
from lrsched.transforms.rate import (
    RateState,
    current_step,
    evaluate_rate,
    evaluate_scalar,
    init_rate,
    with_live_numbers,
)


class ScaleByLearningRateState(NamedTuple):
    """State of `scale_by_learning_rate`.

    Attributes:
      count: int32 scalar, number of updates that this transform has applied.
      rate: The schedule, with the edits made to it.
      learning_rate: float32 scalar, rate of the latest update; before the first, the rate that it
        will have.
    """

    count: jax.Array  # type: ignore[assignment]
    rate: RateState
    learning_rate: jax.Array


rate_factor.register(ScaleByLearningRateState, scheduled_rate_factor)


def scale_by_learning_rate(
    learning_rate: ArrayLike | Schedule | optax.Schedule, *, flip_sign: bool = True
) -> optax.GradientTransformationExtraArgs:
    """Multiply the updates by minus the learning rate: ``u_t = -eta_t g_t``.

    A drop-in for ``optax.scale_by_learning_rate`` whose state holds the schedule and the rate last
    applied, so that both are saved with a checkpoint and `learning_rate` reads the rate. A number,
    a schedule and a callable give the same state. The rate is float32 and multiplies in float32 or
    wider, regardless of the parameters' dtype; the updates keep the gradients' dtypes.

    The step is the number of updates that this transform has applied. ``update(..., step=)``
    passes an external count: the schedule is read there, and the count continues from it.

    JAX arrays in ``learning_rate`` are used at their current values, so that the transform works
    inside ``optax.inject_hyperparams``. Python and NumPy numbers are stored in the state by
    ``init``, and the state's numbers apply from then on.

    Args:
      learning_rate: A number, a `Schedule`, or a callable of the step.
      flip_sign: Whether to multiply by minus one, for descent. Defaults to True.

    Returns:
      An optax transform with a `ScaleByLearningRateState`.

    Raises:
      ValueError: If ``learning_rate`` is none of these, or its value is not a scalar.

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
            jnp.zeros([], jnp.int32), init_rate(schedule), evaluate_scalar(schedule, 0)
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
        rate = with_live_numbers(state.rate, schedule)
        value = evaluate_rate(rate, now)
        updates = jax.tree.map(lambda update: scale_update(update, sign * value), updates)
        return updates, ScaleByLearningRateState(optax.safe_increment(now), rate, value)

    return optax.GradientTransformationExtraArgs(init, update)


def scale_update(update: ArrayLike, rate: jax.Array) -> jax.Array:
    """Return ``rate * update``, computed in float32 or wider, in the update's dtype."""
    update = jnp.asarray(update)
    wide = jnp.promote_types(update.dtype, jnp.float32)
    return (rate.astype(wide) * update.astype(wide)).astype(update.dtype)
