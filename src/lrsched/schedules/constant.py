"""Piecewise constant schedules and tables."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from lrsched._phases import segment_phases
from lrsched._schedule import Schedule, schedule
from lrsched.arguments import Boundaries, FiniteFloats
from lrsched.numerics import count_passed


def _last_boundary(schedule: Schedule) -> Any:
    boundaries = schedule.boundaries
    return boundaries[..., -1] if np.shape(boundaries)[-1] else 0


def _check_lengths(schedule: Schedule) -> None:
    values, boundaries = schedule.values, schedule.boundaries
    if np.shape(values)[-1] != np.shape(boundaries)[-1] + 1:
        raise ValueError(
            f"piecewise_constant: {np.shape(values)[-1]} values and {np.shape(boundaries)[-1]} "
            "boundaries do not match; the number of values must be the number of boundaries plus 1."
        )


@schedule(
    horizon=_last_boundary,
    check=_check_lengths,
    phases=lambda schedule, until: segment_phases(schedule.boundaries, until),
)
def piecewise_constant(step: jax.Array, values: FiniteFloats, boundaries: Boundaries) -> ArrayLike:
    """Piecewise constant values: ``values[i]`` where ``i`` boundaries are at or before ``t``.

    ``values[i + 1]`` applies from step ``boundaries[i]`` on. The compiled program has the same size
    for any number of segments.

    Args:
      values: Values, one more than there are boundaries.
      boundaries: Steps of the jumps, increasing.

    Returns:
      A `Schedule` whose horizon is the last boundary.

    Raises:
      ValueError: If ``len(values) != len(boundaries) + 1``, or the boundaries do not increase.

    References:
      Keras' ``PiecewiseConstantDecay``, which keeps the earlier value at the boundary itself; here
      and in optax and PyTorch the boundary has the new one.

    >>> import lrsched
    >>> lrsched.piecewise_constant([1.0, 0.5, 0.25], [10, 20])([9, 10, 19, 20, 99]).tolist()
    [1.0, 0.5, 0.5, 0.25, 0.25]
    """
    return jnp.asarray(values)[count_passed(jnp.asarray(boundaries), step)]


@schedule(horizon=lambda schedule: np.shape(schedule.values)[-1] - 1)
def table(step: jax.Array, values: FiniteFloats) -> ArrayLike:
    """A table with one value for each step: ``values[t]``. After its end, the last value applies.

    All tables of one length share one compiled program.

    Args:
      values: Values at the steps 0, 1, 2, ....

    Returns:
      A `Schedule` whose horizon is the last index.

    >>> import lrsched
    >>> lrsched.table([0.5, 1.0, 0.25])([0, 1, 2, 3]).tolist()
    [0.5, 1.0, 0.25, 0.25]
    """
    values = jnp.asarray(values)
    return values[jnp.minimum(step, values.shape[-1] - 1).astype(jnp.int32)]
