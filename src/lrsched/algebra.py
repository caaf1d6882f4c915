"""What can be done with schedules: join, multiply, bound, repeat and bend them into new ones.

The operators ``a >> b``, ``a * b`` and ``a + b`` are `join`, `multiply` and `add`. A number or a
plain callable of the step may stand wherever a schedule may.
"""

import functools
import itertools
import operator
from collections.abc import Callable
from typing import Annotated, Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from lrsched._phases import (
    concatenate_phases,
    merge_phases,
    numbered_phases,
    phase_starts,
    shift_phases,
)
from lrsched._schedule import PhaseStart, Schedule, is_number, schedule
from lrsched.arguments import (
    FINITE_FLOAT,
    ArgumentType,
    FiniteFloat,
    NonNegativeInt,
    PositiveInt,
    SignedInt,
    is_traced,
)
from lrsched.numerics import MAX_STEP, rescale_step


def _step_function(given: Any) -> Any:
    """Check that ``given`` can be called with a step whose value is not known yet."""
    if not callable(given):
        raise TypeError
    try:
        jax.eval_shape(given, jnp.int32(0))
    except (
        jax.errors.ConcretizationTypeError,
        jax.errors.TracerArrayConversionError,
        jax.errors.TracerIntegerConversionError,
    ):
        raise ValueError(
            "it needs the step as a Python or NumPy number, as an if does; write it with "
            "jax.numpy (jnp.where), or list the rates of a bounded run in lrsched.table"
        ) from None
    except TypeError as error:
        raise ValueError(f"calling it with a step fails: {error}") from None
    return given


StepFunction: TypeAlias = Annotated[
    Callable[[jax.Array], ArrayLike],
    ArgumentType("StepFunction", "a function of the step in jax.numpy", _step_function, True),
]
"""A function of the step that JAX can trace. It is static: another one recompiles."""


@schedule
def from_function(step: jax.Array, function: StepFunction) -> ArrayLike:
    """Schedule of any function of the step.

    The function is part of the static structure: another one recompiles. It is compared by
    identity and cannot be written as JSON. For numbers that vary, use `lrsched.schedule`.

    Args:
      function: ``f(step) -> value`` in ``jax.numpy``, such as an optax schedule. A function that
        needs Python numbers can be tabulated:
        ``lrsched.table([function(step) for step in range(steps)])``.

    Raises:
      ValueError: If ``function`` is not callable, or needs the step as a Python number.

    >>> import lrsched, optax
    >>> schedule = lrsched.from_function(optax.linear_schedule(1.0, 0.0, 10))
    >>> float(schedule(5)), schedule.horizon
    (0.5, None)
    """
    return function(step)


LearningRate: TypeAlias = ArrayLike | Schedule | Callable[[jax.Array], ArrayLike]
"""A number, a `Schedule` or any callable of the step, such as an optax schedule."""


def as_schedule(value: Any) -> Schedule:
    """A `Schedule` as it is, a number held for ever, or a callable of the step as a schedule.

    Raises:
      ValueError: it is none of these.

    >>> import lrsched
    >>> lrsched.as_schedule(0.1)
    constant(value=0.1)
    """
    if isinstance(value, Schedule):
        return value
    if callable(value):
        return from_function(value)
    if is_number(value):
        return constant(value)
    raise ValueError(
        f"{value!r} is not a learning rate; it must be a number, a Schedule or a callable of the "
        "step."
    )


def _as_operand(given: Any) -> Any:
    return FINITE_FLOAT.parse(given) if is_number(given) else as_schedule(given)


_SCHEMA = {"anyOf": [{"type": "number"}, {"$ref": "#/$defs/schedule"}]}
_OPERAND = ArgumentType(
    "Operand", "a Schedule, a finite number or a callable of the step", _as_operand, schema=_SCHEMA
)
Operand: TypeAlias = Annotated[Schedule | ArrayLike | Callable[[jax.Array], ArrayLike], _OPERAND]
"""An operand of the algebra."""
Inner: TypeAlias = Annotated[
    Schedule,
    ArgumentType(
        "Inner", "a Schedule, a number or a callable of the step", as_schedule, schema=_SCHEMA
    ),
]
"""The schedule that another one changes."""


def inner_phases(until: int, inner: Schedule, **_: Any) -> list[PhaseStart]:
    """A schedule that another one changes keeps its phases."""
    return phase_starts(inner, until)


def _at(part: Any, step: jax.Array) -> Any:
    return part(step) if isinstance(part, Schedule) else part


def _fold(
    operation: Callable[[Any, Any], Any], operands: tuple[Operand, ...], step: jax.Array
) -> jax.Array:
    values: list[jax.Array] = [jnp.asarray(_at(part, step)) for part in operands]
    return functools.reduce(operation, values)


def _horizon(part: Any) -> Any:
    """A number is settled from the start; a schedule says for itself."""
    return part.horizon if isinstance(part, Schedule) else 0


def _longest(*operands: Any) -> Any:
    horizons = [_horizon(part) for part in operands]
    if any(horizon is None for horizon in horizons):
        return None
    return functools.reduce(lambda a, b: _larger(a, b), horizons)


def _larger(a: Any, b: Any) -> Any:
    return jnp.maximum(a, b) if is_traced((a, b)) or np.ndim(a) or np.ndim(b) else max(a, b)


@schedule(horizon="steps")
def constant(step: jax.Array, value: FiniteFloat, steps: PositiveInt | None = None) -> ArrayLike:
    """One value for ever: ``value``.

    Args:
      value: the rate.
      steps: how long it holds before the next one in ``a >> b``; without it, it has no horizon.

    Source: the "constant" of every guide; ``optax.constant_schedule``.

    >>> import lrsched
    >>> schedule = lrsched.constant(0.5, steps=100) >> 0.25
    >>> schedule([0, 99, 100]).tolist()
    [0.5, 0.5, 0.25]
    """
    return value


@schedule(horizon=lambda inner, **_: inner.horizon, phases=inner_phases)
def by_hand(
    step: jax.Array, inner: Inner, scale: FiniteFloat = 1.0, held: FiniteFloat = -1.0
) -> ArrayLike:
    """A schedule that a hand can change while it is in use: ``scale inner(t)``, or a held value.

    Every learning rate in an optimizer's state is one, so that `set_learning_rate` and
    `scale_learning_rate` change numbers and not the program.

    Args:
      inner: the schedule.
      scale: what it is multiplied by.
      held: the value in its place, times ``scale``; below 0 there is none.

    >>> import lrsched
    >>> schedule = lrsched.by_hand(lrsched.linear(1.0, 0.0, steps=4), scale=0.5)
    >>> schedule([0, 2]).tolist(), schedule.replace(held=0.1)([0, 2]).tolist()
    ([0.5, 0.25], [0.05000000074505806, 0.05000000074505806])
    """
    return scale * jnp.where(jnp.asarray(held) < 0, inner(step), held)


def in_hand(schedule: Schedule) -> Schedule:
    """A schedule as `by_hand` of it, unless it is one."""
    return schedule if schedule.is_instance_of(by_hand) else by_hand(schedule)


def _check_repace(inner: Schedule, start: Any, steps: Any) -> None:
    _check_has_horizon("repace", inner)
    if np.any(np.asarray(start) >= inner.horizon):
        raise ValueError(
            f"repace: start={start!r} is not accepted; start must be before the horizon "
            f"{inner.horizon}, as there is nothing left to go through after it."
        )
    if np.any(np.asarray(start) >= steps):
        raise ValueError(f"repace: start={start!r} is not accepted; start must be below {steps=}.")


def _repaced(inner: Schedule, start: Any, steps: Any) -> list[PhaseStart]:
    """The first whole steps at which the course is at its seams."""
    left, given = int(inner.horizon) - int(start), int(steps) - int(start)
    return [
        (name, at if at <= start else int(start) - (int(start) - at) * given // left)
        for name, at in phase_starts(inner, inner.horizon + 1)
    ]


@schedule(horizon="steps", check=_check_repace, phases=lambda until, **its: _repaced(**its))
def repace(step: jax.Array, inner: Inner, start: NonNegativeInt, steps: PositiveInt) -> ArrayLike:
    """The rest of a course in another number of steps, without a jump.

    ``inner(t)`` until ``start``, then ``inner(start + (t - start) (h - start) / (steps - start))``
    with ``h = inner.horizon``: what is left at ``start`` is left to be gone through until
    ``steps``, faster or slower than planned.

    Args:
      inner: the schedule; it needs a horizon.
      start: the step from which the pace is another.
      steps: the length of the whole.

    Raises:
      ValueError: ``inner`` has no horizon, or ``start`` is not before it and ``steps``.

    >>> import lrsched
    >>> lrsched.repace(lrsched.linear(1.0, 0.0, steps=4), start=2, steps=6)([1, 2, 4, 6]).tolist()
    [0.75, 0.5, 0.25, 0.0]
    """
    start, steps = jnp.asarray(start), jnp.asarray(steps)
    since = jnp.clip(step - start, 0, steps - start)
    rest = rescale_step(since, inner.horizon - start, steps - start)
    return jnp.where(step < start, inner(step), inner(start + rest))


def _check_join(operands: tuple[Any, ...]) -> None:
    if not operands:
        raise ValueError("join needs at least one schedule.")
    for part in operands[:-1]:
        if not isinstance(part, Schedule) or part.horizon is None:
            raise ValueError(
                f"join: {part!r} has no horizon, so what follows it would never begin; give it a "
                "length, as in constant(value, steps=1000)."
            )
    total = sum(np.max(_horizon(part) or 0) for part in operands)
    if total > MAX_STEP:
        raise ValueError(f"join: the horizons sum to {total}, above the largest step 2**31 - 1.")


def _joined_horizon(operands: tuple[Any, ...]) -> Any:
    horizons = [_horizon(part) for part in operands]
    return None if horizons[-1] is None else functools.reduce(operator.add, horizons)


def _joined_phases(until: int, operands: tuple[Any, ...]) -> list[PhaseStart]:
    return concatenate_phases(operands, [*map(_horizon, operands[:-1]), None], until)


@schedule(horizon=_joined_horizon, check=_check_join, phases=_joined_phases)
def join(step: jax.Array, *operands: Operand) -> ArrayLike:
    """One schedule after another, ``a >> b``: ``a`` for its horizon, then ``b`` from its step 0.

    ``join(a, b)(t) = a(t)`` for ``t < a.horizon``, else ``b(t - a.horizon)``. It is associative.

    Args:
      *operands: schedules; all but the last need a horizon. The last may be a number.

    Raises:
      ValueError: a part before the last has no horizon, or the sum is above 2**31 - 1.

    >>> import lrsched
    >>> schedule = lrsched.linear(0.0, 1.0, steps=10) >> lrsched.cosine(1.0, steps=90)
    >>> schedule([0, 5, 10, 55, 100]).tolist()
    [0.0, 0.5, 1.0, 0.4999999701976776, 0.0]
    >>> schedule.horizon
    100
    """
    value = jnp.asarray(_at(operands[0], step))
    starts = itertools.accumulate(_horizon(part) for part in operands[:-1])
    for start, part in zip(starts, operands[1:], strict=True):
        value = jnp.where(step >= start, _at(part, step - start), value)
    return value


@schedule(horizon=lambda operands: _longest(*operands), phases=merge_phases)
def multiply(step: jax.Array, *operands: Operand) -> ArrayLike:
    """The product, ``a * b``: ``a(t) b(t) ...``; its horizon is the longest of its schedules'.

    Args:
      *operands: schedules, numbers or callables of the step.

    >>> import lrsched
    >>> schedule = lrsched.warmup(10) * lrsched.cosine(0.2, steps=100)
    >>> schedule
    multiply(warmup(steps=10), cosine(peak=0.2, steps=100))
    >>> float(schedule(5)) == 0.5 * float(lrsched.cosine(0.2, steps=100)(5))
    True
    """
    return _fold(operator.mul, operands, step)


@schedule(horizon=lambda operands: _longest(*operands), phases=merge_phases)
def add(step: jax.Array, *operands: Operand) -> ArrayLike:
    """The sum, ``a + b``: ``a(t) + b(t) + ...``; its horizon is the longest of its schedules'.

    Args:
      *operands: schedules, numbers or callables of the step.

    >>> import lrsched
    >>> (lrsched.linear(0.0, 1.0, steps=2) + 1)([0, 1, 2]).tolist()
    [1.0, 1.5, 2.0]
    """
    return _fold(operator.add, operands, step)


@schedule(horizon=lambda operands: _longest(*operands), phases=merge_phases)
def minimum(step: jax.Array, *operands: Operand) -> ArrayLike:
    """The least of several: ``min(a(t), b(t), ...)``.

    Args:
      *operands: schedules, numbers or callables of the step.

    >>> import lrsched
    >>> lrsched.minimum(lrsched.linear(0.0, 1.0, steps=4), 0.5)([1, 2, 3]).tolist()
    [0.25, 0.5, 0.5]
    """
    return _fold(jnp.minimum, operands, step)


@schedule(horizon=lambda operands: _longest(*operands), phases=merge_phases)
def maximum(step: jax.Array, *operands: Operand) -> ArrayLike:
    """The largest of several: ``max(a(t), b(t), ...)``.

    Args:
      *operands: schedules, numbers or callables of the step.

    >>> import lrsched
    >>> lrsched.maximum(lrsched.linear(1.0, 0.0, steps=4), 0.5)([1, 2, 3]).tolist()
    [0.75, 0.5, 0.5]
    """
    return _fold(jnp.maximum, operands, step)


def _check_clip(inner: Schedule, low: Any, high: Any) -> None:
    if np.any(np.asarray(low) > np.asarray(high)):
        raise ValueError(f"clip: low={low!r} is above high={high!r}; low must be at most high.")


@schedule(horizon=lambda inner, **_: inner.horizon, check=_check_clip, phases=inner_phases)
def clip(step: jax.Array, inner: Inner, low: FiniteFloat, high: FiniteFloat) -> ArrayLike:
    """A schedule kept within bounds: ``min(max(inner(t), low), high)``.

    Args:
      inner: the schedule.
      low: the floor.
      high: the ceiling.

    Raises:
      ValueError: ``low > high``.

    >>> import lrsched
    >>> lrsched.clip(lrsched.linear(1.0, 0.0, steps=4), 0.25, 0.75)([0, 2, 4]).tolist()
    [0.75, 0.5, 0.25]
    """
    return jnp.clip(inner(step), low, high)


def _check_has_horizon(function: str, inner: Schedule) -> None:
    if inner.horizon is None:
        raise ValueError(f"{function}: inner={inner!r} has no horizon; it must have one.")


def _repeat_horizon(inner: Schedule, times: Any) -> Any:
    return None if times is None else inner.horizon * times


def _check_repeat(inner: Schedule, times: Any) -> None:
    _check_has_horizon("repeat", inner)
    if times is not None and np.any(np.asarray(inner.horizon, np.int64) * times > MAX_STEP):
        raise ValueError(
            f"repeat: times={times!r} times the horizon {inner.horizon} is above 2**31 - 1."
        )


def _cycles(until: int, inner: Schedule, times: Any) -> list[PhaseStart]:
    period = max(inner.horizon, 1)
    end = until if times is None else period * int(times)
    return [*numbered_phases("cycle", range(0, end, period), until), ("held", end)]


@schedule(horizon=_repeat_horizon, check=_check_repeat, phases=_cycles)
def repeat(step: jax.Array, inner: Inner, times: PositiveInt | None = None) -> ArrayLike:
    """A schedule again and again: ``inner(t mod h)`` with ``h = inner.horizon``.

    Args:
      inner: the schedule; it needs a horizon.
      times: how often; after that it holds ``inner(h)``. None: for ever.

    Raises:
      ValueError: ``inner`` has no horizon, or ``times * h`` is above 2**31 - 1.

    >>> import lrsched
    >>> lrsched.repeat(lrsched.linear(1.0, 0.0, steps=2), times=2)([0, 1, 2, 3, 4, 5]).tolist()
    [1.0, 0.5, 1.0, 0.5, 0.0, 0.0]
    """
    period = jnp.maximum(inner.horizon, 1)
    cycle = step // period if times is None else jnp.minimum(step // period, times - 1)
    return inner(step - (cycle * period).astype(step.dtype))


def _shifted_horizon(inner: Schedule, steps: Any) -> Any:
    horizon = inner.horizon
    return None if horizon is None else _larger(horizon + steps, 0)


def _shifted(until: int, inner: Schedule, steps: Any) -> list[PhaseStart]:
    return [("held", 0), *shift_phases(phase_starts(inner, until - int(steps)), steps)]


@schedule(horizon=_shifted_horizon, phases=_shifted)
def shift(step: jax.Array, inner: Inner, steps: SignedInt) -> ArrayLike:
    """A schedule that begins later, or has begun already: ``inner(max(t - steps, 0))``.

    Args:
      inner: the schedule.
      steps: how much later; a negative number starts it in its course.

    >>> import lrsched
    >>> lrsched.shift(lrsched.linear(1.0, 0.0, steps=2), 3)([0, 3, 4, 5]).tolist()
    [1.0, 1.0, 0.5, 0.0]
    >>> lrsched.shift(lrsched.linear(1.0, 0.0, steps=2), -1)([0, 1]).tolist()
    [0.5, 0.0]
    """
    earlier = jnp.maximum(-jnp.asarray(steps), 0)
    return inner(jnp.minimum(step, MAX_STEP - earlier) - steps)


@schedule(
    horizon="steps",
    check=lambda inner, steps: _check_has_horizon("stretch", inner),
    phases=lambda until, inner, steps: _repaced(inner, 0, steps),
)
def stretch(step: jax.Array, inner: Inner, steps: PositiveInt) -> ArrayLike:
    """The same course in another number of steps: ``inner(t h / steps)``, ``h = inner.horizon``.

    ``inner`` is evaluated between its steps, in float32; a schedule made for the new length is more
    exact near an end of zero. What jumps at a boundary jumps at the stretched one.

    Args:
      inner: the schedule; it needs a horizon.
      steps: the new horizon.

    Raises:
      ValueError: ``inner`` has no horizon.

    >>> import lrsched
    >>> lrsched.stretch(lrsched.linear(1.0, 0.0, steps=2), 8)([0, 2, 4, 8]).tolist()
    [1.0, 0.75, 0.5, 0.0]
    """
    return inner(rescale_step(jnp.minimum(step, steps), inner.horizon, steps))


def _reversed(until: int, inner: Schedule) -> list[PhaseStart]:
    end = inner.horizon
    found = [seam for seam in phase_starts(inner, end + 1) if seam != ("held", end)]
    stops = [*(start for _, start in found[1:]), end + 1]
    turned = [(name, end + 1 - stop) for (name, _), stop in zip(found, stops, strict=True)]
    return turned[::-1]


@schedule(
    horizon=lambda inner: inner.horizon,
    check=lambda inner: _check_has_horizon("reverse", inner),
    phases=_reversed,
)
def reverse(step: jax.Array, inner: Inner) -> ArrayLike:
    """A schedule from its end to its start: ``inner(h - t)`` with ``h = inner.horizon``.

    Args:
      inner: the schedule; it needs a horizon.

    Raises:
      ValueError: ``inner`` has no horizon.

    >>> import lrsched
    >>> lrsched.reverse(lrsched.linear(1.0, 0.0, steps=2))([0, 1, 2, 3]).tolist()
    [0.0, 0.5, 1.0, 1.0]
    """
    return inner(jnp.maximum(inner.horizon - step, 0))


def _staircase_horizon(inner: Schedule, every: Any) -> Any:
    horizon = inner.horizon
    if horizon is None:
        return None
    if is_traced((horizon, every)) or np.ndim(horizon) or np.ndim(every):
        return horizon * every
    return min(int(horizon) * int(every), MAX_STEP)


def _staircase_starts(until: int, inner: Schedule, every: Any) -> list[PhaseStart]:
    found = phase_starts(inner, until // int(every) + 1)
    return [(name, start * int(every)) for name, start in found]


@schedule(horizon=_staircase_horizon, phases=_staircase_starts)
def staircase(step: jax.Array, inner: Inner, every: PositiveInt) -> ArrayLike:
    """One rate for every ``every`` updates: ``inner(t // every)``.

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
