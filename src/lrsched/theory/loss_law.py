"""`LossLaw`: a loss law with its parameters, what it predicts and how far to trust it."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from lrsched.arguments import OPEN_UNIT_FLOAT
from lrsched.theory.bound import Rates, run_rates
from lrsched.theory.laws import (
    LAWS,
    LawTerm,
    LossCurve,
    Numbers,
    last_loss,
    loss_along,
    validate_curves,
    validate_places,
)

if TYPE_CHECKING:
    import chex

# Log error of a final loss per factor of 2 between a run and the runs that were fitted, in its
# peak and in its length, beside the error of the parameters. No fit to runs of one peak or of one
# length can measure these itself. They come from the same cross-validation as the constants of
# `lrsched.theory._fit`; it has two peaks only, so that of the peak is rounded up by a half. Laws
# without the weight norm cannot explain two peaks together, and their error is far larger.
_PEAK_ERROR: Final = 0.002
_PEAK_ERROR_WITHOUT_NORM: Final = 0.015
_LENGTH_ERROR: Final = 0.001


class FittedRuns(NamedTuple):
    """What a fit has seen.

    Attributes:
      curves: Number of curves.
      peaks: Least and greatest largest rate of the curves.
      steps: Length of the shortest and of the longest curve, up to its last record.
      lowest: Least final rate of a curve, as a fraction of its peak.
      dof: Degrees of freedom of the error of the law, float; 0 without cross-validation. They are
        one less than the number of curves, and up to 12 more for the misfit, see `fit_loss_law`.
      errors: Root mean square relative error of left-out curves: along the run, of the final loss.
      baseline: Error of the final loss for the mean of the other curves.
      warnings: Sentences about the fit itself.
    """

    curves: int
    peaks: tuple[float, float]
    steps: tuple[int, int]
    lowest: float
    dof: float
    errors: tuple[float, float]
    baseline: float
    warnings: tuple[str, ...] = ()


class Calibration(NamedTuple):
    """A correction of a law by the mean of the curves that it was fitted to.

    ``log loss = log_loss(t) + strength (log law(t) - log_law(t))``: at a strength of 0 the
    prediction is the mean curve; at 1 it is the law plus its mean residual.

    Attributes:
      steps: Knots in updates, float, ``(knots,)``.
      log_loss: Mean logarithm of the losses of the fitted curves, ``(knots,)``.
      log_law: Mean logarithm of the law's losses of the fitted curves, ``(knots,)``.
      strength: Float scalar from 0 to 1.
    """

    steps: chex.Array
    log_loss: chex.Array
    log_law: chex.Array
    strength: chex.Numeric

    def apply(self, log_losses: chex.Array, at: ArrayLike) -> chex.Array:
        """Return the corrected logarithms of the law's losses after ``at`` updates."""
        mean_loss, mean_law = (
            jnp.interp(jnp.asarray(at, jnp.float32), self.steps, each)
            for each in (self.log_loss, self.log_law)
        )
        return mean_loss + self.strength * (log_losses - mean_law)


@dataclasses.dataclass(frozen=True, eq=False)
class LossLaw:
    """A loss law with its parameters, as `fit_loss_law` returns it or as a paper gives them.

    It is a pytree whose parameters are leaves: gradients flow through them and through the rates,
    and `jax.vmap` evaluates thousands of schedules.

    Attributes:
      law: "multi-power", "norm-aware", "annealing" or "power".
      numbers: Parameters by the letters of the formula: "L0", "A", "alpha", then "B", "C", "beta",
        "gamma" (and "decay", "norm0", "norm_power" of "norm-aware"), or "C", "memory". Rates have
        the unit of the fitted curves.
      covariance: Covariance of the logarithms of the parameters, ``(parameters, parameters)``.
        `None` if the law is not fitted.
      spread: Relative deviation of a run from its law, ``(2,)``: along the run, of the final loss.
        `None` if the law is not fitted.
      calibration: Correction by the mean of the fitted curves, or `None`.
      runs: Summary of the fitted curves, or `None` if the law is not fitted.

    Raises:
      ValueError: If ``law`` is unknown, or a parameter is missing or unknown.

    >>> import lrsched
    >>> from lrsched import theory
    >>> law = theory.LossLaw(  # 25M parameters, arXiv 2503.12811's code
    ...     "multi-power",
    ...     {"L0": 3.040, "A": 0.525, "alpha": 0.508, "B": 363.8, "C": 2.066, "beta": 0.583,
    ...      "gamma": 0.641})
    >>> schedule = lrsched.wsd(3e-4, steps=24_000, warmup=2_160, cooldown=0.2)
    >>> [round(float(loss), 3) for loss in law.predict(schedule, at=[10_000, 24_000])]
    [3.466, 3.262]
    """

    law: str
    numbers: dict[str, chex.Numeric]
    covariance: chex.Array | None = None
    spread: chex.Array | None = None
    calibration: Calibration | None = None
    runs: FittedRuns | None = None

    def __post_init__(self) -> None:
        """Validate the names; what JAX puts in the place of the parameters passes."""
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
        """Predict the losses along a run, in ``O(steps log(steps))``.

        Args:
          schedule: A `Schedule`, a callable of the step, or an array with the rate of each step.
          steps: Length of the run in updates. Defaults to the horizon of the schedule or the length
            of the array.
          at: Number of updates before each prediction, 1 or more. Defaults to 1, ..., ``steps``.

        Returns:
          The losses, in the shape of ``at``, or ``(steps,)``.

        Raises:
          ValueError: If the length is unknown, a rate is negative or ``at`` is outside the run.
        """
        rates = _floats(run_rates("predict", schedule, steps))
        at = validate_places("at", at, len(rates))
        losses: jax.Array = _predict(self.law, self.numbers, self.calibration, rates, at)
        return losses

    def final_loss(self, schedule: Rates, steps: int | None = None) -> jax.Array:
        """Predict the loss after the last update, with the exact sum in ``O(steps)``.

        Args:
          schedule: See `predict`.
          steps: See `predict`.

        Returns:
          A scalar.
        """
        rates = _floats(run_rates("final_loss", schedule, steps))
        loss: jax.Array = _last(self.law, self.numbers, self.calibration, rates)
        return loss

    def interval(
        self,
        schedule: Rates,
        steps: int | None = None,
        at: ArrayLike | None = None,
        level: float = 0.95,
    ) -> tuple[jax.Array, jax.Array]:
        """Compute the interval in which the losses of a run lie.

        Four errors add: the parameters' (the logarithm of the loss is linearised in theirs), the
        cross-validated error of the law, and the errors for a peak and for a length outside those
        of the fitted curves. The quantile is Student's for few curves.

        Args:
          schedule: See `predict`.
          steps: See `predict`.
          at: See `predict`.
          level: Fraction of the runs that should be inside, between 0 and 1 (exclusive).

        Returns:
          The lower and the upper end, each in the shape that `predict` returns.

        Raises:
          ValueError: If the law is not fitted, or as in `predict`.
        """
        rates = _floats(run_rates("interval", schedule, steps))
        return self._interval(rates, validate_places("at", at, len(rates)), level)

    def final_interval(
        self, schedule: Rates, steps: int | None = None, level: float = 0.95
    ) -> tuple[jax.Array, jax.Array]:
        """Compute the interval of `final_loss`.

        Args:
          schedule: See `predict`.
          steps: See `predict`.
          level: See `interval`.

        Returns:
          The lower and the upper end, scalars.
        """
        return self._interval(_floats(run_rates("final_interval", schedule, steps)), None, level)

    def _interval(
        self, rates: jax.Array, at: jax.Array | None, level: float
    ) -> tuple[jax.Array, jax.Array]:
        if self.covariance is None:
            raise ValueError(
                "interval: the parameters of this law are not fitted, so their error is unknown; "
                "fit_loss_law returns a law with intervals."
            )
        OPEN_UNIT_FLOAT.validate("interval", "level", level)
        losses, errors = _with_errors(*split(self), rates, at)
        width = jnp.exp(self.quantile(level) * errors)
        return losses / width, losses * width

    def quantile(self, level: float) -> float:
        """Return the two-sided quantile of the errors, in standard errors."""
        # SciPy belongs to the extra; an unfitted law does without it.
        from scipy.stats import norm, t

        dof = self.runs.dof if self.runs else 0
        return float(t.ppf(0.5 + level / 2, dof) if dof else norm.ppf(0.5 + level / 2))

    def standard_errors(self) -> dict[str, float]:
        """Return the relative standard error of each parameter.

        Raises:
          ValueError: If the law is not fitted.
        """
        if self.covariance is None:
            raise ValueError("standard_errors: the parameters of this law are not fitted.")
        errors = np.sqrt(np.maximum(np.diag(np.asarray(self.covariance)), 0))
        return dict(zip(self.numbers, errors.tolist(), strict=True))

    def trust(self, schedule: Rates | None = None, steps: int | None = None) -> str:
        """Describe in words how far the law, or its prediction for a schedule, can be trusted.

        Args:
          schedule: The schedule that is predicted, see `predict`. If `None`, only the fit is
            described.
          steps: See `predict`.

        Returns:
          A few sentences: what was fitted, the cross-validated error, and what a prediction for
          ``schedule`` extrapolates.
        """
        runs = self.runs
        if runs is None:
            return "The parameters are not fitted here: the error of this law is unknown."
        (low, high), (short, long) = runs.peaks, runs.steps
        peaks = f"the peak {low:.3g}" if high <= 1.05 * low else f"peaks {low:.3g} to {high:.3g}"
        length = f"{long} updates" if short == long else f"{short} to {long} updates"
        number = "1 curve" if runs.curves == 1 else f"{runs.curves} curves"
        said = [f"Fitted to {number} at {peaks}, {length} long."]
        if runs.dof:
            said.append(
                f"Final losses of left-out curves are predicted within {runs.errors[1]:.2%} (the "
                f"mean of the other curves: {runs.baseline:.2%})."
            )
        else:
            said.append("Too few curves for a cross-validation: the error is an assumption.")
        said += runs.warnings
        if schedule is not None:
            rates = np.asarray(run_rates("trust", schedule, steps), np.float64)
            peak, last = float(rates.max()), float(rates[-1] / max(rates.max(), 1e-300))
            outside = [
                f"its peak {peak:.3g}" if not low / 1.05 <= peak <= high * 1.05 else "",
                f"its length of {len(rates)} updates" if len(rates) > 1.05 * long else "",
                "its last rates, below those of every fitted curve"
                if last < runs.lowest - 0.05
                else "",
            ]
            outside = [each for each in outside if each]
            said.append(
                f"The prediction extrapolates in {', and '.join(outside)}."
                if outside
                else "The prediction is inside the range of the fitted curves."
            )
        return " ".join(said)

    def scores(self, curves: Sequence[LossCurve]) -> np.ndarray:
        """Score the predictions for curves, which need not be those of the fit.

        Args:
          curves: The curves.

        Returns:
          A structured array with one row a curve: ``mae``, the mean absolute error; ``r2``, the
          fraction of the variance that is explained; ``worst``, the largest absolute error;
          ``final``, predicted minus recorded at the last record; ``within``, the fraction of the
          records in the 95 % interval, and ``final_within``, whether the last one is in its own;
          both are NaN if the law is not fitted.
        """
        rows = []
        for curve in validate_curves("scores", curves):
            rates, at = _floats(jnp.asarray(curve.rates)), jnp.asarray(curve.steps)
            losses, within, last_within = curve.losses, float("nan"), float("nan")
            predicted = np.asarray(_predict(self.law, self.numbers, self.calibration, rates, at))
            last = int(np.argmax(curve.steps))
            if self.covariance is not None:
                low, high = map(np.asarray, self._interval(rates, at, 0.95))
                within = float(np.mean((low <= losses) & (losses <= high)))
                until = rates[: int(curve.steps[last])]
                low, high = map(np.asarray, self._interval(until, None, 0.95))
                last_within = float(low <= losses[last] <= high)
            error = predicted - losses
            r2 = 1 - np.sum(error**2) / np.sum((losses - losses.mean()) ** 2)
            rows.append(
                (np.abs(error).mean(), r2, np.abs(error).max(), error[last], within, last_within)
            )
        return np.array(rows, [(name, np.float64) for name in _SCORES])


_SCORES: Final = ("mae", "r2", "worst", "final", "within", "final_within")

jax.tree_util.register_dataclass(
    LossLaw,
    data_fields=["numbers", "covariance", "spread", "calibration"],
    meta_fields=["law", "runs"],
)


def _floats(rates: jax.Array) -> jax.Array:
    return rates.astype(jnp.promote_types(rates.dtype, jnp.float32))


def _calibrated(calibration: Calibration | None, losses: jax.Array, at: ArrayLike) -> jax.Array:
    if calibration is None:
        return losses
    return jnp.exp(calibration.apply(jnp.log(losses), at))


@functools.partial(jax.jit, static_argnums=0)
def _predict(
    law: str, numbers: Numbers, calibration: Calibration | None, rates: jax.Array, at: jax.Array
) -> jax.Array:
    losses = loss_along(LAWS[law], numbers, rates, at.ravel()).reshape(at.shape)
    return _calibrated(calibration, losses, at)


@functools.partial(jax.jit, static_argnums=0)
def _last(
    law: str, numbers: Numbers, calibration: Calibration | None, rates: jax.Array
) -> jax.Array:
    return _calibrated(calibration, last_loss(LAWS[law], numbers, rates), len(rates))


def log_slopes(
    law: LossLaw, rates: jax.Array, at: jax.Array | None = None
) -> tuple[jax.Array, jax.Array]:
    """Compute the logarithm of the loss and its derivatives in those of the parameters.

    Args:
      law: A law.
      rates: The rates of the run, ``(steps,)``.
      at: Numbers of updates. If `None`, the end of the run.

    Returns:
      The logarithms, in the shape of ``at``, and the derivatives with one axis more.
    """
    names = LAWS[law.law].names
    logs = jnp.log(jnp.stack([jnp.asarray(law.numbers[name], rates.dtype) for name in names]))

    def log_loss(logs: jax.Array) -> jax.Array:
        values = dict(zip(names, jnp.exp(logs), strict=True))
        if at is None:
            return jnp.log(_last(law.law, values, law.calibration, rates))
        return jnp.log(_predict(law.law, values, law.calibration, rates, at))

    return log_loss(logs), jax.jacfwd(log_loss)(logs)


def split(law: LossLaw) -> tuple[LossLaw, np.ndarray]:
    """Return a law without its summary, and what intervals need of that, as an array.

    The summary is static: under `jax.jit` every fit would otherwise compile all programs again.

    Args:
      law: A law.

    Returns:
      The law, and the least peak, the greatest peak and the greatest length of the fitted curves,
      and the relative error of the law for each factor of 2 between peaks.
    """
    if law.runs is None:
        return law, np.array([0.0, np.inf, np.inf, 0.0])
    peak_error = _PEAK_ERROR if LAWS[law.law].normalised else _PEAK_ERROR_WITHOUT_NORM
    reach = np.array([*law.runs.peaks, law.runs.steps[1], peak_error])
    return dataclasses.replace(law, runs=None), reach


def model_error(
    spread: chex.Array | None, reach: ArrayLike, rates: jax.Array, at: jax.Array | None = None
) -> jax.Array:
    """Compute the relative error of the law itself for a run, without that of its parameters.

    Args:
      spread: Spread of the law, see `LossLaw`.
      reach: Range of the fitted runs, as `split` returns it.
      rates: The rates of the run, ``(steps,)``.
      at: Numbers of updates. If `None`, the end of the run.

    Returns:
      The error, in the shape of ``at``, or a scalar.
    """
    low, high, longest, per_octave = jnp.asarray(reach, rates.dtype)
    error = jnp.asarray(spread, rates.dtype)[1 if at is None else 0]
    peak = jnp.maximum(jnp.max(rates), 1e-30)
    octaves = jnp.log2(jnp.maximum(jnp.maximum(low / peak, peak / high), 1.0))
    length = jnp.asarray(len(rates) if at is None else at, rates.dtype)
    longer = jnp.log2(jnp.maximum(length / longest, 1.0))
    peak_error = jnp.maximum(per_octave, error) * octaves
    length_error = jnp.maximum(_LENGTH_ERROR, error) * longer
    return jnp.sqrt(error**2 + peak_error**2 + length_error**2)


@jax.jit
def _with_errors(
    law: LossLaw, reach: jax.Array, rates: jax.Array, at: jax.Array | None
) -> tuple[jax.Array, jax.Array]:
    """Compute the losses and the standard errors of their logarithms; at the end without ``at``."""
    logs, slopes = log_slopes(law, rates, at)
    covariance = jnp.asarray(law.covariance, rates.dtype)
    variance = jnp.einsum("...i,ij,...j", slopes, covariance, slopes)
    errors = jnp.sqrt(jnp.maximum(variance, 0) + model_error(law.spread, reach, rates, at) ** 2)
    return jnp.exp(logs), errors
