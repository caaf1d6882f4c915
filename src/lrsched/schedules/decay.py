"""Rates that fall: along a line, a power, a geometric sequence, a cosine, or by steps."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from lrsched.arguments import Boundaries, Length, Positive, Value
from lrsched.numerics import count_passed, fraction, mix, power
from lrsched.schedule import schedule


@schedule(horizon="steps")
def linear(step: jax.Array, init: Value, end: Value, steps: Length) -> ArrayLike:
    """A straight line: ``init + (end - init) t / steps``.

    Args:
      init: the rate at step 0.
      end: the rate from step ``steps`` on.
      steps: the length.

    Source: ``optax.linear_schedule``; to zero it is the "D2Z" of budgeted training (Li et al. 2020,
    arXiv 1905.04753).

    >>> import lrsched
    >>> lrsched.linear(1.0, 0.0, steps=4)([0, 1, 2, 3, 4, 5]).tolist()
    [1.0, 0.75, 0.5, 0.25, 0.0, 0.0]
    """
    return mix(end, init, fraction(steps - step, steps), fraction(step, steps))


@schedule(horizon="steps")
def polynomial(
    step: jax.Array, init: Value, end: Value, steps: Length, power: Positive = 1.0
) -> ArrayLike:
    """A power of what is left: ``end + (init - end) (1 - t / steps)**power``.

    Args:
      init: the rate at step 0.
      end: the rate from step ``steps`` on.
      steps: the length.
      power: above 1 falls fast first, below 1 falls fast last.

    Source: ``optax.polynomial_schedule``, PyTorch's ``PolynomialLR`` (for ``end=0``).

    >>> import lrsched
    >>> lrsched.polynomial(1.0, 0.0, steps=4, power=2.0)([0, 1, 2, 3, 4, 5]).tolist()
    [1.0, 0.5625, 0.25, 0.0625, 0.0, 0.0]
    """
    return mix(end, init, fraction(steps - step, steps) ** power)


@schedule
def exponential(
    step: jax.Array,
    init: Value,
    factor: Positive,
    every: Length = 1,
    end: Value | None = None,
    staircase: bool = False,
) -> ArrayLike:
    """A geometric sequence: ``init * factor**(t / every)``, stopped at ``end``.

    ``factor`` is a float32 number, so ``0.9, every=1000`` is more exact than ``0.99989`` each step.

    Args:
      init: the rate at step 0.
      factor: what the rate is multiplied by ...
      every: ... in so many steps.
      end: where it stops: a floor for factors below 1, a ceiling for those above. None: nowhere.
      staircase: hold the rate for ``every`` steps at a time, as `step_decay` does.

    Source: ``optax.exponential_decay`` (``decay_rate``, ``transition_steps``), PyTorch's
    ``ExponentialLR`` (``gamma``, every epoch).

    >>> import lrsched
    >>> lrsched.exponential(1.0, 0.25, every=10)([0, 5, 10, 20]).tolist()
    [1.0, 0.5, 0.25, 0.0625]
    >>> lrsched.exponential(1.0, 0.25, every=10, staircase=True)([0, 9, 10]).tolist()
    [1.0, 1.0, 0.25]
    """
    value = init * power(factor, step // every)
    if not staircase:
        value = value * jnp.asarray(factor) ** fraction(step % every, every)
    if end is None:
        return value
    return jnp.where(jnp.asarray(factor) < 1, jnp.maximum(value, end), jnp.minimum(value, end))


@schedule
def step_decay(step: jax.Array, init: Value, factor: Positive, every: Length) -> ArrayLike:
    """A cut at fixed intervals: ``init * factor**floor(t / every)``.

    The rule of the guides: by 10 (``factor=0.1``) or by 2 (``factor=0.5``) every so many epochs.

    Args:
      init: the rate at step 0.
      factor: what each cut multiplies the rate by.
      every: steps between cuts, epochs times steps per epoch.

    Source: PyTorch's ``StepLR``.

    >>> import lrsched
    >>> lrsched.step_decay(1.0, 0.5, every=30)([0, 29, 30, 60, 90]).tolist()
    [1.0, 1.0, 0.5, 0.25, 0.125]
    """
    return init * power(factor, step // every)


def _last_milestone(milestones: Any, **_: Any) -> Any:
    return milestones[-1] if np.shape(milestones)[-1] else 0


@schedule(horizon=_last_milestone)
def multistep(
    step: jax.Array, init: Value, milestones: Boundaries, factor: Positive = 0.1
) -> ArrayLike:
    """A cut at each milestone: ``init * factor**k`` after ``k`` of them, at or before ``t``.

    Args:
      init: the rate at step 0.
      milestones: the steps of the cuts, increasing.
      factor: what each cut multiplies the rate by.

    Raises:
      ValueError: milestones do not increase.

    Source: PyTorch's ``MultiStepLR``; for a factor of its own at each cut use
    `piecewise_constant`.

    >>> import lrsched
    >>> lrsched.multistep(1.0, [30, 60], factor=0.5)([0, 29, 30, 60, 90]).tolist()
    [1.0, 1.0, 0.5, 0.25, 0.25]
    """
    return init * power(factor, count_passed(jnp.asarray(milestones), step))


@schedule(horizon="steps")
def cosine(
    step: jax.Array, peak: Value, steps: Length, end: Value = 0.0, exponent: Positive = 1.0
) -> ArrayLike:
    """Half a cosine: ``end + (peak - end) ((1 + cos(pi t / steps)) / 2)**exponent``.

    Written as a squared sine of the steps that are left, it is right to the last step before an
    end of zero, where the formula above loses everything in float32.

    Args:
      peak: the rate at step 0.
      steps: the length.
      end: the rate from step ``steps`` on; a rate, not a fraction as optax's ``alpha``.
      exponent: a power of the cosine.

    Source: Loshchilov & Hutter 2017 (arXiv 1608.03983); ``optax.cosine_decay_schedule``. PyTorch's
    ``CosineAnnealingLR`` climbs back after ``steps``; this one holds.

    >>> import lrsched
    >>> lrsched.cosine(1.0, steps=100)([0, 50, 100, 150]).tolist()
    [1.0, 0.4999999701976776, 0.0, 0.0]
    """
    quarter = 0.5 * jnp.pi
    weight = jnp.sin(quarter * fraction(steps - step, steps)) ** (2 * jnp.asarray(exponent))
    risen = jnp.sin(quarter * fraction(step, steps)) ** 2
    return mix(end, peak, weight, jnp.where(jnp.asarray(exponent) == 1, risen, 1 - weight))


@schedule
def inverse_sqrt(step: jax.Array, peak: Value, timescale: Length) -> ArrayLike:
    """A decay without an end: ``peak / sqrt(1 + t / timescale)``.

    After a linear warmup of ``timescale`` steps this is the schedule of the Transformer,
    ``peak sqrt(timescale / step)`` on the whole run's steps.

    Args:
      peak: the rate at step 0.
      timescale: the steps in which the rate falls to ``peak / sqrt(2)``.

    Source: Vaswani et al. 2017 (arXiv 1706.03762), without its ``d_model**-0.5``; T5X's
    ``rsqrt_normalized_decay``, transformers' ``get_inverse_sqrt_schedule``.

    >>> import lrsched
    >>> noam = lrsched.warmup(100) * 1.0 >> lrsched.inverse_sqrt(1.0, timescale=100)
    >>> noam([0, 50, 100, 400, 10_000]).tolist()
    [0.0, 0.5, 1.0, 0.5, 0.10000000149011612]
    """
    ratio = step.astype(jnp.float32) / jnp.asarray(timescale, jnp.float32)
    return peak / jnp.sqrt(1 + ratio)
