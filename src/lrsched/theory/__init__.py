"""Judging a schedule before a run, and improving it after one: a schedule is data here.

From the rates alone: a bound of the last iterate (`convergence_bound`), the best rate of a shape,
and that rate carried to other shapes and lengths. From the gradient norms of a run: `refine`.
"""

from lrsched.theory.bound import Bound, convergence_bound, final_bound, optimal_rate
from lrsched.theory.refine import refine
from lrsched.theory.transfer import keep_rate, transfer_rate

__all__ = [
    "Bound",
    "convergence_bound",
    "final_bound",
    "keep_rate",
    "optimal_rate",
    "refine",
    "transfer_rate",
]
