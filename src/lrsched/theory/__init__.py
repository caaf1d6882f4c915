"""Predict what a schedule will do before it is run, and improve it after a run.

The rates alone give a bound of the last iterate (`convergence_bound`), the best rate of a shape
and that rate for other shapes and lengths (`transfer_rate`, `match_optimal_rate`). The gradient
norms of a run give a refined schedule (`refine`). The losses of a few runs give a `LossLaw`
(`fit_loss_law`) that predicts the loss of any other schedule; `compare` ranks schedules by it and
`optimise` searches for a better one.
"""

from lrsched.theory._fit import fit_loss_law
from lrsched.theory._optimise import optimise
from lrsched.theory._refine import refine
from lrsched.theory.bound import ConvergenceBound, convergence_bound, final_bound, optimal_rate
from lrsched.theory.comparison import ComparisonResult, compare
from lrsched.theory.laws import LossCurve, LossLaw
from lrsched.theory.transfer import match_optimal_rate, transfer_rate

__all__ = [
    "ComparisonResult",
    "ConvergenceBound",
    "LossCurve",
    "LossLaw",
    "compare",
    "convergence_bound",
    "final_bound",
    "fit_loss_law",
    "match_optimal_rate",
    "optimal_rate",
    "optimise",
    "refine",
    "transfer_rate",
]
