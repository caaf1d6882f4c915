"""Schedules of transformers (the ``get_*_schedule*`` functions) as schedules that are data.

``base_lr`` replaces the optimizer, and the values are those of transformers 5 at every step: the
first update of a run with a warmup has a rate of 0, and the cosines
rise again after ``num_training_steps``. `lrsched.wsd` and `lrsched.cosine` hold the final value.
"""

from __future__ import annotations

import inspect
import operator
from collections.abc import Callable, Mapping
from typing import Annotated, Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.typing import ArrayLike

from lrsched import (
    Schedule,
    constant,
    greedy,
    inverse_sqrt,
    linear,
    polynomial,
    schedule,
    shift,
    warmup,
)
from lrsched.arguments import (
    ArgumentType,
    FiniteFloat,
    Mode,
    NonNegativeFloat,
    NonNegativeInt,
    OpenUnitFloat,
    PositiveFloat,
    PositiveInt,
    check_below,
    is_traced,
    not_accepted,
    one_of,
)
from lrsched.compat._plateau import (
    Rate,
    ThresholdMode,
    min_scale_of,
    tolerances,
)
from lrsched.compat._porting import (
    Count,
    MissingAttribute,
    PositiveCount,
    after_warmup,
    is_known,
    missing_attribute,
    ported,
)
from lrsched.compat.optax import join_schedules
from lrsched.compat.torch import ReduceLROnPlateau
from lrsched.numerics import MAX_STEP, lerp
from lrsched.schedules.ramps import evaluate_ramp

__all__ = [
    "GreedyLR",
    "get_constant_schedule",
    "get_constant_schedule_with_warmup",
    "get_cosine_schedule_with_warmup",
    "get_cosine_with_hard_restarts_schedule_with_warmup",
    "get_cosine_with_min_lr_schedule_with_warmup",
    "get_cosine_with_min_lr_schedule_with_warmup_lr_rate",
    "get_greedy_schedule",
    "get_inverse_sqrt_schedule",
    "get_linear_schedule_with_warmup",
    "get_polynomial_decay_schedule_with_warmup",
    "get_reduce_on_plateau_schedule",
    "get_scheduler",
    "get_wsd_schedule",
]

_NAMES = (
    *("linear", "cosine", "cosine_with_restarts", "polynomial", "constant", "constant_with_warmup"),
    *("inverse_sqrt", "cosine_with_min_lr", "cosine_warmup_with_min_lr", "warmup_stable_decay"),
)


def _scheduler_name(given: object) -> object:
    name = getattr(given, "value", given)  # transformers' SchedulerType is an enum of strings.
    if name not in (*_NAMES, *_CONTROLLERS):
        raise ValueError
    return name


SchedulerName: TypeAlias = Annotated[
    str,
    ArgumentType(
        "SchedulerName", f"one of {', '.join(map(repr, _NAMES))}", _scheduler_name, static=True
    ),
]
"""The name of a schedule in ``TrainingArguments(lr_scheduler_type=...)``."""

_ADAFACTOR = "optax.adafactor(learning_rate=None) has the relative step of the paper inside"

__getattr__: MissingAttribute = missing_attribute(
    __name__,
    __all__,
    {
        "get_adafactor_schedule": _ADAFACTOR,
        "AdafactorSchedule": _ADAFACTOR,
        "TrainingArguments": "its schedule is get_scheduler(lr_scheduler_type, learning_rate, "
        "warmup_steps, max_steps)",
    },
)

Shape: TypeAlias = Annotated[str, one_of("Shape", ("linear", "cosine", "1-sqrt"))]
"""Shape of a warmup or a decay."""


def _decay_length(function: str, training: ArrayLike, before: ArrayLike) -> ArrayLike:
    """Return the number of steps after the warmup, which must be at least one."""
    check_below(function, "num_warmup_steps", before, "num_training_steps", training)
    return operator.sub(training, before)


def _turns(fraction: jax.Array, count: jax.Array) -> jax.Array:
    """Return ``fraction * count`` without whole turns, for a fraction in [0, 1) and a uint32 count.

    float32 has no digits left for the fraction of a product above 2**24. Multiplied as uint32, the
    first 32 bits of the fraction lose whole turns only; the product of the others is below one.
    """
    bits = jnp.floor(fraction * 2.0**32)
    rest = (fraction - bits * 2.0**-32) * count.astype(jnp.float32)
    turned = (bits.astype(jnp.uint32) * count).astype(jnp.float32) * 2.0**-32
    return (turned + rest) % 1


@schedule(name="transformers.waves")
def _waves(
    step: jax.Array,
    base_lr: FiniteFloat,
    steps: PositiveInt,
    num_cycles: PositiveFloat,
    low: FiniteFloat,
) -> ArrayLike:
    """Cosine waves, ``low + (base_lr - low) (1 + cos(2 pi num_cycles t / steps)) / 2``.

    The error is at most 3e-7 of the peak up to step 2**24. In longer runs float32 rounds the step,
    and the error is 3e-7 for each of the ``num_cycles``.
    """
    whole, past = step // jnp.asarray(steps), step % jnp.asarray(steps)
    cycles, length = jnp.asarray(num_cycles), jnp.asarray(steps, jnp.float32)
    # Both products lose only whole turns by the remainders, without which they can overflow.
    turned = cycles % length * past.astype(jnp.float32)
    turned -= length * jnp.floor(turned / length)
    phase = _turns(cycles % 1, whole.astype(jnp.uint32)) + turned / length
    return lerp(low, base_lr, jnp.cos(jnp.pi * phase) ** 2, jnp.sin(jnp.pi * phase) ** 2)


@ported
def get_constant_schedule(base_lr: FiniteFloat, last_epoch: int = -1) -> Schedule:
    """Constant rate: ``base_lr``.

    Args:
      base_lr: Learning rate of the optimizer.
      last_epoch: Must be -1; see `REFUSED` for the reason.

    Returns:
      A `Schedule` with the values of the original.

    >>> from lrsched.compat import transformers
    >>> transformers.get_constant_schedule(0.1)
    constant(value=0.1)
    """
    return constant(base_lr)


@ported
def get_constant_schedule_with_warmup(
    base_lr: FiniteFloat, num_warmup_steps: NonNegativeInt, last_epoch: int = -1
) -> Schedule:
    """A linear rise from 0, then ``base_lr``.

    Args:
      base_lr: Learning rate of the optimizer.
      num_warmup_steps: Length of the warmup, in steps.
      last_epoch: Must be -1; see `REFUSED` for the reason.

    Returns:
      A `Schedule` with the values of the original.

    >>> from lrsched.compat import transformers
    >>> transformers.get_constant_schedule_with_warmup(1.0, 4)([0, 2, 4, 9]).tolist()
    [0.0, 0.5, 1.0, 1.0]
    """
    return after_warmup(0.0, base_lr, num_warmup_steps, constant(base_lr))


@ported
def get_linear_schedule_with_warmup(
    base_lr: FiniteFloat,
    num_warmup_steps: NonNegativeInt,
    num_training_steps: PositiveInt,
    last_epoch: int = -1,
) -> Schedule:
    """A linear rise from 0, then a line to 0 at ``num_training_steps``.

    Args:
      base_lr: Learning rate of the optimizer.
      num_warmup_steps: Length of the warmup, in steps.
      num_training_steps: Length of the schedule with its warmup, in steps.
      last_epoch: Must be -1; see `REFUSED` for the reason.

    Returns:
      A `Schedule` with the values of the original.

    Raises:
      ValueError: If ``num_training_steps <= num_warmup_steps``.

    >>> from lrsched.compat import transformers
    >>> transformers.get_linear_schedule_with_warmup(0.1, 10, 100)
    join(linear(init=0.0, end=0.1, steps=10), linear(init=0.1, end=0.0, steps=90))
    """
    left = _decay_length("get_linear_schedule_with_warmup", num_training_steps, num_warmup_steps)
    return after_warmup(0.0, base_lr, num_warmup_steps, linear(base_lr, 0.0, left))


@ported
def get_cosine_schedule_with_warmup(
    base_lr: FiniteFloat,
    num_warmup_steps: NonNegativeInt,
    num_training_steps: PositiveInt,
    num_cycles: PositiveFloat = 0.5,
    last_epoch: int = -1,
) -> Schedule:
    """A linear rise from 0, then cosine waves between ``base_lr`` and 0.

    At 0.5 cycles it is at 0 at ``num_training_steps``, and rises again after it.

    Args:
      base_lr: Learning rate of the optimizer.
      num_warmup_steps: Length of the warmup, in steps.
      num_training_steps: Length of the schedule with its warmup, in steps.
      num_cycles: Number of waves after the warmup.
      last_epoch: Must be -1; see `REFUSED` for the reason.

    Returns:
      A `Schedule` with the values of the original.

    Raises:
      ValueError: If ``num_training_steps <= num_warmup_steps``.

    >>> from lrsched.compat import transformers
    >>> schedule = transformers.get_cosine_schedule_with_warmup(0.5, 10, 110)
    >>> schedule([0, 5, 10, 110, 210]).round(6).tolist()
    [0.0, 0.25, 0.5, 0.0, 0.5]
    """
    left = _decay_length("get_cosine_schedule_with_warmup", num_training_steps, num_warmup_steps)
    return after_warmup(0.0, base_lr, num_warmup_steps, _waves(base_lr, left, num_cycles, 0.0))


@ported
def get_cosine_with_hard_restarts_schedule_with_warmup(
    base_lr: FiniteFloat,
    num_warmup_steps: NonNegativeInt,
    num_training_steps: PositiveInt,
    num_cycles: PositiveInt = 1,
    last_epoch: int = -1,
) -> Schedule:
    """A linear rise from 0, then half cosines from ``base_lr`` to 0, then 0.

    The place in a cycle is counted in integers. transformers computes it in floats, and from 22
    cycles on gives 0 instead of ``base_lr`` at the first step of some.

    Args:
      base_lr: Learning rate of the optimizer.
      num_warmup_steps: Length of the warmup, in steps.
      num_training_steps: Length of the schedule with its warmup, in steps.
      num_cycles: Number of half cosines after the warmup.
      last_epoch: Must be -1; see `REFUSED` for the reason.

    Returns:
      A `Schedule` with the values of the original.

    Raises:
      ValueError: If ``num_training_steps <= num_warmup_steps``, or ``num_cycles`` times the steps
        between them is above 2**31 - 1.

    >>> from lrsched.compat import transformers
    >>> schedule = transformers.get_cosine_with_hard_restarts_schedule_with_warmup(0.5, 0, 100, 4)
    >>> schedule([0, 25, 50, 75, 100]).tolist()
    [0.5, 0.5, 0.5, 0.5, 0.0]
    """
    name = "get_cosine_with_hard_restarts_schedule_with_warmup"
    left = _decay_length(name, num_training_steps, num_warmup_steps)
    if not is_traced((left, num_cycles)) and np.any(np.multiply(left, num_cycles) > MAX_STEP):
        requirement = f"at most 2**31 - 1 after the product with {left} steps"
        raise not_accepted(name, "num_cycles", num_cycles, requirement)
    return after_warmup(0.0, base_lr, num_warmup_steps, _hard_restarts(base_lr, left, num_cycles))


@schedule(name="transformers.hard_restarts", horizon="steps")
def _hard_restarts(
    step: jax.Array, base_lr: FiniteFloat, steps: PositiveInt, num_cycles: PositiveInt
) -> ArrayLike:
    now = jnp.minimum(step, steps)
    past = (num_cycles * now) % jnp.asarray(steps)
    return jnp.where(now < steps, base_lr * evaluate_ramp("cosine", steps - past, steps), 0.0)


def _floor(
    function: str, base_lr: ArrayLike, min_lr: ArrayLike | None, min_lr_rate: ArrayLike | None
) -> ArrayLike:
    if min_lr is not None and min_lr_rate is None:
        return min_lr
    if min_lr is None and min_lr_rate is not None:
        return base_lr * min_lr_rate
    raise ValueError(
        f"{function}: min_lr={min_lr!r} and min_lr_rate={min_lr_rate!r} do not give the lowest "
        "rate; one of the two must be given."
    )


@ported
def get_cosine_with_min_lr_schedule_with_warmup(
    base_lr: FiniteFloat,
    num_warmup_steps: NonNegativeInt,
    num_training_steps: PositiveInt,
    num_cycles: PositiveFloat = 0.5,
    last_epoch: int = -1,
    min_lr: FiniteFloat | None = None,
    min_lr_rate: FiniteFloat | None = None,
) -> Schedule:
    """A linear rise from 0, then cosine waves between ``base_lr`` and a lowest rate.

    Args:
      base_lr: Learning rate of the optimizer.
      num_warmup_steps: Length of the warmup, in steps.
      num_training_steps: Length of the schedule with its warmup, in steps.
      num_cycles: Number of waves after the warmup. With 0.5 the rate rises again after the end.
      last_epoch: Must be -1; see `REFUSED` for the reason.
      min_lr: Lowest rate. Pass this or ``min_lr_rate``.
      min_lr_rate: Lowest rate, as a fraction of ``base_lr``.

    Returns:
      A `Schedule` with the values of the original.

    Raises:
      ValueError: If ``num_training_steps <= num_warmup_steps``, or not exactly one of ``min_lr``
        and ``min_lr_rate`` is passed.

    >>> from lrsched.compat import transformers
    >>> schedule = transformers.get_cosine_with_min_lr_schedule_with_warmup(
    ...     0.5, 10, 110, min_lr_rate=0.5)
    >>> schedule([0, 10, 110]).tolist()
    [0.0, 0.5, 0.25]
    """
    name = "get_cosine_with_min_lr_schedule_with_warmup"
    left = _decay_length(name, num_training_steps, num_warmup_steps)
    low = _floor(name, base_lr, min_lr, min_lr_rate)
    return after_warmup(0.0, base_lr, num_warmup_steps, _waves(base_lr, left, num_cycles, low))


@ported
def get_cosine_with_min_lr_schedule_with_warmup_lr_rate(
    base_lr: FiniteFloat,
    num_warmup_steps: NonNegativeInt,
    num_training_steps: PositiveInt,
    num_cycles: PositiveFloat = 0.5,
    last_epoch: int = -1,
    min_lr: FiniteFloat | None = None,
    min_lr_rate: FiniteFloat | None = None,
    warmup_lr_rate: FiniteFloat | None = None,
) -> Schedule:
    """`get_cosine_with_min_lr_schedule_with_warmup`, a step ahead, from a first rate that is not 0.

    The rise is ``(t + 1) / num_warmup_steps``, or a line from ``warmup_lr_rate`` that arrives at
    ``num_warmup_steps - 1``; the lowest rate is at ``num_training_steps - 1``.

    Args:
      base_lr: Learning rate of the optimizer.
      num_warmup_steps: Length of the warmup, in steps.
      num_training_steps: Length of the schedule with its warmup, in steps.
      num_cycles: Number of waves after the warmup. With 0.5 the rate rises again after the end.
      last_epoch: Must be -1; see `REFUSED` for the reason.
      min_lr: Lowest rate. Pass this or ``min_lr_rate``.
      min_lr_rate: Lowest rate, as a fraction of ``base_lr``.
      warmup_lr_rate: First rate, as a fraction of ``base_lr``.

    Returns:
      A `Schedule` with the values of the original.

    Raises:
      ValueError: If ``num_training_steps <= num_warmup_steps``, or not exactly one of ``min_lr``
        and ``min_lr_rate`` is passed.

    >>> from lrsched.compat import transformers
    >>> schedule = transformers.get_cosine_with_min_lr_schedule_with_warmup_lr_rate(
    ...     1.0, 4, 104, min_lr=0.25)
    >>> schedule([0, 1, 3, 103]).tolist()
    [0.25, 0.5, 1.0, 0.25]
    """
    name = "get_cosine_with_min_lr_schedule_with_warmup_lr_rate"
    left = _decay_length(name, num_training_steps, num_warmup_steps)
    waves = _waves(base_lr, left, num_cycles, _floor(name, base_lr, min_lr, min_lr_rate))
    falling = shift(waves, -1)
    if is_known(num_warmup_steps, 0):
        return falling
    if warmup_lr_rate is None:
        rising = shift(linear(0.0, base_lr, num_warmup_steps), -1)
    else:
        rising = linear(base_lr * warmup_lr_rate, base_lr, _at_least_one(num_warmup_steps - 1))
    return join_schedules([rising, falling], [num_warmup_steps])


def _at_least_one(steps: ArrayLike) -> ArrayLike:
    return jnp.maximum(steps, 1) if is_traced(steps) else np.maximum(steps, 1)


@ported
def get_polynomial_decay_schedule_with_warmup(
    base_lr: FiniteFloat,
    num_warmup_steps: NonNegativeInt,
    num_training_steps: PositiveInt,
    lr_end: FiniteFloat = 1e-7,
    power: PositiveFloat = 1.0,
    last_epoch: int = -1,
) -> Schedule:
    """A linear rise from 0, then ``lr_end + (base_lr - lr_end) left**power``.

    Args:
      base_lr: Learning rate of the optimizer.
      num_warmup_steps: Length of the warmup, in steps.
      num_training_steps: Length of the schedule with its warmup, in steps.
      lr_end: Rate from ``num_training_steps`` on, below ``base_lr``.
      power: Exponent of the polynomial. Must be above 0.
      last_epoch: Must be -1; see `REFUSED` for the reason.

    Returns:
      A `Schedule` with the values of the original.

    Raises:
      ValueError: If ``num_training_steps <= num_warmup_steps`` or ``lr_end >= base_lr``.

    >>> from lrsched.compat import transformers
    >>> schedule = transformers.get_polynomial_decay_schedule_with_warmup(
    ...     1.0, 4, 12, lr_end=0.5, power=2.0)
    >>> schedule([0, 4, 8, 12, 99]).tolist()
    [0.0, 1.0, 0.625, 0.5, 0.5]
    """
    name = "get_polynomial_decay_schedule_with_warmup"
    left = _decay_length(name, num_training_steps, num_warmup_steps)
    check_below(name, "lr_end", lr_end, "base_lr", base_lr)
    return after_warmup(0.0, base_lr, num_warmup_steps, polynomial(base_lr, lr_end, left, power))


@ported
def get_inverse_sqrt_schedule(
    base_lr: FiniteFloat,
    num_warmup_steps: NonNegativeInt,
    timescale: PositiveInt | None = None,
    last_epoch: int = -1,
) -> Schedule:
    """A linear rise from 0, then ``base_lr / sqrt(1 + (t - num_warmup_steps) / timescale)``.

    Args:
      base_lr: Learning rate of the optimizer.
      num_warmup_steps: Length of the warmup, in steps.
      timescale: Timescale of the decay. Defaults to the warmup, or 10,000 without one.
      last_epoch: Must be -1; see `REFUSED` for the reason.

    Returns:
      A `Schedule` with the values of the original.

    >>> from lrsched.compat import transformers
    >>> transformers.get_inverse_sqrt_schedule(1.0, 100)([0, 100, 400]).tolist()
    [0.0, 1.0, 0.5]
    """
    if timescale is None:
        timescale = 10_000 if is_known(num_warmup_steps, 0) else num_warmup_steps
    return after_warmup(0.0, base_lr, num_warmup_steps, inverse_sqrt(base_lr, timescale))


@ported
def get_wsd_schedule(
    base_lr: FiniteFloat,
    num_warmup_steps: NonNegativeInt,
    num_decay_steps: NonNegativeInt,
    num_training_steps: PositiveInt | None = None,
    num_stable_steps: NonNegativeInt | None = None,
    warmup_type: Shape = "linear",
    decay_type: Shape = "cosine",
    min_lr_ratio: FiniteFloat = 0.0,
    num_cycles: PositiveFloat = 0.5,
    last_epoch: int = -1,
) -> Schedule:
    """Warmup, stable, decay: from ``min_lr_ratio * base_lr`` up to ``base_lr``, and back to it.

    `lrsched.wsd` rises from 0 and knows more cooldowns.

    Args:
      base_lr: Learning rate of the optimizer.
      num_warmup_steps: Length of the warmup, in steps.
      num_decay_steps: Length of the decay.
      num_training_steps: Length of the schedule. Ignored if ``num_stable_steps`` is passed.
      num_stable_steps: Length between the warmup and the decay. Defaults to what remains.
      warmup_type: Shape of the warmup: ``"linear"``, ``"cosine"`` or ``"1-sqrt"``.
      decay_type: Shape of the decay: ``"linear"``, ``"cosine"`` or ``"1-sqrt"``.
      min_lr_ratio: First and last rate, as a fraction of ``base_lr``.
      num_cycles: Number of waves of the cosine decay; the schedule then holds the final value.
      last_epoch: Must be -1; see `REFUSED` for the reason.

    Returns:
      A `Schedule` with the values of the original.

    Raises:
      ValueError: If neither length is passed, or the phases are longer than the whole.

    >>> from lrsched.compat import transformers
    >>> schedule = transformers.get_wsd_schedule(1.0, 10, 20, num_training_steps=100)
    >>> schedule([0, 5, 10, 80, 100]).tolist()
    [0.0, 0.5, 1.0, 1.0, 0.0]
    """
    stable = num_stable_steps
    if stable is None:
        if num_training_steps is None:
            raise ValueError(
                "get_wsd_schedule: num_training_steps=None and num_stable_steps=None are not "
                "accepted; pass one of the two."
            )
        stable = operator.sub(num_training_steps, num_warmup_steps + num_decay_steps)
        if not is_traced(stable) and np.any(np.asarray(stable) < 0):
            raise ValueError(
                f"get_wsd_schedule: num_warmup_steps={num_warmup_steps!r} and "
                f"num_decay_steps={num_decay_steps!r} are longer than "
                f"num_training_steps={num_training_steps!r}, the length of the whole."
            )
    low = base_lr * min_lr_ratio
    rising = warmup(num_warmup_steps, warmup_type, init=min_lr_ratio) * base_lr
    falling = _wsd_decay(base_lr, low, num_decay_steps, decay_type, num_cycles)
    return join_schedules(
        [rising, constant(base_lr), falling], [num_warmup_steps, num_warmup_steps + stable]
    )


@ported
def GreedyLR(  # noqa: N802
    base_lr: Rate,
    mode: Mode = "min",
    factor: OpenUnitFloat = 0.95,
    patience: Count = 10,
    threshold: NonNegativeFloat = 1e-6,
    threshold_mode: ThresholdMode = "abs",
    cooldown: Count = 0,
    warmup: Count = 0,
    min_lr: NonNegativeFloat = 1e-3,
    max_lr: Rate = 1.0,
    eps: NonNegativeFloat = 1e-8,
    verbose: bool = False,
    smooth: bool = False,
    window_size: PositiveCount = 50,
    reset_start: PositiveCount = 500,
) -> optax.GradientTransformationExtraArgs:
    """The rate goes up on improvements and down on plateaus: a transform, `lrsched.greedy`.

    It scales the updates of an optimizer whose rate is ``base_lr``; metrics come as
    ``update(..., value=metric)`` or by `lrsched.observe`. `lrsched.greedy` has a ``patience`` that
    is larger by one.

    Args:
      base_lr: Learning rate of the optimizer.
      mode: Whether the metric improves when it decreases (``"min"``) or increases (``"max"``).
      factor: Multiplier of the rate, above 0 and below 1.
      patience: Number of consecutive metrics of either kind that are tolerated.
      threshold: Smallest change that counts as an improvement.
      threshold_mode: Whether the threshold is relative to the best metric (``"rel"``) or ``"abs"``.
      cooldown: Number of metrics after a reduction that are not counted.
      warmup: Number of metrics after a rise that are not counted.
      min_lr: Lowest rate, at most ``base_lr``.
      max_lr: Highest rate, at least ``base_lr``.
      eps: Smallest change of the rate that is applied.
      verbose: Accepted and ignored; it does not change the rate.
      smooth: Whether to use the mean of the latest ``window_size`` metrics.
      window_size: Number of metrics in that mean.
      reset_start: Number of reductions at ``min_lr`` after which the controller is reset.

    Returns:
      A transform that scales the updates.

    Raises:
      ValueError: If an argument is not in its range.

    >>> import jax.numpy as jnp
    >>> from lrsched.compat import transformers
    >>> optimizer = transformers.GreedyLR(0.1, factor=0.5, patience=0)
    >>> state = optimizer.init(jnp.zeros(1))
    >>> for loss in [1.0, 0.5, 0.75]:
    ...     updates, state = optimizer.update(jnp.ones(1), state, value=loss)
    ...     print(updates.item())
    2.0
    4.0
    2.0
    """
    check_below("GreedyLR", "base_lr", base_lr, "max_lr", max_lr, allow_equal=True)
    rtol, atol = tolerances(threshold, threshold_mode)
    return greedy(
        factor,
        patience + 1,
        mode=mode,
        rtol=rtol,
        atol=atol,
        cooldown=cooldown,
        warmup=warmup,
        min_scale=min_scale_of("GreedyLR", min_lr, base_lr),
        max_scale=max_lr / base_lr,
        reset_after=reset_start,
        window_size=window_size if smooth else 1,
        min_change=eps / base_lr,
    )


@ported
def get_greedy_schedule(base_lr: Rate, **kwargs: Any) -> optax.GradientTransformationExtraArgs:
    """`GreedyLR` under transformers' other name.

    Args:
      base_lr: Learning rate of the optimizer.
      kwargs: Arguments of `GreedyLR`.

    Returns:
      A transform that scales the updates.

    Raises:
      ValueError: If an argument is not in its range.

    >>> import jax.numpy as jnp
    >>> from lrsched.compat import transformers
    >>> float(transformers.get_greedy_schedule(0.1, patience=3).init(jnp.zeros(1)).scale)
    1.0
    """
    return GreedyLR(base_lr, **kwargs)


@ported
def get_reduce_on_plateau_schedule(
    base_lr: Rate, **kwargs: Any
) -> optax.GradientTransformationExtraArgs:
    """`lrsched.compat.torch.ReduceLROnPlateau` under transformers' name.

    Args:
      base_lr: Learning rate of the optimizer.
      kwargs: Arguments of `lrsched.compat.torch.ReduceLROnPlateau`.

    Returns:
      A transform that scales the updates.

    Raises:
      ValueError: If an argument is not in its range.

    >>> import jax.numpy as jnp
    >>> from lrsched.compat import transformers
    >>> optimizer = transformers.get_reduce_on_plateau_schedule(0.1, factor=0.5)
    >>> float(optimizer.init(jnp.zeros(1)).scale)
    1.0
    """
    return ReduceLROnPlateau(base_lr, **kwargs)


@schedule(name="transformers.wsd_decay", horizon="steps")
def _wsd_decay(
    step: jax.Array,
    base_lr: FiniteFloat,
    low: FiniteFloat,
    steps: NonNegativeInt,
    shape: Shape,
    num_cycles: PositiveFloat,
) -> ArrayLike:
    if shape == "cosine":
        falling = _waves(base_lr, jnp.maximum(steps, 1), num_cycles, low)(step)
    else:
        falling = lerp(low, base_lr, evaluate_ramp(shape, steps - step, steps))
    return jnp.where(step < steps, falling, low)


_BY_NAME: dict[str, Callable[..., Schedule]] = {
    "linear": get_linear_schedule_with_warmup,
    "cosine": get_cosine_schedule_with_warmup,
    "cosine_with_restarts": get_cosine_with_hard_restarts_schedule_with_warmup,
    "polynomial": get_polynomial_decay_schedule_with_warmup,
    "constant": get_constant_schedule,
    "constant_with_warmup": get_constant_schedule_with_warmup,
    "inverse_sqrt": get_inverse_sqrt_schedule,
    "cosine_with_min_lr": get_cosine_with_min_lr_schedule_with_warmup,
    "cosine_warmup_with_min_lr": get_cosine_with_min_lr_schedule_with_warmup_lr_rate,
    "warmup_stable_decay": get_wsd_schedule,
}


_CONTROLLERS = {
    "reduce_lr_on_plateau": "get_reduce_on_plateau_schedule",
    "greedy": "get_greedy_schedule",
}


@ported(
    refused={
        "step_rules": "piecewise_constant of diffusers is lrsched.piecewise_constant(values, "
        "boundaries)",
        "num_cycles": "pass it in scheduler_specific_kwargs",
        "power": "pass it in scheduler_specific_kwargs",
    }
)
def get_scheduler(
    name: SchedulerName,
    base_lr: FiniteFloat,
    num_warmup_steps: NonNegativeInt | None = None,
    num_training_steps: PositiveInt | None = None,
    scheduler_specific_kwargs: Mapping[str, Any] | None = None,
) -> Schedule:
    """Return a schedule by its name in ``TrainingArguments(lr_scheduler_type=...)``.

    "linear", "cosine", "cosine_with_restarts", "polynomial", "constant", "constant_with_warmup",
    "inverse_sqrt", "cosine_with_min_lr", "cosine_warmup_with_min_lr" or "warmup_stable_decay".
    "reduce_lr_on_plateau" and "greedy" follow a metric, so that they are no functions of the step.

    Args:
      name: Name of the schedule, or transformers' ``SchedulerType``.
      base_lr: Learning rate of the optimizer.
      num_warmup_steps: Length of the warmup. If None, the function must not need it.
      num_training_steps: Length of the schedule. Ignored by "constant", "constant_with_warmup" and
        "inverse_sqrt", as in transformers.
      scheduler_specific_kwargs: Further arguments of the schedule's function.

    Returns:
      A `Schedule` with the values of the original.

    Raises:
      ValueError: If the name is not known, a length is missing, or the function does not have an
        argument of ``scheduler_specific_kwargs``.

    >>> from lrsched.compat import transformers
    >>> transformers.get_scheduler("linear", 0.1, num_warmup_steps=10, num_training_steps=100)
    join(linear(init=0.0, end=0.1, steps=10), linear(init=0.1, end=0.0, steps=90))
    """
    if name in _CONTROLLERS:
        raise ValueError(
            f"get_scheduler: name={name!r} is not accepted (it follows a metric and is no function "
            f"of the step); chain lrsched.compat.transformers.{_CONTROLLERS[name]} after the "
            "optimizer."
        )
    function = _BY_NAME[name]
    taken = inspect.signature(function).parameters
    lengths = {"num_warmup_steps": num_warmup_steps, "num_training_steps": num_training_steps}
    given = {key: steps for key, steps in lengths.items() if key in taken and steps is not None}
    try:
        return function(base_lr, **given, **(scheduler_specific_kwargs or {}))
    except TypeError as refused:
        raise ValueError(f"get_scheduler: of {name!r}, {refused}") from None
