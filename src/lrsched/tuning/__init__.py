"""Finding the learning rate: range tests, sweeps of thousands of runs, and automatic choice."""

from lrsched.tuning.fleet import Plan
from lrsched.tuning.range_test import ANY_RANGE, RANGES, Range, RangeTest, range_test
from lrsched.tuning.sweep import Sweep, sweep
from lrsched.tuning.training import State, Training, shuffled, training

__all__ = [
    "ANY_RANGE",
    "RANGES",
    "Plan",
    "Range",
    "RangeTest",
    "State",
    "Sweep",
    "Training",
    "range_test",
    "shuffled",
    "sweep",
    "training",
]
