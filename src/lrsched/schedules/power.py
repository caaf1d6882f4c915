"""Decays by a power of the time, which need no horizon."""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from lrsched._schedule import schedule
from lrsched.arguments import FiniteFloat, NonNegativeInt, PositiveFloat, PositiveInt
from lrsched.numerics import LARGEST
from lrsched.schedules.decay import staircase_phases


@schedule
def inverse_sqrt(
    step: jax.Array, peak: FiniteFloat, timescale: PositiveInt, shift: NonNegativeInt = 0
) -> ArrayLike:
    """Inverse square root decay: ``peak / sqrt(1 + (t + shift) / timescale)``.

    After a linear warmup of ``timescale`` steps this is the schedule of the Transformer,
    ``peak sqrt(timescale / step)`` on the whole run's steps.

    Args:
      peak: Value at step 0.
      timescale: Number of steps after which the value is ``peak / sqrt(2)``.
      shift: Number of steps by which the decay has already begun.

    Returns:
      A `Schedule` without a horizon.

    References:
      Vaswani et al. 2017 (arXiv 1706.03762), without its ``d_model**-0.5``; T5X's
      ``rsqrt_normalized_decay``, transformers' ``get_inverse_sqrt_schedule``.

    >>> import lrsched
    >>> noam = lrsched.warmup(100) * 1.0 >> lrsched.inverse_sqrt(1.0, timescale=100)
    >>> noam([0, 50, 100, 400, 10_000]).tolist()
    [0.0, 0.5, 1.0, 0.5, 0.10000000149011612]
    """
    return peak / jnp.sqrt(1 + (_ratio(step, timescale) + _ratio(shift, timescale)))


@schedule(phases=lambda schedule, until: [("warmup", 0), ("decay", schedule.warmup)])
def noam(step: jax.Array, scale: FiniteFloat, width: PositiveInt, warmup: PositiveInt) -> ArrayLike:
    """The Transformer's: ``scale width**-0.5 min(s**-0.5, s warmup**-1.5)``, ``s = t + 1``.

    Args:
      scale: Scale of the value, 1 in the paper.
      width: Width of the model, ``d_model``.
      warmup: Length of the linear rise, in steps.

    Returns:
      A `Schedule` without a horizon.

    References:
      Vaswani et al. 2017 (arXiv 1706.03762), whose steps begin at 1.

    >>> import lrsched
    >>> lrsched.noam(1.0, width=4, warmup=4)([0, 3, 15]).tolist()
    [0.0625, 0.25, 0.125]
    """
    now, rise = step.astype(jnp.float32) + 1, jnp.asarray(warmup, jnp.float32)
    decay = jnp.minimum(jax.lax.rsqrt(now), now / rise * jax.lax.rsqrt(rise))
    return scale * decay * jax.lax.rsqrt(jnp.asarray(width, jnp.float32))


@schedule(phases=staircase_phases)
def inverse_time(
    step: jax.Array,
    init: FiniteFloat,
    rate: PositiveFloat,
    every: PositiveInt = 1,
    staircase: bool = False,
) -> ArrayLike:
    """Inverse time decay: ``init / (1 + rate t / every)``.

    It satisfies the conditions of Robbins & Monro.

    Args:
      init: Value at step 0.
      rate: Increase of the denominator over ``every`` steps.
      every: Number of steps over which the denominator grows by ``rate``.
      staircase: Whether the denominator grows only every ``every`` steps.

    Returns:
      A `Schedule` without a horizon.

    References:
      Keras' ``InverseTimeDecay``.

    >>> import lrsched
    >>> lrsched.inverse_time(1.0, 1.0, every=10)([0, 10, 30]).tolist()
    [1.0, 0.5, 0.25]
    """
    periods = (step // every).astype(jnp.float32) if staircase else _ratio(step, every)
    return init / (1 + jnp.asarray(rate) * periods)


@schedule
def power_law(
    step: jax.Array, peak: FiniteFloat, exponent: PositiveFloat, timescale: PositiveFloat
) -> ArrayLike:
    """Power-law decay: ``peak (1 + t / timescale)**-exponent``.

    Args:
      peak: Value at step 0.
      exponent: Exponent. At 0.5 it is `inverse_sqrt`, at 1 it is `inverse_time`.
      timescale: Number of steps over which the decay sets in.

    Returns:
      A `Schedule` without a horizon.

    References:
      Timm's ``stable_fn="power"``.

    >>> import lrsched
    >>> lrsched.power_law(1.0, exponent=2.0, timescale=10)([0, 10, 30]).tolist()
    [1.0, 0.25, 0.0625]
    """
    return peak * jnp.exp(-jnp.asarray(exponent) * jnp.log1p(_ratio(step, timescale)))


@schedule
def power_scheduler(
    step: jax.Array,
    peak: FiniteFloat,
    batch_size: PositiveInt,
    tokens_per_step: PositiveInt,
    amplitude: PositiveFloat = 4.6,
    exponent: PositiveFloat = 0.51,
) -> ArrayLike:
    """The Power scheduler: ``min(peak, batch_size amplitude n**-exponent)``, ``n`` tokens so far.

    It is the stable phase of a WSD schedule for any number of tokens and any batch size. `cooldown`
    ends it.

    Args:
      peak: Highest value.
      batch_size: Number of examples per step.
      tokens_per_step: Number of tokens per step, so that ``n = t tokens_per_step``.
      amplitude: Coefficient ``a`` of the paper.
      exponent: Exponent ``-b`` of the paper.

    Returns:
      A `Schedule` without a horizon.

    References:
      Shen et al. 2024 (arXiv 2408.13359), for rates under muP.

    >>> import lrsched
    >>> schedule = lrsched.power_scheduler(0.02, batch_size=128, tokens_per_step=2**19)
    >>> [round(float(rate), 6) for rate in schedule([0, 10_000, 100_000])]
    [0.02, 0.006501, 0.002009]
    """
    tokens = jnp.maximum(step, 1).astype(jnp.float32) * jnp.asarray(tokens_per_step, jnp.float32)
    # An infinite coefficient times a vanishing power would be NaN.
    coefficient = jnp.minimum(jnp.asarray(batch_size) * amplitude, LARGEST)
    law = coefficient * tokens ** -jnp.asarray(exponent)
    return jnp.where(step > 0, jnp.minimum(peak, law), peak)


def _ratio(part: ArrayLike, whole: ArrayLike) -> jax.Array:
    return jnp.asarray(part, jnp.float32) / jnp.asarray(whole, jnp.float32)
