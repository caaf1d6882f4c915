"""Rules that look at how the training loss moves: drivers, spikes, velocities."""

from collections.abc import Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from lrsched.adaptive.base import safe_divide, zero_count
from lrsched.adaptive.controller import controller, rule, static
from lrsched.adaptive.smoothing import Smoothing, SmoothingMemory
from lrsched.arguments import (
    DecayRate,
    FloatAtLeastOne,
    GrowthLimit,
    NonNegativeFloat,
    NonNegativeInt,
    OpenUnitFloat,
    PositiveFloat,
    PositiveInt,
    UnitFloat,
    validate_arguments,
)


class BoldDriverMemory(NamedTuple):
    """What `bold_driver` remembers.

    Attributes:
      latest: float32 scalar, the latest observation.
      smoothing: the metrics that are not yet an observation.
    """

    latest: jax.Array
    smoothing: SmoothingMemory


@rule
class BoldDriver:
    """The rule of `bold_driver`, whose arguments are its attributes."""

    up: float
    down: float
    rtol: float
    min_scale: float
    max_scale: float
    smoothing: Smoothing
    metric: str = static()

    @property
    def metrics(self) -> tuple[str, ...]:
        """The one metric."""
        return (self.metric,)

    def init(self) -> BoldDriverMemory:
        """Nothing seen."""
        return BoldDriverMemory(jnp.asarray(np.inf, jnp.float32), self.smoothing.init())

    def observe(
        self, memory: BoldDriverMemory, scale: jax.Array, given: Mapping[str, jax.Array]
    ) -> tuple[BoldDriverMemory, jax.Array]:
        """One loss more."""
        kept, value, is_new = self.smoothing.add(memory.smoothing, given[self.metric])
        is_first = jnp.isinf(memory.latest)
        most = jnp.where(is_first, jnp.inf, memory.latest + self.rtol * jnp.abs(memory.latest))
        factor = jnp.where(value <= most, self.up, self.down)
        moved = jnp.clip(scale * factor, self.min_scale, self.max_scale)
        latest = jnp.where(is_new, value, memory.latest)
        return BoldDriverMemory(latest, kept), jnp.where(is_new & ~is_first, moved, scale)


@validate_arguments
def bold_driver(
    up: GrowthLimit = 1.1,
    down: OpenUnitFloat = 0.5,
    *,
    rtol: NonNegativeFloat = 0.0,
    min_scale: UnitFloat = 1e-3,
    max_scale: FloatAtLeastOne = 1e3,
    accumulation_size: PositiveInt = 1,
    window_size: PositiveInt = 1,
    decay: DecayRate = 0.0,
    active_from: NonNegativeInt = 0,
    metric: str = "value",
) -> optax.GradientTransformationExtraArgs:
    """The bold driver: raise the rate a little after every fall of the loss, halve it after a rise.

    For losses of the whole data, or means of many batches (``accumulation_size``): the noise of
    single batches would halve the rate half of the time. The step that raised the loss is not
    taken back.

    Args:
      up: what the rate is multiplied by after a fall, above 1.
      down: after a rise, in (0, 1).
      rtol: a rise by up to this part of the loss counts as a fall.
      min_scale: the least that the rate is multiplied by.
      max_scale: the most.
      accumulation_size: so many metrics make one observation, their mean.
      window_size: over so many observations a moving mean is taken.
      decay: of an exponential average of them.
      active_from: the update from which metrics are looked at.
      metric: the name of the keyword argument of ``update`` and `observe`.

    Raises:
      ValueError: an argument that is not in its range.

    Source: Battiti 1989, "Accelerated backpropagation learning: two optimization methods".

    >>> import jax.numpy as jnp, lrsched
    >>> optimizer = lrsched.bold_driver(up=1.5)
    >>> state = optimizer.init(jnp.zeros(1))
    >>> for loss in [1.0, 0.5, 0.25, 0.5]:
    ...     updates, state = optimizer.update(jnp.ones(1), state, value=loss)
    ...     print(updates.item())
    1.0
    1.5
    2.25
    1.125
    """
    smooth = Smoothing(accumulation_size, decay, window_size)
    made = BoldDriver(up, down, rtol, min_scale, max_scale, smooth, metric)
    return controller(made, active_from)


class SpikeMemory(NamedTuple):
    """What `backoff_on_spike` remembers.

    Attributes:
      mean: float32 scalar, the exponential average of the losses, not divided by ``weight``.
      square: float32 scalar, that of their squares around the mean of their time.
      weight: float32 scalar, the weights in both.
      seen: int32 scalar, the losses seen.
    """

    mean: jax.Array
    square: jax.Array
    weight: jax.Array
    seen: jax.Array


@rule
class SpikeBackoff:
    """The rule of `backoff_on_spike`, whose arguments are its attributes."""

    factor: float
    threshold: float
    recovery: float
    decay: float
    patience: int
    min_scale: float
    metric: str = static()

    @property
    def metrics(self) -> tuple[str, ...]:
        """The one metric."""
        return (self.metric,)

    def init(self) -> SpikeMemory:
        """Nothing seen."""
        zero = jnp.zeros([], jnp.float32)
        return SpikeMemory(zero, zero, zero, zero_count())

    def observe(
        self, memory: SpikeMemory, scale: jax.Array, given: Mapping[str, jax.Array]
    ) -> tuple[SpikeMemory, jax.Array]:
        """One loss more."""
        value = given[self.metric]
        mean = jnp.where(memory.seen > 0, safe_divide(memory.mean, memory.weight), value)
        limit = mean + self.threshold * jnp.sqrt(safe_divide(memory.square, memory.weight))
        is_spike = (memory.seen >= self.patience) & (value > limit)
        learnt = jnp.where(is_spike, limit, value)
        keep, add = self.decay, 1 - self.decay
        seen = SpikeMemory(
            keep * memory.mean + add * learnt,
            keep * memory.square + add * jnp.square(learnt - mean),
            keep * memory.weight + add,
            memory.seen + 1,
        )
        lowered = jnp.maximum(scale * self.factor, self.min_scale)
        return seen, jnp.where(is_spike, lowered, jnp.minimum(scale * self.recovery, 1.0))


@validate_arguments
def backoff_on_spike(
    factor: OpenUnitFloat = 0.5,
    threshold: PositiveFloat = 4.0,
    *,
    recovery: FloatAtLeastOne = 1.02,
    decay: DecayRate = 0.98,
    patience: PositiveInt = 20,
    min_scale: UnitFloat = 0.01,
    active_from: NonNegativeInt = 0,
    metric: str = "value",
) -> optax.GradientTransformationExtraArgs:
    """Lower the rate when the loss jumps above its running mean, and let it come back.

    A spike is a loss above ``mean + threshold * deviation``, both exponential averages of the
    losses before it. It multiplies the rate by ``factor``; every other loss multiplies it by
    ``recovery`` up to where it was. The averages learn a spike only as far as its limit, so that
    one does not hide the next, yet a loss that stays high is soon the new normal.

    Args:
      factor: in (0, 1).
      threshold: in standard deviations.
      recovery: above 1; 1.02 comes back from a half within 35 losses.
      decay: of the averages.
      patience: the losses that must be known before one can be a spike.
      min_scale: the least that the rate is multiplied by.
      active_from: the update from which metrics are looked at.
      metric: the name of the keyword argument of ``update`` and `observe`.

    Raises:
      ValueError: an argument that is not in its range.

    >>> import jax.numpy as jnp, lrsched
    >>> optimizer = lrsched.backoff_on_spike(patience=4)
    >>> state = optimizer.init(jnp.zeros(1))
    >>> for loss in [1.0, 1.1, 0.9, 1.0, 1.1, 5.0]:
    ...     updates, state = optimizer.update(jnp.ones(1), state, value=loss)
    >>> updates.tolist()
    [0.5]
    """
    made = SpikeBackoff(factor, threshold, recovery, decay, patience, min_scale, metric)
    return controller(made, active_from)


class AdaLRSMemory(NamedTuple):
    """What `adalrs` remembers.

    Attributes:
      total: float32 scalar, the sum of the losses of this window.
      moment: float32 scalar, the sum of the losses times their place in it.
      seen: int32 scalar, how many they are.
      velocity: float32 scalar, by how much the loss fell per observation in the window that the
        present one is compared with.
      scale: float32 scalar, the scale before the one that is being tried.
      is_trial: whether a higher rate is being tried.
      changes: int32 scalar, the changes made so far, after each of which the next is smaller.
    """

    total: jax.Array
    moment: jax.Array
    seen: jax.Array
    velocity: jax.Array
    scale: jax.Array
    is_trial: jax.Array
    changes: jax.Array


@rule
class AdaLRS:
    """The rule of `adalrs`, whose arguments are its attributes."""

    window: int
    up: float
    down: float
    shrink: float
    rtol: float
    min_scale: float
    max_scale: float
    metric: str = static()

    @property
    def metrics(self) -> tuple[str, ...]:
        """The one metric."""
        return (self.metric,)

    def init(self) -> AdaLRSMemory:
        """Nothing seen."""
        zero = jnp.zeros([], jnp.float32)
        none = jnp.asarray(-np.inf, jnp.float32)
        one = jnp.ones([], jnp.float32)
        return AdaLRSMemory(zero, zero, zero_count(), none, one, jnp.asarray(False), zero_count())

    def observe(
        self, memory: AdaLRSMemory, scale: jax.Array, given: Mapping[str, jax.Array]
    ) -> tuple[AdaLRSMemory, jax.Array]:
        """One loss more."""
        value = given[self.metric]
        total = memory.total + value
        moment = memory.moment + memory.seen * value
        seen = memory.seen + 1
        count = seen.astype(jnp.float32)
        spread = count * (jnp.square(count) - 1) / 12
        velocity = -safe_divide(moment - 0.5 * (count - 1) * total, spread)

        is_full = seen >= self.window
        least = memory.velocity - self.rtol * jnp.abs(memory.velocity)
        has_failed = is_full & memory.is_trial & (velocity < least)
        tries = is_full & ~memory.is_trial & (velocity < least)
        smaller = self.shrink ** memory.changes.astype(jnp.float32)
        up, down = (jnp.maximum(most * smaller, 1.0) for most in (self.up, self.down))
        new = jnp.where(tries, scale * up, scale)
        new = jnp.clip(
            jnp.where(has_failed, memory.scale / down, new), self.min_scale, self.max_scale
        )
        zero = jnp.zeros_like(total)
        return (
            AdaLRSMemory(
                jnp.where(is_full, zero, total),
                jnp.where(is_full, zero, moment),
                jnp.where(is_full, 0, seen),
                jnp.where(is_full & ~tries, velocity, memory.velocity),
                jnp.where(tries, scale, memory.scale),
                jnp.where(is_full, tries, memory.is_trial),
                memory.changes + tries,
            ),
            new,
        )


@validate_arguments
def adalrs(
    window: PositiveInt = 200,
    *,
    up: GrowthLimit = 2.0,
    down: FloatAtLeastOne = 1.5,
    shrink: UnitFloat = 0.9,
    rtol: NonNegativeFloat = 0.05,
    min_scale: UnitFloat = 0.01,
    max_scale: FloatAtLeastOne = 100.0,
    active_from: NonNegativeInt = 0,
    metric: str = "value",
) -> optax.GradientTransformationExtraArgs:
    """AdaLRS: search for the rate at which the loss falls fastest, during the run.

    The velocity of a window is minus the least-squares slope of its losses. When it is less than
    that of the window before by more than ``rtol``, a higher rate is tried for one window. Where
    the loss then falls no faster than in the window that it is compared with, the rate goes to
    ``down`` times below where it was. The ``n``-th change is by ``max(up * shrink**n, 1)`` and
    ``max(down * shrink**n, 1)``, so that the search ends.

    For a constant or slowly falling outer rate, in the first part of a run. A transform cannot
    take back the updates of a trial that failed, as the paper does with a checkpoint: where that
    matters, save one before. The defaults are ours.

    Args:
      window: the losses of one velocity, at least 3.
      up: the factor of a trial, above 1.
      down: the divisor after a failed one, at least 1.
      shrink: of the changes, one after the other, in (0, 1].
      rtol: by which part a velocity must be less to be slower.
      min_scale: the least that the rate is multiplied by.
      max_scale: the most.
      active_from: the update from which metrics are looked at.
      metric: the name of the keyword argument of ``update`` and `observe`.

    Raises:
      ValueError: an argument that is not in its range.

    Source: Dong, Yang, Liang, Feng & Ran 2025 (arXiv 2506.13274).

    >>> import jax.numpy as jnp, lrsched
    >>> optimizer = lrsched.adalrs(window=4)
    >>> state = optimizer.init(jnp.zeros(1))
    >>> for step in range(8):  # falls by 1 each time, then by a half
    ...     loss = 10.0 - step if step < 4 else 8.0 - step / 2
    ...     updates, state = optimizer.update(jnp.ones(1), state, value=loss)
    >>> updates.tolist()
    [2.0]
    """
    made = AdaLRS(window, up, down, shrink, rtol, min_scale, max_scale, metric)
    return controller(made, active_from)
