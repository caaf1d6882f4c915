"""optax's schedules: every one of ``optax.schedules``, as a `Schedule` that is data.

optax computes in float32 from ``count / steps``; these count what is left in integers. They agree
within 2e-6 of the peak over the lengths where optax is right, and stay right where it is not: in
the last steps of a long decay, and at the jumps of ``staircase=True``, which optax misses by a step
under ``jit`` for some ``transition_steps`` (41 is the least).

A length of 0 or less switches a transition off, as in optax: the rate stays at ``init_value``, and
the logger of this module says so at level INFO.
"""

import itertools
import logging
import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Annotated, Any, TypeAlias

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
    FINITE_FLOAT,
    NON_NEGATIVE_INT,
    POSITIVE_INT,
    ArgumentType,
    FiniteFloat,
    NonNegativeInt,
    PositiveFloat,
    SignedInt,
    is_traced,
    one_of,
)
from lrsched.compat._porting import MissingAttribute, missing_attribute, ported
from lrsched.numerics import MAX_STEP, lerp

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
        "WrappedSchedule": "a schedule of ours is data, and the step is the transform's",
    },
)

_log = logging.getLogger(__name__)


def _not_negative(given: Any) -> Any:
    number = FINITE_FLOAT.parse(given)
    if not is_traced(number) and np.any(np.asarray(number) < 0):
        raise ValueError
    return number


def _scales(given: Any) -> dict[int, Any]:
    """By increasing step."""
    if not isinstance(given, Mapping):
        raise TypeError
    scales = {NON_NEGATIVE_INT.parse(step): _not_negative(scale) for step, scale in given.items()}
    return dict(sorted(scales.items()))


def _endless(given: Any) -> Any:
    is_long = isinstance(given, int) and given > MAX_STEP
    return given if is_long else POSITIVE_INT.parse(given)


def _schedules(given: Any) -> tuple[Schedule, ...]:
    return tuple(map(as_schedule, given))


def _starts(given: Any) -> tuple[Any, ...]:
    return tuple(map(NON_NEGATIVE_INT.parse, given))


Rate: TypeAlias = Annotated[
    ArrayLike, ArgumentType("Rate", "a finite number of 0 or more", _not_negative)
]
"""What each period multiplies by; 0 switches the decay off."""
Horizon: TypeAlias = Annotated[
    ArrayLike, ArgumentType("Horizon", "a whole number of steps, 1 or more", _endless)
]
"""A length that may be longer than any run."""
Whole: TypeAlias = Annotated[int, POSITIVE_INT]
"""A length that a fraction is taken of in Python, so not a traced one."""
Interpolation: TypeAlias = Annotated[str, one_of("Interpolation", ("linear", "cosine"))]
"""How `points` are joined."""
Schedules: TypeAlias = Annotated[
    Sequence[Callable[[jax.Array], ArrayLike]],
    ArgumentType("Schedules", "a list of schedules or callables of the step", _schedules),
]
"""What `join_schedules` joins."""
Starts: TypeAlias = Annotated[
    Sequence[ArrayLike],
    ArgumentType("Starts", "a list of whole numbers of steps, 0 or more", _starts),
]
"""Where it joins them."""
Scales: TypeAlias = Annotated[
    Mapping[int, ArrayLike],
    ArgumentType("Scales", "a dict of factors of 0 or more by whole steps of 0 or more", _scales),
]
"""What the rate is multiplied by, and when."""


def _is_positive(number: Any) -> bool:
    """Whether a number that optax switches something off by is above 0; a traced one counts so."""
    return is_traced(number) or bool(np.any(np.asarray(number) > 0))


def _transition(
    init_value: ArrayLike, steps: ArrayLike, begin: ArrayLike, decay: Callable[[], Schedule]
) -> Schedule:
    """``init_value`` before ``begin``, and for ever where ``steps`` is 0 or less."""
    if not _is_positive(steps):
        _log.info("transition_steps=%s: the rate stays at init_value=%s.", steps, init_value)
        return constant(init_value)
    return shift(decay(), begin) if _is_positive(begin) else decay()


def _warmed(init: ArrayLike, peak: ArrayLike, steps: ArrayLike, decay: Schedule) -> Schedule:
    return linear(init, peak, steps) >> decay if _is_positive(steps) else decay


@ported
def constant_schedule(value: FiniteFloat) -> Schedule:
    """One value for ever: ``value``.

    Args:
      value: the rate.

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
    """A power of what is left: ``end + (init - end) (1 - (t - begin) / steps)**power``.

    Args:
      init_value: the rate until ``transition_begin``.
      end_value: the rate from ``transition_begin + transition_steps`` on.
      power: of the polynomial; optax also takes 0 and less, which begin at infinity or never end.
      transition_steps: the length; with 0 or less the rate stays at ``init_value``.
      transition_begin: the step at which it begins; below 0 it counts as 0.

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
      init_value: the rate until ``transition_begin``.
      end_value: the rate from ``transition_begin + transition_steps`` on.
      transition_steps: the length; with 0 or less the rate stays at ``init_value``.
      transition_begin: the step at which it begins; below 0 it counts as 0.

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
    decay_rate: Rate,
    transition_begin: SignedInt = 0,
    staircase: bool = False,
    end_value: FiniteFloat | None = None,
) -> Schedule:
    """A geometric sequence: ``init * decay_rate**((t - begin) / steps)``, stopped at ``end``.

    Args:
      init_value: the rate until ``transition_begin``.
      transition_steps: the period; with 0 or less the rate stays at ``init_value``.
      decay_rate: what each period multiplies by; with 0 the rate stays at ``init_value``.
      transition_begin: the step at which it begins; below 0 it counts as 0.
      staircase: multiply at the end of each period only.
      end_value: a floor for rates below 1, a ceiling for those above.

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
    quarter = 0.5 * jnp.pi * (step.astype(jnp.float32) / jnp.asarray(decay_steps))
    weight = jnp.cos(quarter) ** (2 * jnp.asarray(exponent))
    fallen = jnp.sin(quarter) ** 2
    return lerp(end, peak, weight, jnp.where(jnp.asarray(exponent) == 1, fallen, 1 - weight))


def _cosine(peak: ArrayLike, steps: Any, end: ArrayLike, exponent: ArrayLike) -> Schedule:
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
      init_value: the rate at step 0.
      decay_steps: the length; it may be above 2**31 - 1, and then it never ends.
      alpha: the last rate as a fraction of ``init_value``.
      exponent: a power of the cosine.

    >>> from lrsched.compat import optax
    >>> optax.cosine_decay_schedule(0.5, decay_steps=1_000, alpha=0.5)
    cosine(peak=0.5, steps=1000, end=0.25)
    """
    return _cosine(init_value, decay_steps, alpha * init_value, exponent)


@ported
def piecewise_constant_schedule(
    init_value: FiniteFloat, boundaries_and_scales: Scales | None = None
) -> Schedule:
    """A cut at each boundary: ``init`` times the scales of all boundaries at or before ``t``.

    Args:
      init_value: the rate at step 0.
      boundaries_and_scales: the factors by their steps; each multiplies all that came before.

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
      interpolate_type: "linear" or "cosine".
      init_value: the rate at step 0.
      boundaries_and_scales: the factors by their steps; each multiplies all that came before.

    >>> from lrsched.compat import optax
    >>> optax.piecewise_interpolate_schedule("linear", 1.0, {10: 0.5, 20: 0.5})
    points(steps=[0, 10, 20], values=[1.0, 0.5, 0.25])
    """
    boundaries, values = _cumulated(init_value, boundaries_and_scales)
    steps = [0, *boundaries]
    has_jump = steps[:2] == [0, 0]
    return points(steps[has_jump:], values[has_jump:], interpolate_type)


def _cumulated(init: ArrayLike, scales: Scales | None) -> tuple[list[int], list[Any]]:
    """The boundaries, and the values before and after each of them."""
    scales = scales or {}
    return [*scales], list(itertools.accumulate(scales.values(), operator.mul, initial=init))


@ported
def linear_onecycle_schedule(
    transition_steps: Whole,
    peak_value: FiniteFloat,
    pct_start: float = 0.3,
    pct_final: float = 0.85,
    div_factor: PositiveFloat = 25.0,
    final_div_factor: PositiveFloat = 1e4,
) -> Schedule:
    """One cycle of three lines: up to the peak, back as far, and down to the end.

    From ``peak / div_factor`` at step 0 to the peak at ``int(pct_start * steps)``, to
    ``peak / div_factor`` at ``int(pct_final * steps)``, to ``peak / div_factor /
    final_div_factor`` at ``steps``. (optax documents the last as ``peak / final_div_factor``, and
    computes this.) Where two of these steps are the same, the later factor takes the place of the
    earlier one, as in optax: ``pct_final=1`` goes from the peak to ``peak / final_div_factor``.

    Args:
      transition_steps: the length, a plain int.
      peak_value: the highest rate.
      pct_start: where the peak is, as a fraction of the length.
      pct_final: where the third line begins, as a fraction of the length.
      div_factor: the peak over the first rate.
      final_div_factor: the first rate over the last one.

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
    transition_steps: Whole,
    peak_value: FiniteFloat,
    pct_start: float = 0.3,
    div_factor: PositiveFloat = 25.0,
    final_div_factor: PositiveFloat = 1e4,
) -> Schedule:
    """One cycle of two half cosines: up to the peak, and down to the end.

    From ``peak / div_factor`` at step 0 to the peak at ``int(pct_start * steps)``, to
    ``peak / div_factor / final_div_factor`` at ``steps``. `lrsched.one_cycle` is the same, but
    rounds ``pct_start`` to the nearest step.

    Args:
      transition_steps: the length, a plain int.
      peak_value: the highest rate.
      pct_start: where the peak is, as a fraction of the length.
      div_factor: the peak over the first rate.
      final_div_factor: the first rate over the last one.

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
    """A linear rise, then the peak for ever.

    Args:
      init_value: the rate at step 0.
      peak_value: the rate from ``warmup_steps`` on.
      warmup_steps: the length; with 0 or less the rate stays at ``init_value`` and never reaches
        the peak, as in optax.

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
      init_value: the rate at step 0.
      peak_value: the rate at ``warmup_steps``.
      warmup_steps: the length of the rise; 0 begins at the peak.
      decay_steps: the length of the whole, the rise included.
      end_value: the rate from ``decay_steps`` on; where the peak is 0, optax makes it 0 too.
      exponent: a power of the cosine.

    Raises:
      ValueError: the warmup leaves nothing for the cosine.

    >>> from lrsched.compat import optax
    >>> optax.warmup_cosine_decay_schedule(0.0, 1.0, warmup_steps=100, decay_steps=1_000)
    join(linear(init=0.0, end=1.0, steps=100), cosine(peak=1.0, steps=900))
    """
    left = operator.sub(decay_steps, warmup_steps)
    if not _is_positive(left):
        raise ValueError(
            f"warmup_cosine_decay_schedule: decay_steps={decay_steps!r} is the length of the whole "
            f"and must be above warmup_steps={warmup_steps!r}."
        )
    end = end_value * (peak_value != 0)
    return _warmed(init_value, peak_value, warmup_steps, _cosine(peak_value, left, end, exponent))


@ported
def warmup_exponential_decay_schedule(
    init_value: FiniteFloat,
    peak_value: FiniteFloat,
    warmup_steps: NonNegativeInt,
    transition_steps: SignedInt,
    decay_rate: Rate,
    transition_begin: SignedInt = 0,
    staircase: bool = False,
    end_value: FiniteFloat | None = None,
) -> Schedule:
    """A linear rise, then a geometric sequence, as in `exponential_decay`.

    Args:
      init_value: the rate at step 0.
      peak_value: the rate at ``warmup_steps``.
      warmup_steps: the length of the rise; 0 begins at the peak.
      transition_steps: the period; with 0 or less the rate stays at the peak.
      decay_rate: what each period multiplies by; with 0 the rate stays at the peak.
      transition_begin: the steps after the rise at which it begins; below 0 it counts as 0.
      staircase: multiply at the end of each period only.
      end_value: a floor for rates below 1, a ceiling for those above; the rise is not bounded.

    >>> from lrsched.compat import optax
    >>> schedule = optax.warmup_exponential_decay_schedule(0.0, 1.0, 10, 100, decay_rate=0.5)
    >>> schedule([0, 5, 10, 110]).tolist()
    [0.0, 0.5, 1.0, 0.5]
    """
    decay = exponential_decay(
        peak_value, transition_steps, decay_rate, transition_begin, staircase, end_value
    )
    return _warmed(init_value, peak_value, warmup_steps, decay)


def sgdr_schedule(cosine_kwargs: Iterable[Mapping[str, Any]]) -> Schedule:
    """Warm restarts: one `warmup_cosine_decay_schedule` after another.

    Args:
      cosine_kwargs: the arguments of each cycle; its ``decay_steps`` is its length.

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
        raise ValueError(
            f"join_schedules: boundaries={list(boundaries)} fall; none may be below the one before."
        )


def _joined_horizon(schedule: Schedule) -> Any:
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
    """One schedule after another, each from its boundary on, where its own step 0 is.

    `lrsched.join` needs no boundaries, as a `Schedule` knows its length; this one also cuts a
    schedule short, or lets it hold.

    Args:
      schedules: schedules, or callables of the step.
      boundaries: where each but the first begins; none below the one before.

    Raises:
      ValueError: the numbers of schedules and boundaries do not match (optax leaves out what is
        too many), or the boundaries fall.

    >>> from lrsched.compat import optax
    >>> optax.join_schedules([optax.linear_schedule(0.0, 1.0, 4)] * 2, [2])([0, 1, 2, 3]).tolist()
    [0.0, 0.25, 0.0, 0.25]
    """
    value = schedules[0](step)
    for part, start in zip(schedules[1:], boundaries, strict=True):
        value = jnp.where(step < start, value, part(step - start))
    return value
