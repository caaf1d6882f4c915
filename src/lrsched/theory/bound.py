"""How far the last iterate is from the optimum, at most, before anything is trained.

For a convex loss with gradients of norm ``G_t`` at most, begun at a distance ``D`` from a minimum,
the bound of the ``t``-th iterate under the rates ``gamma eta_1, ..., gamma eta_t`` is

    Omega_t = T1_t / gamma + gamma T2_t,    T1_t = D**2 / (2 S_t),

with ``S_t = eta_1 + ... + eta_t``. The paper's second term is two sums, one of them within the
other; summed by parts they are one, of positive terms alone:

    T2_t = (eta_t G_t**2 + sum over k < t of eta_k**2 G_k**2 / (S_t - S_k)) / 2.

Source: Schaipp, Hägele, Taylor, Şimşekli & Bach 2025 (arXiv 2501.18965), theorem 1; Defazio,
Cutkosky, Mehta & Mishchenko 2023 (arXiv 2310.07831), theorem 10.
"""

import functools
from collections.abc import Callable
from typing import Any, Final, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from lrsched._schedule import Schedule, is_number
from lrsched.algebra import as_schedule
from lrsched.arguments import is_traced

Rates: TypeAlias = Schedule | Callable[[jax.Array], ArrayLike] | ArrayLike
"""A schedule, any callable of the step, or the rates themselves, one a step."""

_CHUNK: Final = 128
_BATCH: Final = 32


class ConvergenceBound(NamedTuple):
    """The bound as a function of the base rate ``gamma``: ``distance / gamma + gamma * noise``.

    Attributes:
      distance: ``T1``, what is left of the way to the minimum.
      noise: ``T2``, what the gradients add; infinite where the latest rate is 0.
    """

    distance: jax.Array
    noise: jax.Array

    @property
    def values(self) -> jax.Array:
        """The bound of the schedule as it is: ``gamma = 1``."""
        return self.distance + self.noise

    @property
    def optimal_rate(self) -> jax.Array:
        """The base rate, a factor of the schedule, at which the bound is least."""
        return jnp.sqrt(self.distance / self.noise)

    @property
    def optimal_values(self) -> jax.Array:
        """The bound at that base rate."""
        return 2 * jnp.sqrt(self.distance) * jnp.sqrt(self.noise)

    def at(self, rate: ArrayLike) -> jax.Array:
        """The bound at the base rate ``rate``, which broadcasts."""
        return self.distance / rate + rate * self.noise


def convergence_bound(
    schedule: Rates,
    steps: int | None = None,
    grad_norms: Rates = 1.0,
    distance: ArrayLike = 1.0,
) -> ConvergenceBound:
    """The bound of every iterate of a run, ``t = 1, ..., steps``, in one pass.

    The sum over ``k < t`` has ``steps**2 / 2`` terms for all ``t`` together. Here those of the
    latest updates are added one by one, and the rest as a sum of exponentials, ``1 / x = sum of w
    exp(-a x)``, of which each is carried from one block of updates to the next: ``O(steps)`` in
    time and memory, with a relative error below 1e-6. All terms are positive, so that float32 is
    enough. The result is differentiable in the schedule's numbers, the norms and the distance.

    Args:
      schedule: a `Schedule`, a callable of the step, or an array of rates, one a step.
      steps: how many updates; by default the schedule's horizon, or the array's length. The last
        rate, at step ``steps - 1``, must be above 0, as the bound is infinite otherwise.
      grad_norms: an upper bound of the gradients' norm: a number, one for each step, or a callable
        of the step.
      distance: from the first iterate to a minimum.

    Returns:
      A `ConvergenceBound` of arrays ``(steps,)``.

    Raises:
      ValueError: a rate or a norm is negative or not finite, too few of them are given, ``steps``
        is not given where there is no horizon, or ``distance`` is not above 0.

    Source: Schaipp et al. 2025 (arXiv 2501.18965), theorem 1.

    >>> import lrsched
    >>> from lrsched import theory
    >>> bound = theory.convergence_bound(lrsched.linear(1.0, 0.0, steps=400))
    >>> bound.values.shape, round(float(bound.optimal_rate[-1]), 6)
    ((400,), 0.049563)
    >>> round(float(bound.optimal_values[-1]), 6)
    0.10063
    """
    bound: ConvergenceBound = _of_all(
        *_arguments("convergence_bound", schedule, steps, grad_norms, distance)
    )
    return bound


def final_bound(
    schedule: Rates,
    steps: int | None = None,
    grad_norms: Rates = 1.0,
    distance: ArrayLike = 1.0,
) -> ConvergenceBound:
    """The bound of the last iterate alone: a `ConvergenceBound` of scalars, by two cumulative sums.

    Args:
      schedule: as in `convergence_bound`.
      steps: as in `convergence_bound`.
      grad_norms: as in `convergence_bound`.
      distance: as in `convergence_bound`.

    Raises:
      ValueError: as in `convergence_bound`.

    >>> import lrsched
    >>> from lrsched import theory
    >>> bound = theory.final_bound(lrsched.constant(0.018176), steps=400)
    >>> round(float(bound.values), 6), round(float(bound.optimal_rate), 2)
    (0.137545, 1.0)
    """
    bound: ConvergenceBound = _of_last(
        *_arguments("final_bound", schedule, steps, grad_norms, distance)
    )
    return bound


def optimal_rate(
    schedule: Rates,
    steps: int | None = None,
    grad_norms: Rates = 1.0,
    distance: ArrayLike = 1.0,
) -> jax.Array:
    """What to multiply a schedule by for the least bound at its end: ``sqrt(T1 / T2)``.

    For a schedule of peak 1 it is the optimal peak; it grows as ``distance / grad_norms``.

    Args:
      schedule: as in `convergence_bound`.
      steps: as in `convergence_bound`.
      grad_norms: as in `convergence_bound`.
      distance: as in `convergence_bound`.

    Returns:
      A scalar.

    Raises:
      ValueError: as in `convergence_bound`.

    Source: Schaipp et al. 2025 (arXiv 2501.18965).

    >>> import lrsched
    >>> from lrsched import theory
    >>> round(float(theory.optimal_rate(lrsched.linear(1.0, 0.0, steps=400))), 6)
    0.049563
    """
    return final_bound(schedule, steps, grad_norms, distance).optimal_rate


@jax.jit
def _of_all(rates: jax.Array, norms: jax.Array, distance: jax.Array) -> ConvergenceBound:
    peak = _unit(rates)
    shape, loads = rates / peak, (rates / peak) ** 2 * norms**2
    passed = shape * norms**2 + _causal_sums(shape, loads)
    noise = jnp.where(rates > 0, 0.5 * peak * passed, jnp.inf)
    return ConvergenceBound(_distance_term(jnp.cumsum(shape), peak, distance), noise)


@jax.jit
def _of_last(rates: jax.Array, norms: jax.Array, distance: jax.Array) -> ConvergenceBound:
    peak = _unit(rates)
    shape, loads = rates / peak, (rates / peak) ** 2 * norms**2
    to_come = jnp.cumsum(shape[:0:-1])[::-1]
    passed = shape[-1] * norms[-1] ** 2 + jnp.sum(_divided(loads[:-1], to_come))
    noise = jnp.where(rates[-1] > 0, 0.5 * peak * passed, jnp.inf)
    return ConvergenceBound(_distance_term(jnp.sum(shape), peak, distance), noise)


def _causal_sums(rates: jax.Array, loads: jax.Array) -> jax.Array:
    """``sum over k < t of loads_k / (S_t - S_k)`` for all ``t``, ``S`` the cumulative rates.

    Within a chunk every difference is a sum of its own, so that nothing cancels. What a chunk gets
    from all before it is a sum of exponentials, each of which is a number that decays with the
    rates.
    """
    steps = len(rates)
    chunks = -(-steps // _CHUNK)
    fill = (0, chunks * _CHUNK - steps)
    rates = jnp.pad(rates, fill, constant_values=1.0).reshape(chunks, _CHUNK)
    loads = jnp.pad(loads, fill).reshape(chunks, _CHUNK)
    inside = jnp.cumsum(rates, axis=1)
    decays, weights = jax.lax.stop_gradient(_exponentials(inside))
    is_later = jnp.arange(_CHUNK) > jnp.arange(_CHUNK)[:, None]
    dot = functools.partial(jnp.dot, precision=jax.lax.Precision.HIGHEST)

    @jax.checkpoint
    def handed_on(chunk: Any) -> jax.Array:
        rates, loads = chunk
        to_come = jnp.cumsum(rates[:0:-1])[::-1]
        left = jnp.concatenate([to_come, jnp.zeros_like(to_come[:1])])
        return dot(loads, jnp.exp(-left[:, None] * decays))

    @jax.checkpoint
    def received(chunk: Any) -> jax.Array:
        rates, loads, inside, before = chunk
        between = jnp.cumsum(jnp.where(is_later, rates, 0), axis=1)
        near = jnp.sum(_divided(jnp.where(is_later, loads[:, None], 0), between), axis=0)
        return near + dot(jnp.exp(-inside[:, None] * decays), weights * before)

    def follow(first: Any, second: Any) -> Any:
        lengths = first[0] + second[0]
        return lengths, first[1] * jnp.exp(-second[0] * decays) + second[1]

    own = jax.lax.map(handed_on, (rates, loads), batch_size=_BATCH)
    _, held = jax.lax.associative_scan(follow, (inside[:, -1:], own))
    before = jnp.concatenate([jnp.zeros_like(held[:1]), held[:-1]])
    sums: jax.Array = jax.lax.map(received, (rates, loads, inside, before), batch_size=_BATCH)
    return sums.reshape(-1)[:steps]


def _exponentials(inside: jax.Array) -> tuple[jax.Array, jax.Array]:
    """``a, w`` with ``1 / x = sum of w exp(-a x)``, for every ``x`` from one chunk to a later one.

    The trapezoidal rule in ``u`` for ``1 / x``, the integral of ``exp(u - x exp(u))``. At a spacing
    ``h`` its relative error is ``2 |Gamma(1 + 2 pi i / h)|``, 5e-8 at 1/2 and 1e-14 at 0.29.
    """
    is_wide = inside.dtype == jnp.float64
    count, tiny, ratio = (256, 1e-15, 1e-15) if is_wide else (128, 1e-8, 1e-18)
    longest = jnp.sum(inside[:, -1])
    shortest = jnp.min(jnp.where(inside > 0, inside, jnp.inf))
    shortest = jnp.maximum(shortest, ratio * longest)
    low, high = jnp.log(tiny / longest), jnp.log(-np.log(tiny) / shortest)
    decays = jnp.exp(jnp.linspace(low, high, count))
    return decays, decays * (high - low) / (count - 1)


def _distance_term(passed: jax.Array, peak: jax.Array, distance: jax.Array) -> jax.Array:
    is_moved = passed > 0
    whole = jnp.where(is_moved, passed, 1) * peak
    return jnp.where(is_moved, 0.5 * distance**2 / whole, jnp.inf)


def _divided(loads: jax.Array, lengths: jax.Array) -> jax.Array:
    """``loads / lengths``, and 0 where there is no length, whose bound is infinite by itself."""
    is_apart = lengths > 0
    return jnp.where(is_apart, loads / jnp.where(is_apart, lengths, 1), 0)


def _unit(rates: jax.Array) -> jax.Array:
    """The largest rate, by which the sums are scaled so that their squares stay within float32."""
    peak = jnp.max(rates)
    return jax.lax.stop_gradient(jnp.where(peak > 0, peak, 1))


def _arguments(
    function: str, schedule: Rates, steps: int | None, grad_norms: Rates, distance: ArrayLike
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Rates and norms, one a step, and the distance."""
    rates = run_rates(function, schedule, steps)
    if not is_traced(distance) and not (np.isfinite(distance) & (np.asarray(distance) > 0)).all():
        raise ValueError(
            f"{function}: distance={distance!r} is not accepted; distance must be a finite number "
            "above 0."
        )
    norms = _one_a_step(function, "grad_norms", grad_norms, len(rates))
    wide = jnp.promote_types(jnp.result_type(rates, norms), jnp.float32)
    return rates.astype(wide), norms.astype(wide), jnp.asarray(distance, wide)


def run_rates(function: str, schedule: Rates, steps: int | None = None) -> jax.Array:
    """The rates of a run, one a step: of ``steps`` updates, or of as many as the schedule says."""
    if steps is None:
        steps = run_length(function, schedule)
    elif isinstance(steps, bool) or not isinstance(steps, int | np.integer) or steps < 1:
        raise ValueError(
            f"{function}: steps={steps!r} is not accepted; steps must be a whole number above 0."
        )
    return _one_a_step(function, "schedule", schedule, int(steps))


def run_length(function: str, schedule: Rates) -> int:
    """The length of a run, where the schedule says it."""
    if np.ndim(schedule) == 1:  # type: ignore[arg-type]
        return int(np.shape(schedule)[0])  # type: ignore[arg-type]
    horizon = schedule.horizon if isinstance(schedule, Schedule) else None
    if not isinstance(horizon, int | np.integer) or horizon < 1:
        raise ValueError(
            f"{function}: {schedule!r} has no horizon that is known; steps must be given."
        )
    return int(horizon)


def _one_a_step(function: str, name: str, given: Rates, steps: int) -> jax.Array:
    if np.ndim(given) == 1:  # type: ignore[arg-type]
        values = jnp.asarray(given)[:steps]
    elif isinstance(given, Schedule) or callable(given) or is_number(given):
        values = jnp.broadcast_to(as_schedule(given)(jnp.arange(steps)), (steps,))
    else:
        raise ValueError(
            f"{function}: {name}={given!r} is not accepted; {name} must be a number, a Schedule, a "
            "callable of the step, or one number for each step."
        )
    if len(values) < steps:
        raise ValueError(
            f"{function}: {name} holds {len(values)} numbers for steps={steps}; there must be one "
            "for each step."
        )
    if not is_traced(values) and not np.all(np.isfinite(values) & (np.asarray(values) >= 0)):
        raise ValueError(
            f"{function}: {name}={given!r} is not accepted; each must be finite, and 0 or more."
        )
    return values
