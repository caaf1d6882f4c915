"""Schedules of Keras (``keras.optimizers.schedules``) as schedules that are data.

Three things that Keras does and these do not:

* Keras computes in the type of ``initial_learning_rate``. An int makes every rate an int: the
  example of its own documentation, ``CosineDecay(0, 1000, warmup_target=0.1, warmup_steps=1000)``,
  is always 0. Here a rate is a float.
* Keras divides the step in float32, which ``jit`` turns into a product. In training, as opposed to
  a direct call, its ``staircase=True`` then comes a step late for some ``decay_steps`` (41 is the
  least), and `CosineDecayRestarts` for some ``t_mul`` (10). Here they are on time.
* Keras ignores ``warmup_steps`` without a ``warmup_target``. Here that raises.
"""

from __future__ import annotations

import operator
import re
from typing import Annotated, TypeAlias

import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike

from lrsched import (
    Schedule,
    cosine,
    cosine_restarts,
    exponential,
    inverse_time,
    piecewise_constant,
    polynomial,
    reduce_on_plateau,
    schedule,
)
from lrsched.arguments import (
    Boundaries,
    CycleGrowth,
    FiniteFloat,
    FiniteFloats,
    NonNegativeFloat,
    NonNegativeInt,
    OpenUnitFloat,
    PositiveFloat,
    PositiveInt,
    not_accepted,
    one_of,
)
from lrsched.compat._cycles import cycle_at
from lrsched.compat._plateau import Rate, min_scale_of
from lrsched.compat._porting import (
    Count,
    MissingAttribute,
    after_warmup,
    exact_growth,
    is_known,
    missing_attribute,
    ported,
)
from lrsched.numerics import fraction, int_power, lerp
from lrsched.schedules.ramps import evaluate_ramp

__all__ = [
    "CosineDecay",
    "CosineDecayRestarts",
    "ExponentialDecay",
    "InverseTimeDecay",
    "PiecewiseConstantDecay",
    "PolynomialDecay",
    "ReduceLROnPlateau",
]

__getattr__: MissingAttribute = missing_attribute(
    __name__,
    __all__,
    {"LearningRateSchedule": "any function of the step becomes a schedule by @lrsched.schedule"},
)

_INCREASING = frozenset(
    {
        *("accuracy", "acc", "binary_accuracy", "categorical_accuracy"),
        *("sparse_categorical_accuracy", "top_k_categorical_accuracy"),
        *("sparse_top_k_categorical_accuracy", "precision", "recall", "auc"),
        *("sensitivity_at_specificity", "specificity_at_sensitivity", "precision_at_recall"),
        *("recall_at_precision", "pearson_correlation", "concordance_correlation"),
        *("fbeta_score", "f1_score", "f1", "io_u", "iou", "binary_io_u", "binary_iou"),
        *("mean_io_u", "mean_iou", "one_hot_io_u", "one_hot_mean_io_u", "cosine_similarity"),
        "r2_score",
    }
)
"""Names of Keras' metrics whose ``_direction`` is "up", and two abbreviations."""
_DECREASING = frozenset(
    {
        *("loss", "hinge", "squared_hinge", "categorical_hinge", "kl_divergence", "poisson"),
        *("crossentropy", "binary_crossentropy", "categorical_crossentropy"),
        *("sparse_categorical_crossentropy", "logcosh", "log_cosh", "bce", "mse", "mae", "mape"),
        *("msle", "rmse"),
    }
)
"""Names of Keras' metrics whose ``_direction`` is "down", and its abbreviations of them."""


def _direction(monitor: str) -> str:
    """Return ``"min"`` or ``"max"`` for a metric by its name.

    Keras 3.15 reads the direction from the metric object and refuses a metric without one. Here
    only the name is known, so that a name that does not settle the direction is refused.
    """
    # Keras numbers the second metric of a class: auc, auc_1.
    name = re.sub(r"_\d+$", "", monitor.removeprefix("val_")).lower()
    if name in _INCREASING or name.endswith("_accuracy"):
        return "max"
    if name in _DECREASING or name.endswith(("_loss", "_error", "_crossentropy")):
        return "min"
    raise ValueError(
        f"ReduceLROnPlateau: mode='auto' is not accepted with monitor={monitor!r}, a name that "
        "does not say in which direction it improves; pass mode='min' or mode='max'."
    )


MonitorMode: TypeAlias = Annotated[str, one_of("MonitorMode", ("auto", "min", "max"))]
"""Direction in which a metric improves; "auto" infers it from the name of the metric."""


@ported
def ExponentialDecay(  # noqa: N802
    initial_learning_rate: FiniteFloat,
    decay_steps: PositiveInt,
    decay_rate: PositiveFloat,
    staircase: bool = False,
    name: str = "ExponentialDecay",
) -> Schedule:
    """A geometric sequence: ``initial_learning_rate * decay_rate**(t / decay_steps)``.

    Args:
      initial_learning_rate: Rate at step 0.
      decay_steps: Length of one period, in steps.
      decay_rate: Multiplier of each period.
      staircase: Whether to multiply at the end of each period only.
      name: Accepted and ignored; it does not change the rate.

    Returns:
      A `Schedule` with the values of the original.

    >>> from lrsched.compat import keras
    >>> keras.ExponentialDecay(1.0, decay_steps=10, decay_rate=0.25)([0, 5, 10]).tolist()
    [1.0, 0.5, 0.25]
    """
    return exponential(initial_learning_rate, decay_rate, decay_steps, staircase=staircase)


@ported
def PiecewiseConstantDecay(  # noqa: N802
    boundaries: Boundaries, values: FiniteFloats, name: str = "PiecewiseConstant"
) -> Schedule:
    """Piecewise constant rate: ``values[i]`` if ``i`` boundaries are *before* ``t``.

    At the boundary itself Keras keeps the earlier value, so that the next one begins a step after.

    Args:
      boundaries: Last step of each value but the last, increasing.
      values: Rates, one more than there are boundaries.
      name: Accepted and ignored; it does not change the rate.

    Returns:
      A `Schedule` with the values of the original.

    >>> from lrsched.compat import keras
    >>> keras.PiecewiseConstantDecay([10, 20], [1.0, 0.5, 0.25])([10, 11, 20, 21]).tolist()
    [1.0, 0.5, 0.5, 0.25]
    """
    return piecewise_constant(values, operator.add(boundaries, 1))


@ported
def PolynomialDecay(  # noqa: N802
    initial_learning_rate: FiniteFloat,
    decay_steps: PositiveInt,
    end_learning_rate: FiniteFloat = 0.0001,
    power: PositiveFloat = 1.0,
    cycle: bool = False,
    name: str = "PolynomialDecay",
) -> Schedule:
    """Polynomial decay: ``end + (initial - end) (1 - t / decay_steps)**power``.

    With ``cycle=True`` the length is the first multiple of ``decay_steps`` that ``t`` does not
    exceed: the rate falls to the end each time and jumps back, lower each time.

    Args:
      initial_learning_rate: Rate at step 0.
      decay_steps: Length of the decay.
      end_learning_rate: Rate at the end.
      power: Exponent of the polynomial. Must be above 0.
      cycle: Whether the rate jumps back after the end and decays again.
      name: Accepted and ignored; it does not change the rate.

    Returns:
      A `Schedule` with the values of the original.

    >>> from lrsched.compat import keras
    >>> keras.PolynomialDecay(1.0, 4, end_learning_rate=0.0)([0, 2, 4, 5]).tolist()
    [1.0, 0.5, 0.0, 0.0]
    >>> keras.PolynomialDecay(1.0, 4, 0.0, cycle=True)([0, 2, 4, 6, 8, 9]).tolist()
    [1.0, 0.5, 0.0, 0.25, 0.0, 0.25]
    """
    decay = _cycling_polynomial if cycle else polynomial
    return decay(initial_learning_rate, end_learning_rate, decay_steps, power)


@schedule(name="keras.cycling_polynomial")
def _cycling_polynomial(
    step: jax.Array,
    init: FiniteFloat,
    end: FiniteFloat,
    steps: PositiveInt,
    power: PositiveFloat,
) -> ArrayLike:
    """``end + (init - end) (1 - t / (n steps))**power``, ``n = max(ceil(t / steps), 1)``."""
    left = jnp.where(step == 0, steps, -step % jnp.asarray(steps))
    whole = step.astype(jnp.float32) + left
    return lerp(end, init, fraction(left, whole) ** power)


@ported
def InverseTimeDecay(  # noqa: N802
    initial_learning_rate: FiniteFloat,
    decay_steps: PositiveInt,
    decay_rate: PositiveFloat,
    staircase: bool = False,
    name: str = "InverseTimeDecay",
) -> Schedule:
    """The reciprocal of the time: ``initial_learning_rate / (1 + decay_rate t / decay_steps)``.

    Args:
      initial_learning_rate: Rate at step 0.
      decay_steps: Length of one period, in steps.
      decay_rate: Increase of the denominator in each period.
      staircase: Whether the denominator grows at the end of each period only.
      name: Accepted and ignored; it does not change the rate.

    Returns:
      A `Schedule` with the values of the original.

    >>> from lrsched.compat import keras
    >>> keras.InverseTimeDecay(1.0, decay_steps=10, decay_rate=1.0)([0, 10, 30]).tolist()
    [1.0, 0.5, 0.25]
    """
    return inverse_time(initial_learning_rate, decay_rate, decay_steps, staircase)


@ported
def CosineDecay(  # noqa: N802
    initial_learning_rate: FiniteFloat,
    decay_steps: PositiveInt,
    alpha: FiniteFloat = 0.0,
    name: str = "CosineDecay",
    warmup_target: FiniteFloat | None = None,
    warmup_steps: NonNegativeInt = 0,
) -> Schedule:
    """Half a cosine from the peak to ``alpha`` of it, after a linear rise if there is a target.

    ``peak ((1 - alpha) (1 + cos(pi t / decay_steps)) / 2 + alpha)``. The peak is ``warmup_target``
    if given, else ``initial_learning_rate``.

    Args:
      initial_learning_rate: Rate at step 0.
      decay_steps: Length of the cosine, *without* the warmup.
      alpha: Last rate, as a fraction of the peak.
      name: Accepted and ignored; it does not change the rate.
      warmup_target: Rate after the warmup. If None, there is no warmup.
      warmup_steps: Length of the warmup. With 0 the target is the first rate.

    Returns:
      A `Schedule` with the values of the original.

    Raises:
      ValueError: If ``warmup_steps`` is passed without ``warmup_target``, which Keras ignores.

    >>> from lrsched.compat import keras
    >>> keras.CosineDecay(0.0, 900, alpha=0.5, warmup_target=1.0, warmup_steps=100)
    join(linear(init=0.0, end=1.0, steps=100), cosine(peak=1.0, steps=900, end=0.5))
    """
    if warmup_target is None and not is_known(warmup_steps, 0):
        requirement = "0 without a warmup_target to rise to"
        raise not_accepted("CosineDecay", "warmup_steps", warmup_steps, requirement)
    peak = initial_learning_rate if warmup_target is None else warmup_target
    decay = cosine(peak, decay_steps, alpha * peak)
    return after_warmup(initial_learning_rate, peak, warmup_steps, decay)


@ported
def CosineDecayRestarts(  # noqa: N802
    initial_learning_rate: FiniteFloat,
    first_decay_steps: PositiveInt,
    t_mul: CycleGrowth = 2.0,
    m_mul: PositiveFloat = 1.0,
    alpha: FiniteFloat = 0.0,
    name: str = "SGDRDecay",
) -> Schedule:
    """Cosines with warm restarts, each ``t_mul`` times as long as the previous one.

    In cycle ``k``, at ``x`` of its length:
    ``initial ((1 - alpha) m_mul**k (1 + cos(pi x)) / 2 + alpha)``.

    A cycle of a fractional length begins between two steps, unlike those of
    `lrsched.cosine_restarts`; a whole ``t_mul`` is exact at every step, where float32 is not.

    Args:
      initial_learning_rate: Rate at step 0.
      first_decay_steps: Length of the first cycle.
      t_mul: Ratio of the lengths of consecutive cycles, at least 1.
      m_mul: Multiplier of the cosine, without ``alpha``, at each restart.
      alpha: Lowest rate, as a fraction of ``initial_learning_rate``.
      name: Accepted and ignored; it does not change the rate.

    Returns:
      A `Schedule` with the values of the original.

    >>> from lrsched.compat import keras
    >>> schedule = keras.CosineDecayRestarts(1.0, first_decay_steps=10, m_mul=0.5, alpha=0.5)
    >>> schedule([0, 5, 10, 20, 30]).tolist()
    [1.0, 0.75, 0.75, 0.625, 0.625]
    """
    height = operator.sub(1, alpha) * initial_learning_rate
    growth = exact_growth(t_mul)
    if growth is t_mul:  # traced, or no whole number
        cosines = _fractional_restarts(height, first_decay_steps, growth, m_mul)
    else:
        cosines = cosine_restarts(height, first_decay_steps, growth=growth, decay=m_mul)
    return cosines + alpha * initial_learning_rate


@schedule(name="keras.fractional_restarts")
def _fractional_restarts(
    step: jax.Array,
    peak: FiniteFloat,
    steps: PositiveInt,
    growth: CycleGrowth,
    decay: PositiveFloat,
) -> ArrayLike:
    """`cosine_restarts` to 0 whose cycles begin between two steps."""
    cycle, past = cycle_at(step, jnp.asarray(steps), jnp.asarray(growth))
    return jnp.asarray(peak) * int_power(decay, cycle) * evaluate_ramp("cosine", 1 - past, 1)


@ported
def ReduceLROnPlateau(  # noqa: N802
    base_lr: Rate,
    monitor: str = "val_loss",
    factor: OpenUnitFloat = 0.1,
    patience: Count = 10,
    verbose: int = 0,
    mode: MonitorMode = "auto",
    min_delta: NonNegativeFloat = 1e-4,
    cooldown: Count = 0,
    min_lr: NonNegativeFloat = 0.0,
) -> optax.GradientTransformationExtraArgs:
    """The callback of this name: ``factor`` after ``patience`` epochs without an improvement.

    A transform that scales the updates of an optimizer whose rate is ``base_lr``; the metric comes
    once an epoch by `lrsched.observe`, or as ``update(..., value=metric)``. It is
    `lrsched.reduce_on_plateau`, whose ``cooldown`` is one less, as Keras counts the epoch in which
    it ends; a patience of 0 is one of 1.

    Args:
      base_lr: Learning rate of the optimizer.
      monitor: Name of the metric, for ``mode="auto"``. The metric is passed as ``value``.
      factor: Multiplier of the rate, above 0 and below 1.
      patience: Number of consecutive epochs without an improvement that lower the rate.
      verbose: Accepted and ignored; it does not change the rate.
      mode: Direction in which the metric improves. ``"auto"`` infers it from ``monitor``.
      min_delta: Smallest change that counts as an improvement.
      cooldown: Number of epochs after a reduction, of which all but the last are not counted.
      min_lr: Lowest rate, at most ``base_lr``.

    Returns:
      A transform that scales the updates.

    Raises:
      ValueError: If an argument is not in its range.

    >>> import jax.numpy as jnp
    >>> from lrsched.compat import keras
    >>> optimizer = keras.ReduceLROnPlateau(0.1, factor=0.5, patience=2)
    >>> state = optimizer.init(jnp.zeros(1))
    >>> for loss in [1.0, 1.0, 1.0]:
    ...     updates, state = optimizer.update(jnp.ones(1), state, value=loss)
    >>> updates.tolist()
    [0.5]
    """
    return reduce_on_plateau(
        factor,
        max(patience, 1),
        mode=_direction(monitor) if mode == "auto" else mode,
        rtol=0.0,
        atol=min_delta,
        cooldown=max(cooldown - 1, 0),
        min_scale=min_scale_of("ReduceLROnPlateau", min_lr, base_lr),
    )
