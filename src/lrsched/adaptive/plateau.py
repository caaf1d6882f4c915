"""Rules that count: lower the rate when a metric stops improving, or gets worse than it should."""

from collections.abc import Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from lrsched.adaptive.base import safe_divide, tree_where, zero_count
from lrsched.adaptive.controller import controller, rule, static
from lrsched.adaptive.smoothing import Smoothing, SmoothingMemory
from lrsched.arguments import (
    DecayRate,
    FloatAtLeastOne,
    Mode,
    NonNegativeFloat,
    NonNegativeInt,
    OpenUnitFloat,
    PositiveInt,
    UnitFloat,
    validate_arguments,
)


class PlateauMemory(NamedTuple):
    """What `reduce_on_plateau` remembers, float32 and int32 scalars.

    Attributes:
      best: the best metric so far; of ``mode="max"`` its negative.
      bad: the observations since then that did not improve on it.
      cooling: the observations left in which none is counted.
      smoothing: the metrics that are not yet an observation.
    """

    best: jax.Array
    bad: jax.Array
    cooling: jax.Array
    smoothing: SmoothingMemory


@rule
class Plateau:
    """The rule of `reduce_on_plateau`, whose arguments are its attributes."""

    factor: float
    patience: int
    rtol: float
    atol: float
    cooldown: int
    min_scale: float
    min_change: float
    smoothing: Smoothing
    mode: Mode = static()
    metric: str = static()

    @property
    def metrics(self) -> tuple[str, ...]:
        """The one metric."""
        return (self.metric,)

    def init(self) -> PlateauMemory:
        """No best yet."""
        return PlateauMemory(_infinity(), zero_count(), zero_count(), self.smoothing.init())

    def observe(
        self, memory: PlateauMemory, scale: jax.Array, given: Mapping[str, jax.Array]
    ) -> tuple[PlateauMemory, jax.Array]:
        """One metric more."""
        kept, value, is_new = self.smoothing.add(memory.smoothing, given[self.metric])
        value = _downwards(value, self.mode)
        is_better = is_new & (value < memory.best - _margin(memory.best, self.rtol, self.atol))
        is_cooling = memory.cooling > 0
        bad = jnp.where(is_better | is_cooling, 0, memory.bad + 1)
        is_hit = is_new & ~is_cooling & (bad >= self.patience)
        lowered = jnp.maximum(scale * self.factor, self.min_scale)
        cooling = jnp.where(is_hit, self.cooldown, jnp.maximum(memory.cooling - 1, 0))
        return (
            PlateauMemory(
                jnp.where(is_better, value, memory.best),
                jnp.where(is_new, jnp.where(is_hit, 0, bad), memory.bad),
                jnp.where(is_new, cooling, memory.cooling),
                kept,
            ),
            jnp.where(is_hit & (scale - lowered > self.min_change), lowered, scale),
        )


@validate_arguments
def reduce_on_plateau(
    factor: OpenUnitFloat = 0.1,
    patience: PositiveInt = 10,
    *,
    mode: Mode = "min",
    rtol: NonNegativeFloat = 1e-4,
    atol: NonNegativeFloat = 0.0,
    cooldown: NonNegativeInt = 0,
    min_scale: UnitFloat = 0.0,
    accumulation_size: PositiveInt = 1,
    window_size: PositiveInt = 1,
    decay: DecayRate = 0.0,
    active_from: NonNegativeInt = 0,
    metric: str = "value",
    min_change: NonNegativeFloat = 0.0,
) -> optax.GradientTransformationExtraArgs:
    """Multiply the rate by ``factor`` when a metric has not improved ``patience`` times in a row.

    Metrics come with ``update(..., value=...)``, or through `observe`, whenever there are any. One
    is an improvement where it is below ``best - (rtol * abs(best) + atol)``. PyTorch, transformers
    and optax take ``best * (1 - rtol)`` instead, which lies above a negative best: there, worse
    metrics count as better and the rate is never lowered.

    Args:
      factor: in (0, 1).
      patience: how many observations without an improvement lower the rate: optax's and Keras'
        counting. PyTorch's waits for one more; `lrsched.compat.torch` has it.
      mode: ``"min"``, or ``"max"`` for an accuracy.
      rtol: the relative margin.
      atol: the absolute margin.
      cooldown: the observations after that in which none is counted.
      min_scale: the least that the rate is multiplied by.
      accumulation_size: so many metrics make one observation, their mean.
      window_size: over so many observations a moving mean is taken.
      decay: of an exponential average of them.
      active_from: the update from which metrics are looked at, so that a warmup is not judged.
      metric: the name of the keyword argument of ``update`` and `observe`.
      min_change: changes of the scale no larger than this are not made.

    Raises:
      ValueError: an argument that is not in its range.

    >>> import jax.numpy as jnp, lrsched
    >>> optimizer = lrsched.reduce_on_plateau(factor=0.5, patience=2)
    >>> state = optimizer.init(jnp.zeros(1))
    >>> for loss in [-1.0, -2.0, -1.5, -1.5]:
    ...     updates, state = optimizer.update(jnp.ones(1), state, value=loss)
    >>> updates.tolist()
    [0.5]
    """
    smooth = Smoothing(accumulation_size, decay, window_size)
    made = Plateau(
        factor, patience, rtol, atol, cooldown, min_scale, min_change, smooth, mode, metric
    )
    return controller(made, active_from)


class GreedyMemory(NamedTuple):
    """What `greedy` remembers, float32 and int32 scalars.

    Attributes:
      best: the best metric so far; of ``mode="max"`` its negative.
      good: the latest observations in a row that improved on it.
      bad: those that did not.
      cooling: the observations left, after the rate was lowered, in which none is counted.
      warming: those left after it was raised.
      left: how often the rate may still be lowered at ``min_scale`` before all starts anew.
      smoothing: the metrics that are not yet an observation.
    """

    best: jax.Array
    good: jax.Array
    bad: jax.Array
    cooling: jax.Array
    warming: jax.Array
    left: jax.Array
    smoothing: SmoothingMemory


@rule
class Greedy:
    """The rule of `greedy`, whose arguments are its attributes."""

    factor: float
    patience: int
    rtol: float
    atol: float
    cooldown: int
    warmup: int
    min_scale: float
    max_scale: float
    reset_after: int
    min_change: float
    smoothing: Smoothing
    mode: Mode = static()
    metric: str = static()

    @property
    def metrics(self) -> tuple[str, ...]:
        """The one metric."""
        return (self.metric,)

    def init(self) -> GreedyMemory:
        """No best yet."""
        left = jnp.asarray(self.reset_after, jnp.int32)
        return GreedyMemory(
            _infinity(),
            zero_count(),
            zero_count(),
            zero_count(),
            zero_count(),
            left,
            self.smoothing.init(),
        )

    def observe(
        self, memory: GreedyMemory, scale: jax.Array, given: Mapping[str, jax.Array]
    ) -> tuple[GreedyMemory, jax.Array]:
        """One metric more."""
        kept, value, is_new = self.smoothing.add(memory.smoothing, given[self.metric])
        value = _downwards(value, self.mode)
        is_cooling = memory.cooling > 0
        is_warming = ~is_cooling & (memory.warming > 0)
        counts = is_new & ~is_cooling & ~is_warming
        is_better = counts & (value < memory.best - _margin(memory.best, self.rtol, self.atol))
        best = jnp.where(is_better, value, memory.best)
        good = jnp.where(is_better, memory.good + 1, 0)
        bad = jnp.where(counts & ~is_better, memory.bad + 1, 0)
        raises = counts & (good >= self.patience)
        lowers = counts & ~raises & (bad >= self.patience)
        raised = jnp.minimum(scale / self.factor, self.max_scale)
        lowered = jnp.maximum(scale * self.factor, self.min_scale)
        new = jnp.where(raises & (raised - scale > self.min_change), raised, scale)
        new = jnp.where(lowers & (scale - lowered > self.min_change), lowered, new)
        left = memory.left - (lowers & (new <= self.min_scale))
        resets = lowers & (left <= 0)
        observed = GreedyMemory(
            jnp.where(resets, jnp.inf, best),
            jnp.where(raises | resets, 0, good),
            jnp.where(lowers, 0, bad),
            jnp.where(lowers, self.cooldown, jnp.maximum(memory.cooling - 1, 0)),
            jnp.where(raises, self.warmup, jnp.where(resets, 0, memory.warming - is_warming)),
            jnp.where(raises | resets, self.reset_after, left),
            tree_where(resets, self.smoothing.init(), kept),
        )
        waiting = memory._replace(smoothing=kept)
        return tree_where(is_new, observed, waiting), jnp.where(resets, 1.0, new)


@validate_arguments
def greedy(
    factor: OpenUnitFloat = 0.95,
    patience: PositiveInt = 10,
    *,
    mode: Mode = "min",
    rtol: NonNegativeFloat = 0.0,
    atol: NonNegativeFloat = 1e-6,
    cooldown: NonNegativeInt = 0,
    warmup: NonNegativeInt = 0,
    min_scale: UnitFloat = 0.01,
    max_scale: FloatAtLeastOne = 100.0,
    reset_after: PositiveInt = 500,
    accumulation_size: PositiveInt = 1,
    window_size: PositiveInt = 1,
    decay: DecayRate = 0.0,
    active_from: NonNegativeInt = 0,
    metric: str = "value",
    min_change: NonNegativeFloat = 0.0,
) -> optax.GradientTransformationExtraArgs:
    """GreedyLR: divide the rate by ``factor`` while a metric improves, multiply by it when not.

    After ``patience`` improvements in a row the rate is raised, after ``patience`` observations in
    a row without one it is lowered. When it was lowered ``reset_after`` times at ``min_scale``, the
    scale starts anew at 1.

    Args:
      factor: in (0, 1).
      patience: how many observations in a row change the rate.
      mode: ``"min"``, or ``"max"`` for an accuracy.
      rtol: the relative margin of an improvement.
      atol: the absolute margin.
      cooldown: the observations after the rate was lowered in which none is counted.
      warmup: those after it was raised.
      min_scale: the least that the rate is multiplied by.
      max_scale: the most.
      reset_after: how often the rate may be lowered at ``min_scale``.
      accumulation_size: so many metrics make one observation, their mean.
      window_size: over so many observations a moving mean is taken.
      decay: of an exponential average of them.
      active_from: the update from which metrics are looked at.
      metric: the name of the keyword argument of ``update`` and `observe`.
      min_change: changes of the scale no larger than this are not made.

    Raises:
      ValueError: an argument that is not in its range.

    Source: Subramaniam et al. 2025 (arXiv 2512.14527). transformers 5 counts to ``patience + 1``,
    has absolute bounds and never raises a rate that starts below its ``min_lr`` to it:
    `lrsched.compat.transformers` has that one.

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
    """
    made = Greedy(
        factor,
        patience,
        rtol,
        atol,
        cooldown,
        warmup,
        min_scale,
        max_scale,
        reset_after,
        min_change,
        Smoothing(accumulation_size, decay, window_size),
        mode,
        metric,
    )
    return controller(made, active_from)


class OverfittingMemory(NamedTuple):
    """What `reduce_on_overfitting` remembers, float32 and int32 scalars.

    Attributes:
      best: the best validation metric so far; of ``mode="max"`` its negative.
      training_at_best: the training loss at that time.
      training: the mean training loss between the latest two validations.
      total: the sum of the training losses since.
      seen: how many they are.
      bad: the validations in a row that were worse while the training loss was lower.
      cooling: the validations left in which none is counted.
    """

    best: jax.Array
    training_at_best: jax.Array
    training: jax.Array
    total: jax.Array
    seen: jax.Array
    bad: jax.Array
    cooling: jax.Array


@rule
class Overfitting:
    """The rule of `reduce_on_overfitting`, whose arguments are its attributes."""

    factor: float
    patience: int
    rtol: float
    atol: float
    cooldown: int
    min_scale: float
    mode: Mode = static()
    training: str = static()
    validation: str = static()

    @property
    def metrics(self) -> tuple[str, ...]:
        """The training loss and the validation metric."""
        return (self.training, self.validation)

    def init(self) -> OverfittingMemory:
        """Nothing seen."""
        zero = jnp.zeros([], jnp.float32)
        return OverfittingMemory(
            _infinity(), _infinity(), _infinity(), zero, zero_count(), zero_count(), zero_count()
        )

    def observe(
        self, memory: OverfittingMemory, scale: jax.Array, given: Mapping[str, jax.Array]
    ) -> tuple[OverfittingMemory, jax.Array]:
        """A training loss, a validation metric, or both."""
        if self.training in given:
            memory = memory._replace(
                total=memory.total + given[self.training], seen=memory.seen + 1
            )
        if self.validation not in given:
            return memory, scale
        value = _downwards(given[self.validation], self.mode)
        training = jnp.where(
            memory.seen > 0, safe_divide(memory.total, memory.seen), memory.training
        )
        margin = _margin(memory.best, self.rtol, self.atol)
        is_better = value < memory.best
        overfits = (value > memory.best + margin) & (training < memory.training_at_best)
        is_cooling = memory.cooling > 0
        bad = jnp.where(overfits & ~is_cooling, memory.bad + 1, 0)
        is_hit = bad >= self.patience
        restarts = is_better | is_hit
        lowered = jnp.minimum(jnp.maximum(scale * self.factor, self.min_scale), scale)
        return (
            OverfittingMemory(
                jnp.where(restarts, value, memory.best),
                jnp.where(restarts, training, memory.training_at_best),
                training,
                jnp.zeros_like(memory.total),
                jnp.zeros_like(memory.seen),
                jnp.where(is_hit, 0, bad),
                jnp.where(is_hit, self.cooldown, jnp.maximum(memory.cooling - 1, 0)),
            ),
            jnp.where(is_hit, lowered, scale),
        )


@validate_arguments
def reduce_on_overfitting(
    factor: OpenUnitFloat = 0.5,
    patience: PositiveInt = 2,
    *,
    mode: Mode = "min",
    rtol: NonNegativeFloat = 0.0,
    atol: NonNegativeFloat = 0.0,
    cooldown: NonNegativeInt = 0,
    min_scale: UnitFloat = 0.0,
    active_from: NonNegativeInt = 0,
    training: str = "value",
    validation: str = "validation",
) -> optax.GradientTransformationExtraArgs:
    """Multiply the rate by ``factor`` when the validation loss rises while the training loss falls.

    The training loss is given at every update, the validation metric whenever it is known, as a
    keyword of ``update`` or through `observe`. The mean of the training losses since the latest
    validation is the training loss of that validation. A validation is bad where its metric is
    above the best so far by more than ``rtol * abs(best) + atol`` while the training loss is below
    what it was then. After ``patience`` of them in a row the rate is lowered, and what is best is
    measured anew from there: a rate that does not help is lowered again only when the validation
    metric rises further.

    Args:
      factor: in (0, 1).
      patience: how many bad validations in a row lower the rate.
      mode: of the validation metric: ``"min"``, or ``"max"`` for an accuracy.
      rtol: the relative margin.
      atol: the absolute margin.
      cooldown: the validations after that in which none is counted.
      min_scale: the least that the rate is multiplied by.
      active_from: the update from which metrics are looked at.
      training: the keyword under which the training loss comes.
      validation: the keyword under which the validation metric comes.

    Raises:
      ValueError: an argument that is not in its range.

    >>> import jax.numpy as jnp, lrsched
    >>> optimizer = lrsched.reduce_on_overfitting(factor=0.5, patience=2)
    >>> state = optimizer.init(jnp.zeros(1))
    >>> for training, validation in [(1.0, 1.0), (0.8, 0.9), (0.6, 1.0), (0.4, 1.1)]:
    ...     updates, state = optimizer.update(jnp.ones(1), state, value=training)
    ...     state = lrsched.observe(state, validation=validation)
    >>> float(state.scale)
    0.5
    """
    if training == validation:
        raise ValueError(
            f"reduce_on_overfitting: validation={validation!r} is not accepted; validation must be "
            f"another name than training={training!r}."
        )
    made = Overfitting(
        factor, patience, rtol, atol, cooldown, min_scale, mode, training, validation
    )
    return controller(made, active_from)


def _downwards(value: jax.Array, mode: Mode) -> jax.Array:
    return value if mode == "min" else -value


def _margin(best: jax.Array, rtol: float, atol: float) -> jax.Array:
    """Of no best yet, 0."""
    return jnp.where(jnp.isfinite(best), rtol * jnp.abs(best) + atol, 0.0)


def _infinity() -> jax.Array:
    return jnp.asarray(np.inf, jnp.float32)
