"""Cycles that grow by any factor and begin between two steps, as Keras and timm have them."""

import jax
import jax.numpy as jnp

from lrsched.numerics import fraction
from lrsched.schedules.cyclic import int_cycle


def cycle_at(step: jax.Array, steps: jax.Array, growth: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The number of the cycle that ``step`` is in, and how much of it is past, in [0, 1).

    Cycle ``k`` begins at ``steps (growth**k - 1) / (growth - 1)``. A whole ``growth`` is counted in
    integers. With a real one, a start within the rounding of float32 of a whole step is that step.
    """
    if jnp.issubdtype(growth.dtype, jnp.integer):
        cycle, start, length, past = int_cycle(step, steps, growth)
        return cycle, jnp.where(past < 0, fraction(step - start, length), past)
    excess = jnp.maximum(growth - 1, 2.0**-23)
    rate = jnp.log1p(excess)
    now = step.astype(jnp.float32)

    def start_of(cycle: jax.Array) -> jax.Array:
        start = steps * jnp.expm1(cycle * rate) / excess
        nearest = jnp.rint(start)
        return jnp.where(jnp.abs(start - nearest) <= 1e-6 * start, nearest, start)

    guess = jnp.floor(jnp.log1p(now * excess / steps) / rate)
    cycle = jnp.maximum(guess - 1, 0)
    for _ in range(3):
        cycle = jnp.where(now >= start_of(cycle + 1), cycle + 1, cycle)
    return cycle.astype(jnp.int32), (now - start_of(cycle)) / (steps * jnp.exp(cycle * rate))
