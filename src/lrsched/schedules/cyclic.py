"""Rates that rise and fall: triangles, one cycle, cosines with restarts."""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from lrsched.arguments import Length, Phase, Positive, Value
from lrsched.numerics import MAX_STEP, count_passed, fraction, mix, power, resolve
from lrsched.schedule import schedule
from lrsched.schedules.phases import check_fit
from lrsched.schedules.ramps import Ramp, ramp


@schedule
def triangular(
    step: jax.Array, base: Value, peak: Value, up: Length, down: Length | None = None
) -> ArrayLike:
    """A triangle wave for ever: from ``base`` up to ``peak`` and back.

    With ``c = t mod (up + down)``: ``base + (peak - base) c / up`` while ``c < up``, then
    ``base + (peak - base) (up + down - c) / down``.

    Args:
      base: the lowest rate, at step 0.
      peak: the highest rate.
      up: steps from base to peak.
      down: steps from peak to base; as ``up`` by default.

    Source: Smith 2017, cyclical learning rates (arXiv 1506.01186); PyTorch's ``CyclicLR``.

    >>> import lrsched
    >>> lrsched.triangular(0.0, 1.0, up=4)([0, 2, 4, 6, 8, 10]).tolist()
    [0.0, 0.5, 1.0, 0.5, 0.0, 0.5]
    """
    down = up if down is None else down
    period = jnp.asarray(up) + down
    position = step % period
    rising = position < up
    return mix(
        base,
        peak,
        jnp.where(rising, fraction(position, up), fraction(period - position, down)),
        jnp.where(rising, fraction(up - position, up), fraction(position - up, down)),
    )


@schedule(
    horizon="steps", check=lambda steps, warmup, **_: check_fit("one_cycle", steps, warmup=warmup)
)
def one_cycle(
    step: jax.Array,
    peak: Value,
    steps: Length,
    warmup: Phase = 0.3,
    div: Positive = 25.0,
    final_div: Positive = 1e4,
    shape: Ramp = "cosine",
) -> ArrayLike:
    """One rise and one long fall: ``peak / div`` to ``peak`` to ``peak / (div final_div)``.

    Args:
      peak: the highest rate, at step ``warmup``.
      steps: the length of the whole.
      warmup: the rise: steps, or a fraction of ``steps`` (rounded to the nearest step).
      div: ``peak`` over the first rate.
      final_div: the first rate over the last one.
      shape: of both: "cosine", "linear", "1-sqrt", "square" or a function from [0, 1] to [0, 1].

    Raises:
      ValueError: ``warmup`` is longer than ``steps``.

    Source: Smith & Topin 2018 (arXiv 1708.07120); ``optax.cosine_onecycle_schedule``. PyTorch's
    ``OneCycleLR`` peaks one step earlier and ends at ``steps - 1``.

    >>> import lrsched
    >>> schedule = lrsched.one_cycle(1.0, steps=100, div=4.0, final_div=2.0, shape="linear")
    >>> schedule([0, 15, 30, 65, 100, 101]).tolist()
    [0.25, 0.625, 1.0, 0.5625, 0.125, 0.125]
    """
    rise = resolve(warmup, steps)
    init = peak / jnp.asarray(div)
    up = mix(init, peak, ramp(shape, step, rise))
    down = mix(init / final_div, peak, ramp(shape, steps - step, steps - rise))
    return jnp.where(step < rise, up, down)


@schedule
def cosine_restarts(
    step: jax.Array,
    peak: Value,
    steps: Length,
    end: Value = 0.0,
    growth: Length = 1,
    decay: Positive = 1.0,
) -> ArrayLike:
    """Cosines with warm restarts (SGDR), for ever, each cycle ``growth`` times the one before.

    Cycle ``k`` has ``steps growth**k`` steps and falls from ``peak decay**k`` to ``end``. Cycles
    are found in exact integers, and the program has the same size for any number of them.

    Args:
      peak: the rate at step 0.
      steps: the length of the first cycle.
      end: the rate that each cycle falls to; the step after it is the next one's first.
      growth: how many times longer each cycle is than the one before, a whole number.
      decay: what each restart multiplies the peak by.

    Source: Loshchilov & Hutter 2017 (arXiv 1608.03983). PyTorch's closed form and timm take a
    logarithm and miss restarts, the one at 1210 for ``steps=10, growth=3`` among them.

    >>> import lrsched
    >>> schedule = lrsched.cosine_restarts(1.0, steps=10, growth=3, decay=0.5)
    >>> schedule([0, 5, 10, 25, 40, 1210]).tolist()
    [1.0, 0.4999999701976776, 0.5, 0.2499999850988388, 0.25, 0.03125]
    """
    cycle, start, fits = _cycle(step, jnp.asarray(steps), jnp.asarray(growth))
    local = step - start
    length = steps * jnp.asarray(growth) ** cycle
    # A cycle longer than int32 can say ends after the last step: float32 is exact enough there.
    past = local.astype(jnp.float32) / (steps * power(growth, cycle))
    left = jnp.where(fits, fraction(length - local, length), 1 - past)
    done = jnp.where(fits, fraction(local, length), past)
    return mix(end, peak * power(decay, cycle), ramp("cosine", left, 1), ramp("cosine", done, 1))


def _cycle(
    step: jax.Array, steps: jax.Array, growth: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """The cycle that ``step`` is in: its number, its first step, whether int32 holds its length.

    Cycle ``k`` begins at ``steps (growth**k - 1) / (growth - 1)``. At most 32 begin before step
    2**31 where they grow, so their starts are a table; without growth it is a division.
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
    return (
        jnp.where(growth == 1, even, cycle),
        jnp.where(growth == 1, even * steps, starts[cycle]),
        (growth == 1) | (cycle == 0) | (lengths[cycle] < 2.0**31),
    )
