"""Predict what a schedule will do before it is run, and improve it after a run.

The rates alone give a bound of the last iterate (`convergence_bound`), the best rate of a shape
and that rate for other shapes and lengths (`transfer_rate`, `match_optimal_rate`). The gradient
norms of a run give a refined schedule (`refine`). The losses of a few runs give a `LossLaw`
(`fit_loss_law`) that predicts the loss of any other schedule; `compare` ranks schedules by it,
`what_if` does both in one call, `forecast` predicts the end of a run that is not finished,
`explain` says in sentences what the schedule of a finished run did, and `optimise` searches for a
better schedule.
"""

from lrsched.theory._explain import Explanation, explain
from lrsched.theory._fit import fit_loss_law
from lrsched.theory._history import read_history
from lrsched.theory._optimise import optimise
from lrsched.theory._refine import refine
from lrsched.theory.bound import ConvergenceBound, convergence_bound, final_bound, optimal_rate
from lrsched.theory.comparison import ComparisonResult, compare
from lrsched.theory.forecasting import ForecastResult, forecast, what_if
from lrsched.theory.functional import (
    FunctionalOptimum,
    functional_batch_size,
    functional_loss,
    functional_optimum,
    noise_law,
)
from lrsched.theory.laws import LossCurve
from lrsched.theory.loss_law import Calibration, FittedRuns, LossLaw
from lrsched.theory.transfer import match_optimal_rate, transfer_rate

__all__ = [
    "Calibration",
    "ComparisonResult",
    "ConvergenceBound",
    "Explanation",
    "FittedRuns",
    "ForecastResult",
    "FunctionalOptimum",
    "LossCurve",
    "LossLaw",
    "compare",
    "convergence_bound",
    "explain",
    "final_bound",
    "fit_loss_law",
    "forecast",
    "functional_batch_size",
    "functional_loss",
    "functional_optimum",
    "match_optimal_rate",
    "noise_law",
    "optimal_rate",
    "optimise",
    "read_history",
    "refine",
    "transfer_rate",
    "what_if",
]
