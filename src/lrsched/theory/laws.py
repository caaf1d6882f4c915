"""Loss laws: the loss along a run as a function of its rates, with a few numbers that are fitted.

With ``eta_0, ..., eta_{t-1}`` the rates of the first ``t`` updates and ``S`` their sum, a law says

    loss(t) = L0 + A S**-alpha - drop(t),

a power law on the sum of the rates, less what falling rates have gained:

``"power"``
    nothing: the baseline that knows the area under the schedule, and not its shape;
``"annealing"``
    ``C sum of m_i``, ``m_i = exp(-1 / memory) m_{i-1} + (eta_{i-1} - eta_i)``: Tissue, Wang, Wang,
    Liu, Zhou & Wang 2024 (arXiv 2408.11029), whose decay of 0.999 is a memory of 1000 updates;
``"multi-power"``
    ``B sum over k of (eta_{k-1} - eta_k) G(eta_k**-gamma S_k)``, ``S_k = eta_k + ... + eta_{t-1}``,
    ``G(x) = 1 - (C x + 1)**-beta``: Luo, Wen, Hu, Sun, Liu, Sun, Lyu & Chen 2025 (arXiv
    2503.12811).

The rate before the first update is 0. So a warmup is a rise like any other, as in the code of Luo
et al., and runs with and without one are on one scale; ``L0`` is what an endless run would come to
that is annealed to a rate of zero.
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from lrsched.arguments import is_traced
from lrsched.theory.bound import Rates, run_rates

Numbers: TypeAlias = Mapping[str, Any]

_RATIO: Final = 1.1
_BATCH: Final = 1024
_LEAST: Final = 1e-4
_ROUNDING: Final = 1e-8


class LossCurve(NamedTuple):
    """What was seen of one run.

    Attributes:
      rates: a schedule with a horizon, or the rate of every update, ``(steps,)``.
      steps: after how many updates the loss was seen, each from 1 to the length of the run.
      losses: the losses that were seen, as many.
    """

    rates: Rates
    steps: ArrayLike
    losses: ArrayLike


class LawTerm(NamedTuple):
    """What a law adds to the power law on the sum of the rates.

    Attributes:
      scale: the name of its coefficient, if it adds anything.
      shape: the names of its other numbers.
      along: ``(numbers, rates, at)``: the drop over its coefficient after ``at`` updates.
      last: ``(numbers, rates)``: the same after the last update.
    """

    scale: str | None
    shape: tuple[str, ...]
    along: Callable[[Numbers, jax.Array, jax.Array], jax.Array]
    last: Callable[[Numbers, jax.Array], jax.Array]

    @property
    def names(self) -> tuple[str, ...]:
        """Of all its numbers."""
        return ("L0", "A", "alpha", *((self.scale,) if self.scale else ()), *self.shape)


def age_bins(steps: int) -> np.ndarray:
    """Ages in updates that part the past: 0, 1, 2, ..., and from 20 on in steps of 10 %."""
    edges = [0]
    while edges[-1] < steps:
        edges.append(max(edges[-1] + 1, int(edges[-1] * _RATIO)))
    return np.array(edges)


def _relaxations(numbers: Numbers, rates: jax.Array, at: jax.Array) -> jax.Array:
    """``sum over k of (eta_{k-1} - eta_k) G(eta_k**-gamma S_k)`` after each of ``at`` updates.

    Exactly, it takes a term for every pair of updates. Here the past is parted into windows whose
    ages grow geometrically, and ``G`` is taken once in each, at ``S_k`` and ``eta_k**-gamma`` that
    are means weighted by the drops: right for windows with one drop, and to second order in their
    width, 10 %, for others. Of ``eta_k**-gamma`` it is the mean of the power ``-beta``, as ``G``
    falls short of 1 by a power of it. The means are differences of cumulative sums; falls and rises
    have sums of their own, so that they do not cancel within a window.
    """
    drops, weights = _drops(rates), _weights(numbers, rates)
    tails = weights ** -numbers["beta"]
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
            # What is left of a difference by rounding says nothing of its mean.
            some = (drop > _ROUNDING * cumulative[0][-1]) & (tail > 0)
            drop = jnp.where(some, drop, 1)
            weight = jnp.where(some, tail / drop, 1) ** (-1 / numbers["beta"])
            weight = jnp.clip(weight, jnp.min(weights), jnp.max(weights))
            age = jnp.maximum(whole[updates - 1] - moment / drop, 0)
            total += sign * jnp.sum(jnp.where(some, drop, 0) * _gain(numbers, weight * age))
        return total

    found: jax.Array = jax.lax.map(after, at, batch_size=_BATCH)
    return found


def _last_relaxations(numbers: Numbers, rates: jax.Array) -> jax.Array:
    """The same after the last update, term by term."""
    to_come = jnp.cumsum(rates[::-1])[::-1]
    return jnp.sum(_drops(rates) * _gain(numbers, _weights(numbers, rates) * to_come))


def _gain(numbers: Numbers, argument: jax.Array) -> jax.Array:
    """``1 - (1 + x)**-beta`` without loss for small ``x``."""
    return -jnp.expm1(-numbers["beta"] * jnp.log1p(argument))


def _weights(numbers: Numbers, rates: jax.Array) -> jax.Array:
    """``C eta**-gamma``; rates under a ten thousandth of the largest count as that."""
    peak = jnp.max(rates)
    raised = jnp.maximum(rates, _LEAST * jnp.where(peak > 0, peak, 1))
    weights: jax.Array = numbers["C"] * raised ** -numbers["gamma"]
    return weights


def _annealed(numbers: Numbers, rates: jax.Array, at: jax.Array) -> jax.Array:
    """``sum of m_i``."""
    decay = jnp.exp(-1 / jnp.asarray(numbers["memory"], rates.dtype))

    def follow(momentum: jax.Array, drop: jax.Array) -> tuple[jax.Array, jax.Array]:
        momentum = decay * momentum + drop
        return momentum, momentum

    _, momenta = jax.lax.scan(follow, jnp.zeros_like(decay), _drops(rates))
    return jnp.cumsum(momenta)[at - 1]


def _last_annealed(numbers: Numbers, rates: jax.Array) -> jax.Array:
    """The same after the last update: ``sum of (eta_{k-1} - eta_k) (1 - d**n) / (1 - d)``."""
    memory = numbers["memory"]
    left = jnp.arange(len(rates), 0, -1, dtype=rates.dtype)
    return jnp.sum(_drops(rates) * jnp.expm1(-left / memory) / jnp.expm1(-1 / memory))


def _drops(rates: jax.Array) -> jax.Array:
    return -jnp.diff(rates, prepend=0)


def _summed(values: jax.Array) -> jax.Array:
    return jnp.concatenate([jnp.zeros_like(values[:1]), jnp.cumsum(values)])


LAWS: Final[dict[str, LawTerm]] = {
    "multi-power": LawTerm("B", ("C", "beta", "gamma"), _relaxations, _last_relaxations),
    "annealing": LawTerm("C", ("memory",), _annealed, _last_annealed),
    "power": LawTerm(
        None, (), lambda _, rates, at: jnp.zeros_like(rates)[at - 1], lambda _, rates: 0 * rates[0]
    ),
}


def loss_along(terms: LawTerm, numbers: Numbers, rates: jax.Array, at: jax.Array) -> jax.Array:
    """The loss after each of ``at`` updates."""
    drop = terms.along(numbers, rates, at) if terms.scale else 0
    return _less(terms, numbers, jnp.cumsum(rates)[at - 1], drop)


def last_loss(terms: LawTerm, numbers: Numbers, rates: jax.Array) -> jax.Array:
    """The loss after the last update."""
    return _less(terms, numbers, jnp.sum(rates), terms.last(numbers, rates) if terms.scale else 0)


def _less(terms: LawTerm, numbers: Numbers, area: jax.Array, drop: ArrayLike) -> jax.Array:
    """``L0 + A S**-alpha`` less the drop; infinite before the first rate above 0."""
    begun = area > 0
    power = jnp.where(begun, area, 1) ** -numbers["alpha"]
    scale = numbers[terms.scale] if terms.scale else 0
    return jnp.where(begun, numbers["L0"] + numbers["A"] * power - scale * drop, jnp.inf)


@dataclasses.dataclass(frozen=True, eq=False)
class LossLaw:
    """A law with its numbers, as `fit_loss_law` returns it, or with those of a paper.

    A pytree whose numbers are leaves: gradients flow through them and through the rates, and
    ``jax.vmap`` runs over thousands of schedules.

    Attributes:
      law: "multi-power", "annealing" or "power".
      numbers: by the letters of the formula: "L0", "A", "alpha", and "B", "C", "beta", "gamma", or
        "C", "memory". The rates, and what is measured in them, have the unit of the curves.
      covariance: of the logarithms of the numbers, in their order; None where nothing was fitted.
      spread: how far a run is from its law, as a part of the loss; None where nothing was fitted.

    Raises:
      ValueError: another law, or a number that is missing or unknown.

    >>> import lrsched
    >>> from lrsched import theory
    >>> law = theory.LossLaw(  # 25M parameters, arXiv 2503.12811's code
    ...     "multi-power",
    ...     {"L0": 3.040, "A": 0.525, "alpha": 0.508, "B": 363.8, "C": 2.066, "beta": 0.583,
    ...      "gamma": 0.641})
    >>> schedule = lrsched.wsd(3e-4, steps=24_000, warmup=2_160, cooldown=0.2)
    >>> [round(float(loss), 3) for loss in law.predict(schedule, at=[10_000, 24_000])]
    [3.439, 3.26]
    """

    law: str
    numbers: dict[str, Any]
    covariance: Any = None
    spread: Any = None

    def __post_init__(self) -> None:
        """Refuses what does not fit together; what JAX puts in for numbers passes."""
        if self.law not in LAWS:
            raise ValueError(
                f"LossLaw: law={self.law!r} is not accepted; law must be one of "
                f"{', '.join(map(repr, LAWS))}."
            )
        if isinstance(self.numbers, Mapping) and set(self.numbers) != set(self._terms.names):
            raise ValueError(
                f"LossLaw: numbers has {', '.join(self.numbers)}; the law {self.law!r} has "
                f"{', '.join(self._terms.names)}."
            )

    @property
    def _terms(self) -> LawTerm:
        return LAWS[self.law]

    def predict(
        self, schedule: Rates, steps: int | None = None, at: ArrayLike | None = None
    ) -> jax.Array:
        """The losses along a run, in ``O(steps log(steps))``.

        Args:
          schedule: a `Schedule`, a callable of the step, or an array of rates, one a step.
          steps: how many updates; by default the schedule's horizon, or the array's length.
          at: after how many updates, each 1 or more; by default after each: 1, ..., ``steps``.

        Returns:
          An array of the shape of ``at``, or ``(steps,)``.

        Raises:
          ValueError: the schedule has no horizon and there are no ``steps``, a rate is negative, or
            ``at`` is not within the run.
        """
        rates = _floats(run_rates("predict", schedule, steps))
        found: jax.Array = _predict(self.law, self.numbers, rates, _places("at", at, len(rates)))
        return found

    def final_loss(self, schedule: Rates, steps: int | None = None) -> jax.Array:
        """The loss after the last update, exactly and in ``O(steps)``.

        Args:
          schedule: as in `predict`.
          steps: as in `predict`.

        Returns:
          A scalar.
        """
        rates = _floats(run_rates("final_loss", schedule, steps))
        found: jax.Array = _last(self.law, self.numbers, rates)
        return found

    def interval(
        self,
        schedule: Rates,
        steps: int | None = None,
        at: ArrayLike | None = None,
        level: float = 0.95,
    ) -> tuple[jax.Array, jax.Array]:
        """Where the loss of a run is, if the law is right: what is not known of the numbers counts.

        The logarithm of the loss is linearised in those of the numbers; what the runs differ from
        their law by, ``spread``, comes on top. That the law itself is wrong is not in it.

        Args:
          schedule: as in `predict`.
          steps: as in `predict`.
          at: as in `predict`.
          level: the part of the runs that should be within.

        Returns:
          The lower and the upper ends, as `predict` returns losses.

        Raises:
          ValueError: the numbers have not been fitted, or as in `predict`.
        """
        rates = _floats(run_rates("interval", schedule, steps))
        return self._interval(rates, _places("at", at, len(rates)), level)

    def final_interval(
        self, schedule: Rates, steps: int | None = None, level: float = 0.95
    ) -> tuple[jax.Array, jax.Array]:
        """The interval of `final_loss`.

        Args:
          schedule: as in `predict`.
          steps: as in `predict`.
          level: as in `interval`.
        """
        return self._interval(_floats(run_rates("final_interval", schedule, steps)), None, level)

    def _interval(
        self, rates: jax.Array, at: jax.Array | None, level: float
    ) -> tuple[jax.Array, jax.Array]:
        if self.covariance is None:
            raise ValueError("interval: the numbers of this law are not fitted: it knows no error.")
        if not 0 < level < 1:
            raise ValueError(f"interval: level={level!r} is not accepted; it is within 0 and 1.")
        losses, errors = _with_errors(
            self.law, self.numbers, self.covariance, self.spread, rates, at
        )
        width = jnp.exp(jax.scipy.stats.norm.ppf(0.5 + level / 2) * errors)
        return losses / width, losses * width

    def standard_errors(self) -> dict[str, float]:
        """Of each number, as a part of it.

        Raises:
          ValueError: the numbers have not been fitted.
        """
        if self.covariance is None:
            raise ValueError("standard_errors: the numbers of this law are not fitted.")
        errors = np.sqrt(np.maximum(np.diag(np.asarray(self.covariance)), 0))
        return dict(zip(self.numbers, errors.tolist(), strict=True))

    def scores(self, curves: Sequence[LossCurve]) -> np.ndarray:
        """How well the law says what was seen, also of runs that it was not fitted to.

        Args:
          curves: what was seen.

        Returns:
          A structured array with one row a curve: ``mae``, the mean absolute error; ``r2``, the
          part of the variance that is explained; ``worst``, the largest absolute error; ``final``,
          predicted minus seen at the last record; ``within``, the part of the records that is in
          the interval of 95 %, NaN where the numbers have not been fitted.
        """
        rows = []
        for curve in validate_curves("scores", curves):
            rates, at = _floats(jnp.asarray(curve.rates)), jnp.asarray(curve.steps)
            losses, within = curve.losses, float("nan")
            if self.covariance is None:
                predicted = np.asarray(_predict(self.law, self.numbers, rates, at))
            else:
                low, high = map(np.asarray, self._interval(rates, at, 0.95))
                within = float(np.mean((low <= losses) & (losses <= high)))
                predicted = np.sqrt(low * high)  # the interval's middle is the prediction
            error = predicted - losses
            r2 = 1 - np.sum(error**2) / np.sum((losses - losses.mean()) ** 2)
            last = error[np.argmax(curve.steps)]
            rows.append((np.abs(error).mean(), r2, np.abs(error).max(), last, within))
        return np.array(rows, [(name, np.float64) for name in _SCORES])


_SCORES: Final = ("mae", "r2", "worst", "final", "within")

jax.tree_util.register_dataclass(
    LossLaw, data_fields=["numbers", "covariance", "spread"], meta_fields=["law"]
)


class CheckedCurve(NamedTuple):
    """A curve that has been checked, as arrays of NumPy in float64."""

    rates: np.ndarray
    steps: np.ndarray
    losses: np.ndarray


def validate_curves(function: str, curves: Sequence[LossCurve]) -> list[CheckedCurve]:
    """The curves as arrays, or a ``ValueError`` that says what is wrong with which."""
    found = []
    for place, curve in enumerate(curves):
        rates = np.asarray(run_rates(function, curve.rates), np.float64)
        steps, losses = np.asarray(curve.steps), np.asarray(curve.losses, np.float64)
        if steps.ndim != 1 or steps.shape != losses.shape or len(steps) == 0:
            raise ValueError(
                f"{function}: curve {place} has steps of shape {steps.shape} and losses of shape "
                f"{losses.shape}; they must be two lists of one length, of 1 or more."
            )
        if not np.all(np.isfinite(losses) & (losses > 0)):
            raise ValueError(
                f"{function}: curve {place} has a loss of {losses[~(losses > 0)][:1]}; every loss "
                "must be finite and above 0."
            )
        found.append(
            CheckedCurve(
                rates, np.asarray(_places(f"steps of curve {place}", steps, len(rates))), losses
            )
        )
    if not found:
        raise ValueError(f"{function}: curves is empty; at least one is needed.")
    return found


def _places(name: str, at: ArrayLike | None, steps: int) -> jax.Array:
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


def _floats(rates: jax.Array) -> jax.Array:
    return rates.astype(jnp.promote_types(rates.dtype, jnp.float32))


@functools.partial(jax.jit, static_argnums=0)
def _predict(law: str, numbers: Numbers, rates: jax.Array, at: jax.Array) -> jax.Array:
    return loss_along(LAWS[law], numbers, rates, at.ravel()).reshape(at.shape)


@functools.partial(jax.jit, static_argnums=0)
def _last(law: str, numbers: Numbers, rates: jax.Array) -> jax.Array:
    return last_loss(LAWS[law], numbers, rates)


@functools.partial(jax.jit, static_argnums=0)
def _with_errors(
    law: str,
    numbers: Numbers,
    covariance: jax.Array,
    spread: jax.Array,
    rates: jax.Array,
    at: jax.Array | None,
) -> tuple[jax.Array, jax.Array]:
    """The losses, and the standard errors of their logarithms; of the last one without ``at``."""
    names = LAWS[law].names
    logs = jnp.log(jnp.stack([jnp.asarray(numbers[name], rates.dtype) for name in names]))

    def log_loss(logs: jax.Array) -> jax.Array:
        values = dict(zip(names, jnp.exp(logs), strict=True))
        found = _last(law, values, rates) if at is None else _predict(law, values, rates, at)
        return jnp.log(found)

    slopes = jax.jacfwd(log_loss)(logs)
    variance = jnp.einsum("...i,ij,...j", slopes, jnp.asarray(covariance, rates.dtype), slopes)
    return jnp.exp(log_loss(logs)), jnp.sqrt(jnp.maximum(variance, 0) + spread**2)
