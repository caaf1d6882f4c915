"""Smoothing of a noisy metric before a controller judges it."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from lrsched.adaptive.base import safe_divide, tree_where, zero_count
from lrsched.adaptive.controller import (
    OneMetric,
    controller_dataclass,
    static_field,
)
from lrsched.arguments import DecayRate, PositiveInt, concrete_size


class SmoothingState(NamedTuple):
    """State of a `Smoothing`.

    Attributes:
      accumulated_sum: Sum of the metrics since the latest observation, a float32 scalar.
      accumulated_count: Number of metrics in that sum, an int32 scalar.
      window: Latest observations, the newest first, a float32 array of shape ``(window_size,)``.
      window_count: Number of observations in ``window``, an int32 scalar.
      ema: Biased exponential moving average of the window's means, a float32 scalar.
      ema_weight: Sum of the weights in ``ema``, which corrects its bias, a float32 scalar.
    """

    accumulated_sum: jax.Array
    accumulated_count: jax.Array
    window: jax.Array
    window_count: jax.Array
    ema: jax.Array
    ema_weight: jax.Array


@controller_dataclass
class Smoothing:
    """Three means in a row: of a block of metrics, of a window of blocks, and exponential.

    Attributes:
      accumulation_size: Number of metrics whose mean is one observation.
      ema_decay: Decay of the exponential moving average of the observations. 0 disables it.
      window_size: Number of observations in the moving mean. 1 disables it.
    """

    accumulation_size: ArrayLike = 1
    ema_decay: ArrayLike = 0.0
    window_size: ArrayLike = static_field(default=1)

    def init(self) -> SmoothingState:
        """Return the state before the first metric.

        Returns:
          A `SmoothingState` of zeros.

        Raises:
          ValueError: If ``window_size`` is traced.
        """
        zero = jnp.zeros([], jnp.float32)
        window = jnp.zeros(concrete_size("window_size", self.window_size), jnp.float32)
        return SmoothingState(zero, zero_count(), window, zero_count(), zero, zero)

    def update(
        self, state: SmoothingState, value: jax.Array
    ) -> tuple[SmoothingState, jax.Array, jax.Array]:
        """Add one metric.

        Args:
          state: State before the metric.
          value: The metric, a float32 scalar.

        Returns:
          The new state, the smoothed metric (a float32 scalar), and whether it is a new observation
          (a bool scalar): it is not while a block is incomplete.
        """
        total, count = state.accumulated_sum + value, state.accumulated_count + 1
        is_new = count >= self.accumulation_size
        window = jnp.concatenate([(total / count)[None], state.window[:-1]])
        window_count = jnp.minimum(state.window_count + 1, window.size)
        # Entries beyond window_count are still zero, so the sum needs no mask.
        mean = jnp.sum(window) / window_count
        decay = jnp.asarray(self.ema_decay, jnp.float32)
        ema = decay * state.ema + (1 - decay) * mean
        ema_weight = decay * state.ema_weight + (1 - decay)
        waiting = state._replace(accumulated_sum=total, accumulated_count=count)
        observed = SmoothingState(
            jnp.zeros_like(total), jnp.zeros_like(count), window, window_count, ema, ema_weight
        )
        return tree_where(is_new, observed, waiting), safe_divide(ema, ema_weight), is_new


class SmoothedMetric(OneMetric):
    """Mixin of a controller that smooths its one metric.

    The fields are those of the controller, so that each has its own order and defaults.
    """

    accumulation_size: PositiveInt
    window_size: PositiveInt
    ema_decay: DecayRate

    @property
    def smoothing(self) -> Smoothing:
        """Smoothing of the metric."""
        return Smoothing(self.accumulation_size, self.ema_decay, self.window_size)
