"""Schedulers of PyTorch (``torch.optim.lr_scheduler``) as schedules that are data.

``base_lr`` replaces the optimizer as the first argument. The value at step ``t`` is the rate of
update ``t`` in a loop of ``optimizer.step(); scheduler.step()``. PyTorch computes each rate from
the previous one, in float64; here any step is computed directly, within 2e-6 of the peak.

`CyclicLR` and `OneCycleLR` also change the momentum, which is a second schedule here:
`CyclicMomentum` and `OneCycleMomentum`, with the same arguments. Follow both with
``lrsched.inject_schedules``.
"""

from __future__ import annotations

import operator
from bisect import bisect_right
from collections.abc import Sequence
from typing import Annotated, Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.typing import ArrayLike

from lrsched import (
    Schedule,
    constant,
    cosine,
    cosine_restarts,
    linear,
    multiply,
    multistep,
    piecewise_constant,
    polynomial,
    reduce_on_plateau,
    schedule,
    step_decay,
    triangular,
)
from lrsched._schedule import is_number
from lrsched.algebra import Inner, StepFunction
from lrsched.arguments import (
    NON_NEGATIVE_INT,
    POSITIVE_INT,
    ArgumentType,
    FiniteFloat,
    Mode,
    NonNegativeFloat,
    NonNegativeInt,
    OpenUnitFloat,
    PositiveFloat,
    PositiveInt,
    UnitFloat,
    in_range,
    is_traced,
    one_of,
)
from lrsched.compat._plateau import Rate, ThresholdMode, min_scale_of, tolerances
from lrsched.compat._porting import (
    Count,
    MissingAttribute,
    is_known,
    missing_attribute,
    ported,
    steps_in_any_order,
)
from lrsched.compat.optax import Starts, join_schedules
from lrsched.numerics import clip_finite, lerp
from lrsched.schedules.ramps import Ramp, evaluate_ramp

__all__ = [
    "SWALR",
    "ChainedScheduler",
    "ConstantLR",
    "CosineAnnealingLR",
    "CosineAnnealingWarmRestarts",
    "CyclicLR",
    "CyclicMomentum",
    "ExponentialLR",
    "LambdaLR",
    "LinearLR",
    "MultiStepLR",
    "MultiplicativeLR",
    "OneCycleLR",
    "OneCycleMomentum",
    "PolynomialLR",
    "ReduceLROnPlateau",
    "SequentialLR",
    "StepLR",
]

__getattr__: MissingAttribute = missing_attribute(
    __name__,
    __all__,
    {
        "LRScheduler": "any function of the step becomes a schedule by @lrsched.schedule",
    },
)


def _schedules(given: Any) -> tuple[Schedule, ...]:
    if not given:
        raise TypeError
    for item in given:
        if is_number(item):
            raise ValueError(f"{item!r} is a number; write lrsched.constant({item!r})")
        if not isinstance(item, Schedule):
            raise TypeError
    return tuple(given)


Ratio: TypeAlias = Annotated[
    ArrayLike, ArgumentType("Ratio", "a number above 0, at most 1", in_range(gt=0, le=1))
]
"""A number above 0 and at most 1."""
Milestones: TypeAlias = Annotated[Sequence[int], steps_in_any_order("Milestones", NON_NEGATIVE_INT)]
"""Steps, in any order; one that comes twice counts twice."""
Schedulers: TypeAlias = Annotated[
    Sequence[Schedule], ArgumentType("Schedulers", "a list of one or more schedules", _schedules)
]
"""Schedules, of this module or any other."""
TriangleMode: TypeAlias = Annotated[
    str, one_of("TriangleMode", ("triangular", "triangular2", "exp_range"))
]
"""How the triangles of `CyclicLR` change."""
ScaleMode: TypeAlias = Annotated[str, one_of("ScaleMode", ("cycle", "iterations"))]
"""What ``scale_fn`` is a function of."""
Anneal: TypeAlias = Annotated[str, one_of("Anneal", ("cos", "linear"))]
"""The shape of a rise or a fall."""

_RAMPS = {"cos": "cosine", "linear": "linear"}


@ported
def LambdaLR(base_lr: FiniteFloat, lr_lambda: StepFunction, last_epoch: int = -1) -> Schedule:  # noqa: N802
    """Function of the step times the rate: ``base_lr * lr_lambda(t)``.

    Args:
      base_lr: Learning rate of the optimizer.
      lr_lambda: Function of the step in ``jax.numpy``. It is compared by identity and cannot be
        written as JSON. One function: make one schedule for each parameter group.
      last_epoch: Must be -1; see `REFUSED` for the reason.

    Returns:
      A `Schedule` with the values of the original.

    >>> from lrsched.compat import torch
    >>> torch.LambdaLR(0.5, lambda epoch: 0.5 ** (epoch // 30))([0, 30, 60]).tolist()
    [0.5, 0.25, 0.125]
    """
    return _lambda(base_lr, lr_lambda)


@schedule(name="torch.lambda")
def _lambda(step: jax.Array, base_lr: FiniteFloat, lr_lambda: StepFunction) -> ArrayLike:
    # A rate of 0 times infinity would be NaN.
    return base_lr * clip_finite(lr_lambda(step))


@ported
def MultiplicativeLR(  # noqa: N802
    base_lr: FiniteFloat, lr_lambda: StepFunction, last_epoch: int = -1
) -> Schedule:
    """Multiplier at each step: ``base_lr * lr_lambda(1) * ... * lr_lambda(t)``.

    The work grows with ``t``, a product of 4096 factors at a time: for a factor that stays the
    same, `ExponentialLR` is the one to take.

    Args:
      base_lr: Learning rate of the optimizer.
      lr_lambda: Function of the step in ``jax.numpy``; see `LambdaLR`.
      last_epoch: Must be -1; see `REFUSED` for the reason.

    Returns:
      A `Schedule` with the values of the original.

    >>> from lrsched.compat import torch
    >>> torch.MultiplicativeLR(1.0, lambda epoch: 0.5)([0, 1, 2, 3]).tolist()
    [1.0, 0.5, 0.25, 0.125]
    """
    return _product(base_lr, lr_lambda)


@schedule(name="torch.product")
def _product(step: jax.Array, base_lr: FiniteFloat, lr_lambda: StepFunction) -> ArrayLike:
    block = jnp.arange(4096)

    def factors_until(last: jax.Array) -> jax.Array:
        def multiplied(index: jax.Array, product: jax.Array) -> jax.Array:
            steps = 1 + index * block.size + block
            factors = jax.vmap(lambda now: jnp.asarray(lr_lambda(now), jnp.float32))(steps)
            factors = jnp.where(steps <= last, factors, 1.0)
            # Factors whose product overflows may precede a factor of 0.
            block_product = jnp.where(jnp.any(factors == 0), 0.0, jnp.prod(factors))
            return clip_finite(product * clip_finite(block_product))

        blocks = (last + block.size - 1) // block.size
        return jax.lax.fori_loop(0, blocks, multiplied, jnp.float32(1))

    last = step.astype(jnp.int32)
    return base_lr * jax.vmap(factors_until)(last.ravel()).reshape(step.shape)


@ported
def StepLR(  # noqa: N802
    base_lr: FiniteFloat, step_size: PositiveInt, gamma: PositiveFloat = 0.1, last_epoch: int = -1
) -> Schedule:
    """Cuts at fixed intervals: ``base_lr * gamma**(t // step_size)``.

    Args:
      base_lr: Learning rate of the optimizer.
      step_size: Number of steps between cuts.
      gamma: Multiplier of the rate at each cut.
      last_epoch: Must be -1; see `REFUSED` for the reason.

    Returns:
      A `Schedule` with the values of the original.

    >>> from lrsched.compat import torch
    >>> torch.StepLR(0.1, step_size=30)
    step_decay(init=0.1, factor=0.1, every=30)
    """
    return _geometric(base_lr, gamma, step_size)


@ported
def ExponentialLR(base_lr: FiniteFloat, gamma: PositiveFloat, last_epoch: int = -1) -> Schedule:  # noqa: N802
    """Multiplier at each step: ``base_lr * gamma**t``.

    Args:
      base_lr: Learning rate of the optimizer.
      gamma: Multiplier of the rate at each step.
      last_epoch: Must be -1; see `REFUSED` for the reason.

    Returns:
      A `Schedule` with the values of the original.

    >>> from lrsched.compat import torch
    >>> torch.ExponentialLR(1.0, gamma=0.5)([0, 1, 2]).tolist()
    [1.0, 0.5, 0.25]
    """
    return _geometric(base_lr, gamma, 1)


def _geometric(init: ArrayLike, gamma: ArrayLike, every: ArrayLike) -> Schedule:
    """Return `step_decay`, or a form with the logarithm of the factor if float32 is too coarse.

    The rounding ``d`` of a factor is ``n d`` after ``n`` cuts, at worst ``d / (e log(1 / gamma))``
    of the peak: 0.99994, say, would be off by 1e-4.
    """
    if is_traced(gamma) or _float32_holds(gamma):
        return step_decay(init, gamma, every)
    return _logarithmic_decay(init, np.log(gamma), every)


def _float32_holds(gamma: ArrayLike) -> bool:
    exact = np.asarray(gamma, np.float64)
    rounding = np.abs(np.float32(exact) / exact - 1)
    return bool(np.all(rounding <= 1e-6 * np.abs(np.log(exact))))


@schedule(name="torch.logarithmic_decay")
def _logarithmic_decay(
    step: jax.Array, init: FiniteFloat, log_factor: FiniteFloat, every: PositiveInt
) -> ArrayLike:
    """``init * exp(log_factor * (t // every))``."""
    height = jnp.exp(log_factor * (step // jnp.asarray(every)).astype(jnp.float32))
    return init * clip_finite(height)


@ported
def MultiStepLR(  # noqa: N802
    base_lr: FiniteFloat, milestones: Milestones, gamma: PositiveFloat = 0.1, last_epoch: int = -1
) -> Schedule:
    """Cuts at milestones: ``base_lr * gamma**k`` after ``k`` of them, at or before ``t``.

    Args:
      base_lr: Learning rate of the optimizer.
      milestones: Steps of the cuts, in any order. A step that occurs twice cuts twice.
      gamma: Multiplier of the rate at each cut.
      last_epoch: Must be -1; see `REFUSED` for the reason.

    Returns:
      A `Schedule` with the values of the original.

    >>> from lrsched.compat import torch
    >>> torch.MultiStepLR(0.1, milestones=[30, 80])
    multistep(init=0.1, milestones=[30, 80])
    """
    cuts = list(milestones)
    steps = sorted(set(cuts))
    if len(steps) == len(cuts):
        return multistep(base_lr, steps, gamma)
    try:
        factors = [gamma ** bisect_right(cuts, step) for step in [-1, *steps]]
        return piecewise_constant([base_lr * factor for factor in factors], steps)
    except (OverflowError, ValueError):
        raise ValueError(
            f"MultiStepLR: gamma={gamma!r} is not accepted with {len(cuts)} milestones; the rate "
            "must stay finite in float32."
        ) from None


@ported
def ConstantLR(  # noqa: N802
    base_lr: FiniteFloat,
    factor: Ratio = 1.0 / 3,
    total_iters: PositiveInt = 5,
    last_epoch: int = -1,
) -> Schedule:
    """Fraction of the rate, ``base_lr * factor``, for ``total_iters`` steps, then all of it.

    Args:
      base_lr: Learning rate of the optimizer.
      factor: Multiplier of the rate, above 0 and at most 1.
      total_iters: Number of steps with the factor, at least 1 (with 0 PyTorch never drops it).
      last_epoch: Must be -1; see `REFUSED` for the reason.

    Returns:
      A `Schedule` with the values of the original.

    >>> from lrsched.compat import torch
    >>> torch.ConstantLR(1.0, factor=0.5, total_iters=4)
    piecewise_constant(values=[0.5, 1.0], boundaries=[4])
    """
    return piecewise_constant([base_lr * factor, base_lr], [total_iters])


@ported
def LinearLR(  # noqa: N802
    base_lr: FiniteFloat,
    start_factor: Ratio = 1.0 / 3,
    end_factor: UnitFloat = 1.0,
    total_iters: PositiveInt = 5,
    last_epoch: int = -1,
) -> Schedule:
    """Line between two fractions of the rate, ``start_factor`` and ``end_factor``, then held.

    Args:
      base_lr: Learning rate of the optimizer.
      start_factor: Multiplier at step 0, above 0 and at most 1.
      end_factor: Multiplier from ``total_iters`` on, from 0 to 1.
      total_iters: Length of the line, at least 1 (with 0 PyTorch keeps ``start_factor``).
      last_epoch: Must be -1; see `REFUSED` for the reason.

    Returns:
      A `Schedule` with the values of the original.

    >>> from lrsched.compat import torch
    >>> torch.LinearLR(1.0, start_factor=0.5, total_iters=4)
    linear(init=0.5, end=1.0, steps=4)
    """
    return linear(base_lr * start_factor, base_lr * end_factor, total_iters)


@ported
def PolynomialLR(  # noqa: N802
    base_lr: FiniteFloat,
    total_iters: PositiveInt = 5,
    power: PositiveFloat = 1.0,
    last_epoch: int = -1,
) -> Schedule:
    """Polynomial decay: ``base_lr * (1 - t / total_iters)**power``, then 0.

    Args:
      base_lr: Learning rate of the optimizer.
      total_iters: Length of the decay.
      power: Exponent of the polynomial. Must be above 0.
      last_epoch: Must be -1; see `REFUSED` for the reason.

    Returns:
      A `Schedule` with the values of the original.

    >>> from lrsched.compat import torch
    >>> torch.PolynomialLR(1.0, total_iters=4, power=2.0)([0, 2, 4, 5]).tolist()
    [1.0, 0.25, 0.0, 0.0]
    """
    return polynomial(base_lr, 0.0, total_iters, power)


@ported
def CosineAnnealingLR(  # noqa: N802
    base_lr: FiniteFloat,
    T_max: PositiveInt,  # noqa: N803
    eta_min: FiniteFloat = 0.0,
    last_epoch: int = -1,
) -> Schedule:
    """Cosine that rises again: ``eta_min + (base_lr - eta_min) (1 + cos(pi t / T_max)) / 2``.

    It is at ``eta_min`` at ``T_max`` and at ``base_lr`` again at ``2 T_max``, and so on.
    `lrsched.cosine` is the same until ``T_max``, and stays there.

    Args:
      base_lr: Learning rate of the optimizer.
      T_max: Length of the fall and of each rise.
      eta_min: Lowest rate.
      last_epoch: Must be -1; see `REFUSED` for the reason.

    Returns:
      A `Schedule` with the values of the original.

    >>> from lrsched.compat import torch
    >>> torch.CosineAnnealingLR(0.5, T_max=50)([0, 50, 100]).tolist()
    [0.5, 0.0, 0.5]
    """
    return _cosine_annealing(base_lr, T_max, eta_min)


@schedule(name="torch.cosine_annealing")
def _cosine_annealing(
    step: jax.Array, base_lr: FiniteFloat, half_period: PositiveInt, eta_min: FiniteFloat
) -> ArrayLike:
    half = jnp.asarray(half_period)
    past = step % half
    is_falling = (step // half) % 2 == 0
    left = jnp.where(is_falling, half - past, past)
    return lerp(
        eta_min,
        base_lr,
        evaluate_ramp("cosine", left, half),
        evaluate_ramp("cosine", half - left, half),
    )


@ported
def CosineAnnealingWarmRestarts(  # noqa: N802
    base_lr: FiniteFloat,
    T_0: PositiveInt,  # noqa: N803
    T_mult: Annotated[ArrayLike, POSITIVE_INT] = 1,  # noqa: N803
    eta_min: FiniteFloat = 0.0,
    last_epoch: int = -1,
) -> Schedule:
    """Cosines with warm restarts, each ``T_mult`` times as long as the previous one.

    As PyTorch's ``scheduler.step()``. Its ``scheduler.step(epoch)`` takes a logarithm and misses
    restarts: with ``T_0=10, T_mult=3`` the one at 1210, where it gives ``eta_min``.

    Args:
      base_lr: Learning rate of the optimizer.
      T_0: Length of the first cycle.
      T_mult: Ratio of the lengths of consecutive cycles, an integer.
      eta_min: Lowest rate.
      last_epoch: Must be -1; see `REFUSED` for the reason.

    Returns:
      A `Schedule` with the values of the original.

    >>> from lrsched.compat import torch
    >>> torch.CosineAnnealingWarmRestarts(0.5, T_0=10, T_mult=3)([0, 10, 40, 1210]).tolist()
    [0.5, 0.5, 0.5, 0.5]
    """
    return cosine_restarts(base_lr, T_0, end=eta_min, growth=T_mult)


_CYCLIC_MOMENTUM = "the momentum is a separate schedule, CyclicMomentum"


@ported(refused=dict.fromkeys(("base_momentum", "max_momentum"), _CYCLIC_MOMENTUM))
def CyclicLR(  # noqa: N802
    base_lr: FiniteFloat,
    max_lr: FiniteFloat,
    step_size_up: PositiveInt = 2000,
    step_size_down: PositiveInt | None = None,
    mode: TriangleMode = "triangular",
    gamma: PositiveFloat = 1.0,
    scale_fn: StepFunction | None = None,
    scale_mode: ScaleMode = "cycle",
    cycle_momentum: bool = True,
    base_momentum: float = 0.8,
    max_momentum: float = 0.9,
    last_epoch: int = -1,
) -> Schedule:
    """Triangular cycles: ``base_lr + (max_lr - base_lr) h(t) scale``.

    ``h`` rises from 0 to 1 in ``step_size_up`` steps and falls in ``step_size_down``. ``scale`` is
    1 ("triangular"), ``2**-n`` in cycle ``n = 0, 1, ...`` ("triangular2"), ``gamma**t``
    ("exp_range"), or ``scale_fn`` of ``n + 1`` or of ``t``.

    Args:
      base_lr: Lowest rate. It replaces the learning rate of the optimizer.
      max_lr: Highest rate.
      step_size_up: Number of steps from the lowest to the highest rate.
      step_size_down: Number of steps back. Defaults to ``step_size_up``.
      mode: ``"triangular"``, ``"triangular2"`` or ``"exp_range"``. Ignored with a ``scale_fn``.
      gamma: Multiplier at each step for ``"exp_range"``.
      scale_fn: Function in ``jax.numpy`` that replaces ``mode``.
      scale_mode: Argument of ``scale_fn``: the ``"cycle"``, from 1, or the ``"iterations"``.
      cycle_momentum: Ignored; `CyclicMomentum` is the schedule of the momentum.
      base_momentum: Must be the default; `CyclicMomentum` takes it.
      max_momentum: Must be the default; `CyclicMomentum` takes it.
      last_epoch: Must be -1; see `REFUSED` for the reason.

    Returns:
      A `Schedule` with the values of the original.

    >>> from lrsched.compat import torch
    >>> torch.CyclicLR(0.25, 1.0, step_size_up=4, mode="triangular2")
    triangular(base=0.25, peak=1.0, up_steps=4, cycle_factor=0.5)
    """
    return _cyclic(base_lr, max_lr, step_size_up, step_size_down, mode, gamma, scale_fn, scale_mode)


@ported
def CyclicMomentum(  # noqa: N802
    base_momentum: FiniteFloat = 0.8,
    max_momentum: FiniteFloat = 0.9,
    step_size_up: PositiveInt = 2000,
    step_size_down: PositiveInt | None = None,
    mode: TriangleMode = "triangular",
    gamma: PositiveFloat = 1.0,
    scale_fn: StepFunction | None = None,
    scale_mode: ScaleMode = "cycle",
) -> Schedule:
    """The momentum of `CyclicLR`: ``max_momentum - (max_momentum - base_momentum) h(t) scale``.

    Args:
      base_momentum: Momentum at the highest rate.
      max_momentum: Momentum at the lowest rate.
      step_size_up: Number of steps of the rise of the rate.
      step_size_down: Number of steps back. Defaults to ``step_size_up``.
      mode: Change of the triangles from cycle to cycle; see `CyclicLR`.
      gamma: Multiplier at each step for ``"exp_range"``.
      scale_fn: Function that replaces ``mode``; see `CyclicLR`.
      scale_mode: Argument of ``scale_fn``; see `CyclicLR`.

    Returns:
      A `Schedule` with the values of the original.

    >>> from lrsched.compat import torch
    >>> torch.CyclicMomentum(0.5, 1.0, step_size_up=4)([0, 2, 4, 6, 8]).tolist()
    [1.0, 0.75, 0.5, 0.75, 1.0]
    """
    return _cyclic(
        max_momentum,
        base_momentum,
        step_size_up,
        step_size_down,
        mode,
        gamma,
        scale_fn,
        scale_mode,
    )


def _cyclic(
    base: ArrayLike,
    peak: ArrayLike,
    up: ArrayLike,
    down: ArrayLike | None,
    mode: str,
    gamma: ArrayLike,
    scale_fn: StepFunction | None,
    scale_mode: str,
) -> Schedule:
    if scale_fn is not None:
        fall = up if down is None else down
        return _scaled_triangles(base, peak, up, fall, scale_fn, scale_mode)
    if mode != "exp_range":
        return triangular(base, peak, up, down, cycle_factor=0.5 if mode[-1] == "2" else 1.0)
    if is_traced(gamma) or _float32_holds(gamma):
        return triangular(base, peak, up, down, step_factor=gamma)
    height = _geometric(operator.sub(peak, base), gamma, 1)
    return triangular(0.0, 1.0, up, down) * height + base


@schedule(name="torch.scaled_triangles")
def _scaled_triangles(
    step: jax.Array,
    base: FiniteFloat,
    peak: FiniteFloat,
    up: PositiveInt,
    down: PositiveInt,
    scale_fn: StepFunction,
    scale_mode: ScaleMode,
) -> ArrayLike:
    period = jnp.asarray(up) + down
    # The sum of two int32 lengths wraps to a negative number if it is longer than any run.
    cycle = 1 + jnp.where(period < 0, 0, step // jnp.maximum(period, 1))
    scale = clip_finite(scale_fn(cycle if scale_mode == "cycle" else step))
    height = triangular(0.0, 1.0, up, down)(step)
    # A scale above 1 with a peak below the base would end below 0, as an ascent.
    floor = jnp.minimum(jnp.minimum(base, peak), 0)
    return jnp.maximum(base + clip_finite(jnp.subtract(peak, base) * height) * scale, floor)


_ONE_CYCLE_MOMENTUM = "the momentum is a separate schedule, OneCycleMomentum"


@ported(refused=dict.fromkeys(("base_momentum", "max_momentum"), _ONE_CYCLE_MOMENTUM))
def OneCycleLR(  # noqa: N802
    max_lr: FiniteFloat,
    total_steps: PositiveInt | None = None,
    epochs: PositiveInt | None = None,
    steps_per_epoch: PositiveInt | None = None,
    pct_start: UnitFloat = 0.3,
    anneal_strategy: Anneal = "cos",
    cycle_momentum: bool = True,
    base_momentum: float = 0.85,
    max_momentum: float = 0.95,
    div_factor: PositiveFloat = 25.0,
    final_div_factor: PositiveFloat = 1e4,
    three_phase: bool = False,
    last_epoch: int = -1,
) -> Schedule:
    """Single cycle: a rise from ``max_lr / div_factor`` to ``max_lr``, then a longer decay.

    The peak is at ``pct_start * total_steps - 1``, the end at ``total_steps - 1``. With
    ``three_phase`` it falls to the first rate at ``2 pct_start total_steps - 2``, then to the last.
    It sets the rate itself, so that there is no ``base_lr``. Past its end PyTorch raises; this one
    holds its last value. `lrsched.one_cycle` ends at ``total_steps``.

    Args:
      max_lr: Highest rate.
      total_steps: Length of the schedule. Pass this or both ``epochs`` and ``steps_per_epoch``.
      epochs: Length of the schedule in epochs.
      steps_per_epoch: Number of steps in one epoch.
      pct_start: Length of the rise, as a fraction of the whole.
      anneal_strategy: Shape of each phase, ``"cos"`` or ``"linear"``.
      cycle_momentum: Ignored; `OneCycleMomentum` is the schedule of the momentum.
      base_momentum: Must be the default; `OneCycleMomentum` takes it.
      max_momentum: Must be the default; `OneCycleMomentum` takes it.
      div_factor: Ratio of the peak to the first rate.
      final_div_factor: Ratio of the first rate to the last one.
      three_phase: Whether the fall below the first rate is a phase of its own.
      last_epoch: Must be -1; see `REFUSED` for the reason.

    Returns:
      A `Schedule` with the values of the original.

    Raises:
      ValueError: If the length is not determined, or passed in both ways.

    >>> from lrsched.compat import torch
    >>> schedule = torch.OneCycleLR(1.0, total_steps=50, div_factor=4.0, final_div_factor=2.0)
    >>> schedule([0, 14, 49, 99]).tolist()
    [0.25, 1.0, 0.125, 0.125]
    """
    steps = _total_steps("OneCycleLR", total_steps, epochs, steps_per_epoch)
    init = max_lr / div_factor
    values = (init, max_lr, init, init / final_div_factor)
    return _one_cycle(*values, steps, pct_start, _RAMPS[anneal_strategy], three_phase)


@ported
def ReduceLROnPlateau(  # noqa: N802
    base_lr: Rate,
    mode: Mode = "min",
    factor: OpenUnitFloat = 0.1,
    patience: Count = 10,
    threshold: NonNegativeFloat = 1e-4,
    threshold_mode: ThresholdMode = "rel",
    cooldown: Count = 0,
    min_lr: NonNegativeFloat = 0.0,
    eps: NonNegativeFloat = 1e-8,
) -> optax.GradientTransformationExtraArgs:
    """``factor`` after more than ``patience`` metrics without an improvement: a transform.

    It scales the updates of an optimizer whose rate is ``base_lr``; metrics come as
    ``update(..., value=metric)``, which the same update already follows, or by `lrsched.observe`
    after it, which is PyTorch's order. It is `lrsched.reduce_on_plateau`, whose ``patience`` is one
    more. A relative threshold is of the best metric's size: PyTorch's lies on
    the wrong side of a negative best, where worse metrics count as better.

    Args:
      base_lr: Learning rate of the optimizer.
      mode: Whether the metric improves when it decreases (``"min"``) or increases (``"max"``).
      factor: Multiplier of the rate, above 0 and below 1.
      patience: Number of consecutive metrics without an improvement that are tolerated.
      threshold: Smallest change that counts as an improvement.
      threshold_mode: Whether the threshold is relative to the best metric (``"rel"``) or ``"abs"``.
      cooldown: Number of metrics after a reduction that are not counted.
      min_lr: Lowest rate, at most ``base_lr``.
      eps: Smallest change of the rate that is applied.

    Returns:
      A transform that scales the updates.

    Raises:
      ValueError: If an argument is not in its range.

    >>> import jax.numpy as jnp
    >>> from lrsched.compat import torch
    >>> optimizer = torch.ReduceLROnPlateau(0.1, factor=0.5, patience=1)
    >>> state = optimizer.init(jnp.zeros(1))
    >>> for loss in [1.0, 1.0, 1.0]:
    ...     updates, state = optimizer.update(jnp.ones(1), state, value=loss)
    >>> updates.tolist()
    [0.5]
    """
    rtol, atol = tolerances(threshold, threshold_mode)
    return reduce_on_plateau(
        factor,
        patience + 1,
        mode=mode,
        rtol=rtol,
        atol=atol,
        cooldown=cooldown,
        min_scale=min_scale_of("ReduceLROnPlateau", min_lr, base_lr),
        min_change=eps / base_lr,
    )


@ported
def OneCycleMomentum(  # noqa: N802
    base_momentum: FiniteFloat = 0.85,
    max_momentum: FiniteFloat = 0.95,
    total_steps: PositiveInt | None = None,
    epochs: PositiveInt | None = None,
    steps_per_epoch: PositiveInt | None = None,
    pct_start: UnitFloat = 0.3,
    anneal_strategy: Anneal = "cos",
    three_phase: bool = False,
) -> Schedule:
    """The momentum of `OneCycleLR`: ``max_momentum`` to ``base_momentum`` and back.

    Args:
      base_momentum: Momentum at the highest rate.
      max_momentum: Momentum at both ends, and in the last of three phases.
      total_steps: Length of the schedule; see `OneCycleLR`.
      epochs: Length of the schedule in epochs.
      steps_per_epoch: Number of steps in one epoch.
      pct_start: Length of the rise, as a fraction of the whole.
      anneal_strategy: Shape of each phase, ``"cos"`` or ``"linear"``.
      three_phase: Whether there are three phases; see `OneCycleLR`.

    Returns:
      A `Schedule` with the values of the original.

    Raises:
      ValueError: If the length is not determined, or passed in both ways.

    >>> from lrsched.compat import torch
    >>> torch.OneCycleMomentum(0.5, 1.0, total_steps=50)([0, 14, 49]).tolist()
    [1.0, 0.5, 1.0]
    """
    steps = _total_steps("OneCycleMomentum", total_steps, epochs, steps_per_epoch)
    values = (max_momentum, base_momentum, max_momentum, max_momentum)
    return _one_cycle(*values, steps, pct_start, _RAMPS[anneal_strategy], three_phase)


def _total_steps(
    function: str, total: ArrayLike | None, epochs: ArrayLike | None, per_epoch: ArrayLike | None
) -> ArrayLike:
    if total is not None and epochs is None and per_epoch is None:
        return total
    if total is None and epochs is not None and per_epoch is not None:
        return POSITIVE_INT.validate(function, "epochs * steps_per_epoch", epochs * per_epoch)
    raise ValueError(
        f"{function}: total_steps={total!r}, epochs={epochs!r} and steps_per_epoch={per_epoch!r} "
        "do not give the length; either total_steps or the other two must be given."
    )


@schedule(name="torch.one_cycle", horizon=lambda schedule: schedule.steps - 1)
def _one_cycle(
    step: jax.Array,
    first: FiniteFloat,
    turn: FiniteFloat,
    back: FiniteFloat,
    last: FiniteFloat,
    steps: PositiveInt,
    rise: UnitFloat,
    shape: Ramp,
    three_phase: bool,
) -> ArrayLike:
    """Values joined by ramps that begin and end between steps."""
    now = step.astype(jnp.float32)
    top, end = jnp.asarray(rise) * steps - 1, jnp.asarray(steps) - 1

    def phase(init: ArrayLike, final: ArrayLike, start: ArrayLike, stop: jax.Array) -> jax.Array:
        length = stop - jnp.asarray(start)
        left = jnp.clip((stop - now) / jnp.where(length > 0, length, 1), 0, 1)
        return lerp(final, init, evaluate_ramp(shape, left, 1))

    rising = phase(first, turn, 0.0, top)
    if not three_phase:
        return jnp.where(now <= top, rising, phase(turn, last, top, end))
    falling = phase(turn, back, top, 2 * top)
    return jnp.where(
        now <= top,
        rising,
        jnp.where(now <= 2 * top, falling, phase(back, last, 2 * top, end)),
    )


@ported
def SWALR(  # noqa: N802
    base_lr: FiniteFloat,
    swa_lr: FiniteFloat,
    anneal_epochs: NonNegativeInt = 10,
    anneal_strategy: Anneal = "cos",
    last_epoch: int = -1,
) -> Schedule:
    """Annealing to the constant rate of stochastic weight averaging.

    Args:
      base_lr: Learning rate of the optimizer when the annealing begins.
      swa_lr: Rate from ``anneal_epochs`` on.
      anneal_epochs: Length of the annealing. With 0 the schedule begins at ``swa_lr``.
      anneal_strategy: Shape of each phase, ``"cos"`` or ``"linear"``.
      last_epoch: Must be -1; see `REFUSED` for the reason.

    Returns:
      A `Schedule` with the values of the original.

    >>> from lrsched.compat import torch
    >>> torch.SWALR(1.0, swa_lr=0.5, anneal_epochs=4)
    cosine(peak=1.0, steps=4, end=0.5)
    """
    if is_known(anneal_epochs, 0):
        return constant(swa_lr)
    if anneal_strategy == "linear":
        return linear(base_lr, swa_lr, anneal_epochs)
    return cosine(base_lr, anneal_epochs, swa_lr)


@ported
def SequentialLR(  # noqa: N802
    base_lr: FiniteFloat, schedulers: Schedulers, milestones: Starts, last_epoch: int = -1
) -> Schedule:
    """Sequence of schedules, each of which begins at its milestone with step 0.

    PyTorch refuses sequences and chains among ``schedulers`` when their turn comes, with
    ``NotImplementedError``; here they may nest. There a `OneCycleLR` among them lowers the rate of
    all that come before it to its own first rate (it overwrites ``initial_lr``); not so here.

    Args:
      base_lr: Ignored; the schedules have their own rates.
      schedulers: Schedules of this module or any other.
      milestones: First step of each schedule but the first.
      last_epoch: Must be -1; see `REFUSED` for the reason.

    Returns:
      A `Schedule` with the values of the original.

    Raises:
      ValueError: If the numbers of schedules and milestones do not match, or the milestones
        decrease.

    >>> from lrsched.compat import torch
    >>> warmup, decay = torch.ConstantLR(1.0, 0.5, 20), torch.ExponentialLR(1.0, gamma=0.5)
    >>> torch.SequentialLR(1.0, [warmup, decay], milestones=[20])([0, 20, 21]).tolist()
    [0.5, 1.0, 0.5]
    """
    del base_lr
    if len(schedulers) != len(milestones) + 1:
        raise ValueError(
            f"SequentialLR: {len(schedulers)} schedulers and {len(milestones)} milestones do not "
            "match; there must be one scheduler more than milestones."
        )
    return join_schedules(schedulers, milestones)


_ABSOLUTE = {
    "torch.lambda": "LambdaLR",
    "torch.one_cycle": "OneCycleLR",
    "torch.scaled_triangles": "CyclicLR",
    "triangular": "CyclicLR",
    "cosine_restarts": "CosineAnnealingWarmRestarts",
    "optax.join_schedules": "SequentialLR",
}


def _made_by(part: Schedule) -> str:
    return part._structure.definition.name


@ported
def ChainedScheduler(base_lr: PositiveFloat, schedulers: Schedulers) -> Schedule:  # noqa: N802
    """Product of schedules: ``base_lr * prod_i(schedulers[i](t) / base_lr)``.

    PyTorch changes the rate in place, one scheduler after another. That is this product, but for
    two cases. A `CosineAnnealingLR` starts again from ``base_lr`` whenever it leaves its lowest
    rate, and so forgets what the others have done until then: reproduced. Schedulers that set the
    rate instead of changing it forget it at every step, and what follows them counts for one step
    only: refused; write ``a * b``.

    Args:
      base_lr: Learning rate of the optimizer, which all ``schedulers`` must have.
      schedulers: Schedules, in PyTorch's order.

    Returns:
      A `Schedule` with the values of the original.

    Raises:
      ValueError: If there are two cosines or one with an ``eta_min`` (PyTorch's curve then has no
        closed form), or one of `LambdaLR`, `CyclicLR`, `OneCycleLR`, `CosineAnnealingWarmRestarts`,
        `SequentialLR`.

    >>> from lrsched.compat import torch
    >>> warmup, decay = torch.ConstantLR(1.0, 0.5, 20), torch.StepLR(1.0, 30, gamma=0.5)
    >>> torch.ChainedScheduler(1.0, [warmup, decay])([0, 20, 30]).tolist()
    [0.5, 1.0, 0.5]
    """
    for part in schedulers:
        if name := _ABSOLUTE.get(_made_by(part)):
            raise ValueError(
                f"ChainedScheduler: {name} sets the rate, so that PyTorch forgets what the other "
                "schedulers did; it must not be among schedulers. For the product write a * b."
            )
    cosines = [i for i, part in enumerate(schedulers) if _made_by(part) == "torch.cosine_annealing"]
    if not cosines:
        return _product_of(base_lr, schedulers)
    place = cosines[0]
    if len(cosines) > 1 or np.any(np.asarray(schedulers[place].eta_min) != 0):
        raise ValueError(
            "ChainedScheduler: schedulers must have at most one CosineAnnealingLR, with eta_min=0; "
            "PyTorch's curve has no closed form otherwise. For the product write a * b."
        )
    before, after = schedulers[:place], schedulers[place + 1 :]
    return _chained_cosine(
        base_lr,
        schedulers[place].half_period,
        _product_of(1.0, before, base_lr),
        _product_of(1.0, after, base_lr),
    )


def _product_of(
    scale: ArrayLike, parts: Sequence[Schedule], base: ArrayLike | None = None
) -> Schedule:
    """Return ``scale * prod_i(operand_i / base)``. ``base`` defaults to ``scale``."""
    divisor = scale if base is None else base
    return multiply(scale, *(part * (1 / divisor) for part in parts))


@schedule(name="torch.chained_cosine")
def _chained_cosine(
    step: jax.Array, base_lr: FiniteFloat, half_period: PositiveInt, before: Inner, after: Inner
) -> ArrayLike:
    """Cosine among factors, each divided by its value at the latest low of the cosine.

    The low at ``r`` is left by adding to the rate, after the factors before the cosine have been
    applied for step ``r + 1`` and before those after it have.
    """
    half = jnp.asarray(half_period)
    turns = (jnp.maximum(step - 1, 0) // half + 1) // 2
    low = jnp.maximum((2 * turns - 1) * half, 0)

    def since(factors: Schedule, start: jax.Array) -> jax.Array:
        known = jnp.where(turns > 0, factors(start), 1.0)
        ratio = factors(step) / jnp.where(known == 0, 1.0, known)
        return jnp.where(known == 0, 1.0, clip_finite(ratio))

    wave = _cosine_annealing(base_lr, half, 0.0)(step)
    return clip_finite(wave * since(before, low + 1)) * since(after, low)
