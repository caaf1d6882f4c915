"""Rates that fall: along a line, a power, a geometric sequence, a cosine, or by steps."""

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
)
from lrsched.numerics import count_passed, fraction, int_power, lerp
from lrsched.schedules.ramps import evaluate_ramp


@schedule(horizon="steps")
def linear(step: jax.Array, init: FiniteFloat, end: FiniteFloat, steps: PositiveInt) -> ArrayLike:
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
    return lerp(end, init, fraction(steps - step, steps), fraction(step, steps))


@schedule(horizon="steps")
def polynomial(
    step: jax.Array,
    init: FiniteFloat,
    end: FiniteFloat,
    steps: PositiveInt,
    power: PositiveFloat = 1.0,
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
    return init * int_power(factor, count_passed(jnp.asarray(milestones), step))


@schedule(horizon="steps")
def cosine(
    step: jax.Array,
    peak: FiniteFloat,
    steps: PositiveInt,
    end: FiniteFloat = 0.0,
    exponent: PositiveFloat = 1.0,
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
    return lerp(end, peak, weight, jnp.where(jnp.asarray(exponent) == 1, risen, 1 - weight))


@schedule(horizon="steps")
def k_decay(
    step: jax.Array, peak: FiniteFloat, steps: PositiveInt, k: PositiveFloat, end: FiniteFloat = 0.0
) -> ArrayLike:
    """A cosine of a power of the time: ``end + (peak - end) (1 + cos(pi (t / steps)**k)) / 2``.

    Args:
      peak: the rate at step 0.
      steps: the length.
      k: 1 is `cosine`; above it the rate stays high for longer.
      end: the rate from step ``steps`` on.

    Source: Zhang & Li 2020 (arXiv 2004.05909); timm's ``k_decay``.

    >>> import lrsched
    >>> lrsched.k_decay(1.0, steps=100, k=1.0) ([0, 100]).tolist()
    [1.0, 0.0]
    """
    done, left = fraction(step, steps), fraction(steps - step, steps)
    k = jnp.asarray(k)
    # 1 - done**k, exact near the end too, where it is k left.
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
    """Half a hyperbolic tangent: ``end + (peak - end) (1 - tanh z) / 2``.

    With ``z = lower + (upper - lower) t / steps``. It begins a little below ``peak`` and ends a
    little above ``end``.

    Args:
      peak: the rate at minus infinity.
      steps: the length.
      lower: the tangent's argument at step 0.
      upper: its argument at the end.
      end: the rate at infinity.

    Source: Hsueh et al. 2019 (arXiv 1806.01593); timm's ``TanhLRScheduler`` has ``lower=-7``.

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
      peak: the rate at step 0.
      steps: the length.
      end: the rate from step ``steps`` on.
      beta: below 1; near 0 it is a line, near 1 the rate stays high until the end.

    Raises:
      ValueError: ``beta`` is not below 1.

    Source: Chen, Wolfe & Kyrillidis 2022 (arXiv 2107.04197), where beta is 1/2.

    >>> import lrsched
    >>> lrsched.rex(1.0, steps=3)([0, 1, 3]).tolist() == [1.0, lrsched.constant(0.8)(0).item(), 0.0]
    True
    """
    left = fraction(steps - step, steps)
    kept = 1 - jnp.asarray(beta)
    weight = left / (kept + beta * left)
    return lerp(end, peak, weight, kept * fraction(step, steps) / (kept + beta * left))


def _check_max_steps(schedule: Schedule) -> None:
    steps, max_steps = schedule.steps, schedule.max_steps
    if np.any(np.asarray(max_steps) < np.asarray(steps)):
        raise ValueError(
            f"{schedule._structure.definition.name}: max_steps={max_steps!r} is not accepted; "
            f"max_steps must be at least {steps=}."
        )


def _hyperbola(step: jax.Array, steps: ArrayLike, max_steps: ArrayLike) -> jax.Array:
    """``1 + h(t) - h(0)``, with ``h(t) = sqrt((n - t) / u (2 - (n + t) / u))``."""
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
    """HyperbolicLR: ``peak + (peak - end) (h(t) - h(0))``, one early course for any length.

    With ``h(t) = sqrt((steps - t) / max_steps (2 - (steps + t) / max_steps))``; ``end`` is reached
    only where ``max_steps`` is ``steps``.

    Args:
      peak: the rate at step 0.
      steps: the length.
      max_steps: the longest length that runs are compared at, at least ``steps``.
      end: the infimum.

    Raises:
      ValueError: ``max_steps < steps``.

    Source: Kim 2024 (arXiv 2407.15200).

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
      peak: the rate at step 0, above 0.
      steps: the length.
      max_steps: the longest length that runs are compared at, at least ``steps``.
      end: the infimum, above 0.

    Raises:
      ValueError: ``max_steps < steps``.

    Source: Kim 2024 (arXiv 2407.15200).

    >>> import lrsched
    >>> schedule = lrsched.exp_hyperbolic(1.0, steps=10, max_steps=10, end=0.25)
    >>> schedule([0, 10]).tolist()
    [1.0, 0.25]
    """
    return end * (peak / jnp.asarray(end)) ** _hyperbola(step, steps, max_steps)


def _check_chebyshev(schedule: Schedule) -> None:
    steps = np.asarray(schedule.steps, np.int64)
    if np.any(steps & (steps - 1)):
        raise ValueError(
            f"chebyshev: steps={schedule.steps!r} is not accepted; steps must be a power of two."
        )


@schedule(horizon=lambda schedule: schedule.steps - 1, check=_check_chebyshev)
def chebyshev(
    step: jax.Array, peak: FiniteFloat, steps: PositiveInt, ratio: OpenUnitFloat = 0.05
) -> ArrayLike:
    """Fractal Chebyshev steps: ``peak / ((1 + m) / 2 - (1 - m) / 2 cos a_i)``.

    With ``a_i = (2 i + 1) pi / (2 steps)``, ``m = ratio``, ``i`` the fractal permutation of ``t``.
    On a quadratic whose curvatures lie between ``m / peak`` and ``1 / peak`` gradient descent then
    converges as fast as with momentum; single rates go up to ``peak / m``.

    Args:
      peak: the reciprocal of the largest curvature.
      steps: the length, a power of two.
      ratio: the smallest curvature over the largest one, below 1.

    Raises:
      ValueError: ``steps`` is no power of two, or ``ratio`` is not below 1.

    Source: Agarwal, Goel & Zhang 2021 (arXiv 2103.01338).

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
    """A cosine of several waves: ``end + (peak - end) (1 + cos(2 pi waves t / steps)) / 2``.

    Args:
      peak: the rate at step 0.
      steps: the length.
      waves: how many full waves; 0.5 is `cosine`.
      end: the lowest rate.

    Source: transformers' ``num_cycles``, which goes on waving after the end; this one holds.

    >>> import lrsched
    >>> [round(float(rate), 6) for rate in lrsched.cosine_waves(1.0, 8, waves=2.0)([0, 2, 4, 8])]
    [1.0, 0.0, 1.0, 1.0]
    """
    phase = jnp.asarray(waves) * fraction(step, steps)
    return lerp(end, peak, jnp.cos(jnp.pi * (phase - jnp.floor(phase))) ** 2)
