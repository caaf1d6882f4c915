"""The arithmetic that keeps schedules exact: differences in int32, one rounding into float32."""

from typing import Final

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

MAX_STEP: Final = 2**31 - 1
"""The largest step and the longest horizon: the int32 counter of optax saturates there."""


def fraction(part: ArrayLike, whole: ArrayLike) -> jax.Array:
    """``part / whole`` in float32, within [0, 1]; 1 where ``whole`` is 0, a phase of no length.

    Integers are clipped as integers and rounded once, so that ``fraction(steps - step, steps)``
    keeps its relative accuracy down to the last step, which ``1 - step / steps`` does not.
    """
    part = jnp.clip(part, 0, whole)
    quotient = part.astype(jnp.float32) / jnp.maximum(whole, 1).astype(jnp.float32)
    # XLA may multiply by the reciprocal, and whole * (1 / whole) is not always 1.
    return jnp.where(part >= whole, 1.0, quotient)


def rescale_step(step: ArrayLike, horizon: ArrayLike, steps: ArrayLike) -> jax.Array:
    """``step * horizon / steps`` in float32; for integers, whole where it is whole.

    A boundary that the division misses by 1e-7 is a seam missed: ``9 * 5 / 15`` is above 3 where
    XLA multiplies by the reciprocal of 15. The products are compared in integers, modulo 2**32.
    """
    step, horizon, steps = map(jnp.asarray, (step, horizon, steps))
    at = step.astype(jnp.float32) * horizon.astype(jnp.float32) / steps.astype(jnp.float32)
    if not jnp.issubdtype(step.dtype, jnp.integer):
        return at
    nearest = jnp.rint(at)
    products = [
        first.astype(jnp.uint32) * second.astype(jnp.uint32)
        for first, second in [(step, horizon), (nearest, steps)]
    ]
    is_near = jnp.abs(at - nearest) * steps.astype(jnp.float32) < 2.0**31
    return jnp.where(is_near & (products[0] == products[1]), nearest, at)


def lerp(
    first: ArrayLike,
    second: ArrayLike,
    weight: ArrayLike,
    complement: ArrayLike | None = None,
) -> jax.Array:
    """``first`` at weight 0, ``second`` at weight 1, the straight line between.

    Both ends are exact to the last bit, the values between never leave them, and equal ends give
    that value everywhere. ``complement`` is ``1 - weight``, for callers who know it more exactly.
    """
    complement = 1 - jnp.asarray(weight) if complement is None else complement
    span = jnp.asarray(second) - first
    return jnp.where(jnp.asarray(weight) < 0.5, first + span * weight, second - span * complement)


def int_power(base: ArrayLike, exponent: ArrayLike) -> jax.Array:
    """``base ** exponent`` for an integer exponent up to ``MAX_STEP``.

    float32 holds integers up to 2**24 only, so the exponent goes in as two parts that it holds.
    """
    base = jnp.asarray(base, jnp.float32)
    exponent = jnp.asarray(exponent).astype(jnp.int32)
    low = jnp.bitwise_and(exponent, 0xFFF)
    high = exponent - low
    return base ** high.astype(jnp.float32) * base ** low.astype(jnp.float32)


def count_passed(boundaries: jax.Array, step: ArrayLike) -> jax.Array:
    """How many of the increasing ``boundaries`` are at or before ``step``, without a loop."""
    return jnp.searchsorted(boundaries, step, side="right", method="compare_all")


def resolve_steps(length: ArrayLike, whole: ArrayLike) -> jax.Array:
    """A length in steps as it is, a fraction of ``whole`` rounded to the nearest step."""
    length = jnp.asarray(length)
    if jnp.issubdtype(length.dtype, jnp.integer):
        return length
    return jnp.where(length < 1, jnp.rint(length * whole), length).astype(jnp.int32)
