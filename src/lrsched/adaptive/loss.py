"""Controllers that follow how the training loss moves: its falls, its spikes and its slope."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from lrsched.adaptive._factory import make_factory
from lrsched.adaptive.base import safe_divide, zero_count
from lrsched.adaptive.controller import (
    OneMetric,
    controller_dataclass,
    scale_by_controller,
    static_field,
)
from lrsched.adaptive.smoothing import SmoothedMetric, SmoothingState
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
)

if TYPE_CHECKING:
    from collections.abc import Mapping


class BoldDriverState(NamedTuple):
    """State of `bold_driver`.

    Attributes:
      prev_value: Latest observation, a float32 scalar. Infinity before the first one.
      smoothing: Metrics that are not an observation yet.
    """

    prev_value: jax.Array
    smoothing: SmoothingState


@controller_dataclass
class BoldDriver(SmoothedMetric):
    """The bold driver: raise the rate slightly after every fall of the loss, halve it after a rise.

    It needs the loss of the whole data set, or means of many batches (``accumulation_size``): the
    noise of single batches would halve the rate at every other one. The update that raised the loss
    is not undone.

    Args:
      up_factor: Factor of the rate after a fall, above 1.
      down_factor: Factor of the rate after a rise, in (0, 1).
      rtol: Largest rise that counts as a fall, as a fraction of the previous loss.
      min_scale: Smallest factor that the rate is multiplied by in total, in [0, 1].
      max_scale: Largest factor that the rate is multiplied by in total, at least 1.
      accumulation_size: Number of metrics whose mean is one observation.
      window_size: Number of observations in a moving mean. 1 disables it.
      ema_decay: Decay of an exponential moving average of the observations. 0 disables it.
      active_from: Number of updates before which no metric is observed, such as the length of a
        warmup.
      metric: Name of the keyword argument of ``update`` and `observe`.

    Returns:
      An ``optax.GradientTransformationExtraArgs`` whose state is a `ControllerState`.

    Raises:
      ValueError: If an argument is out of its range.

    Example:
      >>> import jax.numpy as jnp, lrsched
      >>> optimizer = lrsched.bold_driver(up_factor=1.5)
      >>> state = optimizer.init(jnp.zeros(1))
      >>> for loss in [1.0, 0.5, 0.25, 0.5]:
      ...     updates, state = optimizer.update(jnp.ones(1), state, value=loss)
      ...     print(updates.item())
      1.0
      1.5
      2.25
      1.125

    References:
      Battiti (1989), "Accelerated backpropagation learning: two optimization methods".
    """

    up_factor: GrowthLimit = 1.1
    down_factor: OpenUnitFloat = 0.5
    _: dataclasses.KW_ONLY
    rtol: NonNegativeFloat = 0.0
    min_scale: UnitFloat = 1e-3
    max_scale: FloatAtLeastOne = 1e3
    accumulation_size: PositiveInt = 1
    window_size: PositiveInt = static_field(default=1)
    ema_decay: DecayRate = 0.0
    active_from: NonNegativeInt = 0
    metric: str = static_field(default="value")

    def init(self) -> BoldDriverState:
        """Return the state before the first metric."""
        return BoldDriverState(jnp.asarray(np.inf, jnp.float32), self.smoothing.init())

    def observe(
        self, state: BoldDriverState, scale: jax.Array, metrics: Mapping[str, jax.Array]
    ) -> tuple[BoldDriverState, jax.Array]:
        """Compare one observation with the previous one."""
        smoothing, value, is_new = self.smoothing.update(state.smoothing, metrics[self.metric])
        is_first = jnp.isinf(state.prev_value)
        # Not prev_value itself when it is infinite: 0 * inf is NaN, and NaN would count as a rise.
        threshold = state.prev_value + self.rtol * jnp.abs(state.prev_value)
        threshold = jnp.where(is_first, jnp.inf, threshold)
        factor = jnp.where(value <= threshold, self.up_factor, self.down_factor)
        new_scale = jnp.clip(scale * factor, self.min_scale, self.max_scale)
        prev_value = jnp.where(is_new, value, state.prev_value)
        return (
            BoldDriverState(prev_value, smoothing),
            jnp.where(is_new & ~is_first, new_scale, scale),
        )


bold_driver = make_factory(BoldDriver, scale_by_controller)


class SpikeState(NamedTuple):
    """State of `backoff_on_spike`.

    Attributes:
      ema: Biased exponential moving average of the losses, a float32 scalar.
      ema_sq_dev: Biased exponential moving average of the squared deviations of the losses from
        the mean before them, a float32 scalar.
      ema_weight: Sum of the weights in both, which corrects their bias, a float32 scalar.
      num_losses: Number of losses, an int32 scalar.
    """

    ema: jax.Array
    ema_sq_dev: jax.Array
    ema_weight: jax.Array
    num_losses: jax.Array


@controller_dataclass
class BackoffOnSpike(OneMetric):
    """Lower the rate when the loss jumps above its running mean, then let it recover.

    A spike is a loss above ``mean + threshold * deviation``, both exponential moving averages of
    the losses before it. A spike multiplies the rate by ``factor``; every other loss multiplies it
    by ``recovery`` until the scale is 1 again. A spike enters the averages only up to its limit, so
    it does not hide the next spike, yet a loss that stays high soon becomes the mean.

    Args:
      factor: Factor of the rate at a spike, in (0, 1).
      threshold: Height of a spike above the mean, in standard deviations.
      recovery: Factor of the rate at every other loss, at least 1. 1.02 recovers from one half
        within 35 losses.
      decay: Decay of the averages, in [0, 1).
      patience: Number of losses before the first one that can be a spike.
      min_scale: Smallest factor that the rate is multiplied by in total, in [0, 1].
      active_from: Number of updates before which no metric is observed, such as the length of a
        warmup.
      metric: Name of the keyword argument of ``update`` and `observe`.

    Returns:
      An ``optax.GradientTransformationExtraArgs`` whose state is a `ControllerState`.

    Raises:
      ValueError: If an argument is out of its range.

    Example:
      >>> import jax.numpy as jnp, lrsched
      >>> optimizer = lrsched.backoff_on_spike(patience=4)
      >>> state = optimizer.init(jnp.zeros(1))
      >>> for loss in [1.0, 1.1, 0.9, 1.0, 1.1, 5.0]:
      ...     updates, state = optimizer.update(jnp.ones(1), state, value=loss)
      >>> updates.tolist()
      [0.5]
    """

    factor: OpenUnitFloat = 0.5
    threshold: PositiveFloat = 4.0
    _: dataclasses.KW_ONLY
    recovery: FloatAtLeastOne = 1.02
    decay: DecayRate = 0.98
    patience: PositiveInt = 20
    min_scale: UnitFloat = 0.01
    active_from: NonNegativeInt = 0
    metric: str = static_field(default="value")

    def init(self) -> SpikeState:
        """Return the state before the first loss."""
        zero = jnp.zeros([], jnp.float32)
        return SpikeState(zero, zero, zero, zero_count())

    def observe(
        self, state: SpikeState, scale: jax.Array, metrics: Mapping[str, jax.Array]
    ) -> tuple[SpikeState, jax.Array]:
        """Compare one loss with the averages, then add it to them."""
        value = metrics[self.metric]
        mean = safe_divide(state.ema, state.ema_weight)
        # The first loss deviates from itself by 0, not from an empty average of 0.
        mean = jnp.where(state.num_losses > 0, mean, value)
        deviation = jnp.sqrt(safe_divide(state.ema_sq_dev, state.ema_weight))
        limit = mean + self.threshold * deviation
        is_spike = (state.num_losses >= self.patience) & (value > limit)

        clipped = jnp.where(is_spike, limit, value)
        decay, weight = self.decay, 1 - self.decay
        new_state = SpikeState(
            ema=decay * state.ema + weight * clipped,
            ema_sq_dev=decay * state.ema_sq_dev + weight * jnp.square(clipped - mean),
            ema_weight=decay * state.ema_weight + weight,
            num_losses=state.num_losses + 1,
        )
        lowered = jnp.maximum(scale * self.factor, self.min_scale)
        recovered = jnp.minimum(scale * self.recovery, 1.0)
        return new_state, jnp.where(is_spike, lowered, recovered)


backoff_on_spike = make_factory(BackoffOnSpike, scale_by_controller)


class AdaLRSState(NamedTuple):
    """State of `adalrs`.

    Attributes:
      loss_sum: Sum of the losses of the current window, a float32 scalar.
      indexed_loss_sum: Sum of the losses times their index in the window, a float32 scalar.
      num_losses: Number of losses of the current window, an int32 scalar.
      reference_descent: Fall of the loss per observation in the window that the current one is
        compared with, a float32 scalar. Minus infinity before the first window is complete.
      previous_scale: Scale before the one that is tried, a float32 scalar.
      is_trial: Whether a higher rate is being tried, a bool scalar.
      num_changes: Number of trials so far, an int32 scalar. Each makes the next change smaller.
    """

    loss_sum: jax.Array
    indexed_loss_sum: jax.Array
    num_losses: jax.Array
    reference_descent: jax.Array
    previous_scale: jax.Array
    is_trial: jax.Array
    num_changes: jax.Array


@controller_dataclass
class AdaLRS(OneMetric):
    """AdaLRS: search for the rate at which the loss falls fastest, during the run.

    The descent of a window is minus the least-squares slope of its losses. When it is slower than
    that of the window before by more than ``rtol``, a higher rate is tried for one window. If the
    loss then falls no faster than in the window that it is compared with, the rate is set to
    ``1 / down_factor`` of its value before the trial. The ``n``-th change is by
    ``max(up_factor * shrink_factor**n, 1)`` and ``max(down_factor * shrink_factor**n, 1)``, so that
    the search ends.

    It is meant for a constant or slowly falling schedule, in the first part of a run. A transform
    cannot undo the updates of a failed trial, as the paper does with a checkpoint; save one before
    if that matters. The defaults are lrsched's, not the paper's.

    Args:
      window: Number of losses in a window. Fewer than 3 give no useful slope.
      up_factor: Factor of the rate in a trial, above 1.
      down_factor: Divisor of the rate after a failed trial, at least 1.
      shrink_factor: Factor of each change relative to the previous change, in [0, 1].
      rtol: Fraction by which a descent must be smaller to count as slower.
      min_scale: Smallest factor that the rate is multiplied by in total, in [0, 1].
      max_scale: Largest factor that the rate is multiplied by in total, at least 1.
      active_from: Number of updates before which no metric is observed, such as the length of a
        warmup.
      metric: Name of the keyword argument of ``update`` and `observe`.

    Returns:
      An ``optax.GradientTransformationExtraArgs`` whose state is a `ControllerState`.

    Raises:
      ValueError: If an argument is out of its range.

    Example:
      >>> import jax.numpy as jnp, lrsched
      >>> optimizer = lrsched.adalrs(window=4)
      >>> state = optimizer.init(jnp.zeros(1))
      >>> for step in range(8):  # The loss falls by 1 at each step, then by one half.
      ...     loss = 10.0 - step if step < 4 else 8.0 - step / 2
      ...     updates, state = optimizer.update(jnp.ones(1), state, value=loss)
      >>> updates.tolist()
      [2.0]

    References:
      Dong, Yang, Liang, Feng and Ran (2025), arXiv:2506.13274.
    """

    window: PositiveInt = 200
    _: dataclasses.KW_ONLY
    up_factor: GrowthLimit = 2.0
    down_factor: FloatAtLeastOne = 1.5
    shrink_factor: UnitFloat = 0.9
    rtol: NonNegativeFloat = 0.05
    min_scale: UnitFloat = 0.01
    max_scale: FloatAtLeastOne = 100.0
    active_from: NonNegativeInt = 0
    metric: str = static_field(default="value")

    def init(self) -> AdaLRSState:
        """Return the state before the first loss."""
        zero = jnp.zeros([], jnp.float32)
        return AdaLRSState(
            loss_sum=zero,
            indexed_loss_sum=zero,
            num_losses=zero_count(),
            reference_descent=jnp.asarray(-np.inf, jnp.float32),
            previous_scale=jnp.ones([], jnp.float32),
            is_trial=jnp.asarray(False),
            num_changes=zero_count(),
        )

    def observe(
        self, state: AdaLRSState, scale: jax.Array, metrics: Mapping[str, jax.Array]
    ) -> tuple[AdaLRSState, jax.Array]:
        """Add one loss to the window; at its end, judge the descent and change the scale."""
        # Least-squares slope over the indices 0 ... n - 1, from two sums: no window is stored.
        value = metrics[self.metric]
        loss_sum = state.loss_sum + value
        indexed_loss_sum = state.indexed_loss_sum + state.num_losses * value
        num_losses = state.num_losses + 1
        n = num_losses.astype(jnp.float32)
        index_sq_dev = n * (jnp.square(n) - 1) / 12
        descent = -safe_divide(indexed_loss_sum - 0.5 * (n - 1) * loss_sum, index_sq_dev)

        is_full = num_losses >= self.window
        reference = state.reference_descent
        is_slower = descent < reference - self.rtol * jnp.abs(reference)
        fails = is_full & state.is_trial & is_slower
        tries = is_full & ~state.is_trial & is_slower

        shrink = self.shrink_factor ** state.num_changes.astype(jnp.float32)
        up, down = (
            jnp.maximum(factor * shrink, 1.0) for factor in (self.up_factor, self.down_factor)
        )
        new_scale = jnp.where(tries, scale * up, scale)
        new_scale = jnp.where(fails, state.previous_scale / down, new_scale)
        new_state = AdaLRSState(
            loss_sum=jnp.where(is_full, 0.0, loss_sum),
            indexed_loss_sum=jnp.where(is_full, 0.0, indexed_loss_sum),
            num_losses=jnp.where(is_full, 0, num_losses),
            reference_descent=jnp.where(is_full & ~tries, descent, reference),
            previous_scale=jnp.where(tries, scale, state.previous_scale),
            is_trial=jnp.where(is_full, tries, state.is_trial),
            num_changes=state.num_changes + tries,
        )
        return new_state, jnp.clip(new_scale, self.min_scale, self.max_scale)


adalrs = make_factory(AdaLRS, scale_by_controller)
