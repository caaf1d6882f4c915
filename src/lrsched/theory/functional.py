"""Laws in which the noise of the gradients, and so the batch size, appears by itself."""

from __future__ import annotations

import functools
from typing import Annotated, Final, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from lrsched.arguments import (
    ArgumentType,
    FiniteFloat,
    NonNegativeFloat,
    PositiveFloat,
    in_range,
    is_traced,
    not_accepted,
    validate_arguments,
)
from lrsched.theory.bound import Rates, one_per_step, run_rates
from lrsched.theory.laws import LossCurve, validate_curves, validate_places

_BATCH: Final = 256

Capacity: TypeAlias = Annotated[
    ArrayLike, ArgumentType("Capacity", "a number above 1", in_range(gt=1))
]
"""The exponent ``beta`` of a model's capacity."""


@validate_arguments
def functional_loss(
    schedule: Rates,
    steps: int | None = None,
    at: ArrayLike | None = None,
    *,
    s: PositiveFloat,
    beta: Capacity,
    batch_size: Rates = 1.0,
    floor: FiniteFloat = 0.0,
    noise: NonNegativeFloat = 1.0,
    carry: bool = False,
) -> jax.Array:
    """Compute the loss of the functional scaling law, the signal and the noise apart.

    With the intrinsic time ``T_n``, the sum of the first ``n`` rates,

        ``loss(n) = floor + e(T_n) + sum over i <= n of K(T_n - T_i) noise rate_i**2 / batch_i``,

    ``e(T) = (1 + T)**-s`` and ``K(T) = (1 + T)**-(2 - 1 / beta)``. The unit of the rates is that in
    which the law's times are 1. The paper states the law in continuous time; the sum over updates
    is this library's. For slowly changing rates and a constant batch size it is the law
    "multi-power" with ``gamma = 0``, ``C = 1`` and an exponent of ``1 - 1 / beta``.

    Args:
      schedule: A schedule, a rate per update or a number, see `convergence_bound`.
      steps: Length of the run in updates. Defaults to the horizon of the schedule.
      at: Numbers of updates, from 1 to ``steps``, of any shape. Defaults to every update.
      s: Exponent of the signal, above 0: how fast the loss falls without noise.
      beta: Exponent of the capacity, above 1: how fast noise is forgotten.
      batch_size: Number of examples of a mini-batch: a number, one per update, or a callable of the
        step.
      floor: Loss that remains.
      noise: Variance of the gradient noise of one example, of 0 or above.
      carry: Whether the signal that is left, ``e(T_i)``, adds to the noise of each update.

    Returns:
      The losses, in the shape of ``at``. The cost grows as ``steps`` times the size of ``at``.

    Raises:
      ValueError: If an argument is outside its range.

    References:
      Functional scaling laws, arXiv 2509.19189.

    >>> import lrsched
    >>> from lrsched import theory
    >>> losses = [
    ...     theory.functional_loss(schedule, 1000, at=1000, s=0.5, beta=2.0)
    ...     for schedule in (lrsched.constant(0.1), lrsched.linear(0.1, 0.0, 1000))]
    >>> [round(float(loss), 3) for loss in losses]
    [0.285, 0.187]
    """
    rates = run_rates("functional_loss", schedule, steps)
    rates = rates.astype(jnp.promote_types(rates.dtype, jnp.float32))
    batches = one_per_step("functional_loss", "batch_size", batch_size, len(rates))
    if not is_traced(batches) and not np.all(np.asarray(batches) > 0):
        raise not_accepted("functional_loss", "batch_size", batch_size, "above 0 at every update")
    places = jnp.asarray(validate_places("at", at, len(rates)))
    exponents = jnp.asarray(s, rates.dtype), jnp.asarray(beta, rates.dtype)
    losses = _functional(rates, batches, places.ravel(), *exponents, noise, carry)
    return floor + losses.reshape(places.shape)


@functools.partial(jax.jit, static_argnums=6)
def _functional(
    rates: jax.Array,
    batches: jax.Array,
    at: jax.Array,
    s: jax.Array,
    beta: jax.Array,
    noise: float,
    carry: bool,
) -> jax.Array:
    time, updates = jnp.cumsum(rates), jnp.arange(1, len(rates) + 1)
    signal = (1 + time) ** -s
    added = (noise + (signal if carry else 0.0)) * rates**2 / batches

    def after(place: jax.Array) -> jax.Array:
        age = jnp.maximum(time[place - 1] - time, 0)
        weights = jnp.where(updates <= place, (1 + age) ** -(2 - 1 / beta), 0)
        return signal[place - 1] + weights @ added

    return jax.lax.map(after, at, batch_size=_BATCH)


class FunctionalOptimum(NamedTuple):
    """Result of `functional_optimum`.

    Attributes:
      regime: ``"power"``: the rate falls over the whole run, as ``(1 - t)**exponent`` of its peak,
        ``t`` the elapsed fraction. ``"wsd"``: the largest stable rate is held, and the fall with
        the same exponent takes a part of the run that vanishes for long runs.
      exponent: Exponent of the fall.
      peak_exponent: The best peak is proportional to the length of the run to this power.
    """

    regime: str
    exponent: float
    peak_exponent: float


@validate_arguments
def functional_optimum(s: PositiveFloat, beta: Capacity) -> FunctionalOptimum:
    """Return the schedule shape that is optimal under the functional scaling law of long runs.

    If ``s >= 1 - 1 / beta`` the noise is the bottleneck: the best rate is
    ``peak (1 - t)**(2 beta - 1)``, and the best peak falls with the length of the run. Otherwise
    the signal is, and the best shape is WSD at the largest stable rate. Both are limits: the sum of
    the rates, to the power ``1 / (2 beta)``, must be far above 1. In shorter runs the rate ends
    above zero.

    Args:
      s: See `functional_loss`.
      beta: See `functional_loss`.

    Returns:
      The regime and the exponents. ``lrsched.polynomial(peak, 0.0, steps, power=exponent)`` is the
      schedule of the regime "power".

    References:
      arXiv 2602.06797. The exponent of the peak is reached for very long runs alone: the numeric
      optimum of short ones varies more slowly.

    >>> from lrsched import theory
    >>> theory.functional_optimum(s=0.3, beta=2.0)
    FunctionalOptimum(regime='wsd', exponent=3.0, peak_exponent=0.0)
    """
    signal, capacity = float(np.asarray(s)), float(np.asarray(beta))
    exponent = 2 * capacity - 1
    if signal < 1 - 1 / capacity:
        return FunctionalOptimum("wsd", exponent, 0.0)
    return FunctionalOptimum(
        "power", exponent, -(signal - 1 + 1 / capacity) / (signal + 1 / capacity)
    )


@validate_arguments
def functional_batch_size(step: ArrayLike, time: PositiveFloat, beta: Capacity) -> jax.Array:
    """Compute the growth of the batch size that is optimal under the functional scaling law.

    ``((1 + time) / (1 + time - step))**(1 - 1 / (2 beta))`` at a constant rate: the last batches,
    whose noise is not forgotten, are the largest.

    Args:
      step: Intrinsic times, the sums of the rates so far, from 0 to ``time``, of any shape.
      time: Intrinsic time of the whole run, above 0.
      beta: See `functional_loss`.

    Returns:
      The batch sizes over the first, in the shape of ``step``.

    >>> from lrsched import theory
    >>> [round(float(size), 1) for size in theory.functional_batch_size([0.0, 99.0], 100.0, 2.0)]
    [1.0, 18.9]
    """
    whole = jnp.asarray(time)
    remaining = jnp.maximum(whole - jnp.asarray(step), 0)
    return ((1 + whole) / (1 + remaining)) ** (1 - 1 / (2 * jnp.asarray(beta)))


@validate_arguments
def noise_law(
    constant: LossCurve,
    schedule: Rates,
    at: ArrayLike,
    trace: ArrayLike,
    steps: int | None = None,
    coefficient: NonNegativeFloat = 0.21,
) -> jax.Array:
    """Predict the losses of a schedule from a run at a constant rate and the gradient noise.

    ``loss_constant(tau) + coefficient (rate / rate_0 - 1) trace``: at equal sums of the rates
    ``tau``, a lower rate gains the noise that the constant rate ``rate_0`` adds to the loss. The
    law holds after the warmup, for smoothed losses.

    Args:
      constant: The run at a constant rate.
      schedule: The other schedule, see `convergence_bound`.
      at: Numbers of updates of that schedule, ``(records,)``. The rate is that of the next update.
      trace: Trace of the covariance of the preconditioned mini-batch gradients, a scalar or
        ``(records,)``. For Adam the preconditioner is ``P**-1 = rate_0 / (sqrt(nu) + eps)``, and
        the gradients are multiplied by ``P**-0.5``.
      steps: Length of the run of ``schedule``. Defaults to its horizon.
      coefficient: The paper's is 0.21 for CIFAR-5M and 0.26 for its MLPs.

    Returns:
      The losses, ``(records,)``; NaN where the constant run has no record at that sum of the rates.

    Raises:
      ValueError: If an argument is outside its range, or ``constant`` has no record.

    References:
      Qiu et al. 2025 (arXiv 2507.02119).

    >>> import jax.numpy as jnp
    >>> from lrsched import theory
    >>> constant = theory.LossCurve(jnp.full(4, 0.1), [1, 2, 3, 4], [2.5, 2.25, 2.1, 2.0])
    >>> lowered = jnp.array([0.1, 0.1, 0.05, 0.05, 0.0])
    >>> [round(float(loss), 2) for loss in theory.noise_law(constant, lowered, [1, 4], trace=0.5)]
    [2.5, 1.99]
    """
    (curve,) = validate_curves("noise_law", [constant])
    rates = run_rates("noise_law", schedule, steps)
    rates = rates.astype(jnp.promote_types(rates.dtype, jnp.float32))
    places = validate_places("at", at, len(rates))
    known = jnp.asarray(curve.rates.cumsum()[curve.steps - 1], rates.dtype)
    losses = jnp.asarray(curve.losses, rates.dtype)
    area = jnp.cumsum(rates)[places - 1]
    # The record after the last update has no next one; its own rate stands in.
    rate = rates[jnp.minimum(places, len(rates) - 1)]
    # Sums of equal rates in another order differ in their last digits.
    tolerance = 1e-6 * known[-1]
    begun = jnp.interp(area, known, losses)
    begun = jnp.where(
        (area < known[0] - tolerance) | (area > known[-1] + tolerance), jnp.nan, begun
    )
    lower = rate / jnp.asarray(curve.rates[0], rates.dtype) - 1
    return begun + coefficient * lower * jnp.asarray(trace, rates.dtype)
