"""The algebra of schedules: concatenate, multiply, add, bound, repeat and deform them.

The operators ``a >> b``, ``a * b`` and ``a + b`` are `join`, `multiply` and `add`. A number or a
callable of the step is accepted wherever a schedule is.
"""

from __future__ import annotations

import functools
import itertools
import operator
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from lrsched._phases import (
    FINAL,
    concatenate_phases,
    merge_phases,
    numbered_phases,
    phase_starts,
    shift_phases,
)
from lrsched._schedule import (
    NEEDS_NUMBERS,
    WRITE_IN_JAX,
    PhaseStart,
    Schedule,
    is_number,
    schedule,
)
from lrsched.arguments import (
    FINITE_FLOAT,
    ArgumentType,
    FiniteFloat,
    PositiveInt,
    SignedInt,
    check_below,
    first_paragraph,
    is_traced,
    not_accepted,
    short_repr,
)
from lrsched.numerics import MAX_STEP, clip_finite, rescale_step

if TYPE_CHECKING:
    import chex


def _parse_function(value: object) -> Callable[[jax.Array], ArrayLike]:
    """Check that ``value`` can be called with a step whose value is not known yet."""
    if not callable(value):
        raise TypeError
    try:
        # A shape and no array: schedules are made at import, and an array would start the backend
        # before jax.distributed.initialize can be called.
        # A function of this call: JAX keeps a weak reference, which a ufunc does not allow.
        result = jax.eval_shape(
            lambda step: value(step),
            jax.ShapeDtypeStruct((), jnp.int32),  # type: ignore[no-untyped-call]
        )
    except NEEDS_NUMBERS:
        raise ValueError(f"it needs the step {WRITE_IN_JAX}") from None
    except Exception as error:  # The function is the user's and may raise anything.
        if "Tracer" in str(error):  # such as a dict that is looked up by the step
            raise ValueError(f"it needs the step {WRITE_IN_JAX}") from None
        raise ValueError(f"calling it with a step fails: {first_paragraph(error)}") from None
    if not isinstance(result, jax.ShapeDtypeStruct):
        raise ValueError(f"it returns a {type(result).__name__} and no number")
    return value


StepFunction: TypeAlias = Annotated[
    Callable[[jax.Array], ArrayLike],
    ArgumentType("StepFunction", "a function of the step in jax.numpy", _parse_function, True),
]
"""A function of the step that JAX can trace. It is static: another one recompiles."""


@schedule
def from_function(step: jax.Array, function: StepFunction) -> ArrayLike:
    """Schedule of any function of the step.

    The function is part of the static structure: another one recompiles. Functions that are made
    alike, from the same code and numbers, are equal. They are pickled, by their code where they
    have no name to import, and cannot be written as JSON. For numbers that vary, use
    `lrsched.schedule`.

    Args:
      function: ``f(step) -> value`` in ``jax.numpy``, such as an optax schedule. A function that
        needs Python numbers can be tabulated:
        ``lrsched.table([function(step) for step in range(steps)])``.

    Returns:
      A `Schedule` without a horizon.

    Raises:
      ValueError: If ``function`` is not callable, or needs the step as a Python number.

    >>> import lrsched, optax
    >>> schedule = lrsched.from_function(optax.linear_schedule(1.0, 0.0, 10))
    >>> float(schedule(5)), schedule.horizon
    (0.5, None)
    """
    return function(step)


def _parse_schedule(value: Any) -> Schedule:
    if isinstance(value, Schedule):
        return value
    if callable(value):
        return from_function(value)
    if is_number(value):
        return constant(value)
    if hasattr(value, "init") and hasattr(value, "update"):
        raise ValueError("an optimizer is not a learning rate; pass the rate of the optimizer")
    raise TypeError


_RATE_DESCRIPTION = "a number, a Schedule or a callable of the step"
_SCHEMA = {"anyOf": [{"type": "number"}, {"$ref": "#/$defs/schedule"}]}
LEARNING_RATE = ArgumentType("LearningRate", _RATE_DESCRIPTION, _parse_schedule, schema=_SCHEMA)
LearningRate: TypeAlias = Annotated[
    ArrayLike | Schedule | Callable[[jax.Array], ArrayLike], LEARNING_RATE
]
"""A number, a `Schedule` or a callable of the step, such as an optax schedule."""


def as_schedule(value: LearningRate) -> Schedule:
    """Return a `Schedule` as it is, and a number or a callable of the step as a schedule.

    Args:
      value: Schedule, number or callable of the step.

    Returns:
      The schedule.

    Raises:
      ValueError: If ``value`` is none of these.

    >>> import lrsched
    >>> lrsched.as_schedule(0.1)
    constant(value=0.1)
    """
    try:
        return _parse_schedule(value)
    except TypeError:
        raise ValueError(
            f"{short_repr(value)} is not a learning rate; it must be {_RATE_DESCRIPTION}."
        ) from None


def _as_operand(value: LearningRate) -> Schedule | ArrayLike:
    return FINITE_FLOAT.parse(value) if is_number(value) else as_schedule(value)


Operand: TypeAlias = Annotated[
    Schedule | ArrayLike | Callable[[jax.Array], ArrayLike],
    ArgumentType(
        "Operand",
        "a Schedule, a finite number or a callable of the step",
        _as_operand,
        schema=_SCHEMA,
    ),
]
"""An operand of the algebra."""
Inner: TypeAlias = Annotated[
    Schedule, ArgumentType("Inner", _RATE_DESCRIPTION, _parse_schedule, schema=_SCHEMA)
]
"""The schedule that another one modifies."""


def inner_phases(schedule: Schedule, until: int) -> list[PhaseStart]:
    """Return the phases of ``inner``: a schedule that modifies another one keeps its phases."""
    return phase_starts(schedule.inner, until)


def inner_horizon(schedule: Schedule) -> chex.Numeric | None:
    """Return the horizon of ``inner``."""
    return schedule.inner.horizon


def check_inner_has_horizon(schedule: Schedule) -> None:
    """Raise ``ValueError`` if ``inner`` has no horizon."""
    if schedule.inner.horizon is None:
        raise ValueError(
            f"{schedule._structure.definition.name}: inner={short_repr(schedule.inner)} is not "
            "accepted; inner must have a horizon."
        )


def _evaluate_operand(operand: Operand, step: jax.Array) -> chex.Numeric:
    return operand(step) if isinstance(operand, Schedule) else operand


def _fold(
    operation: Callable[[jax.Array, jax.Array], jax.Array],
    operands: tuple[Operand, ...],
    step: jax.Array,
) -> jax.Array:
    values = [jnp.asarray(_evaluate_operand(operand, step)) for operand in operands]
    return functools.reduce(operation, values)


def _horizon(operand: Operand) -> Any:
    """Return the horizon of an operand. That of a number is 0."""
    return operand.horizon if isinstance(operand, Schedule) else 0


def _longest_horizon(schedule: Schedule) -> chex.Numeric | None:
    horizons = [_horizon(operand) for operand in schedule.operands]
    if any(horizon is None for horizon in horizons):
        return None
    return functools.reduce(_larger, horizons)


def _check_operands(schedule: Schedule) -> None:
    if not schedule.operands:
        name = schedule._structure.definition.name
        raise not_accepted(name, "operands", (), "one or more schedules or numbers")


def _larger(a: chex.Numeric, b: chex.Numeric) -> chex.Numeric:
    return jnp.maximum(a, b) if is_traced((a, b)) or np.ndim(a) or np.ndim(b) else max(a, b)


@schedule(horizon="steps")
def constant(step: jax.Array, value: FiniteFloat, steps: PositiveInt | None = None) -> ArrayLike:
    """A constant: ``value``.

    Args:
      value: The rate.
      steps: Number of steps before the next schedule in ``a >> b``. If ``None``, the schedule has
        no horizon.

    Returns:
      A `Schedule`.

    References:
      ``optax.constant_schedule``.

    >>> import lrsched
    >>> schedule = lrsched.constant(0.5, steps=100) >> 0.25
    >>> schedule([0, 99, 100]).tolist()
    [0.5, 0.5, 0.25]
    """
    return value


def _check_join(schedule: Schedule) -> None:
    _check_operands(schedule)
    operands = schedule.operands
    for operand in operands[:-1]:
        if not isinstance(operand, Schedule) or operand.horizon is None:
            raise ValueError(
                f"join: {short_repr(operand)} has no horizon, so what follows it would never "
                "begin; give it a length, as in constant(value, steps=1000)."
            )
    total = sum(np.max(_horizon(operand) or 0) for operand in operands)
    if total > MAX_STEP:
        raise ValueError(f"join: the horizons sum to {total}, above the largest step 2**31 - 1.")


def _joined_horizon(schedule: Schedule) -> chex.Numeric | None:
    horizons = [_horizon(operand) for operand in schedule.operands]
    return None if horizons[-1] is None else functools.reduce(operator.add, horizons)


def _joined_phases(schedule: Schedule, until: int) -> list[PhaseStart]:
    operands = schedule.operands
    return concatenate_phases(operands, [*map(_horizon, operands[:-1]), None], until)


@schedule(horizon=_joined_horizon, check=_check_join, phases=_joined_phases)
def join(step: jax.Array, *operands: Operand) -> ArrayLike:
    """A concatenation, ``a >> b``: ``a`` until its horizon, then ``b`` from its step 0.

    ``join(a, b)(t) = a(t)`` for ``t < a.horizon``, else ``b(t - a.horizon)``. It is associative.

    Args:
      *operands: Schedules, of which all but the last need a horizon. The last one may be a number.

    Returns:
      A `Schedule` whose horizon is the sum of the horizons.

    Raises:
      ValueError: If an operand before the last has no horizon, or the sum is above 2**31 - 1.

    >>> import lrsched
    >>> schedule = lrsched.linear(0.0, 1.0, steps=10) >> lrsched.cosine(1.0, steps=90)
    >>> schedule([0, 5, 10, 55, 100]).tolist()
    [0.0, 0.5, 1.0, 0.4999999701976776, 0.0]
    >>> schedule.horizon
    100
    """
    value = jnp.asarray(_evaluate_operand(operands[0], step))
    starts = itertools.accumulate(_horizon(operand) for operand in operands[:-1])
    for start, operand in zip(starts, operands[1:], strict=True):
        value = jnp.where(step >= start, _evaluate_operand(operand, step - start), value)
    return value


@schedule(horizon=_longest_horizon, check=_check_operands, phases=merge_phases)
def multiply(step: jax.Array, *operands: Operand) -> ArrayLike:
    """The product, ``a * b``: ``a(t) b(t) ...``.

    Args:
      *operands: Schedules, numbers or callables of the step.

    Returns:
      A `Schedule` whose horizon is the longest horizon of the operands.

    Raises:
      ValueError: If there is no operand.

    >>> import lrsched
    >>> schedule = lrsched.warmup(10) * lrsched.cosine(0.2, steps=100)
    >>> schedule
    multiply(warmup(steps=10), cosine(peak=0.2, steps=100))
    >>> float(schedule(5)) == 0.5 * float(lrsched.cosine(0.2, steps=100)(5))
    True
    """
    # The product of two large values overflows, and infinity times a third one of 0 is NaN.
    return _fold(lambda a, b: clip_finite(a * b), operands, step)


@schedule(horizon=_longest_horizon, check=_check_operands, phases=merge_phases)
def add(step: jax.Array, *operands: Operand) -> ArrayLike:
    """The sum, ``a + b``: ``a(t) + b(t) + ...``.

    Args:
      *operands: Schedules, numbers or callables of the step.

    Returns:
      A `Schedule` whose horizon is the longest horizon of the operands.

    Raises:
      ValueError: If there is no operand.

    >>> import lrsched
    >>> (lrsched.linear(0.0, 1.0, steps=2) + 1)([0, 1, 2]).tolist()
    [1.0, 1.5, 2.0]
    """
    return _fold(operator.add, operands, step)


@schedule(horizon=_longest_horizon, check=_check_operands, phases=merge_phases)
def minimum(step: jax.Array, *operands: Operand) -> ArrayLike:
    """The minimum at each step: ``min(a(t), b(t), ...)``.

    Args:
      *operands: Schedules, numbers or callables of the step.

    Returns:
      A `Schedule` whose horizon is the longest horizon of the operands.

    Raises:
      ValueError: If there is no operand.

    >>> import lrsched
    >>> lrsched.minimum(lrsched.linear(0.0, 1.0, steps=4), 0.5)([1, 2, 3]).tolist()
    [0.25, 0.5, 0.5]
    """
    return _fold(jnp.minimum, operands, step)


@schedule(horizon=_longest_horizon, check=_check_operands, phases=merge_phases)
def maximum(step: jax.Array, *operands: Operand) -> ArrayLike:
    """The maximum at each step: ``max(a(t), b(t), ...)``.

    Args:
      *operands: Schedules, numbers or callables of the step.

    Returns:
      A `Schedule` whose horizon is the longest horizon of the operands.

    Raises:
      ValueError: If there is no operand.

    >>> import lrsched
    >>> lrsched.maximum(lrsched.linear(1.0, 0.0, steps=4), 0.5)([1, 2, 3]).tolist()
    [0.75, 0.5, 0.5]
    """
    return _fold(jnp.maximum, operands, step)


def _check_clip(schedule: Schedule) -> None:
    check_below("clip", "low", schedule.low, "high", schedule.high, allow_equal=True)


@schedule(horizon=inner_horizon, check=_check_clip, phases=inner_phases)
def clip(step: jax.Array, inner: Inner, low: FiniteFloat, high: FiniteFloat) -> ArrayLike:
    """A schedule within bounds: ``min(max(inner(t), low), high)``.

    Args:
      inner: Schedule to clip.
      low: Lower bound of the value.
      high: Upper bound of the value.

    Returns:
      A `Schedule` with the horizon of ``inner``.

    Raises:
      ValueError: If ``low > high``.

    >>> import lrsched
    >>> lrsched.clip(lrsched.linear(1.0, 0.0, steps=4), 0.25, 0.75)([0, 2, 4]).tolist()
    [0.75, 0.5, 0.25]
    """
    return jnp.clip(inner(step), low, high)


def _repeat_horizon(schedule: Schedule) -> chex.Numeric | None:
    return None if schedule.times is None else schedule.inner.horizon * schedule.times


def _check_repeat(schedule: Schedule) -> None:
    check_inner_has_horizon(schedule)
    horizon, times = schedule.inner.horizon, schedule.times
    if times is not None and np.any(np.asarray(horizon, np.int64) * times > MAX_STEP):
        requirement = f"at most 2**31 - 1 divided by the horizon {horizon}"
        raise not_accepted("repeat", "times", times, requirement)


def _repeat_phases(schedule: Schedule, until: int) -> list[PhaseStart]:
    period, times = max(schedule.inner.horizon, 1), schedule.times
    end = until if times is None else period * int(times)
    return [*numbered_phases("cycle", range(0, end, period), until), (FINAL, end)]


@schedule(horizon=_repeat_horizon, check=_check_repeat, phases=_repeat_phases)
def repeat(step: jax.Array, inner: Inner, times: PositiveInt | None = None) -> ArrayLike:
    """A periodic repetition: ``inner(t mod h)`` with ``h = inner.horizon``.

    Args:
      inner: Schedule of one period. It needs a horizon.
      times: Number of periods, after which the value is ``inner(h)``. If ``None``, the repetition
        has no end.

    Returns:
      A `Schedule` of horizon ``times * h``, or without a horizon.

    Raises:
      ValueError: If ``inner.horizon is None``, or ``times * h`` is above 2**31 - 1.

    >>> import lrsched
    >>> lrsched.repeat(lrsched.linear(1.0, 0.0, steps=2), times=2)([0, 1, 2, 3, 4, 5]).tolist()
    [1.0, 0.5, 1.0, 0.5, 0.0, 0.0]
    """
    period = jnp.maximum(inner.horizon, 1)
    cycle = step // period if times is None else jnp.minimum(step // period, times - 1)
    return inner(step - (cycle * period).astype(step.dtype))


def _shifted_horizon(schedule: Schedule) -> chex.Numeric | None:
    horizon = schedule.inner.horizon
    return None if horizon is None else _larger(horizon + schedule.steps, 0)


def _shifted_phases(schedule: Schedule, until: int) -> list[PhaseStart]:
    starts = phase_starts(schedule.inner, until - int(schedule.steps))
    return [("initial", 0), *shift_phases(starts, schedule.steps)]


@schedule(horizon=_shifted_horizon, phases=_shifted_phases)
def shift(step: jax.Array, inner: Inner, steps: SignedInt) -> ArrayLike:
    """A delay or an advance: ``inner(max(t - steps, 0))``.

    Args:
      inner: Schedule to shift.
      steps: Number of steps by which it begins later. A negative number skips its first steps.

    Returns:
      A `Schedule` whose horizon is that of ``inner`` plus ``steps``.

    >>> import lrsched
    >>> lrsched.shift(lrsched.linear(1.0, 0.0, steps=2), 3)([0, 3, 4, 5]).tolist()
    [1.0, 1.0, 0.5, 0.0]
    >>> lrsched.shift(lrsched.linear(1.0, 0.0, steps=2), -1)([0, 1]).tolist()
    [0.5, 0.0]
    """
    # step - steps is above the largest int32 where steps is negative, and would wrap around.
    earlier = jnp.maximum(-jnp.asarray(steps), 0)
    return inner(jnp.minimum(step, MAX_STEP - earlier) - steps)


def _stretch_phases(schedule: Schedule, until: int) -> list[PhaseStart]:
    """Return the first whole steps at which the stretched schedule is in its phases."""
    horizon, steps = int(schedule.inner.horizon), int(schedule.steps)
    starts = phase_starts(schedule.inner, horizon + 1)
    return [(name, -(-at * steps // horizon)) for name, at in starts]


@schedule(horizon="steps", check=check_inner_has_horizon, phases=_stretch_phases)
def stretch(step: jax.Array, inner: Inner, steps: PositiveInt) -> ArrayLike:
    """The same curve over another number of steps: ``inner(t h / steps)``, ``h = inner.horizon``.

    ``inner`` is evaluated between its steps, in float32. A schedule that is made for the new length
    is more exact near an end of zero. A jump at a boundary stays a jump at the stretched boundary.

    Args:
      inner: Schedule to stretch. It needs a horizon.
      steps: New horizon, in steps.

    Returns:
      A `Schedule` of horizon ``steps``.

    Raises:
      ValueError: If ``inner.horizon is None``.

    >>> import lrsched
    >>> lrsched.stretch(lrsched.linear(1.0, 0.0, steps=2), 8)([0, 2, 4, 8]).tolist()
    [1.0, 0.75, 0.5, 0.0]
    """
    return inner(rescale_step(jnp.minimum(step, steps), inner.horizon, steps))


def _reversed_phases(schedule: Schedule, until: int) -> list[PhaseStart]:
    end = schedule.inner.horizon
    starts = [phase for phase in phase_starts(schedule.inner, end + 1) if phase != (FINAL, end)]
    stops = [*(start for _, start in starts[1:]), end + 1]
    backward = [(name, end + 1 - stop) for (name, _), stop in zip(starts, stops, strict=True)]
    return backward[::-1]


@schedule(horizon=inner_horizon, check=check_inner_has_horizon, phases=_reversed_phases)
def reverse(step: jax.Array, inner: Inner) -> ArrayLike:
    """A schedule from its end to its start: ``inner(h - t)`` with ``h = inner.horizon``.

    Args:
      inner: Schedule to reverse. It needs a horizon.

    Returns:
      A `Schedule` with the horizon of ``inner``.

    Raises:
      ValueError: If ``inner.horizon is None``.

    >>> import lrsched
    >>> lrsched.reverse(lrsched.linear(1.0, 0.0, steps=2))([0, 1, 2, 3]).tolist()
    [0.0, 0.5, 1.0, 1.0]
    """
    return inner(jnp.maximum(inner.horizon - step, 0))


def _staircase_horizon(schedule: Schedule) -> chex.Numeric | None:
    horizon, every = schedule.inner.horizon, schedule.every
    if horizon is None:
        return None
    if is_traced((horizon, every)) or np.ndim(horizon) or np.ndim(every):
        return horizon * every
    return min(int(horizon) * int(every), MAX_STEP)


def _staircase_phases(schedule: Schedule, until: int) -> list[PhaseStart]:
    every = int(schedule.every)
    starts = phase_starts(schedule.inner, until // every + 1)
    return [(name, start * every) for name, start in starts]


@schedule(horizon=_staircase_horizon, phases=_staircase_phases)
def staircase(step: jax.Array, inner: Inner, every: PositiveInt) -> ArrayLike:
    """A staircase that holds each rate for ``every`` updates: ``inner(t // every)``.

    The lengths of ``inner`` are counted in units of ``every`` updates, as those of a PyTorch
    scheduler that is stepped once an epoch, or once for ``every`` accumulated micro-batches.

    Args:
      inner: Schedule of the unit, such as an epoch.
      every: Number of updates in one unit. Must be at least 1.

    Returns:
      A schedule whose horizon is ``every`` times that of ``inner``.

    Example:
      >>> import lrsched
      >>> lrsched.staircase(lrsched.linear(1.0, 0.0, steps=2), every=3)([0, 2, 3, 5, 6]).tolist()
      [1.0, 1.0, 0.5, 0.5, 0.0]
    """
    return inner(step // jnp.asarray(every))
