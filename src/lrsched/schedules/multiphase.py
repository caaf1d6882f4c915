"""Schedules of several phases: warmup, stable phase, cooldown, interpolation between points."""

from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from lrsched._phases import FINAL, numbered_phases, phase_starts
from lrsched._schedule import PhaseStart, Schedule, schedule
from lrsched.algebra import Inner
from lrsched.arguments import (
    Boundaries,
    FiniteFloat,
    FiniteFloats,
    NonNegativeInt,
    PositiveInt,
    StepsOrFraction,
    not_accepted,
    one_of,
)
from lrsched.numerics import (
    MAX_STEP,
    count_passed,
    fraction,
    lerp,
    resolve_steps,
    resolve_steps_on_host,
)
from lrsched.schedules.ramps import Ramp, evaluate_ramp


def check_phases_fit(function: str, steps: Any, **phases: Any) -> None:
    """Raise ``ValueError`` if the phases are longer than the whole schedule.

    Args:
      function: Name of the schedule, for the message.
      steps: Total number of steps.
      **phases: Length of each phase by argument name, in steps or as a fraction of ``steps``.
    """
    lengths = [resolve_steps_on_host(phase, steps) for phase in phases.values()]
    total = sum(lengths)
    if not np.all(total <= steps):
        named = " and ".join(f"{name}={phase!r}" for name, phase in phases.items())
        raise ValueError(
            f"{function}: {named} are not accepted; together they take "
            f"{' + '.join(map(str, lengths))} = {total} steps, more than {steps=}."
        )


def _check_wsd(schedule: Schedule) -> None:
    check_phases_fit("wsd", schedule.steps, warmup=schedule.warmup, cooldown=schedule.cooldown)


def _wsd_phases(schedule: Schedule, until: int) -> list[PhaseStart]:
    steps = schedule.steps
    return [
        ("warmup", 0),
        ("stable", int(resolve_steps_on_host(schedule.warmup, steps))),
        ("cooldown", int(steps - resolve_steps_on_host(schedule.cooldown, steps))),
        (FINAL, steps),
    ]


@schedule(
    horizon="steps",
    check=_check_wsd,
    phases=_wsd_phases,
)
def wsd(
    step: jax.Array,
    peak: FiniteFloat,
    steps: PositiveInt,
    warmup: StepsOrFraction,
    cooldown: StepsOrFraction,
    end: FiniteFloat = 0.0,
    ramp: Ramp = "1-sqrt",
    init: FiniteFloat = 0.0,
) -> ArrayLike:
    """Warmup, stable, decay (the trapezoid): a linear rise, a plateau, a cooldown to ``end``.

    With ``w`` and ``c`` the two lengths in steps::

        init + (peak - init) t / w                    for t < w
        peak                                          for w <= t <= steps - c
        end + (peak - end) ramp((steps - t) / c)      for t > steps - c

    Args:
      peak: Value of the stable phase.
      steps: Total number of steps, including warmup and cooldown.
      warmup: Length of the warmup: steps, or a fraction of ``steps`` rounded to the nearest step.
        At 0 the value begins at ``peak``.
      cooldown: Length of the cooldown, likewise. At 0 the value stays at ``peak``.
      end: Value from step ``steps`` on.
      ramp: Ramp of the cooldown: "linear", "cosine", "mirror-cosine", "1-sqrt", "square",
        "exponential", "power:P" for the power ``P`` such as "power:1.2", or a function from [0, 1]
        (the remaining fraction) to [0, 1]. A cooldown that begins below ``peak`` is another
        schedule after this one: ``wsd(..., cooldown=0) >> linear(0.7 * peak, 0.0, steps=...)``.
      init: Value at step 0.

    Returns:
      A `Schedule` of horizon ``steps``.

    Raises:
      ValueError: If ``warmup + cooldown > steps``.

    References:
      Hu et al. 2024 (MiniCPM, arXiv 2404.06395); the "1-sqrt" cooldown: Hägele et al. 2024 (arXiv
      2405.18392), as the mirror cosine and the square are.

    >>> import lrsched
    >>> schedule = lrsched.wsd(1.0, steps=1000, warmup=100, cooldown=0.2, ramp="linear")
    >>> schedule([0, 50, 100, 800, 900, 1000]).tolist()
    [0.0, 0.5, 1.0, 1.0, 0.5, 0.0]
    """
    rise, fall = resolve_steps(warmup, steps), resolve_steps(cooldown, steps)
    up = lerp(init, peak, fraction(step, rise))
    down = lerp(end, peak, evaluate_ramp(ramp, steps - step, fall))
    return jnp.where(step < rise, up, down)


def _check_cooldown(schedule: Schedule) -> None:
    start, steps = schedule.start, schedule.steps
    if np.any(np.asarray(start, np.int64) + steps > MAX_STEP):
        raise not_accepted("cooldown", "start", start, f"at most 2**31 - 1 - {steps=}")


def _cooldown_horizon(schedule: Schedule) -> Any:
    return schedule.start + schedule.steps


def _cooldown_phases(schedule: Schedule, until: int) -> list[PhaseStart]:
    start = int(schedule.start)
    phases = phase_starts(schedule.inner, start)
    return [*phases, ("cooldown", start), (FINAL, start + int(schedule.steps))]


@schedule(horizon=_cooldown_horizon, check=_check_cooldown, phases=_cooldown_phases)
def cooldown(
    step: jax.Array,
    inner: Inner,
    start: NonNegativeInt,
    steps: PositiveInt,
    end: FiniteFloat = 0.0,
    ramp: Ramp = "1-sqrt",
) -> ArrayLike:
    """Cooldown of any schedule: ``inner(t)`` until ``start``, then from there to ``end``.

    After ``start`` it is ``end + (inner(start) - end) ramp((start + steps - t) / steps)``. It
    ends a schedule without a horizon, and branches off a constant or stable phase.

    Args:
      inner: Schedule until ``start``.
      start: Step at which the cooldown begins.
      steps: Length of the cooldown, in steps. Must be at least 1.
      end: Value from step ``start + steps`` on.
      ramp: Ramp of the cooldown. See `wsd`.

    Returns:
      A `Schedule` of horizon ``start + steps``.

    Raises:
      ValueError: If ``start + steps`` is above 2**31 - 1.

    References:
      Hägele et al. 2024 (arXiv 2405.18392); OLMo-core's ``OverrideDecay``.

    >>> import lrsched
    >>> stable = lrsched.warmup(10) * 1.0
    >>> schedule = lrsched.cooldown(stable, start=100, steps=20, ramp="linear")
    >>> schedule([5, 100, 110, 120]).tolist(), schedule.horizon
    ([0.5, 1.0, 0.5, 0.0], 120)
    """
    peak = inner(jnp.asarray(start))
    down = lerp(end, peak, evaluate_ramp(ramp, jnp.asarray(start) + steps - step, steps))
    return jnp.where(step < start, inner(step), down)


def _check_points(schedule: Schedule) -> None:
    steps, values = schedule.steps, schedule.values
    if not np.shape(steps)[-1]:
        raise not_accepted("points", "steps", [], "a list of one or more steps")
    if np.shape(steps)[-1] != np.shape(values)[-1]:
        raise ValueError(
            f"points: {np.shape(steps)[-1]} steps and {np.shape(values)[-1]} values do not match."
        )


_CURVES = one_of("Curve", ("linear", "cosine", "monotone"))


def _points_phases(schedule: Schedule, until: int) -> list[PhaseStart]:
    starts = np.asarray(schedule.steps).tolist()
    segments = numbered_phases("segment", starts[:-1], until)
    return [("initial", 0), *segments, (FINAL, starts[-1])]


@schedule(
    horizon=lambda schedule: schedule.steps[..., -1], check=_check_points, phases=_points_phases
)
def points(
    step: jax.Array,
    steps: Boundaries,
    values: FiniteFloats,
    interpolation: Annotated[str, _CURVES] = "linear",
) -> ArrayLike:
    """Interpolation of points ``(steps[i], values[i])``, constant before and after them.

    "monotone" is the cubic of Fritsch & Carlson with Brodlie's weights: smooth, without overshoot
    between two points. The compiled program has the same size for any number of points.

    Args:
      steps: Steps of the points, increasing.
      values: Values at these steps.
      interpolation: "linear", "cosine" or "monotone".

    Returns:
      A `Schedule` whose horizon is the last step.

    Raises:
      ValueError: If the lists differ in length or are empty, or ``steps`` do not increase.

    References:
      ``optax.piecewise_interpolate_schedule`` (whose values are cumulative factors); Fritsch &
      Butland 1984, as SciPy's ``PchipInterpolator``.

    >>> import lrsched
    >>> lrsched.points([0, 10, 20], [0.0, 1.0, 0.5])([5, 10, 15, 99]).tolist()
    [0.5, 1.0, 0.75, 0.5]
    """
    at, values = jnp.asarray(steps), jnp.asarray(values)
    piece = jnp.clip(count_passed(at, step) - 1, 0, max(at.shape[-1] - 2, 0))
    following = jnp.minimum(piece + 1, at.shape[-1] - 1)
    length = at[following] - at[piece]
    done, left = fraction(step - at[piece], length), fraction(at[following] - step, length)
    if interpolation == "cosine":
        done, left = evaluate_ramp("cosine", done, 1), evaluate_ramp("cosine", left, 1)
    line = lerp(values[piece], values[following], done, left)
    if interpolation != "monotone" or at.shape[-1] < 3:
        return line
    slopes = _monotone_slopes(at.astype(jnp.float32), values)
    rise = (values[following] - values[piece]) / length
    first, second = slopes[piece] - rise, slopes[following] - rise
    return line + length * done * left * (first * left - second * done)


def _monotone_slopes(at: jax.Array, values: jax.Array) -> jax.Array:
    """Return the slopes of the monotone cubic at the points (PCHIP)."""
    lengths = jnp.diff(at)
    rises = jnp.diff(values) / lengths
    before, after = rises[:-1], rises[1:]
    turns = before * after <= 0
    w1, w2 = 2 * lengths[1:] + lengths[:-1], lengths[1:] + 2 * lengths[:-1]
    safe = jnp.where(turns, 1.0, before), jnp.where(turns, 1.0, after)
    inner = jnp.where(turns, 0.0, (w1 + w2) / (w1 / safe[0] + w2 / safe[1]))

    def edge(h0: jax.Array, h1: jax.Array, d0: jax.Array, d1: jax.Array) -> jax.Array:
        slope = ((2 * h0 + h1) * d0 - h0 * d1) / (h0 + h1)
        slope = jnp.where(slope * d0 <= 0, 0.0, slope)
        return jnp.where((d0 * d1 <= 0) & (abs(slope) > 3 * abs(d0)), 3 * d0, slope)

    first = edge(lengths[0], lengths[1], rises[0], rises[1])
    last = edge(lengths[-1], lengths[-2], rises[-1], rises[-2])
    return jnp.concatenate([first[None], inner, last[None]])
