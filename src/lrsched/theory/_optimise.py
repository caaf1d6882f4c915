"""Search for the schedule that a law or a bound predicts to be best."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from scipy.optimize import minimize

from lrsched._schedule import Schedule
from lrsched.arguments import FiniteFloat, NonNegativeInt, PositiveInt, validate_arguments
from lrsched.schedules.multiphase import points
from lrsched.theory.comparison import compare
from lrsched.theory.loss_law import LossLaw

_INTERVALS: Final = (4, 8, 16, 32, 64)
_SHAPES: Final[tuple[Callable[[np.ndarray], np.ndarray], ...]] = (
    lambda x: np.ones_like(x),
    lambda x: 1 - x,
    lambda x: np.cos(np.pi / 2 * x) ** 2,
    lambda x: np.minimum(1, (1 - x) / 0.2),
    lambda x: 1 - np.sqrt(np.maximum(0, 1 - (1 - x) / 0.2)),
    lambda x: np.minimum(1, (1 - x) / 0.5),
)


@validate_arguments
def optimise(
    objective: LossLaw | Callable[[jax.Array], ArrayLike],
    steps: PositiveInt,
    peak: FiniteFloat,
    minimum: FiniteFloat = 0.0,
    warmup: NonNegativeInt = 0,
    monotone: bool = True,
) -> Schedule:
    """Search for the schedule with the least predicted final loss.

    The schedule consists of straight lines between 65 points that lie closer towards the end, where
    a schedule has its details. They are refined from 5 points on by sequential quadratic
    programming (SciPy's SLSQP) with the gradient of the objective, in float64. The search
    starts at the best of the plain shapes: a constant, a line, a half cosine and plateaus with
    cooldowns.

    A fitted law is not believed beyond its error: if the predicted gain over the best plain shape
    is at most twice the error of that difference, the plain shape is returned. `compare` reports
    both numbers.

    Args:
      objective: A `LossLaw`, or a function of the rates ``(steps,)`` that JAX can differentiate,
        such as ``lambda rates: theory.final_bound(rates).values``.
      steps: Length of the run in updates, with the warmup.
      peak: Largest rate. Only "norm-aware" fitted to several peaks predicts other peaks.
      minimum: Least rate after the warmup, from 0 to ``peak``.
      warmup: Length of a linear rise from 0, in updates.
      monotone: Whether the rate must not rise after the warmup.

    Returns:
      A `lrsched.points` schedule.

    Raises:
      ValueError: If ``minimum`` is not from 0 to ``peak``, ``peak`` is not above 0, the warmup
        leaves fewer than two updates, or the objective is not finite for any plain shape.

    References:
      Luo et al. 2025 (arXiv 2503.12811), section 5, whose code learns the decrements of all steps
      by Adam.

    >>> import jax.numpy as jnp
    >>> from lrsched import theory
    >>> wanted = jnp.linspace(1.2, 0.2, 100)  # the nearest of the schedules under a peak of 1
    >>> best = theory.optimise(lambda rates: jnp.sum((rates - wanted) ** 2), steps=100, peak=1.0)
    >>> [round(float(rate), 2) for rate in best([0, 50, 99])]
    [1.0, 0.69, 0.2]
    """
    low, high = float(np.asarray(minimum)), float(np.asarray(peak))
    length, rise = int(np.asarray(steps)), int(np.asarray(warmup))
    if not 0 <= low <= high or high == 0:
        raise ValueError(
            f"optimise: minimum={minimum!r} and peak={peak!r} are not accepted; they must be "
            "0 <= minimum <= peak, and peak above 0."
        )
    if length - rise < 2:
        raise ValueError(
            f"optimise: warmup={warmup!r} leaves {length - rise} of steps={steps!r}; there must be "
            "two or more."
        )
    with jax.enable_x64(True):
        search = _Search(objective, length, rise, low / high, high, bool(monotone))
        plain, values = search.best()
    if isinstance(objective, LossLaw) and objective.covariance is not None:
        candidates = [search.schedule(values), search.schedule(plain)]
        if not _is_told_apart(objective, candidates, length):
            values = plain
    return search.schedule(values)


def _is_told_apart(law: LossLaw, schedules: list[Schedule], steps: int) -> bool:
    """Return whether the first schedule is better than the second by more than the law's error."""
    table = compare({str(place): each for place, each in enumerate(schedules)}, law, steps).table
    return bool(table["gap"][1] > 2 * table["gap_error"][1])


class _Search:
    """Search over the values at knots in time, as fractions of the peak."""

    def __init__(
        self,
        objective: LossLaw | Callable[[jax.Array], ArrayLike],
        steps: int,
        warmup: int,
        least: float,
        peak: float,
        monotone: bool,
    ) -> None:
        self.least, self.monotone, self.peak, self.warmup = least, monotone, peak, warmup
        self.places = np.unique(np.rint(warmup + (steps - warmup) * _times(_INTERVALS[-1])))
        self.places = self.places.astype(np.int64)
        self.times = (self.places - warmup) / (steps - warmup)
        of_rates = objective.final_loss if isinstance(objective, LossLaw) else objective
        at = self.places if warmup == 0 else np.append(0, self.places)

        def of_values(values: jax.Array) -> jax.Array:
            values = values if warmup == 0 else jnp.append(0.0, values)
            return jnp.asarray(of_rates(peak * jnp.interp(jnp.arange(steps), at, values)))

        self.evaluate = jax.jit(jax.value_and_grad(of_values))

    def schedule(self, values: np.ndarray) -> Schedule:
        """Build the schedule with these values."""
        places, rates = self.places, np.minimum(values * self.peak, self.peak)
        if self.warmup:
            places, rates = np.append(0, places), np.append(0.0, rates)
        return points(places.tolist(), rates.tolist())

    def best(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the values of the best plain shape, and the best values."""
        shapes = [np.maximum(shape(self.times), self.least) for shape in _SHAPES]
        losses = [float(self.evaluate(jnp.asarray(shape))[0]) for shape in shapes]
        if not np.isfinite(losses).any():
            raise ValueError(
                "optimise: the objective is not finite for a constant, a line, a half cosine or a "
                "plateau with a cooldown."
            )
        plain: np.ndarray = shapes[int(np.nanargmin(losses))]
        best = plain
        # Losses of shapes differ in their third or fourth digit: the tolerance must be relative
        # to the difference.
        scale = np.ptp([value for value in losses if np.isfinite(value)]) or 1.0
        for intervals in _INTERVALS:
            best = self._refined(best, _times(intervals), scale)
        return plain, best

    def _refined(self, begin: np.ndarray, times: np.ndarray, scale: float) -> np.ndarray:
        """Return the best values on a coarser grid, interpolated at all knots."""
        if len(times) >= len(self.times):
            times = self.times
        spread = np.stack([np.interp(self.times, times, row) for row in np.eye(len(times))], axis=1)

        def of_coarse(coarse: np.ndarray) -> tuple[float, np.ndarray]:
            value, slopes = self.evaluate(jnp.asarray(spread @ coarse))
            return float(value) / scale, spread.T @ np.asarray(slopes) / scale

        falls = -np.diff(np.eye(len(times)), axis=0)
        falling = {"type": "ineq", "fun": lambda x: falls @ x, "jac": lambda x: falls}
        first = np.interp(times, self.times, begin)
        end = minimize(
            of_coarse,
            first,
            jac=True,
            method="SLSQP",
            bounds=[(self.least, 1.0)] * len(times),
            constraints=[falling] if self.monotone else [],
            options={"maxiter": 300, "ftol": 1e-9},
        )
        values: np.ndarray = np.clip(end.x, self.least, 1.0)
        values = spread @ (np.minimum.accumulate(values) if self.monotone else values)
        # The solver may stop at a worse point or at NaN; then the coarser schedule stays.
        before, after = (float(self.evaluate(jnp.asarray(each))[0]) for each in (begin, values))
        return values if after < before else begin


def _times(intervals: int) -> np.ndarray:
    """Return the knots as fractions of the run, closer towards its end."""
    remaining: np.ndarray = np.linspace(1, 0, intervals + 1)
    return 1 - remaining**2
