"""Decays: linear, polynomial, geometric, cosine, by steps, and others."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from lrsched._phases import numbered_phases, segment_phases
from lrsched._schedule import PhaseStart, Schedule, schedule
from lrsched.arguments import (
    Boundaries,
    FiniteFloat,
    OpenUnitFloat,
    PositiveFloat,
    PositiveInt,
    check_below,
    not_accepted,
)
from lrsched.numerics import count_passed, fraction, int_power, lerp
from lrsched.schedules.ramps import evaluate_ramp


@schedule(horizon="steps")
def linear(step: jax.Array, init: FiniteFloat, end: FiniteFloat, steps: PositiveInt) -> ArrayLike:
    """Linear interpolation: ``init + (end - init) t / steps``.

    Args:
      init: Value at step 0.
      end: Value from step ``steps`` on.
      steps: Number of steps. Must be at least 1.

    Returns:
      A `Schedule` of horizon ``steps``.

    References:
      ``optax.linear_schedule``; to zero it is the "D2Z" of budgeted training (Li et al. 2020, arXiv
      1905.04753).

    >>> import lrsched
    >>> lrsched.linear(1.0, 0.0, steps=4)([0, 1, 2, 3, 4, 5]).tolist()
    [1.0, 0.75, 0.5, 0.25, 0.0, 0.0]
    """
    return lerp(end, init, fraction(steps - step, steps), fraction(step, steps))


@schedule(horizon="steps")
def polynomial(
    step: jax.Array,
    init: FiniteFloat,
    end: FiniteFloat,
    steps: PositiveInt,
    power: PositiveFloat = 1.0,
) -> ArrayLike:
    """Polynomial decay: ``end + (init - end) (1 - t / steps)**power``.

    Args:
      init: Value at step 0.
      end: Value from step ``steps`` on.
      steps: Number of steps. Must be at least 1.
      power: Exponent. Above 1 the value falls fast first, below 1 it falls fast last.

    Returns:
      A `Schedule` of horizon ``steps``.

    References:
      ``optax.polynomial_schedule``, PyTorch's ``PolynomialLR`` (for ``end=0``).

    >>> import lrsched
    >>> lrsched.polynomial(1.0, 0.0, steps=4, power=2.0)([0, 1, 2, 3, 4, 5]).tolist()
    [1.0, 0.5625, 0.25, 0.0625, 0.0, 0.0]
    """
    return lerp(end, init, fraction(steps - step, steps) ** power)


def staircase_phases(schedule: Schedule, until: int) -> list[PhaseStart]:
    """Return the segments of a decay that falls by steps; no phases if ``staircase`` is false."""
    if not schedule.parameters.get("staircase", True):
        return []
    return numbered_phases("segment", range(0, until, int(schedule.every)), until)


@schedule(phases=staircase_phases)
def exponential(
    step: jax.Array,
    init: FiniteFloat,
    factor: PositiveFloat,
    every: PositiveInt = 1,
    end: FiniteFloat | None = None,
    staircase: bool = False,
) -> ArrayLike:
    """Exponential decay or growth: ``init * factor**(t / every)``, limited by ``end``.

    ``factor`` is a float32 number, so ``0.9, every=1000`` is more exact than ``0.99989`` each step.

    Args:
      init: Value at step 0.
      factor: Factor over ``every`` steps.
      every: Number of steps over which the value changes by ``factor``.
      end: Limit of the value: a floor for factors below 1, a ceiling for those above 1. If
        ``None``, there is no limit.
      staircase: Whether to hold the value for ``every`` steps at a time, as `step_decay` does.

    Returns:
      A `Schedule` without a horizon.

    References:
      ``optax.exponential_decay`` (``decay_rate``, ``transition_steps``), PyTorch's
      ``ExponentialLR`` (``gamma``, every epoch).

    >>> import lrsched
    >>> lrsched.exponential(1.0, 0.25, every=10)([0, 5, 10, 20]).tolist()
    [1.0, 0.5, 0.25, 0.0625]
    >>> lrsched.exponential(1.0, 0.25, every=10, staircase=True)([0, 9, 10]).tolist()
    [1.0, 1.0, 0.25]
    """
    value = init * int_power(factor, step // every)
    if not staircase:
        value = value * jnp.asarray(factor) ** fraction(step % every, every)
    if end is None:
        return value
    return jnp.where(jnp.asarray(factor) < 1, jnp.maximum(value, end), jnp.minimum(value, end))


@schedule(phases=staircase_phases)
def step_decay(
    step: jax.Array, init: FiniteFloat, factor: PositiveFloat, every: PositiveInt
) -> ArrayLike:
    """Decay at fixed intervals: ``init * factor**floor(t / every)``.

    Common choices are ``factor=0.1`` and ``factor=0.5`` every few epochs.

    Args:
      init: Value at step 0.
      factor: Factor at each decay.
      every: Number of steps between decays: epochs times steps per epoch.

    Returns:
      A `Schedule` without a horizon.

    References:
      PyTorch's ``StepLR``.

    >>> import lrsched
    >>> lrsched.step_decay(1.0, 0.5, every=30)([0, 29, 30, 60, 90]).tolist()
    [1.0, 1.0, 0.5, 0.25, 0.125]
    """
    return init * int_power(factor, step // every)


def _last_milestone(schedule: Schedule) -> Any:
    milestones = schedule.milestones
    return milestones[..., -1] if np.shape(milestones)[-1] else 0


@schedule(
    horizon=_last_milestone,
    phases=lambda schedule, until: segment_phases(schedule.milestones, until),
)
def multistep(
    step: jax.Array, init: FiniteFloat, milestones: Boundaries, factor: PositiveFloat = 0.1
) -> ArrayLike:
    """Decay at each milestone: ``init * factor**k`` where ``k`` milestones are at or before ``t``.

    Args:
      init: Value at step 0.
      milestones: Steps of the decays, increasing.
      factor: Factor at each milestone.

    Returns:
      A `Schedule` whose horizon is the last milestone.

    Raises:
      ValueError: If the milestones do not increase.

    References:
      PyTorch's ``MultiStepLR``; for another factor at each cut use `piecewise_constant`.

    >>> import lrsched
    >>> lrsched.multistep(1.0, [30, 60], factor=0.5)([0, 29, 30, 60, 90]).tolist()
    [1.0, 1.0, 0.5, 0.25, 0.25]
    """
    return init * int_power(factor, count_passed(jnp.asarray(milestones), step))


@schedule(horizon="steps")
def cosine(
    step: jax.Array,
    peak: FiniteFloat,
    steps: PositiveInt,
    end: FiniteFloat = 0.0,
    exponent: PositiveFloat = 1.0,
) -> ArrayLike:
    """Cosine decay: ``end + (peak - end) ((1 + cos(pi t / steps)) / 2)**exponent``.

    It is computed as a squared sine of the remaining steps, which is exact up to the last step
    before an end of zero. The formula above loses all relative accuracy there in float32.

    Args:
      peak: Value at step 0.
      steps: Number of steps. Must be at least 1.
      end: Value from step ``steps`` on: a value, not a fraction of the peak as optax's ``alpha``.
      exponent: Exponent of the cosine.

    Returns:
      A `Schedule` of horizon ``steps``.

    References:
      Loshchilov & Hutter 2017 (arXiv 1608.03983); ``optax.cosine_decay_schedule``. PyTorch's
      ``CosineAnnealingLR`` climbs back after ``steps``; this one holds.

    >>> import lrsched
    >>> lrsched.cosine(1.0, steps=100)([0, 50, 100, 150]).tolist()
    [1.0, 0.4999999701976776, 0.0, 0.0]
    """
    quarter = 0.5 * jnp.pi
    weight = jnp.sin(quarter * fraction(steps - step, steps)) ** (2 * jnp.asarray(exponent))
    risen = jnp.sin(quarter * fraction(step, steps)) ** 2
    return lerp(end, peak, weight, jnp.where(jnp.asarray(exponent) == 1, risen, 1 - weight))


@schedule(horizon="steps")
def k_decay(
    step: jax.Array, peak: FiniteFloat, steps: PositiveInt, k: PositiveFloat, end: FiniteFloat = 0.0
) -> ArrayLike:
    """Cosine decay in a power of the time: ``end + (peak - end) (1 + cos(pi (t / steps)**k)) / 2``.

    Args:
      peak: Value at step 0.
      steps: Number of steps. Must be at least 1.
      k: Exponent of the time. At 1 it is `cosine`; above 1 the value stays high for longer.
      end: Value from step ``steps`` on.

    Returns:
      A `Schedule` of horizon ``steps``.

    References:
      Zhang & Li 2020 (arXiv 2004.05909); timm's ``k_decay``.

    >>> import lrsched
    >>> lrsched.k_decay(1.0, steps=100, k=1.0) ([0, 100]).tolist()
    [1.0, 0.0]
    """
    done, left = fraction(step, steps), fraction(steps - step, steps)
    k = jnp.asarray(k)
    # 1 - done**k, also exact near the end, where it is about k * left.
    rest = jnp.where(left < 1, -jnp.expm1(k * jnp.log1p(-jnp.minimum(left, 0.75))), 1.0)
    rest = jnp.where(left < 0.75, rest, 1 - done**k)
    return lerp(end, peak, evaluate_ramp("cosine", rest, 1), evaluate_ramp("cosine", done**k, 1))


@schedule(horizon="steps")
def tanh(
    step: jax.Array,
    peak: FiniteFloat,
    steps: PositiveInt,
    lower: FiniteFloat = -6.0,
    upper: FiniteFloat = 3.0,
    end: FiniteFloat = 0.0,
) -> ArrayLike:
    """Hyperbolic tangent decay: ``end + (peak - end) (1 - tanh z) / 2``.

    With ``z = lower + (upper - lower) t / steps``. It begins a little below ``peak`` and ends a
    little above ``end``.

    Args:
      peak: Value in the limit of a low ``lower``.
      steps: Number of steps. Must be at least 1.
      lower: Argument of the tangent at step 0.
      upper: Argument of the tangent at step ``steps``.
      end: Value in the limit of a high ``upper``.

    Returns:
      A `Schedule` of horizon ``steps``.

    References:
      Hsueh et al. 2019 (arXiv 1806.01593); timm's ``TanhLRScheduler`` has ``lower=-7``.

    >>> import lrsched
    >>> [round(float(rate), 6) for rate in lrsched.tanh(1.0, steps=9)([0, 6, 9])]
    [0.999994, 0.5, 0.002473]
    """
    middle = jnp.asarray(lower) * fraction(steps - step, steps) + upper * fraction(step, steps)
    return lerp(end, peak, jax.nn.sigmoid(-2 * middle), jax.nn.sigmoid(2 * middle))


@schedule(horizon="steps")
def rex(
    step: jax.Array,
    peak: FiniteFloat,
    steps: PositiveInt,
    end: FiniteFloat = 0.0,
    beta: OpenUnitFloat = 0.5,
) -> ArrayLike:
    """Reflected exponential: ``end + (peak - end) x / (1 - beta + beta x)``, ``x = 1 - t / steps``.

    Args:
      peak: Value at step 0.
      steps: Number of steps. Must be at least 1.
      end: Value from step ``steps`` on.
      beta: Shape parameter in (0, 1). Near 0 the curve is a line; near 1 the value stays high until
        the end.

    Returns:
      A `Schedule` of horizon ``steps``.

    Raises:
      ValueError: If ``beta`` is not in (0, 1).

    References:
      Chen, Wolfe & Kyrillidis 2022 (arXiv 2107.04197), where beta is 1/2.

    >>> import lrsched
    >>> lrsched.rex(1.0, steps=3)([0, 1, 3]).tolist() == [1.0, lrsched.constant(0.8)(0).item(), 0.0]
    True
    """
    left = fraction(steps - step, steps)
    kept = 1 - jnp.asarray(beta)
    weight = left / (kept + beta * left)
    return lerp(end, peak, weight, kept * fraction(step, steps) / (kept + beta * left))


def _check_max_steps(schedule: Schedule) -> None:
    name, steps, max_steps = schedule._structure.definition.name, schedule.steps, schedule.max_steps
    check_below(name, "steps", steps, "max_steps", max_steps, allow_equal=True)


def _hyperbola(step: jax.Array, steps: ArrayLike, max_steps: ArrayLike) -> jax.Array:
    """Return ``1 + h(t) - h(0)``, with ``h(t) = sqrt((n - t) / u (2 - (n + t) / u))``."""
    whole, left = fraction(steps, max_steps), fraction(steps - step, max_steps)
    beyond = fraction(jnp.asarray(max_steps) - steps, max_steps)
    start = jnp.sqrt(whole * (1 + beyond))
    now = left * (2 * beyond + left)
    return beyond**2 / (1 + start) + jnp.where(now > 0, jnp.sqrt(jnp.where(now > 0, now, 1)), 0)


@schedule(horizon="steps", check=_check_max_steps)
def hyperbolic(
    step: jax.Array,
    peak: FiniteFloat,
    steps: PositiveInt,
    max_steps: PositiveInt,
    end: FiniteFloat = 0.0,
) -> ArrayLike:
    """HyperbolicLR: ``peak + (peak - end) (h(t) - h(0))``, similar early on for any length.

    With ``h(t) = sqrt((steps - t) / max_steps (2 - (steps + t) / max_steps))``; ``end`` is reached
    only where ``max_steps`` is ``steps``.

    Args:
      peak: Value at step 0.
      steps: Number of steps. Must be at least 1.
      max_steps: Longest length among the runs that are compared. Must be at least ``steps``.
      end: Value at step ``max_steps`` of the longest run.

    Returns:
      A `Schedule` of horizon ``steps``.

    Raises:
      ValueError: If ``max_steps < steps``.

    References:
      Kim 2024 (arXiv 2407.15200).

    >>> import lrsched
    >>> lrsched.hyperbolic(1.0, steps=10, max_steps=10)([0, 10]).tolist()
    [1.0, 0.0]
    """
    return lerp(end, peak, _hyperbola(step, steps, max_steps))


@schedule(horizon="steps", check=_check_max_steps)
def exp_hyperbolic(
    step: jax.Array,
    peak: PositiveFloat,
    steps: PositiveInt,
    max_steps: PositiveInt,
    end: PositiveFloat,
) -> ArrayLike:
    """ExpHyperbolicLR: ``peak (peak / end)**(h(t) - h(0))``, `hyperbolic` in the logarithm.

    Args:
      peak: Value at step 0, above 0.
      steps: Number of steps. Must be at least 1.
      max_steps: Longest length among the runs that are compared. Must be at least ``steps``.
      end: Value at step ``max_steps`` of the longest run, above 0.

    Returns:
      A `Schedule` of horizon ``steps``.

    Raises:
      ValueError: If ``max_steps < steps``.

    References:
      Kim 2024 (arXiv 2407.15200).

    >>> import lrsched
    >>> schedule = lrsched.exp_hyperbolic(1.0, steps=10, max_steps=10, end=0.25)
    >>> schedule([0, 10]).tolist()
    [1.0, 0.25]
    """
    return end * (peak / jnp.asarray(end)) ** _hyperbola(step, steps, max_steps)


def _check_chebyshev(schedule: Schedule) -> None:
    steps = np.asarray(schedule.steps, np.int64)
    if np.any(steps & (steps - 1)):
        raise not_accepted("chebyshev", "steps", schedule.steps, "a power of two")


@schedule(horizon=lambda schedule: schedule.steps - 1, check=_check_chebyshev)
def chebyshev(
    step: jax.Array, peak: FiniteFloat, steps: PositiveInt, ratio: OpenUnitFloat = 0.05
) -> ArrayLike:
    """Fractal Chebyshev steps: ``peak / ((1 + m) / 2 - (1 - m) / 2 cos a_i)``.

    With ``a_i = (2 i + 1) pi / (2 steps)``, ``m = ratio``, ``i`` the fractal permutation of ``t``.
    On a quadratic whose curvatures lie between ``m / peak`` and ``1 / peak`` gradient descent then
    converges as fast as with momentum; single rates go up to ``peak / m``.

    Args:
      peak: Reciprocal of the largest curvature.
      steps: Number of steps, a power of two.
      ratio: Ratio of the smallest curvature to the largest one, in (0, 1).

    Returns:
      A `Schedule` of horizon ``steps - 1``.

    Raises:
      ValueError: If ``steps`` is not a power of two, or ``ratio`` is not in (0, 1).

    References:
      Agarwal, Goel & Zhang 2021 (arXiv 2103.01338).

    >>> import lrsched
    >>> [round(float(rate), 4) for rate in lrsched.chebyshev(1.0, steps=4, ratio=0.05)(range(4))]
    [11.6067, 1.0375, 2.9135, 1.4149]
    """
    steps = jnp.asarray(steps)
    held = jnp.minimum(step.astype(jnp.int32), steps - 1)
    position, size = jnp.zeros_like(held), jnp.asarray(1)
    for bit in reversed(range(30)):
        is_part = (steps >> bit) > 1
        size = jnp.where(is_part, 2 * size, size)
        mirrored = is_part & ((held >> bit) & 1 == 1)
        position = jnp.where(mirrored, size - 1 - position, position)
    angle = jnp.pi * (position.astype(jnp.float32) + 0.5) / steps.astype(jnp.float32)
    # (1 + m) / 2 - (1 - m) / 2 cos(a), without its cancellation near a = 0.
    return peak / (ratio + (1 - jnp.asarray(ratio)) * jnp.sin(angle / 2) ** 2)


@schedule(horizon="steps")
def cosine_waves(
    step: jax.Array,
    peak: FiniteFloat,
    steps: PositiveInt,
    waves: PositiveFloat,
    end: FiniteFloat = 0.0,
) -> ArrayLike:
    """Cosine with several waves: ``end + (peak - end) (1 + cos(2 pi waves t / steps)) / 2``.

    Args:
      peak: Value at step 0.
      steps: Number of steps. Must be at least 1.
      waves: Number of full waves. At 0.5 it is `cosine`.
      end: Lowest value.

    Returns:
      A `Schedule` of horizon ``steps``.

    References:
      Transformers' ``num_cycles``, which continues to oscillate after the end; this one holds.

    >>> import lrsched
    >>> [round(float(rate), 6) for rate in lrsched.cosine_waves(1.0, 8, waves=2.0)([0, 2, 4, 8])]
    [1.0, 0.0, 1.0, 1.0]
    """
    phase = jnp.asarray(waves) * fraction(step, steps)
    return lerp(end, peak, jnp.cos(jnp.pi * (phase - jnp.floor(phase))) ** 2)
