"""Smoothing a noisy metric before a rule judges it."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from lrsched.adaptive.base import safe_divide, tree_where
from lrsched.adaptive.controller import rule, static


class SmoothingMemory(NamedTuple):
    """What a `Smoothing` remembers, float32 and int32.

    Attributes:
      total: the sum of the metrics since the latest mean.
      seen: how many they are.
      window: the latest means, the newest first.
      filled: how many of them are known.
      average: their exponential average, not yet divided by ``weight``.
      weight: the weights in ``average``.
    """

    total: jax.Array
    seen: jax.Array
    window: jax.Array
    filled: jax.Array
    average: jax.Array
    weight: jax.Array


@rule
class Smoothing:
    """Means of ``accumulation_size`` metrics, then of the latest ``window_size``, then exponential.

    Attributes:
      accumulation_size: how many metrics make one observation, their mean.
      decay: of the exponential average of the observations; 0 is none.
      window_size: over how many observations a moving mean goes.
    """

    accumulation_size: int
    decay: float
    window_size: int = static()

    def init(self) -> SmoothingMemory:
        """Nothing seen."""
        zero, none = jnp.zeros([], jnp.float32), jnp.zeros([], jnp.int32)
        window = jnp.zeros(self.window_size, jnp.float32)
        return SmoothingMemory(zero, none, window, none, zero, zero)

    def add(
        self, memory: SmoothingMemory, value: jax.Array
    ) -> tuple[SmoothingMemory, jax.Array, jax.Array]:
        """The new memory, the smoothed metric, and whether it is a new observation."""
        total, seen = memory.total + value, memory.seen + 1
        is_new = seen >= self.accumulation_size
        window = jnp.concatenate([(total / seen)[None], memory.window[:-1]])
        filled = jnp.minimum(memory.filled + 1, self.window_size)
        mean = jnp.sum(window) / filled
        average = self.decay * memory.average + (1 - self.decay) * mean
        weight = self.decay * memory.weight + (1 - self.decay)
        zero, none = jnp.zeros_like(total), jnp.zeros_like(seen)
        waiting = memory._replace(total=total, seen=seen)
        observed = SmoothingMemory(zero, none, window, filled, average, weight)
        return tree_where(is_new, observed, waiting), safe_divide(average, weight), is_new
