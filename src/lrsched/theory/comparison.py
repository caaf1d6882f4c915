"""Schedules side by side, as a law sees them."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Final

import jax
import jax.numpy as jnp
import numpy as np

from lrsched._plotting import plot
from lrsched.theory.bound import Rates, run_rates
from lrsched.theory.laws import LossLaw

_BATCH: Final = 64


@dataclasses.dataclass(frozen=True, eq=False)
class ComparisonResult:
    """What came of `compare`.

    Attributes:
      table: a structured array with one row a schedule, in their order: ``name``; ``loss``, the
        predicted final one; ``low`` and ``high``, the interval of 95 %, NaN where the law has not
        been fitted; ``steps``; ``area``, the sum of the rates; ``peak`` and ``last``, the largest
        and the last rate.
    """

    table: np.ndarray

    def best(self) -> str:
        """The name of the schedule with the lowest predicted loss."""
        return str(self.table["name"][np.argmin(self.table["loss"])])

    def plot(self, ax: Any = None) -> Any:
        """The predicted final losses with their intervals, the lowest on top.

        Args:
          ax: matplotlib's axes; by default new ones.

        Returns:
          The axes.
        """
        return plot("plot_comparison", self, ax)


def compare(
    schedules: Mapping[str, Rates] | Sequence[Rates], law: LossLaw, steps: int | None = None
) -> ComparisonResult:
    """The final losses that a law predicts for schedules, thousands of them in one program.

    Intervals are of each schedule by itself. Most of what is not known of a law, such as ``L0``, is
    common to all, so that their order is better known than they are.

    Args:
      schedules: by their names, or a list, in which their names are what they print.
      law: that predicts.
      steps: the updates of each run; by default each schedule's horizon.

    Raises:
      ValueError: there is no schedule, or one without a horizon where ``steps`` is None.

    >>> import lrsched
    >>> from lrsched import theory
    >>> law = theory.LossLaw(
    ...     "annealing", {"L0": 2.0, "A": 1.0, "alpha": 0.5, "C": 5e-3, "memory": 100.0})
    >>> found = theory.compare(
    ...     {"constant": lrsched.constant(0.1), "linear": lrsched.linear(0.1, 0.0, steps=1_000)},
    ...     law, steps=1_000)
    >>> [(str(name), round(float(loss), 3)) for name, loss in found.table[["name", "loss"]]]
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
    losses = np.empty((len(rates), 3))
    for length in np.unique(lengths):
        places = np.flatnonzero(lengths == length)
        losses[places] = _final(law, jnp.stack([rates[place] for place in places]))
    width = max(map(len, named))
    kinds = [("loss", "low", "high"), ("area", "peak", "last")]
    table = np.empty(
        len(rates),
        [
            ("name", f"U{width}"),
            *((name, np.float64) for name in kinds[0]),
            ("steps", np.int64),
            *((name, np.float64) for name in kinds[1]),
        ],
    )
    table["name"], table["steps"] = list(named), lengths
    for name, values in zip(kinds[0], losses.T, strict=True):
        table[name] = values
    for name, of in (("area", np.sum), ("peak", np.max), ("last", lambda each: each[-1])):
        table[name] = [of(np.asarray(each, np.float64)) for each in rates]
    return ComparisonResult(table)


@jax.jit
def _final(law: LossLaw, rates: jax.Array) -> jax.Array:
    """The final loss and its interval, ``(schedules, 3)``."""

    def of_one(each: jax.Array) -> jax.Array:
        loss = law.final_loss(each)
        if law.covariance is None:
            return jnp.stack([loss, jnp.nan * loss, jnp.nan * loss])
        return jnp.stack([loss, *law.final_interval(each)])

    found: jax.Array = jax.lax.map(of_one, rates, batch_size=_BATCH)
    return found
