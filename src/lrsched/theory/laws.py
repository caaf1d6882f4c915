"""Loss laws: the loss along a run as a function of its learning rates.

With ``eta_0, ..., eta_{t-1}`` the rates of the first ``t`` updates and ``S`` their sum, a law is

    loss(t) = L0 + A S**-alpha - drop(t),

a power law in the sum of the rates, less what falling rates gain:

``"power"``
    ``drop = 0``: a baseline that sees the area under the schedule and not its shape.
``"annealing"``
    ``C sum of m_i``, ``m_i = exp(-1 / memory) m_{i-1} + (eta_{i-1} - eta_i)`` (Tissue et al. 2024,
    arXiv 2408.11029, whose decay of 0.999 is a memory of 1000 updates).
``"multi-power"``
    ``B sum over k of (eta_{k-1} - eta_k) G(eta_k**-gamma S_k)``, ``S_k = eta_k + ... + eta_{t-1}``,
    ``G(x) = 1 - (C x + 1)**-beta`` (Luo et al. 2025, arXiv 2503.12811).
``"norm-aware"``
    The multi-power law of the effective rates ``eta_i / ||w_i||`` (see `effective_rates`). Weights
    that a normalisation follows turn by the rate over their norm, and under AdamW the squared norm
    relaxes to a value proportional to the rate. Runs at different peaks share its parameters, which
    the other laws cannot explain together.

The rate before the first update is 0. Therefore a warmup is a rise like any other, as in the code
of Luo et al., and runs with and without a warmup are on one scale. ``L0`` is the limit of an
endless run that is annealed to a rate of zero.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from lrsched.arguments import is_traced, short_repr
from lrsched.theory.bound import Rates, run_rates

if TYPE_CHECKING:
    import chex

Numbers: TypeAlias = Mapping[str, "chex.Numeric"]

_RATIO: Final = 1.1
_BATCH: Final = 1024
_LEAST: Final = 1e-4
_ROUNDING: Final = 1e-8


class LossCurve(NamedTuple):
    """The loss records of one run.

    Attributes:
      rates: A schedule with a horizon, or the rate of every update, ``(steps,)``. For a run that is
        not finished, the rates may extend beyond the last record.
      steps: Number of updates before each record, ``(records,)``, each from 1 to the length of the
        run.
      losses: Loss of each record, ``(records,)``, above 0.
    """

    rates: Rates
    steps: ArrayLike
    losses: ArrayLike


class LawTerm(NamedTuple):
    """The term that a law adds to the power law in the sum of the rates.

    Attributes:
      scale: Name of the coefficient of the term, or `None` if the law has no term.
      shape: Names of the other parameters of the term.
      along: ``(numbers, rates, at)``: the term over its coefficient after ``at`` updates.
      last: ``(numbers, rates)``: the same after the last update.
      normalised: Whether the law is one of the effective rates, see `effective_rates`.
    """

    scale: str | None
    shape: tuple[str, ...]
    along: Callable[[Numbers, jax.Array, jax.Array], jax.Array]
    last: Callable[[Numbers, jax.Array], jax.Array]
    normalised: bool = False

    @property
    def names(self) -> tuple[str, ...]:
        """Names of all parameters of the law."""
        norm = ("decay", "norm0", "norm_power") if self.normalised else ()
        return ("L0", "A", "alpha", *((self.scale,) if self.scale else ()), *self.shape, *norm)


def age_bins(steps: int) -> np.ndarray:
    """Return the edges of the age bins in updates: 0, 1, 2, ..., growing by 10 % from 20 on."""
    edges = [0]
    while edges[-1] < steps:
        edges.append(max(edges[-1] + 1, int(edges[-1] * _RATIO)))
    return np.array(edges)


def _relaxations(numbers: Numbers, rates: jax.Array, at: jax.Array) -> jax.Array:
    """Compute ``sum over k of (eta_{k-1} - eta_k) G(eta_k**-gamma S_k)`` after ``at`` updates.

    The exact sum has a term for every pair of updates. Here the past is divided into bins whose
    ages grow geometrically, and ``G`` is evaluated once per bin, at means of ``S_k`` and
    ``eta_k**-gamma`` that are weighted by the drops. That is exact for bins with one drop and of
    second order in the bin width (10 %) for others. For ``eta_k**-gamma`` the mean is of the power
    ``-beta``, because ``1 - G`` is a power of it; of the power ``-2`` for a larger ``beta``, whose
    power of a small rate would leave the range of float32.
    """
    drops, weights = _drops(rates), _weights(numbers, rates)
    # The means are differences of cumulative sums. Falls and rises have separate sums, so that they
    # do not cancel within a bin.
    power, least = jnp.minimum(numbers["beta"], 2.0), jnp.min(weights)
    tails = (weights / least) ** -power
    whole = jnp.cumsum(rates)
    before = whole - rates
    edges = age_bins(len(rates))
    sums = {
        sign: [
            _summed(jnp.maximum(sign * drops, 0) * x) for x in (jnp.ones_like(rates), tails, before)
        ]
        for sign in (1, -1)
    }

    @jax.checkpoint
    def after(updates: jax.Array) -> jax.Array:
        places = jnp.maximum(updates - edges, 0)
        total = jnp.zeros_like(whole[0])
        for sign, cumulative in sums.items():
            drop, tail, moment = (x[places[:-1]] - x[places[1:]] for x in cumulative)
            # A difference that is mere rounding error has no meaningful mean.
            some = (drop > _ROUNDING * cumulative[0][-1]) & (tail > 0)
            drop = jnp.where(some, drop, 1)
            weight = least * jnp.where(some, tail / drop, 1) ** (-1 / power)
            weight = jnp.clip(weight, least, jnp.max(weights))
            age = jnp.maximum(whole[updates - 1] - moment / drop, 0)
            total += sign * jnp.sum(jnp.where(some, drop, 0) * _gain(numbers, weight * age))
        return total

    return jax.lax.map(after, at, batch_size=_BATCH)


def _last_relaxations(numbers: Numbers, rates: jax.Array) -> jax.Array:
    """Compute the same after the last update, exactly."""
    to_come = jnp.cumsum(rates[::-1])[::-1]
    return jnp.sum(_drops(rates) * _gain(numbers, _weights(numbers, rates) * to_come))


def _gain(numbers: Numbers, argument: jax.Array) -> jax.Array:
    """Compute ``1 - (1 + x)**-beta`` without cancellation for small ``x``."""
    return -jnp.expm1(-numbers["beta"] * jnp.log1p(argument))


def _weights(numbers: Numbers, rates: jax.Array) -> jax.Array:
    """Compute ``C eta**-gamma``."""
    # A rate of 0 would weigh infinitely: rates are raised to a ten thousandth of the largest.
    peak = jnp.max(rates)
    raised = jnp.maximum(rates, _LEAST * jnp.where(peak > 0, peak, 1))
    return numbers["C"] * raised ** -numbers["gamma"]


def _annealed(numbers: Numbers, rates: jax.Array, at: jax.Array) -> jax.Array:
    """Compute ``sum of m_i``."""
    decay = jnp.exp(-1 / jnp.asarray(numbers["memory"], rates.dtype))

    def follow(momentum: jax.Array, drop: jax.Array) -> tuple[jax.Array, jax.Array]:
        momentum = decay * momentum + drop
        return momentum, momentum

    _, momenta = jax.lax.scan(follow, jnp.zeros_like(decay), _drops(rates))
    return jnp.cumsum(momenta)[at - 1]


def _last_annealed(numbers: Numbers, rates: jax.Array) -> jax.Array:
    """Compute ``sum of (eta_{k-1} - eta_k) (1 - d**n) / (1 - d)``, the same after all updates."""
    memory = numbers["memory"]
    remaining = jnp.arange(len(rates), 0, -1, dtype=rates.dtype)
    return jnp.sum(_drops(rates) * jnp.expm1(-remaining / memory) / jnp.expm1(-1 / memory))


def _drops(rates: jax.Array) -> jax.Array:
    return -jnp.diff(rates, prepend=0)


def _summed(values: jax.Array) -> jax.Array:
    return jnp.concatenate([jnp.zeros_like(values[:1]), jnp.cumsum(values)])


LAWS: Final[dict[str, LawTerm]] = {
    "multi-power": LawTerm("B", ("C", "beta", "gamma"), _relaxations, _last_relaxations),
    "norm-aware": LawTerm(
        "B", ("C", "beta", "gamma"), _relaxations, _last_relaxations, normalised=True
    ),
    "annealing": LawTerm("C", ("memory",), _annealed, _last_annealed),
    "power": LawTerm(
        None, (), lambda _, rates, at: jnp.zeros_like(rates)[at - 1], lambda _, rates: 0 * rates[0]
    ),
}


def effective_rates(
    numbers: Numbers, rates: jax.Array, updates: ArrayLike | float = 1.0
) -> jax.Array:
    """Compute ``eta / q**norm_power`` where the squared weight norm ``q`` relaxes to the rate.

    Per update ``q <- d q + (1 - d) eta`` with ``d = exp(-2 decay eta)``, ``q`` from ``norm0`` on:
    the squared norm of weights that a normalisation follows under AdamW, in the unit in which its
    equilibrium at a rate of ``eta`` is ``eta``. So a constant rate acts as ``sqrt(eta)`` in the
    long run, and a cooldown that is short against ``1 / (2 decay eta)`` acts in proportion.

    Args:
      numbers: "decay", the weight decay; "norm0", the squared norm before the first update;
        "norm_power", 1/2 where every weight is followed by a normalisation.
      rates: The rates, ``(steps,)``.
      updates: Number of updates for which each rate is used.

    Returns:
      The effective rates, ``(steps,)``.
    """
    exponent = -2 * numbers["decay"] * rates * updates
    decayed, added = jnp.exp(exponent), -rates * jnp.expm1(exponent)

    def follow(
        norm_sq: jax.Array, change: tuple[jax.Array, jax.Array]
    ) -> tuple[jax.Array, jax.Array]:
        norm_sq = change[0] * norm_sq + change[1]
        return norm_sq, norm_sq

    # The recurrence is linear, but an associative scan of 50,000 updates and its derivatives takes
    # minutes to compile; this loop takes a second and runs in a fraction of one.
    first = jnp.asarray(numbers["norm0"], rates.dtype) * jnp.ones_like(decayed[0])
    _, norm_sq = jax.lax.scan(follow, first, (decayed, added))
    norm_sq = jnp.maximum(norm_sq, 1e-30)
    return rates * norm_sq ** -numbers["norm_power"]


def loss_along(terms: LawTerm, numbers: Numbers, rates: jax.Array, at: jax.Array) -> jax.Array:
    """Compute the loss after each of ``at`` updates."""
    rates = effective_rates(numbers, rates) if terms.normalised else rates
    drop = terms.along(numbers, rates, at) if terms.scale else 0
    return loss_of(terms, numbers, jnp.cumsum(rates)[at - 1], drop)


def last_loss(terms: LawTerm, numbers: Numbers, rates: jax.Array) -> jax.Array:
    """Compute the loss after the last update."""
    rates = effective_rates(numbers, rates) if terms.normalised else rates
    drop = terms.last(numbers, rates) if terms.scale else 0
    return loss_of(terms, numbers, jnp.sum(rates), drop)


def loss_of(terms: LawTerm, numbers: Numbers, area: jax.Array, drop: ArrayLike) -> jax.Array:
    """Compute ``L0 + A S**-alpha - drop``; infinite before the first rate above 0."""
    begun = area > 0
    power = jnp.where(begun, area, 1) ** -numbers["alpha"]
    scale = numbers[terms.scale] if terms.scale else 0
    return jnp.where(begun, numbers["L0"] + numbers["A"] * power - scale * drop, jnp.inf)


class CheckedCurve(NamedTuple):
    """A validated curve as NumPy arrays; rates and losses are float64."""

    rates: np.ndarray
    steps: np.ndarray
    losses: np.ndarray


def validate_curves(
    function: str, curves: Sequence[LossCurve], *, allow_nonfinite: bool = False
) -> list[CheckedCurve]:
    """Return the curves as arrays, or raise a ``ValueError`` that names the malformed curve."""
    result = []
    for place, curve in enumerate(curves):
        if not isinstance(curve, LossCurve):
            raise ValueError(
                f"{function}: {short_repr(curve)} in curves is not accepted; curves must be a list "
                "of theory.LossCurve(rates, steps, losses)."
            )
        rates = np.asarray(run_rates(function, curve.rates), np.float64)
        steps, losses = np.asarray(curve.steps), np.asarray(curve.losses, np.float64)
        if steps.ndim != 1 or steps.shape != losses.shape or len(steps) == 0:
            raise ValueError(
                f"{function}: curve {place} has steps of shape {steps.shape} and losses of shape "
                f"{losses.shape}; they must be two lists of one length, of 1 or more."
            )
        is_valid = np.where(np.isfinite(losses), losses > 0, allow_nonfinite)
        if not is_valid.all():
            raise ValueError(
                f"{function}: curve {place} has a loss of {losses[~is_valid][0]:.3g}; every loss "
                f"must be {'' if allow_nonfinite else 'finite and '}above 0."
            )
        places = validate_places(f"steps of curve {place}", steps, len(rates))
        result.append(CheckedCurve(rates, np.asarray(places), losses))
    if not result:
        raise ValueError(f"{function}: curves is empty; at least one is needed.")
    return result


def validate_places(name: str, at: ArrayLike | None, steps: int) -> jax.Array:
    """Return ``at`` as int32, or every update of the run if it is `None`."""
    if at is None:
        return jnp.arange(1, steps + 1)
    if not is_traced(at):
        numbers = np.asarray(at, np.float64)
        if not np.all((numbers >= 1) & (numbers <= steps) & (numbers == np.rint(numbers))):
            raise ValueError(
                f"{name}={at!r} is not accepted; each must be a whole number from 1 to {steps}, "
                "the length of the run."
            )
    return jnp.asarray(at).astype(jnp.int32)
