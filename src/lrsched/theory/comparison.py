"""The final losses that a law predicts for schedules, side by side."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final

import jax
import jax.numpy as jnp
import numpy as np

from lrsched._plotting import plot
from lrsched.theory.bound import Rates, run_rates
from lrsched.theory.loss_law import LossLaw, log_slopes, model_error, split

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_BATCH: Final = 64


@dataclasses.dataclass(frozen=True, eq=False)
class ComparisonResult:
    """Result of `compare`.

    Attributes:
      table: A structured array with one row a schedule, in their order: ``name``; ``loss``, the
        predicted final loss; ``low`` and ``high``, its 95 % interval; ``gap``, the predicted loss
        minus that of the best schedule; ``gap_error``, the standard error of the gap; ``steps``;
        ``area``, the sum of the rates; ``peak`` and ``last``, the largest and the last rate. The
        interval and the error are NaN if the law is not fitted.
      law: The law.
    """

    table: np.ndarray
    law: LossLaw

    def best(self) -> str:
        """Return the name of the schedule with the lowest predicted loss."""
        return str(self.table["name"][np.argmin(self.table["loss"])])

    def tied(self) -> list[str]:
        """Return the schedules that the law cannot tell from the best one, the best one first.

        Returns:
          Names of the schedules whose gap is at most twice its error, by their predicted loss. If
          the law is not fitted, its error is unknown and every schedule is returned.
        """
        rows = np.sort(self.table, order="loss")
        # NaN compares as false: a gap of unknown error is not shown to exceed it.
        return [
            str(row["name"])
            for row in rows
            if np.isfinite(row["loss"]) and not row["gap"] > 2 * row["gap_error"]
        ]

    def verdict(self) -> str:
        """Describe in words whether the best schedule is better by more than the law's error."""
        rows = np.sort(self.table, order="loss")
        if len(rows) == 1:
            return f"{rows[0]['name']} is the only schedule. {self.law.trust()}"
        first, tied = rows[0], self.tied()
        if not np.isfinite(rows[1]["loss"]):
            said = f"{first['name']} is the only schedule with a finite predicted loss."
            return f"{said} {self.law.trust()}"
        # The gap of the next lowest loss may exceed its error, and that of a less certain one not.
        second = next((row for row in rows[1:] if str(row["name"]) in tied), rows[1])
        gap, error = f"{second['gap']:.4f}", f"{second['gap_error']:.4f}"
        if not np.isfinite(second["gap_error"]):
            end = "; the law is not fitted, so whether that exceeds its error is unknown."
        elif len(tied) > 1:
            end = f", which does not exceed twice the error of the law, {error}: "
            end += f"{', '.join(tied)} are not told apart."
        else:
            gap, end = f"{gap} ± {error}", ", the next best."
        said = f"{first['name']} is predicted to end {gap} below {second['name']}{end}"
        return f"{said} {self.law.trust()}"

    def plot(self, ax: Axes | None = None) -> Axes:
        """Plot the predicted final losses with their intervals, the lowest on top.

        Args:
          ax: Axes of matplotlib. Defaults to new ones.

        Returns:
          The axes.
        """
        return plot("plot_comparison", self, ax)


def compare(
    schedules: Mapping[str, Rates] | Sequence[Rates], law: LossLaw, steps: int | None = None
) -> ComparisonResult:
    """Predict the final losses of schedules and whether their differences exceed the law's error.

    Most of the error of a law, such as that of ``L0``, is common to all schedules. Their
    differences are therefore better known than their losses: ``gap_error`` counts only what does
    not cancel.

    Args:
      schedules: Schedules by name, or a list, in which a schedule's name is its `repr`.
      law: The law.
      steps: Length of each run in updates. Defaults to the horizon of each schedule.

    Returns:
      The table of predictions. Schedules of one length are evaluated by one program.

    Raises:
      ValueError: If there is no schedule, or one has no horizon and ``steps`` is `None`.

    >>> import lrsched
    >>> from lrsched import theory
    >>> law = theory.LossLaw(
    ...     "annealing", {"L0": 2.0, "A": 1.0, "alpha": 0.5, "C": 5e-3, "memory": 100.0})
    >>> result = theory.compare(
    ...     {"constant": lrsched.constant(0.1), "linear": lrsched.linear(0.1, 0.0, steps=1_000)},
    ...     law, steps=1_000)
    >>> [(str(name), round(float(loss), 3)) for name, loss in result.table[["name", "loss"]]]
    [('constant', 2.15), ('linear', 2.146)]
    """
    named = (
        dict(schedules)
        if isinstance(schedules, Mapping)
        else {str(schedule): schedule for schedule in schedules}
    )
    if not named:
        raise ValueError("compare: schedules is empty; at least one is needed.")
    rates = [
        run_rates("compare", schedule, steps).astype(jnp.float32) for schedule in named.values()
    ]
    lengths = np.array([len(each) for each in rates])
    logs, errors = np.empty(len(rates)), np.full(len(rates), np.nan)
    slopes = np.zeros((len(rates), len(law.numbers)))
    for length in np.unique(lengths):
        places = np.flatnonzero(lengths == length)
        result = _final(*split(law), jnp.stack([rates[place] for place in places]))
        logs[places], slopes[places], errors[places] = map(np.asarray, result)
    losses, best = np.exp(logs), int(np.argmin(logs))
    own = np.full(len(rates), np.nan)
    gap_errors = own.copy()
    if law.covariance is not None:
        covariance = np.asarray(law.covariance, np.float64)
        own = np.sqrt(np.einsum("ki,ij,kj->k", slopes, covariance, slopes) + errors**2)
        apart = slopes - slopes[best]
        # The deviations of two runs from the law are taken as independent.
        variance = np.einsum("ki,ij,kj->k", apart, covariance, apart)
        gap_errors = losses * np.sqrt(np.maximum(variance, 0) + errors**2 + errors[best] ** 2)
        gap_errors[best] = 0.0
    width = np.exp((law.quantile(0.95) if law.covariance is not None else np.nan) * own)
    columns = {
        "loss": losses,
        "low": losses / width,
        "high": losses * width,
        "gap": losses - losses[best],
        "gap_error": gap_errors,
        "steps": lengths,
        "area": [np.sum(np.asarray(each, np.float64)) for each in rates],
        "peak": [np.max(np.asarray(each)) for each in rates],
        "last": [np.asarray(each)[-1] for each in rates],
    }
    types = ((name, np.int64 if name == "steps" else np.float64) for name in columns)
    table = np.empty(len(rates), [("name", f"U{max(map(len, named))}"), *types])
    for name, values in {"name": list(named), **columns}.items():
        table[name] = values
    return ComparisonResult(table, law)


@jax.jit
def _final(
    law: LossLaw, reach: jax.Array, rates: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Compute the log final losses, their slopes and the errors of the law, one row a schedule."""

    def of_one(each: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        log_loss, slopes = log_slopes(law, each)
        error = (
            jnp.nan * log_loss if law.covariance is None else model_error(law.spread, reach, each)
        )
        return log_loss, slopes, error

    return jax.lax.map(of_one, rates, batch_size=_BATCH)
