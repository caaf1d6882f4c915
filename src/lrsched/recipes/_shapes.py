"""The shapes that published schedules are made of, in updates counted from 0."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from lrsched._schedule import Schedule
from lrsched.algebra import constant, join, shift
from lrsched.schedules.constant import piecewise_constant
from lrsched.schedules.decay import cosine, linear
from lrsched.schedules.multiphase import cooldown


def sequence(*segments: tuple[Schedule | float, int | None]) -> Schedule:
    """Return schedules one after another, each for its number of steps.

    Each starts from its own step 0. A number is a constant. A segment of 0 steps is left out, and
    the last one may have no length (`None`).

    Args:
      *segments: Pairs of a schedule or a number, and its number of steps. Write one of them as what
        the others leave of the run, such as ``steps - warmup``.

    Returns:
      A `Schedule` whose horizon is the sum of the lengths.

    Raises:
      ValueError: If a length is negative, which means that the phases exceed the whole.

    Example:
      >>> import lrsched
      >>> from lrsched import recipes
      >>> rate = recipes.sequence((1.0, 2), (lrsched.linear(1.0, 0.0, steps=4), 4))
      >>> rate([0, 2, 4, 6]).tolist(), rate.horizon
      ([1.0, 1.0, 0.5, 0.0], 6)
    """
    lengths = [length for _, length in segments if length is not None]
    if min(lengths) < 0:
        phases = sum(length for length in lengths if length > 0)
        raise ValueError(
            f"sequence: phases of {phases} steps are not accepted in a run of {sum(lengths)}; make "
            "the run longer or its phases shorter."
        )
    parts = [first_steps(part, length) for part, length in segments if length != 0]
    if not parts:
        raise ValueError("sequence: a run of 0 steps is not accepted; make the run longer.")
    return parts[0] if len(parts) == 1 else join(*parts)


def first_steps(inner: Schedule | float, steps: int | None) -> Schedule:
    """Return ``inner`` with the horizon ``steps``: cut off there, or prolonged."""
    if not isinstance(inner, Schedule):
        return constant(inner) if steps is None else constant(inner, steps=steps)
    if steps is None or inner.horizon == steps:
        return inner
    if inner.horizon is not None and inner.horizon < steps:
        end = float(inner(inner.horizon))
        return join(inner, constant(end, steps=steps - inner.horizon))
    # A cooldown of one step is inner(t) until steps - 1, and then a constant.
    return cooldown(inner, start=steps - 1, steps=1, end=float(inner(steps)))


def ahead(inner: Schedule, steps: int = 1) -> Schedule:
    """Return ``inner`` as if ``steps`` of it were over; 1 for counters that start at 1."""
    return shift(inner, -steps) if steps else inner


def ramp(init: float, end: float, steps: int) -> Schedule | float:
    """Return a line from ``init`` to ``end``, or ``end`` where it has no steps."""
    return linear(init, end, steps=steps) if steps > 0 else end


def warmup_cosine(
    peak: float, steps: int, warmup: int, end: float = 0.0, init: float = 0.0
) -> Schedule:
    """Return a line from ``init`` to ``peak``, then half a cosine to ``end`` at ``steps``."""
    falling = cosine(peak, steps=steps - warmup, end=end) if steps > warmup else end
    return sequence((ramp(init, peak, warmup), warmup), (falling, steps - warmup))


def warmup_linear(
    peak: float, steps: int, warmup: int, end: float = 0.0, init: float = 0.0
) -> Schedule:
    """Return a line from ``init`` to ``peak``, then a line to ``end`` at ``steps``."""
    return sequence(
        (ramp(init, peak, warmup), warmup), (ramp(peak, end, steps - warmup), steps - warmup)
    )


def trapezoid(
    peak: float, steps: int, warmup: int, cooldown: int, end: float = 0.0, init: float = 0.0
) -> Schedule:
    """Return a line to ``peak``, a plateau, and a line to ``end`` over the last steps."""
    return sequence(
        (ramp(init, peak, warmup), warmup),
        (peak, steps - warmup - cooldown),
        (ramp(peak, end, cooldown), cooldown),
    )


def stairs(values: Callable[[int], float], every: float, count: int) -> Schedule:
    """Return ``values(k)`` from step ``ceil(k every)`` on, for ``k`` from 0 to ``count - 1``."""
    boundaries: list[Any] = [math.ceil(k * every) for k in range(1, count)]
    return piecewise_constant([values(k) for k in range(count)], boundaries)
