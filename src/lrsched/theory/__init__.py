"""Judging a schedule before a run, and improving it after one: a schedule is data here.

From the rates alone: a bound of the last iterate (`convergence_bound`), the best rate of a shape,
and that rate carried to other shapes and lengths. From the gradient norms of a run: `refine`.
From the losses of a few runs: `fit` of a `LossLaw`, which predicts those of any other schedule;
`compare` and `optimise` look for a better one.
"""

from lrsched.theory.bound import Bound, convergence_bound, final_bound, optimal_rate
from lrsched.theory.comparison import Comparison, compare
from lrsched.theory.fit import fit
from lrsched.theory.laws import Curve, LossLaw
from lrsched.theory.optimise import optimise
from lrsched.theory.refine import refine
from lrsched.theory.transfer import keep_rate, transfer_rate

__all__ = [
    "Bound",
    "Comparison",
    "Curve",
    "LossLaw",
    "compare",
    "convergence_bound",
    "final_bound",
    "fit",
    "keep_rate",
    "optimal_rate",
    "optimise",
    "refine",
    "transfer_rate",
]
