"""Cyclic schedules: triangles, one cycle, cosines with restarts; noise."""

import itertools
from collections.abc import Callable
from typing import Annotated, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from lrsched._phases import FINAL, numbered_phases
from lrsched._schedule import PhaseStart, Schedule, schedule
from lrsched.algebra import Inner, inner_horizon, inner_phases
from lrsched.arguments import (
    CycleGrowth,
    FiniteFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    SignedInt,
    StepsOrFraction,
    check_below,
    one_of,
)
from lrsched.numerics import (
    MAX_STEP,
    clip_finite,
    count_passed,
    fraction,
    int_power,
    lerp,
    resolve_steps,
    resolve_steps_on_host,
)
from lrsched.schedules.multiphase import check_phases_fit
from lrsched.schedules.ramps import Ramp, evaluate_ramp


def _triangular_phases(schedule: Schedule, until: int) -> list[PhaseStart]:
    up_steps, down_steps = schedule.up_steps, schedule.down_steps
    period = int(up_steps) + int(up_steps if down_steps is None else down_steps)
    return numbered_phases("cycle", range(0, until, period), until)


@schedule(phases=_triangular_phases)
def triangular(
    step: jax.Array,
    base: FiniteFloat,
    peak: FiniteFloat,
    up_steps: PositiveInt,
    down_steps: PositiveInt | None = None,
    cycle_factor: PositiveFloat = 1.0,
    step_factor: PositiveFloat = 1.0,
) -> ArrayLike:
    """A triangle wave without an end: from ``base`` up to ``peak`` and back (CLR).

    With ``u = up_steps``, ``d = down_steps``, ``n = floor(t / (u + d))`` and ``c = t - n (u + d)``,
    the height ``h`` is ``c / u`` while ``c < u``, then ``(u + d - c) / d``, and the rate is
    ``base + (peak - base) h cycle_factor**n step_factor**t``, at least 0 unless ``base`` or
    ``peak`` is below it.

    Args:
      base: Lowest value, at step 0.
      peak: Highest value.
      up_steps: Number of steps from ``base`` to ``peak``.
      down_steps: Number of steps from ``peak`` to ``base``. If ``None``, ``up_steps``.
      cycle_factor: Factor of the height at each cycle. 0.5 is PyTorch's "triangular2".
      step_factor: Factor of the height at each step: ``gamma`` of PyTorch's "exp_range".

    Returns:
      A `Schedule` without a horizon.

    References:
      Smith 2017, cyclical learning rates (arXiv 1506.01186); PyTorch's ``CyclicLR``, whose
      ``scale_fn`` is a product: ``base + scale * triangular(0.0, peak - base, up_steps)``.

    >>> import lrsched
    >>> lrsched.triangular(0.0, 1.0, up_steps=4)([0, 2, 4, 6, 8, 10]).tolist()
    [0.0, 0.5, 1.0, 0.5, 0.0, 0.5]
    >>> lrsched.triangular(0.0, 1.0, up_steps=4, cycle_factor=0.5)([4, 12, 20]).tolist()
    [1.0, 0.5, 0.25]
    """
    down_steps = up_steps if down_steps is None else down_steps
    period = jnp.asarray(up_steps) + down_steps
    # The sum of two int32 lengths wraps to a negative number if it is longer than any run.
    cycle = jnp.where(period < 0, 0, step // jnp.maximum(period, 1)).astype(jnp.int32)
    position = step - cycle * period
    rising = position < up_steps
    # The factors may grow beyond float32. The top stays finite, as its product with 0 is NaN else.
    height = clip_finite(int_power(cycle_factor, cycle) * int_power(step_factor, step))
    # A growing height that points down would end below 0, as an ascent.
    floor = jnp.minimum(jnp.minimum(base, peak), 0)
    top = jnp.maximum(clip_finite(lerp(base, peak, height)), floor)
    return lerp(
        base,
        top,
        jnp.where(
            rising,
            fraction(position, up_steps),
            fraction(up_steps - position + down_steps, down_steps),
        ),
        jnp.where(
            rising,
            fraction(up_steps - position, up_steps),
            fraction(position - up_steps, down_steps),
        ),
    )


def _check_one_cycle(schedule: Schedule) -> None:
    phases = {"warmup": schedule.warmup}
    phases |= {"fall": schedule.warmup} if schedule.three_phase else {}
    check_phases_fit(schedule._structure.definition.name, schedule.steps, **phases)


def _turning_phases(*names: str) -> Callable[[Schedule, int], list[PhaseStart]]:
    def phases(schedule: Schedule, until: int) -> list[PhaseStart]:
        rise, steps = int(resolve_steps_on_host(schedule.warmup, schedule.steps)), schedule.steps
        turns = (0, rise, 2 * rise if schedule.three_phase else int(steps))
        return list(zip(names, turns, strict=True))

    return phases


@schedule(
    horizon="steps",
    check=_check_one_cycle,
    phases=_turning_phases("rise", "fall", "tail"),
)
def one_cycle(
    step: jax.Array,
    peak: FiniteFloat,
    steps: PositiveInt,
    warmup: StepsOrFraction = 0.3,
    div_factor: PositiveFloat = 25.0,
    final_div_factor: PositiveFloat = 1e4,
    ramp: Ramp = "cosine",
    three_phase: bool = False,
) -> ArrayLike:
    """A rise to ``peak`` and a longer fall (1cycle).

    It rises from ``peak / div_factor`` and falls to ``peak / (div_factor final_div_factor)``.

    Args:
      peak: Highest value, at step ``warmup``.
      steps: Total number of steps.
      warmup: Length of the rise: steps, or a fraction of ``steps`` rounded to the nearest step.
      div_factor: Ratio of ``peak`` to the first value.
      final_div_factor: Ratio of the first value to the last one.
      ramp: Ramp of each phase. See `wsd`.
      three_phase: Whether to fall to the first value in as many steps as the rise takes, and then
        to the last one.

    Returns:
      A `Schedule` of horizon ``steps``.

    Raises:
      ValueError: If the phases are longer than ``steps``.

    References:
      Smith & Topin 2018 (arXiv 1708.07120); ``optax.cosine_onecycle_schedule``. PyTorch's
      ``OneCycleLR`` peaks one step earlier and ends at ``steps - 1``. The slanted triangle of
      ULMFiT (Howard & Ruder 2018) is ``warmup=0.1, div_factor=32, final_div_factor=1,
      ramp="linear"``.

    >>> import lrsched
    >>> schedule = lrsched.one_cycle(
    ...     1.0, steps=100, div_factor=4.0, final_div_factor=2.0, ramp="linear")
    >>> schedule([0, 15, 30, 65, 100, 101]).tolist()
    [0.25, 0.625, 1.0, 0.5625, 0.125, 0.125]
    >>> schedule.replace(three_phase=True)([30, 60, 80, 100]).tolist()
    [1.0, 0.25, 0.1875, 0.125]
    """
    init = clip_finite(peak / jnp.asarray(div_factor))
    last = clip_finite(init / final_div_factor)
    return _three_phases(step, steps, warmup, (init, peak, init, last), ramp, three_phase)


@schedule(
    horizon="steps",
    check=_check_one_cycle,
    phases=_turning_phases("fall", "rise", FINAL),
)
def one_cycle_momentum(
    step: jax.Array,
    low: FiniteFloat,
    high: FiniteFloat,
    steps: PositiveInt,
    warmup: StepsOrFraction = 0.3,
    ramp: Ramp = "cosine",
    three_phase: bool = False,
) -> ArrayLike:
    """The momentum of `one_cycle`: from ``high`` to ``low`` while the rate rises, and back.

    Args:
      low: Momentum at the highest rate, 0.85 in the paper.
      high: Momentum at both ends, 0.95 in the paper.
      steps: Total number of steps.
      warmup: Length of the fall: steps, or a fraction of ``steps`` rounded to the nearest step.
      ramp: Ramp of each phase. See `wsd`.
      three_phase: Whether the momentum rises in as many steps as it falls, and then stays at
        ``high``.

    Returns:
      A `Schedule` of horizon ``steps``.

    Raises:
      ValueError: If the phases are longer than ``steps``.

    References:
      Smith 2018 (arXiv 1803.09820); PyTorch's ``cycle_momentum``.

    >>> import lrsched
    >>> momentum = lrsched.one_cycle_momentum(0.75, 1.0, steps=100, ramp="linear")
    >>> momentum([0, 15, 30, 65, 100]).tolist()
    [1.0, 0.875, 0.75, 0.875, 1.0]
    """
    return _three_phases(step, steps, warmup, (high, low, high, high), ramp, three_phase)


def _three_phases(
    step: jax.Array,
    steps: ArrayLike,
    warmup: ArrayLike,
    values: tuple[ArrayLike, ArrayLike, ArrayLike, ArrayLike],
    ramp: Ramp,
    three_phase: bool,
) -> jax.Array:
    """Return values joined by ramps: a rise, and one fall or two, the first as long as the rise."""
    first, turn, back, last = values
    rise = resolve_steps(warmup, steps)
    up = lerp(first, turn, evaluate_ramp(ramp, step, rise))
    if not three_phase:
        down = lerp(last, turn, evaluate_ramp(ramp, steps - step, steps - rise))
        return jnp.where(step < rise, up, down)
    down = lerp(back, turn, evaluate_ramp(ramp, 2 * rise - step, rise))
    tail = lerp(last, back, evaluate_ramp(ramp, steps - step, steps - 2 * rise))
    return jnp.where(step < rise, up, jnp.where(step < 2 * rise, down, tail))


def _check_restarts(schedule: Schedule) -> None:
    check_below("cosine_restarts", "warmup", schedule.warmup, "steps", schedule.steps)


def _restart_phases(schedule: Schedule, until: int) -> list[PhaseStart]:
    first, growth = int(schedule.steps), np.asarray(schedule.growth)
    if growth.dtype.kind == "f":
        real = (_real_start(cycle, first, growth) for cycle in itertools.count())
        return numbered_phases("cycle", real, until)
    lengths = (first * int(growth) ** cycle for cycle in itertools.count())
    return numbered_phases("cycle", itertools.accumulate(lengths, initial=0), until)


@schedule(check=_check_restarts, phases=_restart_phases)
def cosine_restarts(
    step: jax.Array,
    peak: FiniteFloat,
    steps: PositiveInt,
    end: FiniteFloat = 0.0,
    growth: CycleGrowth = 1,
    decay: PositiveFloat = 1.0,
    warmup: NonNegativeInt = 0,
) -> ArrayLike:
    """Cosines with warm restarts (SGDR), without an end. Each cycle is ``growth`` times as long.

    Cycle ``k`` begins at ``steps (growth**k - 1) / (growth - 1)``, rises in a line from ``end`` to
    ``peak decay**k`` if there is a warmup, and falls along a cosine to ``end``. With a whole
    ``growth`` cycles are found in exact integers; with a real one starts are rounded to the nearest
    step, in float32. The program has the same size for any number of cycles.

    Args:
      peak: Value at step 0, or at the end of the first warmup.
      steps: Length of the first cycle, including its warmup, in steps.
      end: Value at the end of each cycle. The next step is the first of the next cycle.
      growth: Factor of the length at each cycle. Must be at least 1.
      decay: Factor of the peak at each cycle.
      warmup: Length of the linear rise in each cycle, in steps. 0 disables it.

    Returns:
      A `Schedule` without a horizon.

    Raises:
      ValueError: If ``warmup >= steps``.

    References:
      Loshchilov & Hutter 2017 (arXiv 1608.03983). PyTorch's closed form and timm take a logarithm
      and miss restarts, the one at 1210 for ``steps=10, growth=3`` among them.

    >>> import lrsched
    >>> schedule = lrsched.cosine_restarts(1.0, steps=10, growth=3, decay=0.5)
    >>> schedule([0, 5, 10, 25, 40, 1210]).tolist()
    [1.0, 0.4999999701976776, 0.5, 0.2499999850988388, 0.25, 0.03125]
    """
    steps, growth = jnp.asarray(steps), jnp.asarray(growth)
    is_whole = jnp.issubdtype(growth.dtype, jnp.integer)
    cycle, start, length, past = (int_cycle if is_whole else _real_cycle)(step, steps, growth)
    local = step - start
    fall = length - warmup
    left = jnp.where(past < 0, fraction(length - local, fall), 1 - past)
    done = jnp.where(past < 0, fraction(local - jnp.asarray(warmup), fall), past)
    top = clip_finite(peak * int_power(decay, cycle))
    falling = lerp(end, top, evaluate_ramp("cosine", left, 1), evaluate_ramp("cosine", done, 1))
    return jnp.where(local < warmup, lerp(end, top, fraction(local, warmup)), falling)


Cycle: TypeAlias = tuple[jax.Array, jax.Array, jax.Array, jax.Array]
"""A cycle's number, first step and length; how much of it is past where int32 cannot say, or -1."""


def int_cycle(step: jax.Array, steps: jax.Array, growth: jax.Array) -> Cycle:
    """Return the cycle of ``step``, in exact integers.

    At most 32 begin before step 2**31 where they grow, so their starts are a table; without growth
    it is a division.
    """
    number = jnp.arange(32)
    lengths = steps * jnp.cumprod(jnp.where(number > 0, growth.astype(jnp.float32), 1.0))
    whole = jnp.cumprod(jnp.where(number > 0, growth, 1))
    sums = jnp.concatenate([jnp.zeros(1, jnp.int32), jnp.cumsum(whole)[:-1]])
    is_held = (jnp.cumsum(lengths) - lengths <= 2.0**31) & (sums >= 0)
    begins = is_held & (sums <= MAX_STEP // steps)
    starts = jnp.where(begins, steps * sums, MAX_STEP)
    cycle = jnp.minimum(count_passed(starts, step), begins.sum()) - 1
    even = (step // steps).astype(jnp.int32)
    cycle = jnp.where(growth == 1, even, cycle)
    start = jnp.where(growth == 1, even * steps, starts[cycle])
    fits = (growth == 1) | (cycle == 0) | (lengths[cycle] < 2.0**31)
    # A cycle longer than int32 can say ends after the last step: float32 is exact enough there.
    past = (step - start).astype(jnp.float32) / lengths[cycle]
    return cycle, start, steps * growth**cycle, jnp.where(fits, -1.0, past)


def _real_cycle(step: jax.Array, steps: jax.Array, growth: jax.Array) -> Cycle:
    """Return the cycle of ``step``: estimated by a logarithm, corrected by the nearest starts."""
    excess = jnp.maximum(growth - 1, 2.0**-23)
    guess = jnp.floor(jnp.log1p(step * excess / steps) / jnp.log1p(excess))
    cycle = jnp.maximum(guess - 1, 0)
    for _ in range(3):
        cycle = jnp.where(step >= _real_start(cycle + 1, steps, growth), cycle + 1, cycle)
    start = _real_start(cycle, steps, growth)
    length = jnp.maximum(_real_start(cycle + 1, steps, growth) - start, 1)
    return cycle.astype(jnp.int32), start, length, jnp.full(step.shape, -1.0)


def _real_start(cycle: ArrayLike, steps: ArrayLike, growth: ArrayLike) -> jax.Array:
    excess = jnp.maximum(jnp.asarray(growth, jnp.float32) - 1, 2.0**-23)
    starts = jnp.rint(steps * jnp.expm1(cycle * jnp.log1p(excess)) / excess)
    return jnp.where(starts < 2.0**31, starts, MAX_STEP).astype(jnp.int32)


_NOISES = one_of("Noise", ("normal", "uniform"))


@schedule(horizon=inner_horizon, phases=inner_phases)
def noise(
    step: jax.Array,
    inner: Inner,
    seed: SignedInt,
    scale: FiniteFloat,
    distribution: Annotated[str, _NOISES] = "normal",
) -> ArrayLike:
    """A schedule with multiplicative noise: ``inner(t) max(1 + scale z_t, 0)``.

    ``z_t`` is drawn from the key ``fold_in(key(seed), t)``: the same at the same step, in any order
    of evaluation. From the horizon of ``inner`` on, the noise is constant too.

    Args:
      inner: Schedule to perturb.
      seed: Seed of the noise.
      scale: Scale of the noise relative to the value.
      distribution: ``"normal"`` for a standard normal ``z_t``, ``"uniform"`` for one in [-1, 1).

    Returns:
      A `Schedule` with the horizon of ``inner``.

    References:
      Neelakantan et al. 2015 put noise on gradients; timm's ``lr_noise`` puts it on the rate.

    >>> import lrsched
    >>> schedule = lrsched.noise(lrsched.constant(1.0), seed=0, scale=0.1, distribution="uniform")
    >>> bool((abs(schedule(range(100)) - 1) <= 0.1).all()), bool(schedule(3) == schedule(3))
    (True, True)
    """
    key = jax.random.key(seed)

    def draw(now: jax.Array) -> jax.Array:
        mine = jax.random.fold_in(key, now)
        if distribution == "normal":
            return jax.random.normal(mine)
        return jax.random.uniform(mine, minval=-1.0)

    drawn = jax.vmap(draw)(step.astype(jnp.uint32).ravel()).reshape(step.shape)
    # The product of an infinite factor and a rate of 0 would be NaN.
    return inner(step) * clip_finite(jnp.maximum(1 + scale * drawn, 0))
