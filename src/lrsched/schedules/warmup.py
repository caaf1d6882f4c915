"""Warmups: factors to multiply a schedule by, or to put before it."""

from typing import Annotated, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from lrsched._schedule import PhaseStart, Schedule, schedule
from lrsched.arguments import (
    ArgumentType,
    FiniteFloat,
    NonNegativeInt,
    OpenUnitFloat,
    PositiveFloat,
    PositiveInt,
    in_range,
    one_of,
)
from lrsched.numerics import lerp
from lrsched.schedules.ramps import Ramp, evaluate_ramp


def _rising(schedule: Schedule, until: int) -> list[PhaseStart]:
    """Return the phases of a factor that is constant after ``steps``."""
    return [("warmup", 0), ("constant", schedule.steps)]


@schedule(horizon="steps", phases=_rising)
def warmup(
    step: jax.Array, steps: NonNegativeInt, ramp: Ramp = "linear", init: FiniteFloat = 0.0
) -> ArrayLike:
    """A factor that rises from ``init`` to 1: ``init + (1 - init) ramp(t / steps)``, then 1.

    In ``warmup(w) * s``, the step count of ``s`` includes the warmup; in ``warmup(w) * peak >> s``,
    ``s`` begins after it. The first update has the factor ``init``; the default of 0 skips it, and
    ``init=1 / w`` does not.

    Args:
      steps: Length of the warmup, in steps. 0 disables it.
      ramp: Ramp: "linear", "cosine", "mirror-cosine", "1-sqrt", "square", "exponential" or a
        function from [0, 1] to [0, 1], such as ``lambda x: x**p``.
      init: Factor at step 0.

    Returns:
      A `Schedule` of horizon ``steps``.

    References:
      Goyal et al. 2017 (arXiv 1706.02677).

    >>> import lrsched
    >>> lrsched.warmup(4)([0, 1, 2, 4, 5]).tolist()
    [0.0, 0.25, 0.5, 1.0, 1.0]
    >>> schedule = lrsched.warmup(100) * 0.5 >> lrsched.cosine(0.5, steps=900)
    >>> schedule([50, 100, 550, 1000]).tolist(), schedule.horizon
    ([0.25, 0.5, 0.2499999850988388, 0.0], 1000)
    """
    return lerp(init, 1.0, evaluate_ramp(ramp, step, steps))


@schedule(horizon="steps", phases=_rising)
def log_warmup(step: jax.Array, steps: PositiveInt) -> ArrayLike:
    """A factor that rises logarithmically: ``log(t + 1) / log(steps)``, then 1.

    Args:
      steps: Number of steps. The factor is 1 from step ``steps - 1`` on.

    Returns:
      A `Schedule` of horizon ``steps``.

    References:
      DeepSpeed's ``WarmupLR``, whose default it is.

    >>> import lrsched
    >>> [round(float(rate), 6) for rate in lrsched.log_warmup(16)([0, 1, 3, 15, 99])]
    [0.0, 0.25, 0.5, 1.0, 1.0]
    """
    steps = jnp.asarray(steps)
    risen = jnp.log1p(step.astype(jnp.float32)) / jnp.log(jnp.maximum(steps, 2).astype(jnp.float32))
    return jnp.where(step >= steps - 1, 1.0, risen)


@schedule
def exponential_warmup(step: jax.Array, timescale: PositiveFloat) -> ArrayLike:
    """A factor that approaches 1 exponentially: ``1 - exp(-(t + 1) / timescale)``.

    Args:
      timescale: Number of steps after which the factor is ``1 - 1 / e``.

    Returns:
      A `Schedule` without a horizon.

    References:
      Ma & Yarats 2021 (arXiv 1910.04209), as pytorch-warmup counts it.

    >>> import lrsched
    >>> round(float(lrsched.exponential_warmup(10.0)(9)), 6)
    0.632121
    """
    return -jnp.expm1(-(step.astype(jnp.float32) + 1) / timescale)


def _untuned_phases(schedule: Schedule, until: int) -> list[PhaseStart]:
    if schedule.ramp != "linear":
        return []
    steps = np.ceil(2 / (1 - np.float32(schedule.b2))) - 1
    return [("warmup", 0), ("constant", int(steps))]


_UNTUNED = one_of("Untuned", ("linear", "exponential"))
RectifiableDecay: TypeAlias = Annotated[
    ArrayLike,
    ArgumentType(
        "RectifiableDecay",
        "a number above 0.6 and below 1",
        in_range(gt=0.6, lt=1),
        schema={"type": "number", "exclusiveMinimum": 0.6, "exclusiveMaximum": 1},
    ),
]
"""Adam's second decay rate, for which the rectification of RAdam is defined."""


@schedule(phases=_untuned_phases)
def untuned_warmup(
    step: jax.Array, b2: OpenUnitFloat = 0.999, ramp: Annotated[str, _UNTUNED] = "linear"
) -> ArrayLike:
    """Untuned warmup for Adam: ``min(1, (t + 1) (1 - b2) / 2)``.

    Or ``1 - exp(-(t + 1) (1 - b2))`` for the exponential one.

    Args:
      b2: Decay rate of Adam's second moment. The linear warmup takes ``2 / (1 - b2)`` steps.
      ramp: "linear" or "exponential".

    Returns:
      A `Schedule` without a horizon.

    Raises:
      ValueError: If ``b2`` is not in (0, 1).

    References:
      Ma & Yarats 2021 (arXiv 1910.04209).

    >>> import lrsched
    >>> lrsched.untuned_warmup(b2=0.75)([0, 3, 7, 8]).tolist()
    [0.125, 0.5, 1.0, 1.0]
    """
    done = (step.astype(jnp.float32) + 1) * (1 - jnp.asarray(b2))
    return jnp.minimum(done / 2, 1.0) if ramp == "linear" else -jnp.expm1(-done)


@schedule
def radam_warmup(step: jax.Array, b2: RectifiableDecay = 0.999) -> ArrayLike:
    """RAdam's rectification as a factor for Adam: ``sqrt(((r-4)(r-2) R) / ((R-4)(R-2) r))``.

    With ``R = 2 / (1 - b2) - 1`` and ``r = R - 2 s b2**s / (1 - b2**s)`` at ``s = t + d``, where
    ``d`` is the first ``s`` with ``r > 4``.

    Args:
      b2: Decay rate of Adam's second moment, in (0.6, 1).

    Returns:
      A `Schedule` without a horizon.

    Raises:
      ValueError: If ``b2`` is not in (0.6, 1).

    References:
      Liu et al. 2020 (arXiv 1908.03265); the offset is that of pytorch-warmup.

    >>> import lrsched
    >>> [round(float(rate), 4) for rate in lrsched.radam_warmup(0.999)([0, 100, 10_000])]
    [0.0173, 0.2209, 0.9998]
    """
    rate = -jnp.log(jnp.asarray(b2))
    limit = 1 + 2 * _bernoulli(rate) / rate
    candidates = jnp.arange(1.0, 33.0)
    first = candidates[jnp.argmax(_sma_length(candidates, rate) > 4)]
    r = _sma_length(step.astype(jnp.float32) + first, rate)
    return jnp.sqrt((r - 4) / (limit - 4) * ((r - 2) / (limit - 2)) * (limit / r))


def _sma_length(count: jax.Array, rate: jax.Array) -> jax.Array:
    """Return RAdam's ``r`` after ``count`` updates with ``b2 = exp(-rate)``."""
    # The formula of the paper subtracts two numbers near 2 / (1 - b2) to get one near 4. With
    # x = count * rate and x / (exp(x) - 1) = 1 - x / 2 + psi(x), they cancel analytically.

    def psi(x: jax.Array) -> jax.Array:
        y = x * x
        series = 1 / 12 + y * (-1 / 720 + y * (1 / 30240 + y * (-1 / 1209600 + y / 47900160)))
        return y * series

    x = count * rate
    early = count + 2 * (psi(rate) - psi(jnp.minimum(x, 1.0))) / rate
    late = 1 + 2 * (_bernoulli(rate) - _bernoulli(jnp.maximum(x, 1.0))) / rate
    return jnp.where(x < 1, early, late)


def _bernoulli(x: jax.Array) -> jax.Array:
    return x / jnp.expm1(x)
