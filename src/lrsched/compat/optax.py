"""Schedules of optax (``optax.schedules``) as schedules that are data.

optax computes in float32 from ``count / steps``; these functions count the remaining steps in
integers. They agree within 2e-6 of the peak where optax is right, and stay right where it is not:
in the last steps of a long decay, and at the jumps of ``staircase=True``, which optax makes one
step late under ``jit`` for some ``transition_steps`` (41 is the least).

A length of 0 or less switches a transition off, as in optax: the rate stays at ``init_value``, and
the logger of this module says so at level INFO.
"""

import itertools
import logging
import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from lrsched import (
    Schedule,
    as_schedule,
    constant,
    cosine,
    exponential,
    join,
    linear,
    piecewise_constant,
    points,
    polynomial,
    schedule,
    shift,
)
from lrsched._phases import concatenate_phases
from lrsched._schedule import PhaseStart
from lrsched.arguments import (
    NON_NEGATIVE_INT,
    POSITIVE_INT,
    ArgumentType,
    FiniteFloat,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    SignedInt,
    check_below,
    in_range,
    is_traced,
    not_accepted,
    one_of,
)
from lrsched.compat._porting import (
    MissingAttribute,
    PositiveCount,
    after_warmup,
    missing_attribute,
    ported,
)
from lrsched.numerics import MAX_STEP, lerp

if TYPE_CHECKING:
    import chex

__all__ = [
    "Schedule",
    "constant_schedule",
    "cosine_decay_schedule",
    "cosine_onecycle_schedule",
    "exponential_decay",
    "join_schedules",
    "linear_onecycle_schedule",
    "linear_schedule",
    "piecewise_constant_schedule",
    "piecewise_interpolate_schedule",
    "polynomial_schedule",
    "sgdr_schedule",
    "warmup_constant_schedule",
    "warmup_cosine_decay_schedule",
    "warmup_exponential_decay_schedule",
]

__getattr__: MissingAttribute = missing_attribute(
    __name__,
    __all__,
    {
        "inject_hyperparams": "lrsched.inject_schedules does it for any factory",
        "inject_stateful_hyperparams": "lrsched.inject_schedules does it for any factory",
        "reduce_on_plateau": "lrsched.reduce_on_plateau follows a metric, after the optimizer",
        "WrappedSchedule": "a Schedule is data, and the step count is in the transform",
    },
)

_log = logging.getLogger(__name__)


_not_negative = in_range(ge=0)


def _scales(given: Any) -> dict[int, "chex.Numeric"]:
    """Return the multipliers sorted by step."""
    if not isinstance(given, Mapping):
        raise TypeError
    scales = {NON_NEGATIVE_INT.parse(step): _not_negative(scale) for step, scale in given.items()}
    return dict(sorted(scales.items()))


def _endless(given: object) -> object:
    is_long = isinstance(given, int) and given > MAX_STEP
    return given if is_long else POSITIVE_INT.parse(given)


def _schedules(given: Any) -> tuple[Schedule, ...]:
    return tuple(map(as_schedule, given))


def _starts(given: Any) -> tuple["chex.Numeric", ...]:
    return tuple(map(NON_NEGATIVE_INT.parse, given))


Horizon: TypeAlias = Annotated[
    ArrayLike, ArgumentType("Horizon", "a whole number, 1 or more", _endless)
]
"""A length that may be longer than any run."""
Interpolation: TypeAlias = Annotated[str, one_of("Interpolation", ("linear", "cosine"))]
"""How `points` are joined."""
Schedules: TypeAlias = Annotated[
    Sequence[Callable[[jax.Array], ArrayLike]],
    ArgumentType("Schedules", "a list of schedules or callables of the step", _schedules),
]
"""The operands of `join_schedules`."""
Starts: TypeAlias = Annotated[
    Sequence[ArrayLike],
    ArgumentType("Starts", "a list of whole numbers of steps, 0 or more", _starts),
]
"""The first steps of all operands but the first."""
Scales: TypeAlias = Annotated[
    Mapping[int, ArrayLike],
    ArgumentType("Scales", "a dict of factors of 0 or more by whole steps of 0 or more", _scales),
]
"""Multipliers of the rate by step."""


def _is_positive(number: "chex.Numeric") -> bool:
    """Return whether a number that switches a phase off in optax is above 0, or traced."""
    return is_traced(number) or bool(np.any(np.asarray(number) > 0))


def _transition(
    init_value: ArrayLike, steps: ArrayLike, begin: ArrayLike, decay: Callable[[], Schedule]
) -> Schedule:
    """Return the decay from ``begin`` on, or a constant if ``steps`` is 0 or less."""
    if not _is_positive(steps):
        _log.info("transition_steps=%s: the rate stays at init_value=%s.", steps, init_value)
        return constant(init_value)
    return shift(decay(), begin) if _is_positive(begin) else decay()


@ported
def constant_schedule(value: FiniteFloat) -> Schedule:
    """Constant rate: ``value``.

    Args:
      value: The rate.

    Returns:
      A `Schedule` with the values of the original.

    >>> from lrsched.compat import optax
    >>> optax.constant_schedule(0.5)
    constant(value=0.5)
    """
    return constant(value)


@ported
def polynomial_schedule(
    init_value: FiniteFloat,
    end_value: FiniteFloat,
    power: PositiveFloat,
    transition_steps: SignedInt,
    transition_begin: SignedInt = 0,
) -> Schedule:
    """Polynomial decay: ``end + (init - end) (1 - (t - begin) / steps)**power``.

    Args:
      init_value: Rate until ``transition_begin``.
      end_value: Rate from ``transition_begin + transition_steps`` on.
      power: Exponent, above 0. optax also accepts others, which are infinite or never end.
      transition_steps: Length of the transition. With 0 or less the rate stays at ``init_value``.
      transition_begin: Step at which the transition begins. Values below 0 count as 0.

    Returns:
      A `Schedule` with the values of the original.

    >>> from lrsched.compat import optax
    >>> optax.polynomial_schedule(1.0, 0.0, power=2, transition_steps=4)([0, 2, 4]).tolist()
    [1.0, 0.25, 0.0]
    """
    return _transition(
        init_value,
        transition_steps,
        transition_begin,
        lambda: polynomial(init_value, end_value, transition_steps, power),
    )


@ported
def linear_schedule(
    init_value: FiniteFloat,
    end_value: FiniteFloat,
    transition_steps: SignedInt,
    transition_begin: SignedInt = 0,
) -> Schedule:
    """A straight line: ``init + (end - init) (t - begin) / steps``.

    Args:
      init_value: Rate until ``transition_begin``.
      end_value: Rate from ``transition_begin + transition_steps`` on.
      transition_steps: Length of the transition. With 0 or less the rate stays at ``init_value``.
      transition_begin: Step at which the transition begins. Values below 0 count as 0.

    Returns:
      A `Schedule` with the values of the original.

    >>> from lrsched.compat import optax
    >>> optax.linear_schedule(1.0, 0.0, transition_steps=4)
    linear(init=1.0, end=0.0, steps=4)
    >>> optax.linear_schedule(1.0, 0.0, 4, transition_begin=10)([10, 11, 14]).tolist()
    [1.0, 0.75, 0.0]
    """
    return _transition(
        init_value,
        transition_steps,
        transition_begin,
        lambda: linear(init_value, end_value, transition_steps),
    )


@ported
def exponential_decay(
    init_value: FiniteFloat,
    transition_steps: SignedInt,
    decay_rate: NonNegativeFloat,
    transition_begin: SignedInt = 0,
    staircase: bool = False,
    end_value: FiniteFloat | None = None,
) -> Schedule:
    """A geometric sequence: ``init * decay_rate**((t - begin) / steps)``, stopped at ``end``.

    Args:
      init_value: Rate until ``transition_begin``.
      transition_steps: Length of one period. With 0 or less the rate stays at ``init_value``.
      decay_rate: Multiplier of each period. With 0 the rate stays at ``init_value``.
      transition_begin: Step at which the transition begins. Values below 0 count as 0.
      staircase: Whether to multiply at the end of each period only.
      end_value: Floor for multipliers below 1, ceiling for those above. If None, no bound.

    Returns:
      A `Schedule` with the values of the original.

    >>> from lrsched.compat import optax
    >>> optax.exponential_decay(1.0, transition_steps=10, decay_rate=0.25)([0, 5, 10]).tolist()
    [1.0, 0.5, 0.25]
    """
    if not _is_positive(decay_rate):
        _log.info("decay_rate=%s: the rate stays at init_value=%s.", decay_rate, init_value)
        return constant(init_value)
    return _transition(
        init_value,
        transition_steps,
        transition_begin,
        lambda: exponential(init_value, decay_rate, transition_steps, end_value, staircase),
    )


@schedule(name="optax.endless_cosine")
def _endless_cosine(
    step: jax.Array,
    peak: FiniteFloat,
    decay_steps: PositiveFloat,
    end: FiniteFloat,
    exponent: PositiveFloat,
) -> ArrayLike:
    """`lrsched.cosine` of a length above 2**31 - 1, of which a run sees the beginning."""
    quarter = 0.5 * jnp.pi * jnp.minimum(step.astype(jnp.float32) / jnp.asarray(decay_steps), 1)
    # In float32, the cosine of pi / 2 is below 0, where no power with a fraction is real.
    weight = jnp.maximum(jnp.cos(quarter), 0) ** (2 * jnp.asarray(exponent))
    fallen = jnp.sin(quarter) ** 2
    return lerp(end, peak, weight, jnp.where(jnp.asarray(exponent) == 1, fallen, 1 - weight))


def _cosine(
    peak: ArrayLike, steps: "chex.Numeric", end: ArrayLike, exponent: ArrayLike
) -> Schedule:
    is_endless = not is_traced(steps) and np.all(np.asarray(steps) > MAX_STEP)
    return (_endless_cosine if is_endless else cosine)(peak, steps, end, exponent)


@ported
def cosine_decay_schedule(
    init_value: FiniteFloat,
    decay_steps: Horizon,
    alpha: FiniteFloat = 0.0,
    exponent: PositiveFloat = 1.0,
) -> Schedule:
    """Half a cosine: ``init ((1 - alpha) ((1 + cos(pi t / steps)) / 2)**exponent + alpha)``.

    Args:
      init_value: Rate at step 0.
      decay_steps: Length of the decay. Above 2**31 - 1 the decay never ends.
      alpha: Last rate, as a fraction of ``init_value``.
      exponent: Exponent of the cosine.

    Returns:
      A `Schedule` with the values of the original.

    >>> from lrsched.compat import optax
    >>> optax.cosine_decay_schedule(0.5, decay_steps=1_000, alpha=0.5)
    cosine(peak=0.5, steps=1000, end=0.25)
    """
    return _cosine(init_value, decay_steps, alpha * init_value, exponent)


@ported
def piecewise_constant_schedule(
    init_value: FiniteFloat, boundaries_and_scales: Scales | None = None
) -> Schedule:
    """Cuts at boundaries: ``init`` times the scales of all boundaries at or before ``t``.

    Args:
      init_value: Rate at step 0.
      boundaries_and_scales: Multipliers by step. Each one applies to the value before it.

    Returns:
      A `Schedule` with the values of the original.

    >>> from lrsched.compat import optax
    >>> optax.piecewise_constant_schedule(1.0, {10: 0.5, 20: 0.5})
    piecewise_constant(values=[1.0, 0.5, 0.25], boundaries=[10, 20])
    """
    boundaries, values = _cumulated(init_value, boundaries_and_scales)
    return piecewise_constant(values, boundaries)


@ported
def piecewise_interpolate_schedule(
    interpolate_type: Interpolation,
    init_value: FiniteFloat,
    boundaries_and_scales: Scales | None = None,
) -> Schedule:
    """Lines or half cosines from each boundary to the next, between the cumulated values.

    Args:
      interpolate_type: Shape between boundaries, ``"linear"`` or ``"cosine"``.
      init_value: Rate at step 0.
      boundaries_and_scales: Multipliers by step. Each one applies to the value before it.

    Returns:
      A `Schedule` with the values of the original.

    >>> from lrsched.compat import optax
    >>> optax.piecewise_interpolate_schedule("linear", 1.0, {10: 0.5, 20: 0.5})
    points(steps=[0, 10, 20], values=[1.0, 0.5, 0.25])
    """
    boundaries, values = _cumulated(init_value, boundaries_and_scales)
    steps = [0, *boundaries]
    has_jump = steps[:2] == [0, 0]
    return points(steps[has_jump:], values[has_jump:], interpolate_type)


def _cumulated(init: ArrayLike, scales: Scales | None) -> tuple[list[int], list["chex.Numeric"]]:
    """Return the boundaries, and the values before and after each of them."""
    scales = scales or {}
    return [*scales], list(itertools.accumulate(scales.values(), operator.mul, initial=init))


@ported
def linear_onecycle_schedule(
    transition_steps: PositiveCount,
    peak_value: FiniteFloat,
    pct_start: float = 0.3,
    pct_final: float = 0.85,
    div_factor: PositiveFloat = 25.0,
    final_div_factor: PositiveFloat = 1e4,
) -> Schedule:
    """Single cycle of three lines: to the peak, back to the first rate, and to the end.

    From ``peak / div_factor`` at step 0 to the peak at ``int(pct_start * steps)``, to
    ``peak / div_factor`` at ``int(pct_final * steps)``, to ``peak / div_factor /
    final_div_factor`` at ``steps``. (optax documents the last as ``peak / final_div_factor``, and
    computes this.) Where two of these steps are the same, the later factor takes the place of the
    earlier one, as in optax: ``pct_final=1`` goes from the peak to ``peak / final_div_factor``.

    Args:
      transition_steps: Length of the schedule, a Python int.
      peak_value: Highest rate.
      pct_start: Position of the peak, as a fraction of the length.
      pct_final: Start of the third line, as a fraction of the length.
      div_factor: Ratio of the peak to the first rate.
      final_div_factor: Ratio of the first rate to the last one.

    Returns:
      A `Schedule` with the values of the original.

    >>> from lrsched.compat import optax
    >>> optax.linear_onecycle_schedule(100, 1.0, div_factor=4.0, final_div_factor=2.0)
    points(steps=[0, 30, 85, 100], values=[0.25, 1.0, 0.25, 0.125])
    """
    return piecewise_interpolate_schedule(
        "linear",
        peak_value / div_factor,
        {
            int(pct_start * transition_steps): div_factor,
            int(pct_final * transition_steps): 1 / div_factor,
            int(transition_steps): 1 / final_div_factor,
        },
    )


@ported
def cosine_onecycle_schedule(
    transition_steps: PositiveCount,
    peak_value: FiniteFloat,
    pct_start: float = 0.3,
    div_factor: PositiveFloat = 25.0,
    final_div_factor: PositiveFloat = 1e4,
) -> Schedule:
    """Single cycle of two half cosines: to the peak, and to the end.

    From ``peak / div_factor`` at step 0 to the peak at ``int(pct_start * steps)``, to
    ``peak / div_factor / final_div_factor`` at ``steps``. `lrsched.one_cycle` is the same, but
    rounds ``pct_start`` to the nearest step.

    Args:
      transition_steps: Length of the schedule, a Python int.
      peak_value: Highest rate.
      pct_start: Position of the peak, as a fraction of the length.
      div_factor: Ratio of the peak to the first rate.
      final_div_factor: Ratio of the first rate to the last one.

    Returns:
      A `Schedule` with the values of the original.

    >>> from lrsched.compat import optax
    >>> optax.cosine_onecycle_schedule(100, 1.0, div_factor=4.0, final_div_factor=2.0)
    points(steps=[0, 30, 100], values=[0.25, 1.0, 0.125], interpolation='cosine')
    """
    return piecewise_interpolate_schedule(
        "cosine",
        peak_value / div_factor,
        {
            int(pct_start * transition_steps): div_factor,
            int(transition_steps): 1 / (div_factor * final_div_factor),
        },
    )


@ported
def warmup_constant_schedule(
    init_value: FiniteFloat, peak_value: FiniteFloat, warmup_steps: SignedInt
) -> Schedule:
    """A linear rise, then the peak.

    Args:
      init_value: Rate at step 0.
      peak_value: Rate from ``warmup_steps`` on.
      warmup_steps: Length of the warmup. With 0 or less the rate stays at ``init_value`` and never
        reaches the peak, as in optax.

    Returns:
      A `Schedule` with the values of the original.

    >>> from lrsched.compat import optax
    >>> optax.warmup_constant_schedule(0.0, 1.0, warmup_steps=4)([0, 2, 4, 9]).tolist()
    [0.0, 0.5, 1.0, 1.0]
    """
    return linear_schedule(init_value, peak_value, warmup_steps)


@ported
def warmup_cosine_decay_schedule(
    init_value: FiniteFloat,
    peak_value: FiniteFloat,
    warmup_steps: NonNegativeInt,
    decay_steps: Horizon,
    end_value: FiniteFloat = 0.0,
    exponent: PositiveFloat = 1.0,
) -> Schedule:
    """A linear rise, then half a cosine.

    Args:
      init_value: Rate at step 0.
      peak_value: Rate at ``warmup_steps``.
      warmup_steps: Length of the warmup. With 0 the schedule begins at the peak.
      decay_steps: Length of the schedule with its warmup.
      end_value: Rate from ``decay_steps`` on. It is 0 if the peak is 0, as in optax.
      exponent: Exponent of the cosine.

    Returns:
      A `Schedule` with the values of the original.

    Raises:
      ValueError: If ``decay_steps <= warmup_steps``.

    >>> from lrsched.compat import optax
    >>> optax.warmup_cosine_decay_schedule(0.0, 1.0, warmup_steps=100, decay_steps=1_000)
    join(linear(init=0.0, end=1.0, steps=100), cosine(peak=1.0, steps=900))
    """
    lengths = ("warmup_steps", warmup_steps, "decay_steps", decay_steps)
    check_below("warmup_cosine_decay_schedule", *lengths)
    end = end_value * (peak_value != 0)
    decay = _cosine(peak_value, operator.sub(decay_steps, warmup_steps), end, exponent)
    return after_warmup(init_value, peak_value, warmup_steps, decay)


@ported
def warmup_exponential_decay_schedule(
    init_value: FiniteFloat,
    peak_value: FiniteFloat,
    warmup_steps: NonNegativeInt,
    transition_steps: SignedInt,
    decay_rate: NonNegativeFloat,
    transition_begin: SignedInt = 0,
    staircase: bool = False,
    end_value: FiniteFloat | None = None,
) -> Schedule:
    """A linear rise, then a geometric sequence, as in `exponential_decay`.

    Args:
      init_value: Rate at step 0.
      peak_value: Rate at ``warmup_steps``.
      warmup_steps: Length of the warmup. With 0 the schedule begins at the peak.
      transition_steps: Length of one period. With 0 or less the rate stays at the peak.
      decay_rate: Multiplier of each period. With 0 the rate stays at the peak.
      transition_begin: Number of steps between the warmup and the decay, 0 if negative.
      staircase: Whether to multiply at the end of each period only.
      end_value: Floor for multipliers below 1, ceiling for those above. Ignored in the warmup.

    Returns:
      A `Schedule` with the values of the original.

    >>> from lrsched.compat import optax
    >>> schedule = optax.warmup_exponential_decay_schedule(0.0, 1.0, 10, 100, decay_rate=0.5)
    >>> schedule([0, 5, 10, 110]).tolist()
    [0.0, 0.5, 1.0, 0.5]
    """
    decay = exponential_decay(
        peak_value, transition_steps, decay_rate, transition_begin, staircase, end_value
    )
    return after_warmup(init_value, peak_value, warmup_steps, decay)


def sgdr_schedule(cosine_kwargs: Iterable[Mapping[str, Any]]) -> Schedule:
    """Warm restarts: one `warmup_cosine_decay_schedule` after another.

    Args:
      cosine_kwargs: Arguments of each cycle; ``decay_steps`` is the length of the cycle.

    Returns:
      A `Schedule` with the values of the original.

    >>> from lrsched.compat import optax
    >>> cycle = dict(init_value=0.0, peak_value=1.0, warmup_steps=10, decay_steps=100)
    >>> optax.sgdr_schedule([cycle, cycle | {"peak_value": 0.5}])([10, 110, 200]).tolist()
    [1.0, 0.5, 0.0]
    """
    return join(*(warmup_cosine_decay_schedule(**kwargs) for kwargs in cosine_kwargs))


def _check_join(schedule: Schedule) -> None:
    schedules, boundaries = schedule.schedules, schedule.boundaries
    if len(schedules) != len(boundaries) + 1:
        raise ValueError(
            f"join_schedules: {len(schedules)} schedules and {len(boundaries)} boundaries do not "
            "match; there must be one schedule more than boundaries."
        )
    if any(np.any(np.asarray(a) > b) for a, b in itertools.pairwise(boundaries)):
        raise not_accepted(
            "join_schedules", "boundaries", list(boundaries), "a list that does not decrease"
        )


def _joined_horizon(schedule: Schedule) -> "chex.Numeric | None":
    last = schedule.schedules[-1].horizon
    return None if last is None else sum(schedule.boundaries[-1:]) + last


def _joined_phases(schedule: Schedule, until: int) -> list[PhaseStart]:
    schedules, starts = schedule.schedules, np.asarray(schedule.boundaries, int)
    return concatenate_phases(schedules, [*np.diff(starts, prepend=0).tolist(), None], until)


@schedule(
    name="optax.join_schedules",
    horizon=_joined_horizon,
    check=_check_join,
    phases=_joined_phases,
)
def join_schedules(step: jax.Array, schedules: Schedules, boundaries: Starts) -> ArrayLike:
    """Sequence of schedules, each of which begins at its boundary with step 0.

    `lrsched.join` needs no boundaries, as a `Schedule` knows its length; this one also cuts a
    schedule short, or lets it hold.

    Args:
      schedules: Schedules or functions of the step.
      boundaries: First step of each schedule but the first, not decreasing.

    Raises:
      ValueError: If the numbers of schedules and boundaries do not match (optax ignores those that
        are too many), or the boundaries decrease.

    >>> from lrsched.compat import optax
    >>> optax.join_schedules([optax.linear_schedule(0.0, 1.0, 4)] * 2, [2])([0, 1, 2, 3]).tolist()
    [0.0, 0.25, 0.0, 0.25]
    """
    value = schedules[0](step)
    for part, start in zip(schedules[1:], boundaries, strict=True):
        value = jnp.where(step < start, value, part(step - start))
    return value
