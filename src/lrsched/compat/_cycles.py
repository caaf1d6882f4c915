"""Cycles that grow by any factor and may begin between two steps, as in Keras and timm."""

import jax
import jax.numpy as jnp

from lrsched.numerics import fraction
from lrsched.schedules.cyclic import int_cycle


def cycle_at(step: jax.Array, steps: jax.Array, growth: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Return the index of the cycle that contains ``step``, and the elapsed fraction of it.

    Cycle ``k`` begins at ``steps (growth**k - 1) / (growth - 1)``.

    Args:
      step: Step count, int32 or float32 of any shape.
      steps: Length of the first cycle, in steps.
      growth: Ratio of the lengths of consecutive cycles, at least 1. An integer dtype selects
        exact integer arithmetic.

    Returns:
      The index, int32 of the shape of ``step``, and the fraction in [0, 1), float32.
    """
    if jnp.issubdtype(growth.dtype, jnp.integer):
        cycle, start, length, elapsed = int_cycle(step, steps, growth)
        return cycle, jnp.where(elapsed < 0, fraction(step - start, length), elapsed)
    # At growth = 1 the geometric sum is 0 / 0; one float32 epsilon above, it equals k to float32.
    excess = jnp.maximum(growth - 1, 2.0**-23)
    rate = jnp.log1p(excess)
    position = step.astype(jnp.float32)

    def start_of(cycle: jax.Array) -> jax.Array:
        start = steps * jnp.expm1(cycle * rate) / excess
        nearest = jnp.rint(start)
        # A start within float32 rounding of a whole step is that step; otherwise a restart could
        # come one step late.
        return jnp.where(jnp.abs(start - nearest) <= 1e-6 * start, nearest, start)

    # The logarithm is off by at most one cycle. Start one below it and compare with exact starts.
    guess = jnp.floor(jnp.log1p(position * excess / steps) / rate)
    cycle = jnp.maximum(guess - 1, 0)
    for _ in range(3):
        cycle = jnp.where(position >= start_of(cycle + 1), cycle + 1, cycle)
    return cycle.astype(jnp.int32), (position - start_of(cycle)) / (steps * jnp.exp(cycle * rate))
