"""A controller that follows how far an update moved a policy: for reinforcement learning."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, NamedTuple

import jax
import jax.numpy as jnp

from lrsched.adaptive._factory import make_factory
from lrsched.adaptive.controller import controller_dataclass, scale_by_controller, static_field
from lrsched.adaptive.smoothing import SmoothedMetric, SmoothingState
from lrsched.arguments import (
    DecayRate,
    FloatAtLeastOne,
    GrowthLimit,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    UnitFloat,
)

if TYPE_CHECKING:
    from collections.abc import Mapping


class KlState(NamedTuple):
    """State of `adaptive_kl`.

    Attributes:
      smoothing: Metrics that are not an observation yet.
    """

    smoothing: SmoothingState


@controller_dataclass
class AdaptiveKl(SmoothedMetric):
    """Rate of PPO that keeps the divergence between two policies near a target.

    Divides the rate by ``factor`` if the divergence is above ``2 target``, multiplies it if it is
    below ``target / 2``, and leaves it unchanged at exactly 0, where nothing was measured.

    Args:
      target: Divergence to aim at, above 0.
      factor: Factor of one change, above 1.
      min_scale: Smallest factor that the rate is multiplied by in total, in [0, 1].
      max_scale: Largest factor that the rate is multiplied by in total, at least 1.
      accumulation_size: Number of metrics whose mean is one observation, such as the minibatches of
        an iteration.
      window_size: Number of observations in a moving mean. 1 disables it.
      ema_decay: Decay of an exponential moving average of the observations. 0 disables it.
      active_from: Number of updates before which no metric is observed.
      metric: Name of the keyword argument of ``update`` and `observe`.

    Returns:
      An ``optax.GradientTransformationExtraArgs`` whose state is a `ControllerState`.

    Raises:
      ValueError: If an argument is out of its range.

    Example:
      >>> import jax.numpy as jnp, lrsched
      >>> optimizer = lrsched.adaptive_kl(0.01, metric="kl")
      >>> state = optimizer.init(jnp.zeros(1))
      >>> for kl in [0.001, 0.01, 0.03, 0.03]:
      ...     updates, state = optimizer.update(jnp.ones(1), state, kl=kl)
      ...     print(round(updates.item(), 4))
      1.5
      1.5
      1.0
      0.6667

    References:
      The adaptive rate of brax's PPO (google/brax at 0b96d05, training/agents/ppo/optimizer.py),
      after Schulman et al. 2017 (arXiv 1707.06347), who adapt a penalty by the same thresholds.
    """

    target: PositiveFloat = 0.01
    factor: GrowthLimit = 1.5
    _: dataclasses.KW_ONLY
    min_scale: UnitFloat = 0.1
    max_scale: FloatAtLeastOne = 100.0
    accumulation_size: PositiveInt = 1
    window_size: PositiveInt = static_field(default=1)
    ema_decay: DecayRate = 0.0
    active_from: NonNegativeInt = 0
    metric: str = static_field(default="value")

    def init(self) -> KlState:
        """Return the state before the first metric."""
        return KlState(self.smoothing.init())

    def observe(
        self, state: KlState, scale: jax.Array, metrics: Mapping[str, jax.Array]
    ) -> tuple[KlState, jax.Array]:
        """Compare one divergence with the target."""
        smoothing, kl, is_new = self.smoothing.update(state.smoothing, metrics[self.metric])
        lowered = jnp.maximum(scale / self.factor, self.min_scale)
        raised = jnp.minimum(scale * self.factor, self.max_scale)
        is_low = (kl > 0) & (kl < self.target / 2)
        new_scale = jnp.where(kl > 2 * self.target, lowered, jnp.where(is_low, raised, scale))
        return KlState(smoothing), jnp.where(is_new, new_scale, scale)


adaptive_kl = make_factory(AdaptiveKl, scale_by_controller)
