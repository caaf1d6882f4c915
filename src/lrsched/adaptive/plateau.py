"""Controllers that count: they change the rate when a metric stops improving or gets worse."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.typing import ArrayLike

from lrsched.adaptive._factory import make_factory
from lrsched.adaptive.base import safe_divide, tree_where, zero_count
from lrsched.adaptive.controller import controller_dataclass, scale_by_controller, static_field
from lrsched.adaptive.smoothing import SmoothedMetric, SmoothingState
from lrsched.arguments import (
    DecayRate,
    FloatAtLeastOne,
    Mode,
    NonNegativeFloat,
    NonNegativeInt,
    OpenUnitFloat,
    PositiveInt,
    UnitFloat,
    not_accepted,
)

if TYPE_CHECKING:
    from collections.abc import Mapping


class PlateauState(NamedTuple):
    """State of `reduce_on_plateau`.

    Attributes:
      best_value: Best observation, a float32 scalar; its negative with ``mode="max"``. Infinity
        before the first observation.
      plateau_count: Number of observations in a row that did not improve on it, an int32 scalar.
      cooldown_count: Number of further observations that are not counted, an int32 scalar.
      smoothing: Metrics that are not an observation yet.
    """

    best_value: jax.Array
    plateau_count: jax.Array
    cooldown_count: jax.Array
    smoothing: SmoothingState


@controller_dataclass
class ReduceOnPlateau(SmoothedMetric):
    """Multiply the rate by ``factor`` after ``patience`` observations without an improvement.

    Metrics arrive with ``update(..., value=...)`` or through `observe`, whenever there are any. An
    observation is an improvement if it is below ``best - (rtol * abs(best) + atol)``. PyTorch,
    transformers and optax use ``best * (1 - rtol)`` instead, which lies above a negative best:
    there, worse metrics count as better and the rate is never lowered.

    Args:
      factor: Factor of the rate, in (0, 1).
      patience: Number of observations without an improvement that lower the rate, counted as in
        optax and Keras. PyTorch waits for one more; `lrsched.compat.torch` does too.
      mode: ``"min"`` if a lower metric is better, ``"max"`` for metrics such as an accuracy.
      rtol: Relative margin of an improvement.
      atol: Absolute margin of an improvement.
      cooldown: Number of observations after a reduction that are not counted.
      min_scale: Smallest factor that the rate is multiplied by in total, in [0, 1].
      accumulation_size: Number of metrics whose mean is one observation.
      window_size: Number of observations in a moving mean. 1 disables it.
      ema_decay: Decay of an exponential moving average of the observations. 0 disables it.
      active_from: Number of updates before which no metric is observed, such as the length of a
        warmup.
      metric: Name of the keyword argument of ``update`` and `observe`.
      min_change: Changes of the scale that are not larger than this are skipped.

    Returns:
      An ``optax.GradientTransformationExtraArgs`` whose state is a `ControllerState`.

    Raises:
      ValueError: If an argument is out of its range.

    Example:
      >>> import jax.numpy as jnp, lrsched
      >>> optimizer = lrsched.reduce_on_plateau(factor=0.5, patience=2)
      >>> state = optimizer.init(jnp.zeros(1))
      >>> for loss in [-1.0, -2.0, -1.5, -1.5]:
      ...     updates, state = optimizer.update(jnp.ones(1), state, value=loss)
      >>> updates.tolist()
      [0.5]
    """

    factor: OpenUnitFloat = 0.1
    patience: PositiveInt = 10
    _: dataclasses.KW_ONLY
    mode: Mode = static_field(default="min")
    rtol: NonNegativeFloat = 1e-4
    atol: NonNegativeFloat = 0.0
    cooldown: NonNegativeInt = 0
    min_scale: UnitFloat = 0.0
    accumulation_size: PositiveInt = 1
    window_size: PositiveInt = static_field(default=1)
    ema_decay: DecayRate = 0.0
    active_from: NonNegativeInt = 0
    metric: str = static_field(default="value")
    min_change: NonNegativeFloat = 0.0

    def init(self) -> PlateauState:
        """Return the state before the first metric."""
        return PlateauState(_infinity(), zero_count(), zero_count(), self.smoothing.init())

    def observe(
        self, state: PlateauState, scale: jax.Array, metrics: Mapping[str, jax.Array]
    ) -> tuple[PlateauState, jax.Array]:
        """Count one observation, and lower the scale when the count reaches the patience."""
        smoothing, value, is_new = self.smoothing.update(state.smoothing, metrics[self.metric])
        value = _lower_is_better(value, self.mode)
        # The best value stays comparable during a cooldown; only counting pauses.
        threshold = state.best_value - _margin(state.best_value, self.rtol, self.atol)
        is_better = is_new & (value < threshold)
        is_cooling = state.cooldown_count > 0
        plateau_count = jnp.where(is_better | is_cooling, 0, state.plateau_count + 1)

        is_plateau = is_new & ~is_cooling & (plateau_count >= self.patience)
        lowered = jnp.maximum(scale * self.factor, self.min_scale)
        remaining = jnp.maximum(state.cooldown_count - 1, 0)
        cooldown_count = jnp.where(is_plateau, self.cooldown, remaining)
        new_state = PlateauState(
            jnp.where(is_better, value, state.best_value),
            jnp.where(is_new, jnp.where(is_plateau, 0, plateau_count), state.plateau_count),
            jnp.where(is_new, cooldown_count, state.cooldown_count),
            smoothing,
        )
        is_lowered = is_plateau & (scale - lowered > self.min_change)
        return new_state, jnp.where(is_lowered, lowered, scale)


reduce_on_plateau = make_factory(ReduceOnPlateau, scale_by_controller)


class GreedyState(NamedTuple):
    """State of `greedy`.

    Attributes:
      best_value: Best observation, a float32 scalar; its negative with ``mode="max"``. Infinity
        before the first observation.
      improvement_count: Number of observations in a row that improved on it, an int32 scalar.
      plateau_count: Number of observations in a row that did not, an int32 scalar.
      cooldown_count: Number of further observations that are not counted because the rate was
        lowered, an int32 scalar.
      warmup_count: Number of further observations that are not counted because the rate was raised,
        an int32 scalar.
      lowerings_before_reset: Number of further reductions at ``min_scale`` that reset the state, an
        int32 scalar.
      smoothing: Metrics that are not an observation yet.
    """

    best_value: jax.Array
    improvement_count: jax.Array
    plateau_count: jax.Array
    cooldown_count: jax.Array
    warmup_count: jax.Array
    lowerings_before_reset: jax.Array
    smoothing: SmoothingState


@controller_dataclass
class Greedy(SmoothedMetric):
    """GreedyLR: raise the rate while a metric improves, and lower it while it does not.

    After ``patience`` improvements in a row the rate is divided by ``factor``, after ``patience``
    observations in a row without one it is multiplied by it. After ``reset_after`` reductions at
    ``min_scale`` the state and the scale are reset, the scale to 1.

    Args:
      factor: Factor of a reduction and divisor of a raise, in (0, 1).
      patience: Number of observations in a row that change the rate.
      mode: ``"min"`` if a lower metric is better, ``"max"`` for metrics such as an accuracy.
      rtol: Relative margin of an improvement.
      atol: Absolute margin of an improvement.
      cooldown: Number of observations after a reduction that are not counted.
      warmup: Number of observations after a raise that are not counted.
      min_scale: Smallest factor that the rate is multiplied by in total, in [0, 1].
      max_scale: Largest factor that the rate is multiplied by in total, at least 1.
      reset_after: Number of reductions at ``min_scale`` that reset the state.
      accumulation_size: Number of metrics whose mean is one observation.
      window_size: Number of observations in a moving mean. 1 disables it.
      ema_decay: Decay of an exponential moving average of the observations. 0 disables it.
      active_from: Number of updates before which no metric is observed, such as the length of a
        warmup.
      metric: Name of the keyword argument of ``update`` and `observe`.
      min_change: Changes of the scale that are not larger than this are skipped.

    Returns:
      An ``optax.GradientTransformationExtraArgs`` whose state is a `ControllerState`.

    Raises:
      ValueError: If an argument is out of its range.

    Example:
      >>> import jax.numpy as jnp, lrsched
      >>> optimizer = lrsched.greedy(factor=0.5, patience=2)
      >>> state = optimizer.init(jnp.zeros(1))
      >>> for loss in [3.0, 2.0, 1.0, 1.0, 1.0]:
      ...     updates, state = optimizer.update(jnp.ones(1), state, value=loss)
      ...     print(updates.item())
      1.0
      2.0
      2.0
      2.0
      1.0

    References:
      Subramaniam et al. (2025), arXiv:2512.14527. transformers 5 counts to ``patience + 1``, has
      absolute bounds and never raises a rate that starts below its ``min_lr`` to it;
      `lrsched.compat.transformers` has that version.
    """

    factor: OpenUnitFloat = 0.95
    patience: PositiveInt = 10
    _: dataclasses.KW_ONLY
    mode: Mode = static_field(default="min")
    rtol: NonNegativeFloat = 0.0
    atol: NonNegativeFloat = 1e-6
    cooldown: NonNegativeInt = 0
    warmup: NonNegativeInt = 0
    min_scale: UnitFloat = 0.01
    max_scale: FloatAtLeastOne = 100.0
    reset_after: PositiveInt = 500
    accumulation_size: PositiveInt = 1
    window_size: PositiveInt = static_field(default=1)
    ema_decay: DecayRate = 0.0
    active_from: NonNegativeInt = 0
    metric: str = static_field(default="value")
    min_change: NonNegativeFloat = 0.0

    def init(self) -> GreedyState:
        """Return the state before the first metric."""
        return GreedyState(
            best_value=_infinity(),
            improvement_count=zero_count(),
            plateau_count=zero_count(),
            cooldown_count=zero_count(),
            warmup_count=zero_count(),
            lowerings_before_reset=jnp.asarray(self.reset_after, jnp.int32),
            smoothing=self.smoothing.init(),
        )

    def observe(
        self, state: GreedyState, scale: jax.Array, metrics: Mapping[str, jax.Array]
    ) -> tuple[GreedyState, jax.Array]:
        """Count one observation, and change the scale when a count reaches the patience."""
        smoothing, value, is_new = self.smoothing.update(state.smoothing, metrics[self.metric])
        value = _lower_is_better(value, self.mode)
        is_cooling = state.cooldown_count > 0
        is_warming = ~is_cooling & (state.warmup_count > 0)
        is_counted = is_new & ~is_cooling & ~is_warming
        threshold = state.best_value - _margin(state.best_value, self.rtol, self.atol)
        is_better = is_counted & (value < threshold)
        improvement_count = jnp.where(is_better, state.improvement_count + 1, 0)
        plateau_count = jnp.where(is_counted & ~is_better, state.plateau_count + 1, 0)

        raises = is_counted & (improvement_count >= self.patience)
        lowers = is_counted & ~raises & (plateau_count >= self.patience)
        raised = jnp.minimum(scale / self.factor, self.max_scale)
        lowered = jnp.maximum(scale * self.factor, self.min_scale)
        new_scale = jnp.where(raises & (raised - scale > self.min_change), raised, scale)
        new_scale = jnp.where(lowers & (scale - lowered > self.min_change), lowered, new_scale)

        is_at_minimum = lowers & (new_scale <= self.min_scale)
        lowerings_before_reset = state.lowerings_before_reset - is_at_minimum
        resets = lowers & (lowerings_before_reset <= 0)
        warmup_count = jnp.where(resets, 0, state.warmup_count - is_warming)
        observed = GreedyState(
            best_value=jnp.where(resets, jnp.inf, jnp.where(is_better, value, state.best_value)),
            improvement_count=jnp.where(raises | resets, 0, improvement_count),
            plateau_count=jnp.where(lowers, 0, plateau_count),
            cooldown_count=jnp.where(
                lowers, self.cooldown, jnp.maximum(state.cooldown_count - 1, 0)
            ),
            warmup_count=jnp.where(raises, self.warmup, warmup_count),
            lowerings_before_reset=jnp.where(
                raises | resets, self.reset_after, lowerings_before_reset
            ),
            # Zeros like the state, not `Smoothing.init`: its window_size may be traced here.
            smoothing=tree_where(resets, optax.tree.zeros_like(smoothing), smoothing),
        )
        waiting = state._replace(smoothing=smoothing)
        return tree_where(is_new, observed, waiting), jnp.where(resets, 1.0, new_scale)


greedy = make_factory(Greedy, scale_by_controller)


class OverfittingState(NamedTuple):
    """State of `reduce_on_overfitting`.

    Attributes:
      best_value: Best validation metric, a float32 scalar; its negative with ``mode="max"``.
        Infinity before the first validation.
      train_loss_at_best: Training loss of the validation with that metric, a float32 scalar.
      train_loss: Mean training loss between the latest two validations, a float32 scalar.
      train_loss_sum: Sum of the training losses since the latest validation, a float32 scalar.
      train_loss_count: Number of training losses in that sum, an int32 scalar.
      overfit_count: Number of validations in a row with a worse metric and a lower training loss,
        an int32 scalar.
      cooldown_count: Number of further validations that are not counted, an int32 scalar.
    """

    best_value: jax.Array
    train_loss_at_best: jax.Array
    train_loss: jax.Array
    train_loss_sum: jax.Array
    train_loss_count: jax.Array
    overfit_count: jax.Array
    cooldown_count: jax.Array


@controller_dataclass
class ReduceOnOverfitting:
    """Lower the rate when the validation metric gets worse while the training loss falls.

    The training loss arrives at every update, the validation metric whenever it is known, each as a
    keyword of ``update`` or through `observe`. The mean of the training losses since the latest
    validation is the training loss of the next one. A validation counts as overfitting if its
    metric exceeds the best one by more than ``rtol * abs(best) + atol`` while its training loss is
    below that of the best one. After ``patience`` of them in a row the rate is multiplied by
    ``factor``, and the latest validation becomes the best one: if the reduction does not help, the
    rate is lowered again only when the validation metric gets worse still.

    Args:
      factor: Factor of the rate, in (0, 1).
      patience: Number of overfitting validations in a row that lower the rate.
      mode: ``"min"`` if a lower validation metric is better, ``"max"`` for metrics such as an
        accuracy.
      rtol: Relative margin of a worse validation metric.
      atol: Absolute margin of a worse validation metric.
      cooldown: Number of validations after a reduction that are not counted.
      min_scale: Smallest factor that the rate is multiplied by in total, in [0, 1].
      active_from: Number of updates before which no metric is observed, such as the length of a
        warmup.
      training_metric: Name of the keyword argument of the training loss.
      validation_metric: Name of the keyword argument of the validation metric.

    Returns:
      An ``optax.GradientTransformationExtraArgs`` whose state is a `ControllerState`.

    Raises:
      ValueError: If an argument is out of its range, or if both metrics have one name.

    Example:
      >>> import jax.numpy as jnp, lrsched
      >>> optimizer = lrsched.reduce_on_overfitting(factor=0.5, patience=2)
      >>> state = optimizer.init(jnp.zeros(1))
      >>> for training, validation in [(1.0, 1.0), (0.8, 0.9), (0.6, 1.0), (0.4, 1.1)]:
      ...     updates, state = optimizer.update(jnp.ones(1), state, value=training)
      ...     state = lrsched.observe(state, validation=validation)
      >>> float(state.scale)
      0.5
    """

    factor: OpenUnitFloat = 0.5
    patience: PositiveInt = 2
    _: dataclasses.KW_ONLY
    mode: Mode = static_field(default="min")
    rtol: NonNegativeFloat = 0.0
    atol: NonNegativeFloat = 0.0
    cooldown: NonNegativeInt = 0
    min_scale: UnitFloat = 0.0
    active_from: NonNegativeInt = 0
    training_metric: str = static_field(default="value")
    validation_metric: str = static_field(default="validation")

    def __post_init__(self) -> None:
        """Check the names of the metrics."""
        if self.training_metric == self.validation_metric:
            name, requirement = self.validation_metric, "another name than training_metric"
            raise not_accepted("reduce_on_overfitting", "validation_metric", name, requirement)

    @property
    def metric_names(self) -> tuple[str, ...]:
        """Names of the training loss and of the validation metric."""
        return (self.training_metric, self.validation_metric)

    def init(self) -> OverfittingState:
        """Return the state before the first metric."""
        return OverfittingState(
            best_value=_infinity(),
            train_loss_at_best=_infinity(),
            train_loss=_infinity(),
            train_loss_sum=jnp.zeros([], jnp.float32),
            train_loss_count=zero_count(),
            overfit_count=zero_count(),
            cooldown_count=zero_count(),
        )

    def observe(
        self, state: OverfittingState, scale: jax.Array, metrics: Mapping[str, jax.Array]
    ) -> tuple[OverfittingState, jax.Array]:
        """Add a training loss, judge a validation metric, or both."""
        if self.training_metric in metrics:
            state = state._replace(
                train_loss_sum=state.train_loss_sum + metrics[self.training_metric],
                train_loss_count=state.train_loss_count + 1,
            )
        if self.validation_metric not in metrics:
            return state, scale
        value = _lower_is_better(metrics[self.validation_metric], self.mode)
        mean = safe_divide(state.train_loss_sum, state.train_loss_count)
        train_loss = jnp.where(state.train_loss_count > 0, mean, state.train_loss)
        margin = _margin(state.best_value, self.rtol, self.atol)
        is_worse = value > state.best_value + margin
        is_cooling = state.cooldown_count > 0
        overfits = is_worse & (train_loss < state.train_loss_at_best) & ~is_cooling
        overfit_count = jnp.where(overfits, state.overfit_count + 1, 0)

        lowers = overfit_count >= self.patience
        becomes_best = (value < state.best_value) | lowers
        # The inner maximum could raise a scale that is below min_scale already.
        lowered = jnp.minimum(jnp.maximum(scale * self.factor, self.min_scale), scale)
        new_state = OverfittingState(
            best_value=jnp.where(becomes_best, value, state.best_value),
            train_loss_at_best=jnp.where(becomes_best, train_loss, state.train_loss_at_best),
            train_loss=train_loss,
            train_loss_sum=jnp.zeros_like(state.train_loss_sum),
            train_loss_count=jnp.zeros_like(state.train_loss_count),
            overfit_count=jnp.where(lowers, 0, overfit_count),
            cooldown_count=jnp.where(
                lowers, self.cooldown, jnp.maximum(state.cooldown_count - 1, 0)
            ),
        )
        return new_state, jnp.where(lowers, lowered, scale)


reduce_on_overfitting = make_factory(ReduceOnOverfitting, scale_by_controller)


def _lower_is_better(value: jax.Array, mode: str) -> jax.Array:
    return value if mode == "min" else -value


def _margin(best: jax.Array, rtol: ArrayLike, atol: ArrayLike) -> jax.Array:
    # Before the first observation the best value is infinite, and so would be a relative margin:
    # inf - inf is NaN.
    return jnp.where(jnp.isfinite(best), rtol * jnp.abs(best) + atol, 0.0)


def _infinity() -> jax.Array:
    return jnp.asarray(np.inf, jnp.float32)
