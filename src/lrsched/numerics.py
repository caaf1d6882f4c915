"""Arithmetic that keeps schedules exact: differences in int32, one rounding to float32."""

from typing import Final

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

MAX_STEP: Final = 2**31 - 1
"""Largest step and longest horizon. The int32 counter of optax saturates there."""
LARGEST: Final = 2.0**126
"""Largest magnitude of a parameter and of a schedule's value.

The difference of two such numbers is finite in float32, so that no interpolation between them gives
infinity or NaN.
"""


def fraction(numerator: ArrayLike, denominator: ArrayLike) -> jax.Array:
    """Return ``numerator / denominator`` in float32, clipped to [0, 1].

    Integers are clipped as integers and rounded once, so that ``fraction(steps - step, steps)``
    keeps its relative accuracy down to the last step. ``1 - step / steps`` does not.

    Args:
      numerator: Number of steps.
      denominator: Total number of steps.

    Returns:
      A float32 array. It is 1 where ``denominator`` is 0, a phase without length.
    """
    numerator = jnp.clip(numerator, 0, denominator)
    quotient = numerator.astype(jnp.float32) / jnp.maximum(denominator, 1).astype(jnp.float32)
    # XLA may multiply by the reciprocal, and n * (1 / n) is not always 1.
    return jnp.where(numerator >= denominator, 1.0, quotient)


def rescale_step(step: ArrayLike, horizon: ArrayLike, steps: ArrayLike) -> jax.Array:
    """Return ``step * horizon / steps`` in float32, exact where the quotient is an integer.

    Args:
      step: Step in ``[0, steps]``.
      horizon: Number of steps of the original schedule.
      steps: Number of steps of the stretched schedule.

    Returns:
      The step of the original schedule.
    """
    step, horizon, steps = map(jnp.asarray, (step, horizon, steps))
    at = step.astype(jnp.float32) * horizon.astype(jnp.float32) / steps.astype(jnp.float32)
    if not jnp.issubdtype(step.dtype, jnp.integer):
        return at
    # A quotient that is too large by 1e-7 misses a phase boundary: 9 * 5 / 15 is above 3 where XLA
    # multiplies by the reciprocal of 15. Compare the products in integers, modulo 2**32.
    nearest = jnp.rint(at)
    products = [
        first.astype(jnp.uint32) * second.astype(jnp.uint32)
        for first, second in [(step, horizon), (nearest, steps)]
    ]
    is_near = jnp.abs(at - nearest) * steps.astype(jnp.float32) < 2.0**31
    return jnp.where(is_near & (products[0] == products[1]), nearest, at)


def lerp(
    start: ArrayLike,
    end: ArrayLike,
    weight: ArrayLike,
    complement: ArrayLike | None = None,
) -> jax.Array:
    """Return the linear interpolation ``start + (end - start) * weight``.

    Both ends are exact to the last bit, values between them never leave them, and equal ends give
    that value at every weight.

    Args:
      start: Value at weight 0.
      end: Value at weight 1.
      weight: Weight in [0, 1].
      complement: ``1 - weight``, for callers that know it more exactly than this difference.
        Defaults to the difference.

    Returns:
      A float32 array.
    """
    complement = 1 - jnp.asarray(weight) if complement is None else complement
    span = jnp.asarray(end) - start
    # Each half starts from its nearer end, so that neither end is the sum of a rounded difference.
    return jnp.where(jnp.asarray(weight) < 0.5, start + span * weight, end - span * complement)


def int_power(base: ArrayLike, exponent: ArrayLike) -> jax.Array:
    """Return ``base ** exponent`` for a positive base and an integer exponent.

    Args:
      base: Positive number.
      exponent: Integer from 0 to ``MAX_STEP``.

    Returns:
      A float32 array, at most 2**126: a product of zero and an infinite power would be NaN.
    """
    base = jnp.asarray(base, jnp.float32)
    exponent = jnp.asarray(exponent).astype(jnp.int32)
    # float32 holds integers up to 2**24 only. Both parts of the exponent are exact in it.
    low = jnp.bitwise_and(exponent, 0xFFF)
    high = exponent - low
    power = base ** high.astype(jnp.float32) * base ** low.astype(jnp.float32)
    return jnp.minimum(power, LARGEST)


def widen(value: ArrayLike) -> jax.Array:
    """Return an array in its dtype, or in float32 if its dtype is narrower or an integer."""
    array = jnp.asarray(value)
    return array.astype(jnp.promote_types(array.dtype, jnp.float32))


def clip_finite(value: ArrayLike) -> jax.Array:
    """Return ``value`` clipped to 2**126 in magnitude, the largest value of a schedule."""
    return jnp.clip(jnp.asarray(value), -LARGEST, LARGEST)


def count_passed(boundaries: jax.Array, step: ArrayLike) -> jax.Array:
    """Return the number of increasing ``boundaries`` at or before ``step``, without a loop."""
    return jnp.searchsorted(boundaries, step, side="right", method="compare_all")


def resolve_steps(length: ArrayLike, total: ArrayLike) -> jax.Array:
    """Return a length in steps.

    Args:
      length: Integer number of steps, or a fraction of ``total``.
      total: Total number of steps.

    Returns:
      An int32 array. A fraction is rounded to the nearest step.
    """
    length = jnp.asarray(length)
    if jnp.issubdtype(length.dtype, jnp.integer):
        return length
    return jnp.where(length < 1, jnp.rint(length * total), length).astype(jnp.int32)


def resolve_steps_on_host(length: ArrayLike, total: ArrayLike) -> np.ndarray | int:
    """Return what `resolve_steps` computes, for known numbers and without a call of jax."""
    if type(length) is int:
        return length
    if type(length) is float and type(total) is int:
        return int(np.rint(np.float32(length) * np.float32(total)))
    values = np.asarray(length)
    if values.dtype.kind in "iu":
        return values.astype(np.int64)
    values = values.astype(np.float32)
    # The product is rounded in float32, as it is on the device.
    product = np.rint(values * np.asarray(total).astype(np.float32))
    return np.where(values < 1, product, values).astype(np.int64)
