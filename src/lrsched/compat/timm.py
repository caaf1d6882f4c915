"""Schedulers of timm (``timm.scheduler``) as schedules that are data.

``base_lr`` replaces the optimizer as the first argument. ``t`` is the argument of
``step_update(num_updates)``, or of ``step(epoch)`` with ``t_in_epochs``: every length is in the
unit of ``t``. (Before its first call timm has ``base_lr``, or ``warmup_lr_init``.)

timm finds the cycle of ``cycle_mul`` by a logarithm and misses some of its first steps, with
``t_initial=10, cycle_mul=3`` the one at 1210, where it gives ``lr_min``. Here they are exact. The
noise of timm comes from PyTorch's generator; `lrsched.noise` has a separate key.
"""

import math
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from lrsched import (
    Schedule,
    constant,
    cosine,
    k_decay,
    polynomial,
    power_law,
    schedule,
    tanh,
    wsd,
)
from lrsched._phases import phase_starts
from lrsched._schedule import PhaseStart
from lrsched.algebra import Inner
from lrsched.arguments import (
    POSITIVE_FLOAT,
    POSITIVE_INT,
    ArgumentType,
    CycleGrowth,
    FiniteFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    check_below,
    is_traced,
    not_accepted,
    one_of,
)
from lrsched.compat._cycles import cycle_at
from lrsched.compat._porting import (
    Count,
    MissingAttribute,
    PositiveCount,
    after_warmup,
    exact_growth,
    is_known,
    missing_attribute,
    ported,
    steps_in_any_order,
)
from lrsched.compat.torch import MultiStepLR, Ratio, StepLR
from lrsched.numerics import MAX_STEP, clip_finite, fraction, int_power, lerp
from lrsched.schedules.ramps import RAMPS, evaluate_ramp

if TYPE_CHECKING:
    import chex

__all__ = [
    "CosineLRScheduler",
    "MultiStepLRScheduler",
    "PolyLRScheduler",
    "StepLRScheduler",
    "TanhLRScheduler",
    "WSDLRScheduler",
    "create_scheduler_v2",
]

__getattr__: MissingAttribute = missing_attribute(
    __name__,
    __all__,
    {
        "PlateauLRScheduler": "lrsched.reduce_on_plateau(active_from=warmup_t) follows a metric, "
        "after an optimizer at lrsched.warmup(warmup_t)",
        "Scheduler": "any function of the step becomes a schedule by @lrsched.schedule",
        "create_scheduler": "create_scheduler_v2 takes what timm.scheduler.scheduler_kwargs gives",
        "scheduler_kwargs": "timm's own gives what create_scheduler_v2 takes",
    },
)


def _period(given: Any) -> object:
    """Return an integer, or a decimal such as 2.4 as the `Fraction` of its shortest digits."""
    number = POSITIVE_FLOAT.parse(given)
    if is_traced(given) or np.ndim(given):
        return POSITIVE_INT.parse(given)
    exact = Fraction(repr(number)).limit_denominator(10**4)
    if exact.numerator * exact.denominator > MAX_STEP:
        raise ValueError(f"{exact} is too fine to be counted in int32")
    return int(exact) if exact.denominator == 1 else exact


LaterMilestones: TypeAlias = Annotated[
    Sequence[int], steps_in_any_order("LaterMilestones", POSITIVE_INT)
]
"""Steps, in any order."""
Period: TypeAlias = Annotated[ArrayLike, ArgumentType("Period", "a number above 0", _period)]
"""A number of steps that need not be whole."""
StableFn: TypeAlias = Annotated[str, one_of("StableFn", ("constant", "rsqrt", "power"))]
"""Shape of a stable phase."""
DecayFn: TypeAlias = Annotated[
    str | Callable[[jax.Array], ArrayLike],
    one_of(
        "DecayFn",
        ("linear", "1-sqrt", "cosine", "power", "exp"),
        otherwise="a function of the fraction that is past, from 1 at 0 to 0 at 1",
    ),
]
"""The shape of a cooldown."""
Sched: TypeAlias = Annotated[
    str,
    one_of(
        "Sched",
        ("cosine", "tanh", "step", "multistep", "poly", "wsd", "rsqrt", "constant", "none"),
    ),
]
"""The name of a scheduler."""

_NOISE = "timm's noise comes from PyTorch's generator (lrsched.noise has a separate key)"
_scheduler = ported(
    refused=dict.fromkeys(("noise_range_t", "noise_pct", "noise_std", "noise_seed"), _NOISE)
)


def _warmed(
    curve: Schedule, steps: ArrayLike, init: ArrayLike, target: ArrayLike, is_prefix: bool
) -> Schedule:
    """Return a line from ``init`` to ``target`` before the curve, or over its beginning."""
    if is_prefix or is_known(steps, 0):
        return after_warmup(init, target, steps, curve)
    return _overlaid(curve, steps, init, target)


def _overlaid_horizon(schedule: Schedule) -> "chex.Numeric | None":
    horizon, steps = schedule.curve.horizon, schedule.steps
    if horizon is None:
        return None
    return jnp.maximum(horizon, steps) if is_traced((horizon, steps)) else max(horizon, steps)


def _overlaid_phases(schedule: Schedule, until: int) -> list[PhaseStart]:
    steps = int(schedule.steps)
    after = [(name, max(at, steps)) for name, at in phase_starts(schedule.curve, until)]
    return [("warmup", 0), *after]


@schedule(
    name="timm.overlaid_warmup",
    horizon=_overlaid_horizon,
    phases=_overlaid_phases,
)
def _overlaid(
    step: jax.Array, curve: Inner, steps: PositiveInt, init: FiniteFloat, target: FiniteFloat
) -> ArrayLike:
    """Curve that continues under a warmup, which replaces its beginning."""
    return jnp.where(step < steps, lerp(init, target, fraction(step, steps)), curve(step))


def _in_cycles(
    step: jax.Array,
    base_lr: ArrayLike,
    lr_min: ArrayLike,
    cycles: tuple[ArrayLike, ArrayLike, ArrayLike, ArrayLike],
    weight: Callable[[jax.Array], jax.Array],
) -> jax.Array:
    """Return a curve from 1 to 0 in each cycle, scaled by decaying peaks, then ``lr_min``."""
    steps, growth, decay, limit = cycles
    cycle, past = cycle_at(step, jnp.asarray(steps), jnp.asarray(growth))
    past = jnp.clip(past, 0, 1)  # by a rounding beyond 1, a power of 1 - past is NaN
    top = clip_finite(jnp.asarray(base_lr) * int_power(decay, cycle))
    return jnp.where(cycle < limit, lerp(lr_min, top, weight(past)), lr_min)


def _geometric_sum(ratio: "chex.Numeric", count: int) -> Any:
    """Return ``1 + ratio + ... + ratio**(count - 1)``, for a count that no loop could take."""
    if ratio == 1:
        return count
    try:
        return (
            (ratio**count - 1) / (ratio - 1)
            if count > 64
            else sum(ratio**power for power in range(count))
        )
    except OverflowError:
        requirement = f"a number of cycles that end before step 2**31 - 1 with cycle_mul={ratio}"
        raise not_accepted("create_scheduler_v2", "cycle_limit", count, requirement) from None


@_scheduler
def CosineLRScheduler(  # noqa: N802
    base_lr: FiniteFloat,
    t_initial: PositiveInt,
    lr_min: FiniteFloat = 0.0,
    cycle_mul: CycleGrowth = 1.0,
    cycle_decay: PositiveFloat = 1.0,
    cycle_limit: PositiveInt = 1,
    warmup_t: NonNegativeInt = 0,
    warmup_lr_init: FiniteFloat = 0.0,
    warmup_prefix: bool = False,
    t_in_epochs: bool = True,
    noise_range_t: None = None,
    noise_pct: float = 0.67,
    noise_std: float = 1.0,
    noise_seed: int = 42,
    k_decay: PositiveFloat = 1.0,
    initialize: bool = True,
) -> Schedule:
    """Cosines with restarts: ``lr_min + (top - lr_min) (1 + cos(pi x**k_decay)) / 2``.

    ``x`` is what is past of the cycle, ``top = base_lr * cycle_decay**cycle``; after the last cycle
    the rate is ``lr_min``. Without ``warmup_prefix`` the curve runs under the warmup, which aims at
    ``base_lr`` though the curve is below it by then.

    Args:
      base_lr: Learning rate of the optimizer.
      t_initial: Length of the first cycle.
      lr_min: Lowest rate.
      cycle_mul: Ratio of the lengths of consecutive cycles, at least 1.
      cycle_decay: Multiplier of the peak at each restart.
      cycle_limit: Number of cycles.
      warmup_t: Length of the linear warmup.
      warmup_lr_init: Rate at step 0 of the warmup.
      warmup_prefix: Whether the warmup precedes the cycles instead of replacing their beginning.
      t_in_epochs: Whether ``t`` is in epochs. It does not change the curve.
      noise_range_t: Must be None; `lrsched.noise` adds noise.
      noise_pct: Must be the default.
      noise_std: Must be the default.
      noise_seed: Must be the default.
      k_decay: Exponent of the elapsed fraction. Above 1 the rate stays high for longer.
      initialize: Accepted and ignored; it does not change the rate.

    Returns:
      A `Schedule` with the values of the original.

    >>> from lrsched.compat import timm
    >>> timm.CosineLRScheduler(0.1, t_initial=100, warmup_t=5, warmup_prefix=True)
    join(linear(init=0.0, end=0.1, steps=5), cosine(peak=0.1, steps=100))
    """
    if not is_known(cycle_limit, 1):
        curve = _cosine_cycles(
            base_lr, lr_min, t_initial, exact_growth(cycle_mul), cycle_decay, cycle_limit, k_decay
        )
    elif is_known(k_decay, 1):
        curve = cosine(base_lr, t_initial, lr_min)
    else:
        curve = _k_decay(base_lr, t_initial, k_decay, lr_min)
    return _warmed(curve, warmup_t, warmup_lr_init, base_lr, warmup_prefix)


_k_decay = k_decay  # which timm's argument hides


@schedule(name="timm.cosine_cycles")
def _cosine_cycles(
    step: jax.Array,
    base_lr: FiniteFloat,
    lr_min: FiniteFloat,
    steps: PositiveInt,
    growth: CycleGrowth,
    decay: PositiveFloat,
    limit: PositiveInt,
    k: PositiveFloat,
) -> ArrayLike:
    def weight(past: jax.Array) -> jax.Array:
        return evaluate_ramp("cosine", 1 - past**k, 1)

    return _in_cycles(step, base_lr, lr_min, (steps, growth, decay, limit), weight)


@_scheduler
def TanhLRScheduler(  # noqa: N802
    base_lr: FiniteFloat,
    t_initial: PositiveInt,
    lb: FiniteFloat = -7.0,
    ub: FiniteFloat = 3.0,
    lr_min: FiniteFloat = 0.0,
    cycle_mul: CycleGrowth = 1.0,
    cycle_decay: PositiveFloat = 1.0,
    cycle_limit: PositiveInt = 1,
    warmup_t: NonNegativeInt = 0,
    warmup_lr_init: FiniteFloat = 0.0,
    warmup_prefix: bool = False,
    t_in_epochs: bool = True,
    noise_range_t: None = None,
    noise_pct: float = 0.67,
    noise_std: float = 1.0,
    noise_seed: int = 42,
    initialize: bool = True,
) -> Schedule:
    """Hyperbolic tangents: ``lr_min + (top - lr_min) (1 - tanh(lb (1 - x) + ub x)) / 2``.

    ``x`` and ``top`` are as in `CosineLRScheduler`. Without ``warmup_prefix`` the warmup aims at
    the curve.

    Args:
      base_lr: Learning rate of the optimizer.
      t_initial: Length of the first cycle.
      lb: Argument of the tanh at the beginning of a cycle.
      ub: Argument of the tanh at the end of a cycle, above ``lb``.
      lr_min: Lowest rate.
      cycle_mul: Ratio of the lengths of consecutive cycles, at least 1.
      cycle_decay: Multiplier of the peak at each restart.
      cycle_limit: Number of cycles.
      warmup_t: Length of the linear warmup.
      warmup_lr_init: Rate at step 0 of the warmup.
      warmup_prefix: Whether the warmup precedes the curve; see `CosineLRScheduler`.
      t_in_epochs: Unit of ``t``; see `CosineLRScheduler`.
      noise_range_t: Must be None; `lrsched.noise` adds noise.
      noise_pct: Must be the default.
      noise_std: Must be the default.
      noise_seed: Must be the default.
      initialize: Accepted and ignored; it does not change the rate.

    Returns:
      A `Schedule` with the values of the original.

    Raises:
      ValueError: If ``lb >= ub``.

    >>> from lrsched.compat import timm
    >>> timm.TanhLRScheduler(0.5, t_initial=100)([0, 70, 100]).round(4).tolist()
    [0.5, 0.25, 0.0]
    """
    check_below("TanhLRScheduler", "lb", lb, "ub", ub)
    if is_known(cycle_limit, 1):
        curve = tanh(base_lr, t_initial, lb, ub, lr_min) >> lr_min
    else:
        curve = _tanh_cycles(
            base_lr, lr_min, t_initial, exact_growth(cycle_mul), cycle_decay, cycle_limit, lb, ub
        )
    target = base_lr if warmup_prefix else curve(warmup_t)
    return _warmed(curve, warmup_t, warmup_lr_init, target, warmup_prefix)


@schedule(name="timm.tanh_cycles")
def _tanh_cycles(
    step: jax.Array,
    base_lr: FiniteFloat,
    lr_min: FiniteFloat,
    steps: PositiveInt,
    growth: CycleGrowth,
    decay: PositiveFloat,
    limit: PositiveInt,
    lb: FiniteFloat,
    ub: FiniteFloat,
) -> ArrayLike:
    def weight(past: jax.Array) -> jax.Array:
        return jax.nn.sigmoid(-2 * lerp(lb, ub, past))

    return _in_cycles(step, base_lr, lr_min, (steps, growth, decay, limit), weight)


@_scheduler
def PolyLRScheduler(  # noqa: N802
    base_lr: FiniteFloat,
    t_initial: PositiveInt,
    power: PositiveFloat = 0.5,
    lr_min: FiniteFloat = 0.0,
    cycle_mul: CycleGrowth = 1.0,
    cycle_decay: PositiveFloat = 1.0,
    cycle_limit: PositiveInt = 1,
    warmup_t: NonNegativeInt = 0,
    warmup_lr_init: FiniteFloat = 0.0,
    warmup_prefix: bool = False,
    t_in_epochs: bool = True,
    noise_range_t: None = None,
    noise_pct: float = 0.67,
    noise_std: float = 1.0,
    noise_seed: int = 42,
    k_decay: PositiveFloat = 1.0,
    initialize: bool = True,
) -> Schedule:
    """Polynomial decays: ``lr_min + (top - lr_min) (1 - x**k_decay)**power``.

    ``x`` and ``top`` are as in `CosineLRScheduler`.

    Args:
      base_lr: Learning rate of the optimizer.
      t_initial: Length of the first cycle.
      power: Exponent of the polynomial. Must be above 0.
      lr_min: Lowest rate.
      cycle_mul: Ratio of the lengths of consecutive cycles, at least 1.
      cycle_decay: Multiplier of the peak at each restart.
      cycle_limit: Number of cycles.
      warmup_t: Length of the linear warmup.
      warmup_lr_init: Rate at step 0 of the warmup.
      warmup_prefix: Whether the warmup precedes the curve; see `CosineLRScheduler`.
      t_in_epochs: Unit of ``t``; see `CosineLRScheduler`.
      noise_range_t: Must be None; `lrsched.noise` adds noise.
      noise_pct: Must be the default.
      noise_std: Must be the default.
      noise_seed: Must be the default.
      k_decay: Exponent of the elapsed fraction. Above 1 the rate stays high for longer.
      initialize: Accepted and ignored; it does not change the rate.

    Returns:
      A `Schedule` with the values of the original.

    >>> from lrsched.compat import timm
    >>> timm.PolyLRScheduler(1.0, t_initial=4)([0, 3, 4]).tolist()
    [1.0, 0.5, 0.0]
    """
    if is_known(cycle_limit, 1) and is_known(k_decay, 1):
        curve = polynomial(base_lr, lr_min, t_initial, power)
    else:
        curve = _poly_cycles(
            base_lr,
            lr_min,
            t_initial,
            exact_growth(cycle_mul),
            cycle_decay,
            cycle_limit,
            power,
            k_decay,
        )
    return _warmed(curve, warmup_t, warmup_lr_init, base_lr, warmup_prefix)


@schedule(name="timm.poly_cycles")
def _poly_cycles(
    step: jax.Array,
    base_lr: FiniteFloat,
    lr_min: FiniteFloat,
    steps: PositiveInt,
    growth: CycleGrowth,
    decay: PositiveFloat,
    limit: PositiveInt,
    exponent: PositiveFloat,
    k: PositiveFloat,
) -> ArrayLike:
    def weight(past: jax.Array) -> jax.Array:
        return (1 - past**k) ** exponent

    return _in_cycles(step, base_lr, lr_min, (steps, growth, decay, limit), weight)


@_scheduler
def StepLRScheduler(  # noqa: N802
    base_lr: FiniteFloat,
    decay_t: Period,
    decay_rate: PositiveFloat = 1.0,
    warmup_t: NonNegativeInt = 0,
    warmup_lr_init: FiniteFloat = 0.0,
    warmup_prefix: bool = True,
    t_in_epochs: bool = True,
    noise_range_t: None = None,
    noise_pct: float = 0.67,
    noise_std: float = 1.0,
    noise_seed: int = 42,
    initialize: bool = True,
) -> Schedule:
    """Cuts at fixed intervals: ``base_lr * decay_rate**(t // decay_t)``.

    Args:
      base_lr: Learning rate of the optimizer.
      decay_t: Time between cuts, which may be a decimal: 2.4 epochs for EfficientNet.
      decay_rate: Multiplier of the rate at each cut.
      warmup_t: Length of the linear warmup.
      warmup_lr_init: Rate at step 0 of the warmup.
      warmup_prefix: Whether the warmup precedes the curve; see `CosineLRScheduler`.
      t_in_epochs: Unit of ``t``; see `CosineLRScheduler`.
      noise_range_t: Must be None; `lrsched.noise` adds noise.
      noise_pct: Must be the default.
      noise_std: Must be the default.
      noise_seed: Must be the default.
      initialize: Accepted and ignored; it does not change the rate.

    Returns:
      A `Schedule` with the values of the original.

    >>> from lrsched.compat import timm
    >>> timm.StepLRScheduler(1.0, decay_t=2.5, decay_rate=0.5)([0, 2, 3, 4, 5]).tolist()
    [1.0, 1.0, 0.5, 0.5, 0.25]
    """
    if isinstance(decay_t, Fraction):
        is_late = Fraction(float(decay_t)) > decay_t
        curve = _fractional_steps(
            base_lr, decay_rate, decay_t.numerator, decay_t.denominator, int(is_late)
        )
    else:
        curve = StepLR(base_lr, decay_t, decay_rate)
    return _warmed(curve, warmup_t, warmup_lr_init, base_lr, warmup_prefix)


@schedule(name="timm.fractional_steps")
def _fractional_steps(
    step: jax.Array,
    base_lr: FiniteFloat,
    factor: PositiveFloat,
    numerator: PositiveInt,
    denominator: PositiveInt,
    is_late: NonNegativeInt,
) -> ArrayLike:
    """``base_lr * factor**floor(t denominator / numerator)``, counted in integers.

    Python's ``t // period`` is one less at a multiple of a period whose float is above the decimal
    that it is written as (1.1, but not 2.4): ``is_late`` is 1 there.
    """
    whole, rest = step // jnp.asarray(numerator), step % jnp.asarray(numerator)
    late = jnp.where((step > 0) & (jnp.asarray(is_late) > 0), 1, 0)
    # More cuts than int32 counts are as many as it does: the product would wrap below 0.
    whole = jnp.minimum(whole, MAX_STEP // jnp.asarray(denominator) - 1)
    cuts = whole * denominator + (rest * denominator - late) // jnp.asarray(numerator)
    return clip_finite(jnp.asarray(base_lr) * int_power(factor, jnp.maximum(cuts, 0)))


@_scheduler
def MultiStepLRScheduler(  # noqa: N802
    base_lr: FiniteFloat,
    decay_t: LaterMilestones,
    decay_rate: PositiveFloat = 1.0,
    warmup_t: NonNegativeInt = 0,
    warmup_lr_init: FiniteFloat = 0.0,
    warmup_prefix: bool = True,
    t_in_epochs: bool = True,
    noise_range_t: None = None,
    noise_pct: float = 0.67,
    noise_std: float = 1.0,
    noise_seed: int = 42,
    initialize: bool = True,
) -> Schedule:
    """Cuts at milestones, one step *before* it: ``decay_t=[30]`` cuts at 29.

    timm documents this and keeps it for the recipes that were tuned with it.

    Args:
      base_lr: Learning rate of the optimizer.
      decay_t: LaterMilestones, at least 1.
      decay_rate: Multiplier of the rate at each cut.
      warmup_t: Length of the linear warmup.
      warmup_lr_init: Rate at step 0 of the warmup.
      warmup_prefix: Whether the warmup precedes the curve; see `CosineLRScheduler`.
      t_in_epochs: Unit of ``t``; see `CosineLRScheduler`.
      noise_range_t: Must be None; `lrsched.noise` adds noise.
      noise_pct: Must be the default.
      noise_std: Must be the default.
      noise_seed: Must be the default.
      initialize: Accepted and ignored; it does not change the rate.

    Returns:
      A `Schedule` with the values of the original.

    >>> from lrsched.compat import timm
    >>> timm.MultiStepLRScheduler(0.1, decay_t=[30, 60], decay_rate=0.1)
    multistep(init=0.1, milestones=[29, 59])
    """
    curve = MultiStepLR(base_lr, [milestone - 1 for milestone in decay_t], decay_rate)
    return _warmed(curve, warmup_t, warmup_lr_init, base_lr, warmup_prefix)


@_scheduler
def WSDLRScheduler(  # noqa: N802
    base_lr: FiniteFloat,
    t_initial: PositiveInt,
    decay_t: PositiveInt,
    lr_min: FiniteFloat = 0.0,
    stable_fn: StableFn = "constant",
    stable_timescale: PositiveFloat | None = None,
    stable_power: PositiveFloat = 0.5,
    decay_fn: DecayFn = "1-sqrt",
    decay_power: PositiveFloat = 0.5,
    decay_ratio: Ratio = 0.1,
    warmup_t: NonNegativeInt = 0,
    warmup_lr_init: FiniteFloat = 0.0,
    t_in_epochs: bool = True,
    noise_range_t: None = None,
    noise_pct: float = 0.67,
    noise_std: float = 1.0,
    noise_seed: int = 42,
    initialize: bool = True,
) -> Schedule:
    """Warmup, stable, decay, with a stable phase that may decay as well.

    ``lr_min + (base_lr stable(t) - lr_min) decay(x)``, ``x`` being what is past of the last
    ``decay_t`` steps. The warmup always comes before ``t_initial``.

    Args:
      base_lr: Learning rate of the optimizer.
      t_initial: Length of the stable phase and the decay.
      decay_t: Length of the decay.
      lr_min: Last rate, at most ``base_lr``.
      stable_fn: Stable phase, ``"constant"``, ``"rsqrt"`` or ``"power"``:
        ``(1 + t / stable_timescale)**-stable_power``.
      stable_timescale: Timescale of the stable phase. Defaults to ``warmup_t``.
      stable_power: Exponent of ``"power"``; 0.5 equals ``"rsqrt"``.
      decay_fn: Shape of the decay: "linear", "1-sqrt", "cosine", "power"
        (``1 - x**decay_power``), "exp" (``r**x``, scaled to end at 0), or a function of ``x`` in
        ``jax.numpy``.
      decay_power: Exponent of ``"power"``.
      decay_ratio: Ratio ``r`` of ``"exp"``, above 0 and at most 1.
      warmup_t: Length of the linear warmup.
      warmup_lr_init: Rate at step 0 of the warmup.
      t_in_epochs: Unit of ``t``; see `CosineLRScheduler`.
      noise_range_t: Must be None; `lrsched.noise` adds noise.
      noise_pct: Must be the default.
      noise_std: Must be the default.
      noise_seed: Must be the default.
      initialize: Accepted and ignored; it does not change the rate.

    Returns:
      A `Schedule` with the values of the original.

    Raises:
      ValueError: If ``decay_t > t_initial``, ``lr_min > base_lr``, ``decay_ratio > 1``, or a
        stable phase that decays has no timescale.

    >>> from lrsched.compat import timm
    >>> timm.WSDLRScheduler(0.1, t_initial=100, decay_t=20, warmup_t=10)
    wsd(peak=0.1, steps=110, warmup=10, cooldown=20)
    """
    function = "WSDLRScheduler"
    check_below(function, "decay_t", decay_t, "t_initial", t_initial, allow_equal=True)
    check_below(function, "lr_min", lr_min, "base_lr", base_lr, allow_equal=True)
    if stable_fn == "constant" and (callable(decay_fn) or decay_fn in RAMPS):
        steps = warmup_t + t_initial
        shape = _of_what_is_left(decay_fn) if callable(decay_fn) else decay_fn
        return wsd(base_lr, steps, warmup_t, decay_t, lr_min, shape, warmup_lr_init)
    stable = _stable(base_lr, stable_fn, stable_timescale, stable_power, warmup_t)
    parameter = decay_power if decay_fn == "power" else decay_ratio
    curve = _wsd_decay(stable, t_initial, decay_t, lr_min, decay_fn, parameter)
    return _warmed(curve, warmup_t, warmup_lr_init, base_lr, is_prefix=True)


def _of_what_is_left(
    decay_fn: Callable[[jax.Array], ArrayLike],
) -> Callable[[jax.Array], jax.Array]:
    return lambda left: jnp.asarray(decay_fn(1 - left))


def _stable(
    base_lr: ArrayLike,
    stable_fn: str,
    timescale: ArrayLike | None,
    exponent: ArrayLike,
    warmup_t: ArrayLike,
) -> Schedule:
    if stable_fn == "constant":
        return constant(base_lr)
    if timescale is None:
        if is_known(warmup_t, 0):
            raise ValueError(
                f"WSDLRScheduler: stable_fn={stable_fn!r} needs a stable_timescale, which is "
                "warmup_t by default, where there is no warmup."
            )
        timescale = warmup_t
    return power_law(base_lr, 0.5 if stable_fn == "rsqrt" else exponent, timescale)


@schedule(name="timm.wsd_decay", horizon="steps")
def _wsd_decay(
    step: jax.Array,
    stable: Inner,
    steps: PositiveInt,
    decay: PositiveInt,
    lr_min: FiniteFloat,
    decay_fn: DecayFn,
    parameter: PositiveFloat,
) -> ArrayLike:
    """Cooldown that multiplies a curve which continues under it."""
    left = fraction(steps - step, decay)
    if callable(decay_fn):
        weight = jnp.asarray(decay_fn(1 - left))
    elif decay_fn == "power":
        weight = 1 - (1 - left) ** parameter
    elif decay_fn == "exp":
        # At a ratio of 1 the curve is 0 / 0; its limit is a line.
        is_line = jnp.asarray(parameter) == 1
        base = jnp.where(is_line, 0.5, parameter)
        curve = jnp.expm1(-left * jnp.log(base)) / (1 / base - 1)
        weight = jnp.where(is_line, left, curve)
    else:
        weight = evaluate_ramp(decay_fn, left, 1)
    return lerp(lr_min, jnp.maximum(stable(step), lr_min), weight)


@ported(refused=dict.fromkeys(("noise", "noise_pct", "noise_std", "noise_seed"), _NOISE))
def create_scheduler_v2(
    base_lr: FiniteFloat,
    sched: Sched = "cosine",
    num_epochs: PositiveCount = 300,
    decay_epochs: float | None = None,
    decay_milestones: LaterMilestones = (90, 180, 270),
    cooldown_epochs: Count = 0,
    patience_epochs: int = 10,
    decay_rate: PositiveFloat = 0.1,
    min_lr: FiniteFloat = 0.0,
    warmup_lr: FiniteFloat = 1e-5,
    warmup_epochs: Count = 0,
    warmup_prefix: bool = False,
    noise: None = None,
    noise_pct: float = 0.67,
    noise_std: float = 1.0,
    noise_seed: int = 42,
    cycle_mul: float = 1.0,
    cycle_decay: PositiveFloat = 0.1,
    cycle_limit: PositiveCount = 1,
    k_decay: PositiveFloat = 1.0,
    decay_fn: DecayFn | None = None,
    stable_timescale: PositiveFloat | None = None,
    plateau_mode: str = "max",
    step_on_epochs: bool = True,
    updates_per_epoch: Count = 0,
) -> tuple[Schedule, int]:
    """Return a schedule by name, and the number of epochs to train for.

    "cosine", "tanh", "step", "multistep", "poly", "wsd", "rsqrt", "constant" (with a warmup) or
    "none" (always ``base_lr``). "plateau" follows a metric and is no function of the step.

    Args:
      base_lr: Learning rate of the optimizer.
      sched: Name of the schedule.
      num_epochs: Length of the schedule, or of its first cycle.
      decay_epochs: Time between the cuts of "step", 90 by default, or length of the decay of "wsd"
        and "rsqrt", which is a fraction if below 1, 0.2 by default.
      decay_milestones: Milestones of ``"multistep"``.
      cooldown_epochs: Number of epochs at ``min_lr`` that are added to the returned number.
      patience_epochs: Accepted and ignored; it belongs to ``"plateau"``.
      decay_rate: Multiplier of ``"step"`` and ``"multistep"``; exponent of ``"poly"``.
      min_lr: Lowest rate.
      warmup_lr: Rate at step 0 of the warmup.
      warmup_epochs: Length of the linear warmup.
      warmup_prefix: Whether the warmup precedes ``num_epochs``.
      noise: Must be None, as must be the defaults of the next three; `lrsched.noise` adds noise.
      noise_pct: Must be the default.
      noise_std: Must be the default.
      noise_seed: Must be the default.
      cycle_mul: Ratio of the lengths of consecutive cycles, at least 1.
      cycle_decay: Multiplier of the peak at each restart.
      cycle_limit: Number of cycles.
      k_decay: Exponent of the elapsed fraction; see `CosineLRScheduler`.
      decay_fn: Shape of the decay; see `WSDLRScheduler`. Defaults to "1-sqrt" for "wsd" and
        "linear" for "rsqrt".
      stable_timescale: Timescale of ``"rsqrt"``. Defaults to ``warmup_epochs``.
      plateau_mode: Accepted and ignored; it belongs to ``"plateau"``.
      step_on_epochs: Whether the schedule is a function of the epoch instead of the update.
      updates_per_epoch: Number of updates in one epoch, for ``step_on_epochs=False``.

    Returns:
      The schedule, and the number of epochs with the warmup, the cycles and the cooldown.

    Raises:
      ValueError: If the name is not known, ``updates_per_epoch`` is missing, or the scheduler
        refuses an argument.

    >>> from lrsched.compat import timm
    >>> timm.create_scheduler_v2(0.1, num_epochs=100, warmup_epochs=5, warmup_prefix=True)
    (join(linear(init=1e-05, end=0.1, steps=5), cosine(peak=0.1, steps=100)), 105)
    """
    if not step_on_epochs and updates_per_epoch == 0:
        raise ValueError("create_scheduler_v2: step_on_epochs=False needs updates_per_epoch.")
    unit = 1 if step_on_epochs else updates_per_epoch
    length, warmup_t = num_epochs * unit, warmup_epochs * unit
    warmup: dict[str, Any] = {"warmup_t": warmup_t, "warmup_lr_init": warmup_lr}
    with_prefix = {**warmup, "warmup_prefix": warmup_prefix}
    cycles: dict[str, Any] = {
        "cycle_mul": cycle_mul,
        "cycle_decay": cycle_decay,
        "cycle_limit": cycle_limit,
        "lr_min": min_lr,
        **with_prefix,
    }
    whole = length if warmup_prefix else length - warmup_t

    def in_phases(stable_fn: str, default: DecayFn) -> Schedule:
        part = 0.2 if decay_epochs is None else decay_epochs
        decay_t = round(part * whole if 0 < part < 1 else part * unit)
        timescale = None if stable_timescale is None else stable_timescale * unit
        return WSDLRScheduler(
            base_lr,
            whole,
            decay_t,
            min_lr,
            stable_fn,
            timescale,
            decay_fn=decay_fn or default,
            **warmup,
        )

    period = (90 if decay_epochs is None else decay_epochs) * unit
    milestones = [milestone * unit for milestone in decay_milestones]
    make: dict[str, Callable[[], Schedule]] = {
        "cosine": lambda: CosineLRScheduler(base_lr, length, k_decay=k_decay, **cycles),
        "tanh": lambda: TanhLRScheduler(base_lr, length, **cycles),
        "poly": lambda: PolyLRScheduler(base_lr, length, decay_rate, k_decay=k_decay, **cycles),
        "step": lambda: StepLRScheduler(base_lr, period, decay_rate, **with_prefix),
        "multistep": lambda: MultiStepLRScheduler(base_lr, milestones, decay_rate, **with_prefix),
        "constant": lambda: StepLRScheduler(base_lr, 1, 1.0, **with_prefix),
        "wsd": lambda: in_phases("constant", "1-sqrt"),
        "rsqrt": lambda: in_phases("rsqrt", "linear"),
        "none": lambda: constant(base_lr),
    }
    prefix = warmup_t if warmup_prefix else 0
    in_cycles = math.floor(length * _geometric_sum(cycle_mul, cycle_limit))
    lengths = {
        **dict.fromkeys(("cosine", "tanh", "poly"), in_cycles + prefix + cooldown_epochs * unit),
        **dict.fromkeys(("wsd", "rsqrt"), whole + warmup_t + cooldown_epochs * unit),
    }
    return make[sched](), lengths.get(sched, length + prefix) // unit
