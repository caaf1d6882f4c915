"""Predictions for another schedule, or for the rest of a run, from the curves of a few runs."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from lrsched.theory._fit import fit_loss_law
from lrsched.theory.bound import Rates, run_rates
from lrsched.theory.comparison import ComparisonResult, compare
from lrsched.theory.laws import LossCurve
from lrsched.theory.loss_law import LossLaw

_USUAL_ERROR: Final = 0.01
"""Relative distance of a run from the law of others beyond which the run has a level of its own."""


def what_if(
    curves: Sequence[LossCurve], schedules: Mapping[str, Rates] | Sequence[Rates], **options: Any
) -> ComparisonResult:
    """Predict the losses of other schedules from existing runs.

    For example, the curves of a constant run and two cooldowns predict a run that is 20 % longer,
    or a linear cooldown of 40 %. This is `compare` with the law of `fit_loss_law`.

    Args:
      curves: Three or more curves of existing runs; the rate falls in at least one of them.
      schedules: Schedules to predict, each with a horizon, by name or in a list.
      **options: Arguments of `fit_loss_law`.

    Returns:
      The predictions. ``verdict()`` compares their differences with the error of the law, and
      ``plot()`` draws them.

    Raises:
      ValueError: As in `fit_loss_law` and `compare`.

    >>> import jax.numpy as jnp, lrsched
    >>> from lrsched import theory
    >>> truth = theory.LossLaw("power", {"L0": 2.0, "A": 1.0, "alpha": 0.5})
    >>> at, run = jnp.arange(50, 401, 50), lrsched.constant(0.1)
    >>> curve = theory.LossCurve(run(jnp.arange(400)), at, truth.predict(run, 400, at))
    >>> longer = theory.what_if([curve], {"longer": jnp.full(800, 0.1)}, law="power")
    >>> round(float(longer.table["loss"][0]), 3)
    2.112
    """
    return compare(schedules, fit_loss_law(curves, **options))


@dataclasses.dataclass(frozen=True)
class ForecastResult:
    """Result of `forecast`.

    Attributes:
      loss: Predicted final loss.
      low: Lower end of the interval.
      high: Upper end of the interval.
      law: The fitted law.
      trust: Sentences about what the prediction rests on.
    """

    loss: float
    low: float
    high: float
    law: LossLaw
    trust: str


def forecast(
    run: LossCurve, others: Sequence[LossCurve] = (), level: float = 0.95, **options: Any
) -> ForecastResult:
    """Predict the final loss of a run that is not finished.

    Where the latest quarter of the records of the run lies more than about 1 % off the law of all
    curves, the law is moved by this distance. A run whose interval lies above the loss of a
    finished one can be stopped early.

    Args:
      run: Curve with the rates to the end of the run, and its records so far.
      others: Curves of finished runs of the same model and data. Without one whose rate falls, the
        effect of a cooldown is unknown and only ``law="power"`` can be fitted.
      level: Probability of the interval, between 0 and 1 (exclusive).
      **options: Arguments of `fit_loss_law`.

    Returns:
      The final loss and its interval.

    Raises:
      ValueError: As in `fit_loss_law`.

    >>> import jax.numpy as jnp, lrsched
    >>> from lrsched import theory
    >>> truth = theory.LossLaw("power", {"L0": 2.0, "A": 1.0, "alpha": 0.5})
    >>> at, rates = jnp.arange(50, 401, 50), jnp.full(1200, 0.1)
    >>> run = theory.LossCurve(rates, at, truth.predict(rates, at=at))
    >>> round(theory.forecast(run, law="power").loss, 3)
    2.091
    """
    rates = run_rates("forecast", run.rates)
    law = fit_loss_law([run, *others], **options)
    # A run may lie above or below the others throughout, which a law with one ``L0`` cannot follow.
    steps, losses = np.asarray(run.steps), np.asarray(run.losses, np.float64)
    latest = np.argsort(steps)[-max(1, len(steps) // 4) :]
    residuals = np.log(losses[latest]) - np.log(np.asarray(law.predict(rates, at=steps[latest])))
    distance = float(np.median(residuals))
    # A distance within the usual error of a law is noise, and moves the forecast little.
    offset = distance**3 / (distance**2 + _USUAL_ERROR**2)
    values = (law.final_loss(rates), *law.final_interval(rates, level=level))
    loss, low, high = (float(value) * math.exp(offset) for value in values)
    trust = law.trust(rates)
    if abs(distance) > _USUAL_ERROR:
        side = "above" if distance > 0 else "below"
        trust += (
            f" The latest records of the run lie {abs(np.expm1(distance)):.1%} {side} the law, so "
            f"the forecast is moved by {np.expm1(offset):+.1%}."
        )
    return ForecastResult(loss, low, high, law, trust)
